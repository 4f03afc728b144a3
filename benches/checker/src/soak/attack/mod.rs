//! The attackers: one kind a function, one family a file.

mod accounts;
mod handshakes;
mod http1_cut;
mod http1_slow;
mod http1_unread;
mod http2_floods;
mod http2_unread;
mod socket_fragments;
mod socket_joins;
mod socket_unread;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::people::Person;
use crate::random::Random;

/// Kinds that are played at once, unless each is to be played apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Sockets that are open.
    Sockets,
    /// What comes before a socket is open, and users who come into rooms: what costs little, so that it is not held up.
    Handshakes,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How an attacker's connections have to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As they like: what is sent is within the limits, or costs nothing.
    Any,
    /// By the server, in the middle of a flood that no limit allows.
    Refused,
}

/// A kind of attacker.
pub struct Kind {
    /// Its name, for `--only` and the table.
    pub name: &'static str,
    /// What it is played with.
    pub family: Family,
    /// MiB that the server may take for it at the height of a wave: what its limits add up to, not what would be nice.
    pub peak: u64,
    /// MiB of it that the server may take as late as in the second half: where its bound takes long to reach without optimisation.
    pub late: u64,
    /// How its connections have to end.
    pub ending: Ending,
    /// What it does, until the wave is over.
    pub run: fn(Ground) -> BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kind").field("name", &self.name).finish_non_exhaustive()
    }
}

macro_rules! kinds {
    ($($family:ident: $name:literal, $peak:literal MiB, $late:literal late, $ending:ident, $module:ident::$function:ident;)*) => {
        /// All kinds of attackers.
        pub const KINDS: &[Kind] = &[$(Kind {
            name: $name,
            family: Family::$family,
            peak: $peak,
            late: $late,
            ending: Ending::$ending,
            run: |ground| Box::pin($module::$function(ground)),
        }),*];
    };
}

kinds! {
    Sockets: "socket-frames-fast", 24 MiB, 0 late, Refused, socket_unread::frames_at_full_pace;
    Sockets: "socket-frames-paced", 24 MiB, 0 late, Any, socket_unread::frames_below_the_limit;
    Sockets: "socket-pings-paced", 24 MiB, 0 late, Any, socket_unread::pings_below_the_limit;
    Sockets: "socket-resumes", 24 MiB, 0 late, Any, socket_unread::resumes_of_unknown_rooms;
    Sockets: "socket-fragments-empty", 8 MiB, 0 late, Refused, socket_fragments::empty;
    Sockets: "socket-fragments-tiny", 8 MiB, 0 late, Refused, socket_fragments::tiny;
    Sockets: "socket-fragments-half", 8 MiB, 0 late, Any, socket_fragments::half;
    Handshakes: "socket-joins", 40 MiB, 0 late, Any, socket_joins::joins;
    Handshakes: "handshake-cut", 8 MiB, 0 late, Any, handshakes::cut_after_every_byte;
    Handshakes: "handshake-reset", 8 MiB, 0 late, Any, handshakes::reset_after_a_moment;
    Handshakes: "handshake-rooms", 8 MiB, 0 late, Any, handshakes::rooms_that_do_not_exist;
    Handshakes: "bad-tokens", 8 MiB, 0 late, Any, accounts::bad_tokens;
    Handshakes: "wrong-logins", 48 MiB, 0 late, Any, accounts::wrong_logins;
    Http1: "http1-slow", 8 MiB, 0 late, Any, http1_slow::slow;
    Http1: "http1-cut", 8 MiB, 0 late, Any, http1_cut::cut_after_every_byte;
    Http1: "http1-unread", 24 MiB, 0 late, Any, http1_unread::pipelines;
    Http2: "http2-unread", 32 MiB, 12 late, Any, http2_unread::pages;
    Http2: "http2-resets", 24 MiB, 0 late, Refused, http2_floods::resets;
    Http2: "http2-pings", 8 MiB, 0 late, Any, http2_floods::pings_and_settings;
    Http2: "http2-headers", 24 MiB, 0 late, Refused, http2_floods::headers;
}

