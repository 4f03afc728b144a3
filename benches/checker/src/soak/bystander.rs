//! Two people who talk while others attack: what they notice of it is what an attack costs everybody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::people::Person;
use super::wire::PATIENCE;
use crate::place::Failure;

/// Time between two posts.
const POST_EVERY: Duration = Duration::from_millis(100);
/// Time between two REST calls.
const CALL_EVERY: Duration = Duration::from_secs(1);
/// Time between two renewals of a token, which is good for 15 minutes.
const REFRESH_EVERY: Duration = Duration::from_secs(300);

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// What two bystanders noticed in a while.
#[derive(Debug, Clone, Default)]
pub struct Noticed {
    /// Times from a post to its event at the other one, or to now where that has not come, in rising order.
    pub posts: Vec<Duration>,
    /// Times from a REST call to its answer, in rising order.
    pub calls: Vec<Duration>,
    /// What else went wrong: refusals, lost connections.
    pub troubles: Vec<String>,
}

impl Noticed {
    /// The time that so many in a hundred posts did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let index = (self.posts.len() * percent / 100).min(self.posts.len().saturating_sub(1));
        self.posts.get(index).copied().unwrap_or_default()
    }

    /// The longest time without anything new.
    pub fn longest(&self) -> Duration {
        self.posts.last().copied().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Notes {
    waiting: BTreeMap<String, Instant>,
    noticed: Noticed,
}

/// Two bystanders. They end when this is dropped.
#[derive(Debug)]
pub struct Bystanders {
    notes: Arc<Mutex<Notes>>,
    tasks: JoinSet<()>,
}

impl Bystanders {
    /// Has them talk in that room.
    ///
    /// # Errors
    /// When the server refuses their sockets.
    pub async fn start(poster: Person, reader: Person, room: &str) -> Result<Self, Failure> {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let (writing, reading) = (open(&poster, room).await?, open(&reader, room).await?);
        let mut tasks = JoinSet::new();
        // In a session of its own: two that renew the tokens of one would end it.
        let mut caller = poster.clone();
        caller.login().await?;
        tasks.spawn(call(caller, room.to_owned(), notes.clone()));
        for (person, socket, posts) in [(poster, writing, true), (reader, reading, false)] {
            let bystander = Bystander { person, room: room.to_owned(), posts, notes: notes.clone() };
            tasks.spawn(bystander.stay(socket));
        }
        Ok(Self { notes, tasks })
    }

    /// Takes what was noticed since the last time.
    pub fn take(&self) -> Noticed {
        let mut notes = lock(&self.notes);
        let mut noticed = std::mem::take(&mut notes.noticed);
        // What has not come yet takes at least so long.
        noticed.posts.extend(notes.waiting.values().map(Instant::elapsed));
        noticed.posts.sort_unstable();
        noticed.calls.sort_unstable();
        if self.tasks.is_empty() {
            noticed.troubles.push("the bystanders are gone".into());
        }
        noticed
    }
}

fn lock(notes: &Mutex<Notes>) -> std::sync::MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn open(person: &Person, room: &str) -> Result<Socket, Failure> {
    let mut request = format!("ws://{}/ws/chat/{room}", person.server).into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {}", person.token).parse()?);
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((person.from, 0).into())?;
    let stream = socket.connect(person.server).await?;
    stream.set_nodelay(true)?;
    let opening = tokio_tungstenite::client_async(request, MaybeTlsStream::Plain(stream));
    Ok(tokio::time::timeout(PATIENCE, opening).await??.0)
}

async fn call(mut person: Person, room: String, notes: Arc<Mutex<Notes>>) {
    let mut ticks = tokio::time::interval(CALL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed = Instant::now();
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let answer = person.call("GET", &format!("/chat-rooms/{room}"), None).await;
        let took = began.elapsed();
        let renewal = if renewed.elapsed() < REFRESH_EVERY { Ok(()) } else { person.refresh().await };
        if renewal.is_ok() && renewed.elapsed() >= REFRESH_EVERY {
            renewed = Instant::now();
        }
        let mut notes = lock(&notes);
        match answer {
            Ok(_) => notes.noticed.calls.push(took),
            Err(error) => notes.noticed.troubles.push(format!("{}: a call: {error}", person.name)),
        }
        if let Err(error) = renewal {
            notes.noticed.troubles.push(format!("{}: no new token: {error}", person.name));
        }
    }
}

struct Bystander {
    person: Person,
    room: String,
    posts: bool,
    notes: Arc<Mutex<Notes>>,
}

impl Bystander {
    /// Stays in the room; comes back where the socket is lost, which is noted.
    async fn stay(mut self, mut socket: Socket) {
        let mut number = 0;
        loop {
            let why = match self.talk(&mut socket, &mut number).await {
                Ok(()) => "the socket ended".to_owned(),
                Err(error) => error.to_string(),
            };
            self.trouble(&why);
            tokio::time::sleep(POST_EVERY).await;
            match open(&self.person, &self.room).await {
                Ok(new) => socket = new,
                Err(error) => self.trouble(&error.to_string()),
            }
            // Events of before come to a socket that resumes, which this one does not.
            lock(&self.notes).waiting.clear();
        }
    }

    fn trouble(&self, what: &str) {
        lock(&self.notes).noticed.troubles.push(format!("{}: {what}", self.person.name));
    }

    async fn talk(&mut self, socket: &mut Socket, number: &mut u64) -> Result<(), Failure> {
        let mut posts = tokio::time::interval(POST_EVERY);
        posts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refreshes = tokio::time::interval_at(Instant::now() + REFRESH_EVERY, REFRESH_EVERY);
        loop {
            let frame = tokio::select! {
                _ = posts.tick(), if self.posts => {
                    *number += 1;
                    let key = number.to_string();
                    let post = json!({"type": "message.send", "id": key, "body": "All quiet here", "client_id": key});
                    lock(&self.notes).waiting.insert(key, Instant::now());
                    post
                }
                _ = refreshes.tick() => {
                    self.person.refresh().await?;
                    json!({"type": "auth", "id": "auth", "token": self.person.token})
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        self.take(&serde_json::from_str(&text)?);
                        continue;
                    }
                    Some(Ok(Message::Close(frame))) => return Err(format!("the socket was closed: {frame:?}").into()),
                    Some(message) => {
                        message?;
                        continue;
                    }
                    None => return Ok(()),
                },
            };
            socket.send(Message::text(frame.to_string())).await?;
        }
    }

    fn take(&self, frame: &Value) {
        let mut notes = lock(&self.notes);
        match frame["type"].as_str() {
            // The reader's, since the poster's own may come by a shorter way.
            Some("event") if !self.posts => {
                let key = frame["data"]["message"]["client_id"].as_str();
                if let Some(sent) = key.and_then(|key| notes.waiting.remove(key)) {
                    notes.noticed.posts.push(sent.elapsed());
                }
            }
            Some("error") => {
                if let Some(key) = frame["id"].as_str() {
                    notes.waiting.remove(key);
                }
                notes.noticed.troubles.push(format!("{}: {frame}", self.person.name));
            }
            _ => {}
        }
    }
}
