//! What every client did, was answered and saw, in the order in which it happened.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;

/// Which user, by the order of their registration.
pub type User = usize;
/// Which room, by the order of their making.
pub type Room = usize;
/// Which server process.
pub type Node = usize;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A message, under the key `client_id`.
    Post {
        /// Where.
        room: Room,
        /// Its `client_id`.
        key: String,
        /// What it says.
        body: String,
    },
    /// An edit of the caller's own message.
    Edit {
        /// Where.
        room: Room,
        /// Of which message.
        seq: u64,
        /// What it is to say.
        body: String,
    },
    /// A deletion of the caller's own message.
    Delete {
        /// Where.
        room: Room,
        /// Of which message.
        seq: u64,
    },
    /// A reaction, or taking it back.
    React {
        /// Where.
        room: Room,
        /// To which message.
        seq: u64,
        /// With what.
        emoji: &'static str,
        /// Whether it is added.
        on: bool,
    },
    /// Moving the read marker.
    Read {
        /// Where.
        room: Room,
        /// To which event.
        seq: u64,
    },
    /// Adding a member.
    Add {
        /// Where.
        room: Room,
        /// Whom.
        user: User,
    },
    /// Removing a member; oneself, it is leaving.
    Remove {
        /// Where.
        room: Room,
        /// Whom.
        user: User,
    },
    /// Blocking somebody.
    Block {
        /// Whom.
        user: User,
    },
    /// Taking a block back.
    Unblock {
        /// Whom.
        user: User,
    },
    /// Ending the caller's session.
    Logout,
    /// Signing in, which begins the session.
    Login {
        /// With which of the caller's passwords, by the order of their changes.
        password: usize,
    },
    /// Changing the password, which ends the caller's other sessions.
    ChangePassword {
        /// The number of the new one.
        to: usize,
    },
    /// Reading messages, by REST.
    Fetch {
        /// Where.
        room: Room,
    },
    /// Who the caller is, by REST.
    Me,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged.
    Done {
        /// Under this number, where one was told.
        seq: Option<u64>,
        /// Whether it had been there before.
        duplicate: bool,
    },
    /// It was answered with an error, of this code.
    Refused(String),
    /// No answer came.
    Unknown(String),
}

/// What an event says, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Of everything.
    pub full: u64,
    /// Of everything but the bodies, which a deletion takes out.
    pub bare: u64,
    /// Whether it has a body.
    pub body: bool,
}

impl Content {
    /// Of an event, from a frame or from a page of the log.
    pub fn of(event: &Value) -> Self {
        let mut parts =
            [&event["seq"], &event["at"], &event["actor"], &event["event"], &event["data"]].map(Clone::clone);
        let full = hash(&parts);
        let mut body = false;
        let data = &mut parts[4];
        for place in ["", "/message"] {
            if let Some(object) = data.pointer_mut(place).and_then(Value::as_object_mut) {
                body |= object.remove("body").is_some_and(|body| !body.is_null());
                object.remove("deleted");
            }
        }
        Self { full, bare: hash(&parts), body }
    }
}

fn hash(parts: &[Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        part.to_string().hash(&mut hasher);
    }
    hasher.finish()
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A call was made.
    Called {
        /// Which call; its answer has the same number.
        op: usize,
        /// What it asks for.
        call: Call,
        /// Of which process.
        node: Node,
        /// In which session.
        session: usize,
        /// By which socket; by none, it was REST.
        socket: Option<usize>,
    },
    /// A call was answered, or given up.
    Returned {
        /// Which one.
        op: usize,
        /// How.
        outcome: Outcome,
    },
    /// A socket has said hello.
    Opened {
        /// Which one.
        socket: usize,
        /// In which session.
        session: usize,
        /// At which process.
        node: Node,
        /// The one room that it is for.
        room: Option<Room>,
    },
    /// A room begins on a socket.
    Began {
        /// Which socket.
        socket: usize,
        /// Which room.
        room: Room,
        /// After which event; `None`: at its head, whatever that is.
        from: Option<u64>,
        /// Where the log ended then; 0 where it was not told.
        head: u64,
    },
    /// An event came.
    Got {
        /// On which socket.
        socket: usize,
        /// Of which room.
        room: Room,
        /// Its number.
        seq: u64,
        /// What it says.
        content: Content,
        /// The `client_id` of a posted message.
        key: Option<String>,
    },
    /// A socket has ended.
    Ended {
        /// Which one.
        socket: usize,
        /// Why, as far as the client knows.
        why: String,
    },
    /// Something was done to a server.
    Fault(String),
    /// Something else that is good to know: a fault is over, the run comes to another stage.
    Note(String),
}