/// What attackers meet, for a whole run.
#[derive(Debug, Clone)]
pub struct Field {
    /// Where the server is.
    pub server: SocketAddr,
    /// The attackers, all of them members of the room.
    pub people: Vec<Person>,
    /// Somebody who is in the room with them and does not attack.
    pub accountant: Person,
    /// A room with a page of long messages.
    pub room: String,
    /// The number of a message there, for each of the people one of their own.
    pub messages: Vec<u64>,
    /// The seed of everything random.
    pub seed: u64,
}

/// What attackers meet, for one wave. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ground {
    /// For the whole run.
    pub field: Arc<Field>,
    /// The end of the wave.
    pub until: Instant,
    /// Which one it is.
    pub wave: u64,
    /// Requests, frames and connections so far.
    pub sent: Arc<AtomicU64>,
    /// Connections that ended otherwise than the attacker wanted.
    pub refused: Arc<AtomicU64>,
    /// What was stored that nobody else counts: events, rooms, users.
    pub stored: Arc<AtomicU64>,
    turns: Arc<AtomicU64>,
}

/// How long an attacker that was refused waits before it comes again.
const RETREAT: Duration = Duration::from_millis(20);

impl Ground {
    /// A wave that begins now.
    pub fn new(field: &Arc<Field>, wave: u64, time: Duration) -> Self {
        let until = Instant::now() + time;
        Self {
            field: field.clone(),
            until,
            wave,
            sent: Arc::default(),
            refused: Arc::default(),
            stored: Arc::default(),
            turns: Arc::default(),
        }
    }

    /// Has so many do the same at once, each again and again until the wave is over, when their connections are reset.
    pub async fn crowd<F, T>(&self, size: usize, attack: F)
    where
        F: Fn(Ground, usize) -> T + Copy + Send + 'static,
        T: Future<Output = io::Result<()>> + Send + 'static,
    {
        let mut crowd = JoinSet::new();
        for index in 0..size {
            let ground = self.clone();
            crowd.spawn(async move {
                while Instant::now() < ground.until {
                    match tokio::time::timeout_at(ground.until, attack(ground.clone(), index)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => {
                            ground.refused.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(RETREAT).await;
                        }
                        Err(_) => return,
                    }
                }
            });
        }
        while crowd.join_next().await.is_some() {}
    }

    /// The same with counts of its own.
    pub fn counted_apart(&self) -> Self {
        Self { sent: Arc::default(), refused: Arc::default(), ..self.clone() }
    }

    /// Counts what was sent.
    pub fn count(&self, number: u64) {
        self.sent.fetch_add(number, Ordering::Relaxed);
    }

    /// Counts what was stored.
    pub fn store(&self, number: u64) {
        self.stored.fetch_add(number, Ordering::Relaxed);
    }

    /// A number that nobody else has in this wave.
    pub fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// One of the attackers.
    pub fn person(&self, index: usize) -> &Person {
        &self.field.people[index % self.field.people.len()]
    }

    /// Keeps things as they are until the wave is over.
    pub async fn hold(&self) {
        tokio::time::sleep_until(self.until).await;
    }

    /// Randomness of its own for each call, in the order of the calls.
    pub fn random(&self) -> Random {
        Random::new(self.field.seed, self.wave << 40 | self.turn())
    }
}

/// An id that nobody has given to anything.
pub fn unknown_id(random: &mut Random) -> String {
    let mut part = |limit: u64| random.below(limit);
    format!(
        "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
        part(1 << 32),
        part(1 << 16),
        part(1 << 12),
        part(1 << 12),
        part(1 << 48)
    )
}

/// One of a hundred thousand addresses of this machine's own, which are all 127.0.0.0/8.
pub fn some_address(random: &mut Random) -> Ipv4Addr {
    let [.., high, middle, low] = (random.below(100_000) + 1).to_be_bytes();
    Ipv4Addr::new(127, 64 + high, middle, low)
}
