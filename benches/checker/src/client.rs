//! A client: one person, who does everything that people and their programs do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;

use crate::history::{Call, History, Outcome, Room, User, What};
use crate::place::Failure;
use crate::random::Random;
use crate::rest::{Answer, Rest, refused};
use crate::socket::{Names, Opening, PATIENCE, Positions, Socket};

/// What a user signs in with.
pub const PASSWORD: &str = "correct horse";
const EMOJI: [&str; 3] = ["👍", "🎉", "🙈"];

/// What all clients share.
#[derive(Debug)]
pub struct World {
    /// What happened.
    pub history: Arc<History>,
    /// Who is who.
    pub names: Arc<Names>,
    /// What each signs in as.
    pub logins: Vec<String>,
    /// Members at the beginning; of a direct room its two.
    pub members: Vec<Vec<User>>,
    /// Whether each is a direct room.
    pub direct: Vec<bool>,
    /// Where the servers are.
    pub nodes: Vec<SocketAddr>,
    /// Set when the clients are to come to an end.
    pub over: AtomicBool,
}

impl World {
    /// Who owns a group, and never goes.
    pub fn owner(&self, room: Room) -> User {
        self.members[room][0]
    }
}

struct Session {
    number: usize,
    access: String,
    refresh: String,
}

/// The caller's password of that number.
pub fn password(number: usize) -> String {
    if number == 0 { PASSWORD.to_owned() } else { format!("{PASSWORD} {number}") }
}

/// A post that has not been acknowledged.
#[derive(Debug, Clone)]
struct Unsure {
    room: Room,
    key: String,
    body: String,
}

struct Pending {
    op: usize,
    answer: oneshot::Receiver<Value>,
    /// To be sent again if nobody knows what became of it.
    post: Option<Unsure>,
}

/// A person at work.
pub struct Client {
    /// Who.
    pub user: User,
    world: Arc<World>,
    rest: Rest,
    random: Random,
    session: Option<Session>,
    main: Option<Socket>,
    others: Vec<Socket>,
    positions: Positions,
    pending: Vec<Pending>,
    unsure: Vec<Unsure>,
    /// Own messages that were acknowledged, newest last.
    own: Vec<(Room, u64, Unsure)>,
    posts: usize,
    frames: usize,
    node: usize,
    /// The number of the password in force.
    password: usize,
    /// A password whose change was not answered: it may be in force.
    perhaps: Option<usize>,
}

impl Client {
    /// Somebody who is registered already.
    pub fn new(user: User, world: Arc<World>, random: Random) -> Self {
        let node = user % world.nodes.len();
        Self {
            user,
            world,
            rest: Rest::default(),
            random,
            session: None,
            main: None,
            others: Vec::new(),
            positions: Arc::default(),
            pending: Vec::new(),
            unsure: Vec::new(),
            own: Vec::new(),
            posts: 0,
            frames: 0,
            node,
            password: 0,
            perhaps: None,
        }
    }

