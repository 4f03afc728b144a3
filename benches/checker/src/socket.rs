//! A client's socket: it notes all that comes, and can be told to behave badly.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::history::{Content, History, Room, User, What};
use crate::place::Failure;

/// How long an answer may take before a client gives it up.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a socket is to be.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Whose.
    pub user: User,
    /// By which token.
    pub token: String,
    /// Of which session.
    pub session: usize,
    /// At which process.
    pub node: usize,
    /// Where that is.
    pub address: SocketAddr,
    /// For one room, after that position, or for all.
    pub room: Option<(Room, Option<u64>)>,
}

enum Command {
    Send(String),
    Pause(Duration),
    Cut,
    Close,
}

/// What a socket shares with its owner.
#[derive(Debug)]
struct Shared {
    history: Arc<History>,
    names: Arc<Names>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Value>>>,
    open: AtomicBool,
}

/// Which ids stand for which rooms.
#[derive(Debug, Default)]
pub struct Names {
    /// Rooms, in the order of their making.
    pub rooms: Vec<String>,
    /// Users, in the order of their registration.
    pub users: Vec<String>,
    by_id: HashMap<String, usize>,
}

impl Names {
    /// For these users and rooms.
    pub fn new(users: Vec<String>, rooms: Vec<String>) -> Self {
        let by_id = rooms.iter().chain(&users).cloned().zip((0..rooms.len()).chain(0..users.len())).collect();
        Self { rooms, users, by_id }
    }

    /// The number of a room or a user.
    pub fn of(&self, id: &Value) -> Option<usize> {
        self.by_id.get(id.as_str()?).copied()
    }
}

/// Where a client has come to in each room, over all of its sockets.
pub type Positions = Arc<Mutex<BTreeMap<Room, u64>>>;

/// A socket. Ends when it is dropped.
#[derive(Debug)]
pub struct Socket {
    /// Its number.
    pub id: usize,
    /// Of which session.
    pub session: usize,
    /// At which process.
    pub node: usize,
    /// The one room that it is for.
    pub room: Option<Room>,
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

impl Socket {
    /// Opens one, and waits for its hello.
    ///
    /// # Errors
    /// The code of a refusal, or what else went wrong.
    pub async fn open(
        opening: &Opening,
        history: &Arc<History>,
        names: &Arc<Names>,
        positions: &Positions,
    ) -> Result<Self, Failure> {
        tokio::time::timeout(PATIENCE, Self::connect(opening, history, names, positions)).await?
    }

    async fn connect(
        opening: &Opening,
        history: &Arc<History>,
        names: &Arc<Names>,
        positions: &Positions,
    ) -> Result<Self, Failure> {
        let path = match opening.room {
            None => "/ws".to_owned(),
            Some((room, None)) => format!("/ws/chat/{}", names.rooms[room]),
            Some((room, Some(after))) => format!("/ws/chat/{}?after={after}", names.rooms[room]),
        };
        let mut request = format!("ws://{}{path}", opening.address).into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {}", opening.token).parse()?);
        // Small, so that one who does not read is soon felt by the server.
        let tcp = TcpSocket::new_v4()?;
        tcp.set_recv_buffer_size(8 * 1024)?;
        let tcp = tcp.connect(opening.address).await?;
        let (mut stream, _) = tokio_tungstenite::client_async(request, tcp).await?;
        let hello = loop {
            match stream.next().await.ok_or("closed before hello")?? {
                Message::Text(text) => break serde_json::from_str::<Value>(&text)?,
                _ => continue,
            }
        };
        if hello["type"] != "hello" {
            return Err(format!("instead of hello: {hello}").into());
        }
        let id = history.socket();
        let room = opening.room.map(|(room, _)| room);
        let (user, session, node) = (opening.user, opening.session, opening.node);
        history.note(user, What::Opened { socket: id, session, node, room });
        if let Some(room) = room {
            let from = hello["from"].as_u64();
            history.note(user, What::Began { socket: id, room, from, head: hello["head"].as_u64().unwrap_or(0) });
        }
        let shared = Arc::new(Shared {
            history: history.clone(),
            names: names.clone(),
            waiting: Mutex::default(),
            open: AtomicBool::new(true),
        });
        let (commands, inbox) = mpsc::unbounded_channel();
        let task = Task { id, user, positions: positions.clone(), shared: shared.clone() };
        tokio::spawn(task.run(stream, inbox));
        Ok(Self { id, session, node, room, commands, shared })
    }