/// Something that happened, when and to whom.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Microseconds since the beginning.
    pub at: u64,
    /// Whose client it was; of a fault nobody's.
    pub user: User,
    /// What.
    pub what: What,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.6} s  ", self.at as f64 / 1e6)?;
        if let What::Fault(what) | What::Note(what) = &self.what {
            return write!(f, "{what}");
        }
        write!(f, "user {:<3} ", self.user)?;
        match &self.what {
            What::Called { op, call, node, session, socket } => {
                write!(f, "calls op {op} on node {node} in session {session}")?;
                socket.map_or(Ok(()), |socket| write!(f, " by socket {socket}"))?;
                write!(f, ": {call:?}")
            }
            What::Returned { op, outcome } => write!(f, "is answered op {op}: {outcome:?}"),
            What::Opened { socket, session, node, room } => {
                write!(f, "opens socket {socket} on node {node} in session {session}")?;
                room.map_or(Ok(()), |room| write!(f, ", for room {room}"))
            }
            What::Began { socket, room, from, head } => {
                write!(f, "socket {socket} begins room {room} after {from:?}, head {head}")
            }
            What::Got { socket, room, seq, content, key } => {
                write!(f, "socket {socket} gets room {room} event {seq} ({:016x})", content.full)?;
                key.as_ref().map_or(Ok(()), |key| write!(f, ", the post {key}"))
            }
            What::Ended { socket, why } => write!(f, "socket {socket} ends: {why}"),
            What::Fault(_) | What::Note(_) => Ok(()),
        }
    }
}

/// The record that all clients write into.
#[derive(Debug)]
pub struct History {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    ops: usize,
    sockets: usize,
    sessions: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { began: Instant::now(), state: Mutex::default() }
    }
}

impl History {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, state: &mut State, user: User, what: What) {
        // Under the lock, so that the order of the entries is that of their times.
        let at = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        state.entries.push(Entry { at, user, what });
    }

    /// Notes what happened to somebody.
    pub fn note(&self, user: User, what: What) {
        let mut state = self.lock();
        self.push(&mut state, user, what);
    }

    /// Notes a call; answers its number.
    pub fn called(&self, user: User, call: Call, node: Node, session: usize, socket: Option<usize>) -> usize {
        let mut state = self.lock();
        state.ops += 1;
        let op = state.ops;
        self.push(&mut state, user, What::Called { op, call, node, session, socket });
        op
    }

    /// The number of a new session.
    pub fn session(&self) -> usize {
        let mut state = self.lock();
        state.sessions += 1;
        state.sessions
    }

    /// The number of a new socket.
    pub fn socket(&self) -> usize {
        let mut state = self.lock();
        state.sockets += 1;
        state.sockets
    }

    /// The last begin and the last end of a socket of somebody.
    pub fn last_of_sockets(&self, user: User) -> Vec<usize> {
        let state = self.lock();
        let last =
            |is: fn(&What) -> bool| state.entries.iter().rposition(|entry| entry.user == user && is(&entry.what));
        let (begin, end) =
            (last(|what| matches!(what, What::Opened { .. })), last(|what| matches!(what, What::Ended { .. })));
        begin.into_iter().chain(end).collect()
    }

    /// Takes everything out.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.lock().entries)
    }
}