    /// Lives until the world is over; answers itself, with everything settled and its socket open.
    ///
    /// # Errors
    /// When it cannot come to an end although the servers work.
    pub async fn live(mut self) -> Result<Self, Failure> {
        while !self.world.over.load(Ordering::Relaxed) {
            if self.ready().await.is_err() {
                // Away, and back some time; there is no event to wait for but its return.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            self.act().await;
            let pause = self.random.below(40);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.settle().await?;
        Ok(self)
    }

    /// Finishes what is under way, and sends again what may not have arrived.
    async fn settle(&mut self) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let done = async {
                self.ready().await?;
                while let Some(pending) = self.pending.pop() {
                    self.await_one(pending).await;
                }
                while let Some(post) = self.unsure.pop() {
                    self.post_by_rest(post).await;
                }
                self.read_all().await;
                // A new token and a new socket, so that neither runs out before the end.
                self.refresh().await?;
                self.move_on();
                self.ready().await
            }
            .await;
            match done {
                Ok(()) if self.unsure.is_empty() && self.main.as_ref().is_some_and(Socket::is_open) => return Ok(()),
                _ if tokio::time::Instant::now() > until => {
                    return Err(format!("user {} does not come to an end: {done:?}", self.user).into());
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    // --- sessions and sockets

    fn address(&self) -> SocketAddr {
        self.world.nodes[self.node]
    }

    fn token(&self) -> String {
        self.session.as_ref().map(|session| session.access.clone()).unwrap_or_default()
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        self.rest.call(self.address(), method, path, &self.token(), body).await
    }

    /// Sees to a session and a socket.
    ///
    /// # Errors
    /// When the server gives none.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        if self.session.is_none() {
            self.login().await?;
        }
        self.others.retain(Socket::is_open);
        if !self.main.as_ref().is_some_and(Socket::is_open) {
            self.main = None;
            self.open_main().await?;
        }
        Ok(())
    }

    async fn login(&mut self) -> Result<(), Failure> {
        if let Some(perhaps) = self.perhaps {
            match self.sign_in(perhaps).await {
                Ok(session) => {
                    (self.password, self.perhaps) = (perhaps, None);
                    self.session = Some(session);
                    return Ok(());
                }
                Err(Some(_)) => self.perhaps = None,
                Err(None) => return Err("no answer to a login".into()),
            }
        }
        match self.sign_in(self.password).await {
            Ok(session) => self.session = Some(session),
            Err(refusal) => return Err(format!("no session: {refusal:?}").into()),
        }
        Ok(())
    }

    /// Begins a session; `Err(None)`: no answer came.
    async fn sign_in(&self, number: usize) -> Result<Session, Option<Answer>> {
        let session = self.world.history.session();
        let op = self.world.history.called(self.user, Call::Login { password: number }, self.node, session, None);
        let body = json!({"login": self.world.logins[self.user], "password": password(number)});
        let answer = self.rest.call(self.address(), "POST", "/auth/login", "", Some(&body)).await;
        self.returned(op, answer.as_ref().map_or_else(|error| Outcome::Unknown(error.to_string()), Answer::outcome));
        match answer {
            Ok(answer) if answer.status == 503 => Err(None),
            Ok(answer) => tokens(&answer, session).ok_or(Some(answer)),
            Err(_) => Err(None),
        }
    }

    /// The access token has run out.
    async fn refresh(&mut self) -> Result<(), Failure> {
        let Some(session) = &self.session else { return Ok(()) };
        let (number, body) = (session.number, json!({"refresh_token": session.refresh}));
        let answer = self.rest.call(self.address(), "POST", "/auth/refresh", "", Some(&body)).await?;
        if answer.status == 401 {
            self.session = None;
            return self.login().await;
        }
        self.session = Some(tokens(&answer, number).ok_or_else(|| format!("no tokens: {answer:?}"))?);
        Ok(())
    }

    async fn open(&mut self, room: Option<(Room, Option<u64>)>) -> Result<Socket, Failure> {
        let opened = self.open_as_is(room).await;
        if let Err(error) = &opened
            && error.to_string().contains("401")
        {
            self.refresh().await?;
        }
        opened
    }

    /// Opens a socket by the token that is there, whatever becomes of it.
    async fn open_as_is(&self, room: Option<(Room, Option<u64>)>) -> Result<Socket, Failure> {
        let session = self.session.as_ref().ok_or("no session")?;
        let opening = Opening {
            user: self.user,
            token: session.access.clone(),
            session: session.number,
            node: self.node,
            address: self.address(),
            room,
        };
        let (history, names) = (self.world.history.clone(), self.world.names.clone());
        // Sockets for one room do not move the places from which the one for all rooms goes on.
        let positions = if room.is_some() { Positions::default() } else { self.positions.clone() };
        Socket::open(&opening, &history, &names, &positions).await
    }

    /// Where to go on in a room: where one was, or somewhere else. At the end always where one was, so that everything that is left comes.
    fn resumption(&mut self, position: u64) -> Option<u64> {
        if self.world.over.load(Ordering::Relaxed) {
            return Some(position);
        }
        match self.random.below(100) {
            0..70 => Some(position),
            70..80 => Some(position.saturating_sub(self.random.below(600))),
            80..85 => Some(0),
            85..95 => None,
            _ => Some(position + 1 + self.random.below(1500)),
        }
    }

    async fn open_main(&mut self) -> Result<(), Failure> {
        if self.random.percent(30) {
            self.node = self.random.index(self.world.nodes.len());
        }
        let socket = self.open(None).await?;
        let positions: BTreeMap<Room, u64> = self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut rooms = serde_json::Map::new();
        for (room, position) in positions {
            match self.resumption(position) {
                Some(after) => _ = rooms.insert(self.world.names.rooms[room].clone(), json!(after)),
                None => {
                    let began = What::Began { socket: socket.id, room, from: None, head: 0 };
                    self.world.history.note(self.user, began);
                }
            }
        }
        let mut rooms: Vec<_> = rooms.into_iter().collect();
        if rooms.len() > 2 && self.random.percent(20) {
            let first: serde_json::Map<_, _> = rooms.drain(..2).collect();
            let id = self.frame();
            let answer = socket.ask(&id, json!({"type": "resume", "rooms": first, "more": true}));
            tokio::time::timeout(PATIENCE, answer).await??;
        }
        let rooms: serde_json::Map<_, _> = rooms.into_iter().collect();
        let id = self.frame();
        let answer = socket.ask(&id, json!({"type": "resume", "rooms": rooms}));
        let answer = tokio::time::timeout(PATIENCE, answer).await??;
        if answer["type"] != "ack" {
            return Err(format!("a resume was answered {answer}").into());
        }
        self.main = Some(socket);
        Ok(())
    }

    fn frame(&mut self) -> String {
        self.frames += 1;
        format!("f{}", self.frames)
    }

    // --- calls

    fn called(&self, call: Call) -> usize {
        let session = self.session.as_ref().map_or(0, |session| session.number);
        self.world.history.called(self.user, call, self.node, session, None)
    }

    fn returned(&self, op: usize, outcome: Outcome) {
        self.world.history.note(self.user, What::Returned { op, outcome });
    }

    /// Makes a call by REST, and notes both ends of it.
    async fn noted(&mut self, call: Call, method: &str, path: &str, body: Option<&Value>) -> Outcome {
        let op = self.called(call);
        let answer = self.call(method, path, body).await;
        let outcome = match &answer {
            Ok(answer) => answer.outcome(),
            Err(error) => Outcome::Unknown(error.to_string()),
        };
        self.returned(op, outcome.clone());
        if outcome == Outcome::Refused("unauthenticated".into())
            && let Err(error) = self.refresh().await
        {
            self.session = None;
            self.world.history.note(self.user, What::Note(format!("user {}: no refresh: {error}", self.user)));
        }
        outcome
    }

    /// Waits for the answer to a frame.
    async fn await_one(&mut self, Pending { op, answer, post }: Pending) {
        let outcome = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(frame)) if frame["type"] == "ack" => {
                let seq = frame["seq"].as_u64().or(frame["read"].as_u64());
                Outcome::Done { seq, duplicate: frame["duplicate"] == true }
            }
            Ok(Ok(frame)) => refused(&frame),
            Ok(Err(_)) => Outcome::Unknown("the socket ended".into()),
            Err(_) => Outcome::Unknown("no answer".into()),
        };
        self.returned(op, outcome.clone());
        if let Some(post) = post {
            self.posted(post, &outcome);
        }
    }