    /// Whether it still lives, as far as is known.
    pub fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Sends a frame; its answer comes by the receiver, if it comes.
    pub fn ask(&self, id: &str, mut frame: Value) -> oneshot::Receiver<Value> {
        frame["id"] = json!(id);
        let (sender, receiver) = oneshot::channel();
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), sender);
        self.command(Command::Send(frame.to_string()));
        receiver
    }

    fn command(&self, command: Command) {
        // A socket that has ended takes none, and whoever waits for an answer learns it by that.
        let _ = self.commands.send(command);
    }

    /// Sends a frame without waiting for an answer.
    pub fn tell(&self, frame: &Value) {
        self.command(Command::Send(frame.to_string()));
    }

    /// Reads nothing for so long.
    pub fn pause(&self, time: Duration) {
        self.command(Command::Pause(time));
    }

    /// Ends in the middle of a frame.
    pub fn cut(&self) {
        self.command(Command::Cut);
    }

    /// Closes as it should.
    pub fn close(&self) {
        self.command(Command::Close);
    }
}

struct Task {
    id: usize,
    user: User,
    positions: Positions,
    shared: Arc<Shared>,
}

impl Task {
    async fn run(self, mut stream: WebSocketStream<TcpStream>, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let why = loop {
            tokio::select! {
                biased;
                command = inbox.recv() => match command {
                    Some(Command::Send(text)) => {
                        match tokio::time::timeout(PATIENCE, stream.send(Message::text(text))).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => break error.to_string(),
                            Err(_) => break "the server does not read".to_owned(),
                        }
                    }
                    Some(Command::Pause(time)) => tokio::time::sleep(time).await,
                    Some(Command::Cut) => {
                        // A masked text frame of 200 bytes, of which 50 come.
                        let mut half = vec![0x81, 0xFE, 0, 200, 1, 2, 3, 4];
                        half.extend([b'{'; 50]);
                        let _ = stream.get_mut().write_all(&half).await;
                        break "cut in the middle of a frame".to_owned();
                    }
                    Some(Command::Close) | None => {
                        let _ = tokio::time::timeout(Duration::from_secs(1), stream.close(None)).await;
                        break "closed by the client".to_owned();
                    }
                },
                message = stream.next() => match message {
                    None => break "the connection ended".to_owned(),
                    Some(Err(error)) => break error.to_string(),
                    Some(Ok(Message::Text(text))) => match serde_json::from_str::<Value>(&text) {
                        Ok(frame) => if let Some(why) = self.take(&frame) { break why },
                        Err(error) => break format!("not JSON: {error}"),
                    },
                    Some(Ok(Message::Close(frame))) => {
                        break frame.map_or_else(|| "closed".to_owned(), |frame| format!("closed: {}", frame.code));
                    }
                    Some(Ok(_)) => {}
                },
            }
        };
        self.shared.open.store(false, Ordering::Relaxed);
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.history.note(self.user, What::Ended { socket: self.id, why });
    }

    /// Takes a frame; answers why the socket is to end, if it is.
    fn take(&self, frame: &Value) -> Option<String> {
        let (history, names) = (&self.shared.history, &self.shared.names);
        match frame["type"].as_str().unwrap_or_default() {
            "event" => {
                let (room, seq) = names.of(&frame["room"]).zip(frame["seq"].as_u64())?;
                let key = frame["data"]["message"]["client_id"].as_str().map(str::to_owned);
                history.note(self.user, What::Got { socket: self.id, room, seq, content: Content::of(frame), key });
                self.positions.lock().unwrap_or_else(PoisonError::into_inner).insert(room, seq);
            }
            "ack" | "error" => {
                if let Some(rooms) = frame["rooms"].as_object() {
                    self.begun(rooms);
                }
                let waiting = frame["id"]
                    .as_str()
                    .and_then(|id| self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id));
                if let Some(waiting) = waiting {
                    // One who does not wait any more has noted that.
                    let _ = waiting.send(frame.clone());
                }
            }
            "bye" => return Some(format!("bye {}", frame["code"].as_str().unwrap_or_default())),
            _ => {}
        }
        None
    }

    fn begun(&self, rooms: &serde_json::Map<String, Value>) {
        for (id, answer) in rooms {
            let Some(room) = self.shared.names.of(&json!(id)) else { continue };
            let (Some(from), Some(head)) = (answer["from"].as_u64(), answer["head"].as_u64()) else { continue };
            self.shared.history.note(self.user, What::Began { socket: self.id, room, from: Some(from), head });
        }
    }
}