    fn posted(&mut self, post: Unsure, outcome: &Outcome) {
        match outcome {
            Outcome::Done { seq: Some(seq), .. } => {
                let seq = *seq;
                self.own.push((post.room, seq, post));
                if self.own.len() > 50 {
                    self.own.remove(0);
                }
            }
            // Most programs send again; some people give up.
            Outcome::Unknown(_) if self.random.percent(90) => self.unsure.push(post),
            Outcome::Refused(code) if code == "unauthenticated" => self.unsure.push(post),
            _ => {}
        }
    }

    async fn post_by_rest(&mut self, post: Unsure) {
        let Unsure { room, key, body } = post.clone();
        let path = format!("/messages/{}", self.world.names.rooms[room]);
        let json = json!({"body": body, "client_id": key});
        let outcome = self.noted(Call::Post { room, key, body }, "POST", &path, Some(&json)).await;
        self.posted(post, &outcome);
    }

    fn by_socket(&mut self, call: Call, frame: Value, post: Option<Unsure>) {
        let id = self.frame();
        let Some(socket) = &self.main else { return };
        let (node, session) = (socket.node, socket.session);
        let op = self.world.history.called(self.user, call, node, session, Some(socket.id));
        let answer = self.main.as_ref().map(|socket| socket.ask(&id, frame));
        if let Some(answer) = answer {
            self.pending.push(Pending { op, answer, post });
        }
    }

    async fn post(&mut self, post: Unsure) {
        if self.random.percent(20) {
            return self.post_by_rest(post).await;
        }
        let Unsure { room, key, body } = post.clone();
        let id = &self.world.names.rooms[room];
        let frame = json!({"type": "message.send", "room": id, "body": body, "client_id": key});
        self.by_socket(Call::Post { room, key, body }, frame, Some(post));
    }

    // --- what people do

    fn any_room(&mut self) -> Room {
        let mine: Vec<Room> =
            (0..self.world.members.len()).filter(|room| self.world.members[*room].contains(&self.user)).collect();
        // Sometimes one that is none of ours, if only just now.
        if mine.is_empty() || self.random.percent(3) {
            let groups: Vec<Room> = (0..self.world.direct.len()).filter(|room| !self.world.direct[*room]).collect();
            return groups[self.random.index(groups.len())];
        }
        mine[self.random.index(mine.len())]
    }

    async fn act(&mut self) {
        while self.pending.len() > 4 {
            let oldest = self.pending.remove(0);
            self.await_one(oldest).await;
        }
        match self.random.below(1000) {
            0..520 => self.say().await,
            520..600 => self.repeat().await,
            600..680 => self.edit(),
            680..710 => self.delete().await,
            710..790 => self.react(),
            790..840 => self.read(),
            840..870 => self.fetch().await,
            870..915 => self.change_members().await,
            915..930 => self.change_block().await,
            930..935 => self.log_out().await,
            935..941 => self.change_password().await,
            941..951 => self.hang_up().await,
            951..960 => self.misbehave(),
            960..965 => self.burst().await,
            965..970 => self.look_elsewhere().await,
            970..978 => self.look_back().await,
            978..987 => self.move_on(),
            _ => self.babble(),
        }
    }

    async fn say(&mut self) {
        let room = self.any_room();
        self.posts += 1;
        let key = format!("{}-{}", self.user, self.posts);
        let long = if self.random.percent(3) { 3000 } else { 20 };
        let body = format!("{key} says {}", "x".repeat(self.random.index(long)));
        self.post(Unsure { room, key, body: body.trim_end().to_owned() }).await;
    }

    /// Sends something again that was acknowledged, or that nobody knows of.
    async fn repeat(&mut self) {
        if !self.unsure.is_empty() {
            let post = self.unsure.remove(0);
            return self.post(post).await;
        }
        if self.own.is_empty() {
            return;
        }
        let index = self.random.index(self.own.len());
        let post = self.own[index].2.clone();
        self.post(post).await;
    }

    fn any_own(&mut self) -> Option<(Room, u64)> {
        if self.own.is_empty() {
            return None;
        }
        let index = self.random.index(self.own.len());
        Some((self.own[index].0, self.own[index].1))
    }

    fn edit(&mut self) {
        let Some((room, seq)) = self.any_own() else { return };
        let body = format!("edit {}", self.random.below(1_000_000));
        let frame = json!({"type": "message.edit", "room": self.world.names.rooms[room], "seq": seq, "body": body});
        self.by_socket(Call::Edit { room, seq, body }, frame, None);
    }

    async fn delete(&mut self) {
        let Some((room, seq)) = self.any_own() else { return };
        if self.random.percent(50) {
            let path = format!("/messages/{}/{seq}", self.world.names.rooms[room]);
            let outcome = self.noted(Call::Delete { room, seq }, "DELETE", &path, None).await;
            // Whoever comes now gets the message without its body.
            if matches!(outcome, Outcome::Done { .. })
                && self.random.percent(50)
                && let Ok(socket) = self.open(Some((room, Some(seq - 1)))).await
            {
                self.others.push(socket);
            }
        } else {
            let frame = json!({"type": "message.delete", "room": self.world.names.rooms[room], "seq": seq});
            self.by_socket(Call::Delete { room, seq }, frame, None);
        }
    }

    /// One of the last events that were seen of a room.
    fn recent(&mut self, room: Room) -> Option<u64> {
        let position = *self.positions.lock().unwrap_or_else(PoisonError::into_inner).get(&room)?;
        Some(position.saturating_sub(self.random.below(20)).max(1))
    }

    fn react(&mut self) {
        let room = self.any_room();
        let Some(seq) = self.recent(room) else { return };
        let emoji = EMOJI[self.random.index(EMOJI.len())];
        let on = self.random.percent(70);
        let kind = if on { "reaction.add" } else { "reaction.remove" };
        let frame = json!({"type": kind, "room": self.world.names.rooms[room], "seq": seq, "emoji": emoji});
        self.by_socket(Call::React { room, seq, emoji, on }, frame, None);
    }

    fn read(&mut self) {
        let room = self.any_room();
        let Some(seq) = self.recent(room) else { return };
        let frame = json!({"type": "read", "room": self.world.names.rooms[room], "seq": seq});
        self.by_socket(Call::Read { room, seq }, frame, None);
    }

    /// Moves the marker of every room to where the socket has come.
    async fn read_all(&mut self) {
        for (room, seq) in self.positions() {
            let path = format!("/chat-rooms/{}/read", self.world.names.rooms[room]);
            self.noted(Call::Read { room, seq }, "PUT", &path, Some(&json!({"seq": seq}))).await;
        }
    }

    async fn fetch(&mut self) {
        let room = self.any_room();
        let path = format!("/messages/{}?limit=5", self.world.names.rooms[room]);
        self.noted(Call::Fetch { room }, "GET", &path, None).await;
    }

    /// Owners add and remove; others leave.
    async fn change_members(&mut self) {
        let groups = (0..self.world.direct.len()).filter(|room| !self.world.direct[*room]);
        let (own, other): (Vec<Room>, Vec<Room>) = groups.partition(|room| self.world.owner(*room) == self.user);
        if own.is_empty() || self.random.percent(20) {
            if let Some(room) = other.get(self.random.index(other.len().max(1))).copied() {
                self.remove(room, self.user).await;
            }
            return;
        }
        let room = own[self.random.index(own.len())];
        let user = self.random.index(self.world.names.users.len());
        if user == self.user {
            return;
        }
        if self.random.percent(60) {
            let path = format!("/chat-rooms/{}/members", self.world.names.rooms[room]);
            let body = json!({"user_ids": [self.world.names.users[user]]});
            self.noted(Call::Add { room, user }, "POST", &path, Some(&body)).await;
        } else {
            self.remove(room, user).await;
        }
    }

    async fn remove(&mut self, room: Room, user: User) {
        let path = format!("/chat-rooms/{}/members/{}", self.world.names.rooms[room], self.world.names.users[user]);
        self.noted(Call::Remove { room, user }, "DELETE", &path, None).await;
    }

    async fn change_block(&mut self) {
        let mine: Vec<Room> = (0..self.world.direct.len())
            .filter(|room| self.world.direct[*room] && self.world.members[*room].contains(&self.user))
            .collect();
        let Some(room) = mine.get(self.random.index(mine.len().max(1))).copied() else { return };
        let Some(user) = self.world.members[room].iter().copied().find(|user| *user != self.user) else { return };
        let path = format!("/users/{}/block", self.world.names.users[user]);
        if self.random.percent(40) {
            self.noted(Call::Block { user }, "PUT", &path, None).await;
        } else {
            self.noted(Call::Unblock { user }, "DELETE", &path, None).await;
        }
    }

    /// Ends the session while its sockets are open, and tries its token once more.
    async fn log_out(&mut self) {
        self.noted_once(Call::Logout, "POST", "/auth/logout").await;
        self.noted_once(Call::Me, "GET", "/auth/me").await;
        // The sockets are left to the server: it has to close them.
        if let Some(main) = self.main.take() {
            self.others.push(main);
        }
        self.session = None;
    }

    async fn noted_once(&mut self, call: Call, method: &str, path: &str) {
        let op = self.called(call);
        let outcome = match self.call(method, path, None).await {
            Ok(answer) => answer.outcome(),
            Err(error) => Outcome::Unknown(error.to_string()),
        };
        self.returned(op, outcome);
    }

    /// Changes the password while other devices sign in with the old one, and tries what they got.
    async fn change_password(&mut self) {
        if self.session.is_none() || self.perhaps.is_some() {
            return;
        }
        let (old, to) = (self.password, self.password + 1);
        let op = self.called(Call::ChangePassword { to });
        let body = json!({"current_password": password(old), "new_password": password(to)});
        // Some overtake the change, some come while the new password is hashed, some are too late.
        let delays: Vec<u64> = (0..6).map(|_| self.random.below(300)).collect();
        let change = self.call("PUT", "/auth/password", Some(&body));
        let others = delays.into_iter().map(async |delay| {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            self.sign_in(old).await
        });
        let (changed, others) = tokio::join!(change, futures::future::join_all(others));
        let outcome = changed.map_or_else(|error| Outcome::Unknown(error.to_string()), |answer| answer.outcome());
        self.returned(op, outcome.clone());
        match outcome {
            Outcome::Done { .. } => self.password = to,
            Outcome::Unknown(_) => self.perhaps = Some(to),
            Outcome::Refused(_) => {}
        }
        let own = self.session.take();
        for session in others.into_iter().flatten() {
            self.session = Some(session);
            self.noted_once(Call::Me, "GET", "/auth/me").await;
            // Refused, where the change was made.
            if let Ok(socket) = self.open_as_is(None).await {
                self.others.push(socket);
            }
        }
        self.session = own;
    }

    /// Sends several messages at once, as a program does.
    async fn burst(&mut self) {
        let room = self.any_room();
        for _ in 0..8 {
            self.posts += 1;
            let key = format!("{}-{}", self.user, self.posts);
            let body = format!("{key} in a burst");
            let frame = json!({
                "type": "message.send", "room": self.world.names.rooms[room], "body": body, "client_id": key
            });
            let post = Unsure { room, key: key.clone(), body: body.clone() };
            self.by_socket(Call::Post { room, key, body }, frame, Some(post));
        }
    }

    /// Begins a handshake, and is gone before it is answered.
    async fn hang_up(&mut self) {
        let room = self.any_room();
        let path = match self.random.percent(50) {
            true => "/ws".to_owned(),
            false => format!("/ws/chat/{}", self.world.names.rooms[room]),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address(),
            self.token()
        );
        let pause = Duration::from_micros(self.random.below(3000));
        for part in 1..=8 {
            // A server that is away, or that hangs up first, is no news.
            let _ = hang_up(self.address(), &request, pause * part / 4).await;
        }
    }

    /// Ends the socket in the middle of a frame, or does not read for a while.
    fn misbehave(&mut self) {
        let Some(socket) = &self.main else { return };
        if self.random.percent(50) {
            socket.cut();
            self.main = None;
        } else {
            socket.pause(Duration::from_millis(500 + self.random.below(3500)));
        }
    }

    /// Another socket, for one room, from anywhere; or the end of one.
    async fn look_elsewhere(&mut self) {
        if self.others.len() > 3 {
            self.others.remove(0).close();
            return;
        }
        let room = self.any_room();
        let position = self.positions.lock().unwrap_or_else(PoisonError::into_inner).get(&room).copied().unwrap_or(0);
        let after = self.resumption(position);
        // Refused where one is no member, and while the server is away.
        if let Ok(socket) = self.open(Some((room, after))).await {
            self.others.push(socket);
        }
    }

    /// Another socket, for one room, from a little while ago, at any node: what has been deleted since is gone there too.
    async fn look_back(&mut self) {
        let node = self.node;
        self.node = self.random.index(self.world.nodes.len());
        let room = self.any_room();
        let position = self.positions.lock().unwrap_or_else(PoisonError::into_inner).get(&room).copied().unwrap_or(0);
        let after = position.saturating_sub(20 + self.random.below(100));
        if let Ok(socket) = self.open(Some((room, Some(after)))).await {
            self.others.push(socket);
        }
        self.node = node;
    }

    /// Closes the socket, to open another one, perhaps elsewhere.
    fn move_on(&mut self) {
        if let Some(socket) = self.main.take() {
            socket.close();
        }
    }

    fn babble(&mut self) {
        let room = self.any_room();
        if let Some(socket) = &self.main {
            socket.tell(&json!({"type": "typing", "room": self.world.names.rooms[room], "on": true}));
        }
    }

    // --- at the end

    /// The socket for all rooms.
    pub fn main_socket(&self) -> Option<&Socket> {
        self.main.as_ref().filter(|socket| socket.is_open())
    }

    /// Where the socket for all rooms has come to.
    pub fn positions(&self) -> BTreeMap<Room, u64> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a call that is no part of the history.
    ///
    /// # Errors
    /// When no answer came, or not that of a success.
    pub async fn get(&mut self, path: &str) -> Result<Value, Failure> {
        for _ in 0..3 {
            let answer = self.call("GET", path, None).await?;
            if answer.status == 401 {
                self.refresh().await?;
                continue;
            }
            return if answer.ok() { Ok(answer.body) } else { Err(format!("GET {path}: {answer:?}").into()) };
        }
        Err(format!("GET {path}: not authenticated").into())
    }

    /// Posts the last message of a room; answers its number.
    ///
    /// # Errors
    /// When that does not succeed.
    pub async fn mark(&mut self, room: Room) -> Result<u64, Failure> {
        let key = format!("{}-last-{room}", self.user);
        let path = format!("/messages/{}", self.world.names.rooms[room]);
        let body = "the last one".to_owned();
        let json = json!({"body": body, "client_id": key});
        for _ in 0..3 {
            let call = Call::Post { room, key: key.clone(), body: body.clone() };
            if let Outcome::Done { seq: Some(seq), .. } = self.noted(call, "POST", &path, Some(&json)).await {
                return Ok(seq);
            }
        }
        Err(format!("the last message of room {room} was not taken").into())
    }

    /// Closes all sockets but the one for all rooms.
    pub fn leave_others(&mut self) {
        self.others.drain(..).for_each(|socket| socket.close());
    }

    /// Closes all sockets.
    pub fn leave(&mut self) {
        for socket in self.main.take().into_iter().chain(self.others.drain(..)) {
            socket.close();
        }
    }

    /// Unblocks everybody, so that the last messages can be posted.
    ///
    /// # Errors
    /// When that does not succeed.
    pub async fn reconcile(&mut self) -> Result<(), Failure> {
        for room in 0..self.world.direct.len() {
            if self.world.direct[room] && self.world.members[room].contains(&self.user) {
                let other = self.world.members[room].iter().copied().find(|user| *user != self.user);
                let Some(user) = other else { continue };
                let path = format!("/users/{}/block", self.world.names.users[user]);
                let outcome = self.noted(Call::Unblock { user }, "DELETE", &path, None).await;
                if !matches!(outcome, Outcome::Done { .. }) {
                    return Err(format!("user {} could not unblock: {outcome:?}", self.user).into());
                }
            }
        }
        Ok(())
    }
}

/// The session that an answer begins or goes on with.
fn tokens(answer: &Answer, number: usize) -> Option<Session> {
    let token = |name: &str| answer.body[name].as_str().map(str::to_owned);
    Some(Session { number, access: token("access_token")?, refresh: token("refresh_token")? })
}

async fn hang_up(address: SocketAddr, request: &str, pause: Duration) -> std::io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes()).await?;
    tokio::time::sleep(pause).await;
    // A reset, which the server feels at once.
    stream.set_zero_linger()
}
