//! Live sockets: opening one, resuming, typing.
//!
//! Always in this order: check the membership, register, read the head, check the membership. The first check keeps those who are not in a
//! room, or name one that does not exist, from leaving anything here; the second one decides. An event that comes after the registration wakes; one
//! that came before the head was read is behind the position; and who was a member after the head was read leaves, if ever, by an
//! event above it, which the cursor meets.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::Chat;
use super::error::{Budget, Error, Result};
use super::guard::Principal;
use super::work::Cost;
use crate::defect::defect;
use crate::hub::{Begin, Connection, Scope, Signal, SignalKind};
use crate::id::{ConnectionId, RoomId, UserId};
use crate::model::{FieldCode, Membership, Seq, Standing};
use crate::time::Timestamp;
use crate::view::{ReadState, UserView};

/// What a new socket is told first.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The socket.
    pub connection: ConnectionId,
    /// Whose it is.
    pub user: UserView,
    /// Of a socket for one room: which, and where it begins.
    pub room: Option<(RoomId, RoomStart)>,
    /// Now.
    pub now: Timestamp,
    /// The end of the access token.
    pub expires_at: Timestamp,
}

/// Where a room begins on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomStart {
    /// Events after this number come.
    pub from: u64,
    /// The number of the last event.
    pub head: u64,
    /// Whether the position asked for was taken up; `None` when none was asked for.
    pub resumed: Option<bool>,
    /// The reader's marker in force.
    pub read: u64,
    /// Counted up to [`crate::limits::UNREAD_CAP`].
    pub unread: u32,
}

/// What became of a room that was to be resumed.
#[derive(Debug, Clone)]
pub enum ResumeAnswer {
    /// It begins there.
    Started(RoomStart),
    /// It does not.
    Refused(Error),
}

impl Chat {
    /// Opens a socket: for all rooms of the caller, or for one, from the head or after a position.
    ///
    /// # Errors
    /// `Unauthenticated`; for one room also `NotFound` and `Forbidden`; `RateLimited` when the user has too many sockets.
    pub async fn connect(&self, caller: &Principal, scope: Scope, after: Option<u64>) -> Result<(Connection, Hello)> {
        self.spend(caller, Cost::READ)?;
        let id = ConnectionId::from_uuid(self.new_id());
        self.inner.connects.check(&caller.user)?;
        // Trusted with nothing until the session has been looked up.
        let connection = self.inner.hub.connect(id, caller.user, caller.session, scope, Instant::now());
        let mut connection =
            connection.ok_or(Error::RateLimited(Budget::Sockets, self.inner.settings.hub.offline_after))?;
        // After the registration, so that an end of the session either is seen here or closes the socket.
        let until = self.check_session(caller).await?;
        connection.trust(until);
        let room = match scope {
            Scope::All => None,
            Scope::Room(room) => {
                let mut starts = self.begin_named(&mut connection, &[(room, after)]).await?;
                connection.start();
                match starts.remove(&room) {
                    Some(ResumeAnswer::Started(start)) => Some((room, start)),
                    Some(ResumeAnswer::Refused(error)) => return Err(error),
                    None => return Err(Error::NotFound("room")),
                }
            }
        };
        let user = self.user_view(caller.user, caller.user).await?.ok_or(Error::NotFound("user"))?;
        let hello = Hello { connection: id, user, room, now: self.now(), expires_at: caller.expires_at };
        Ok((connection, hello))
    }

    /// Says where rooms of a socket for all rooms begin. Named ones begin after their position; with `more` unset all others begin at
    /// their head, and events begin to flow.
    ///
    /// # Errors
    /// `Invalid` when the socket has started already, or is for one room. After any other error nothing has been started.
    pub async fn resume(
        &self,
        connection: &mut Connection,
        rooms: &[(RoomId, u64)],
        more: bool,
    ) -> Result<HashMap<RoomId, ResumeAnswer>> {
        self.spend_for(connection.user(), Cost::rooms(rooms.len()))?;
        if connection.scope() != Scope::All || connection.is_started() {
            return Err(Error::field("type", FieldCode::NotAllowed, "has begun already"));
        }
        if !more {
            // First, so that a room which the user comes into from now on begins by itself.
            connection.start();
        }
        let mut resuming = Resuming { connection, done: false };
        let resumed = self.resume_rooms(resuming.connection, rooms, more).await;
        resuming.done = resumed.is_ok();
        resumed
    }

    async fn resume_rooms(
        &self,
        connection: &mut Connection,
        rooms: &[(RoomId, u64)],
        more: bool,
    ) -> Result<HashMap<RoomId, ResumeAnswer>> {
        let named: Vec<_> = rooms.iter().map(|(room, position)| (*room, Some(*position))).collect();
        let answers = self.begin_named(connection, &named).await?;
        if !more {
            let memberships = self.inner.storage.rooms.memberships(connection.user()).await?;
            // Named or not, each is begun.
            self.spend_for(connection.user(), Cost::rooms(memberships.len()))?;
            let others: Vec<_> = memberships
                .into_iter()
                .map(|membership| (membership.room.id, None))
                .filter(|(room, _)| !connection.reads(*room))
                .collect();
            self.begin(connection, &others).await?;
        }
        Ok(answers)
    }

    /// Begins those of the rooms that a client has named that the user is in, each after its position or at its head.
    async fn begin_named(
        &self,
        connection: &mut Connection,
        rooms: &[(RoomId, Option<u64>)],
    ) -> Result<HashMap<RoomId, ResumeAnswer>> {
        if rooms.is_empty() {
            return Ok(HashMap::new());
        }
        let asked: Vec<_> = rooms.iter().map(|(room, _)| (*room, connection.user())).collect();
        let standings = self.inner.storage.rooms.standings(&asked).await?;
        let mut refused = HashMap::new();
        let mut own = Vec::with_capacity(rooms.len());
        for (named, standing) in rooms.iter().zip(&standings) {
            match refusal(standing) {
                Some(error) => {
                    refused.insert(named.0, ResumeAnswer::Refused(error));
                }
                None => own.push(*named),
            }
        }
        let mut answers = self.begin(connection, &own).await?;
        answers.extend(refused);
        Ok(answers)
    }

    /// Begins rooms that the user has just been in, each after its position or at its head.
    async fn begin(
        &self,
        connection: &mut Connection,
        rooms: &[(RoomId, Option<u64>)],
    ) -> Result<HashMap<RoomId, ResumeAnswer>> {
        if rooms.is_empty() {
            return Ok(HashMap::new());
        }
        for (room, _) in rooms {
            connection.listen(*room);
        }
        let user = connection.user();
        let ids: Vec<RoomId> = rooms.iter().map(|(room, _)| *room).collect();
        let heads = self.inner.storage.messages.heads(&ids).await?;
        let heads: HashMap<RoomId, u64> = heads.iter().map(|head| (head.room, head.seq.number())).collect();
        let standings = self.settled_standings(user, &ids).await?;
        let members: Vec<Membership> = standings
            .iter()
            .filter_map(|standing| match standing {
                Standing::Member(membership) => Some(membership.clone()),
                _ => None,
            })
            .collect();
        let states = self.read_states(user, &members).await?;
        let mut answers = HashMap::new();
        for ((room, position), standing) in rooms.iter().zip(standings) {
            let answer = match standing {
                Standing::Member(membership) => {
                    let joined = membership.member.joined_seq.map_or(0, Seq::number);
                    // One who came in only after the heads were read begins with that.
                    let head = heads.get(room).copied().unwrap_or(0).max(joined);
                    let resumed = position.map(|p| p <= head && head - p <= self.inner.settings.resume_events);
                    let from = position.filter(|_| resumed == Some(true)).unwrap_or(head);
                    let skipped = defect!(ResumeOffByOne, u64::from(resumed == Some(true) && from < head), 0);
                    connection.begin(Begin { room: *room, position: from + skipped, joined, head });
                    let marker = membership.marker();
                    let state = states.get(room).copied();
                    let ReadState { read, unread, .. } = state.unwrap_or(ReadState { head, read: marker, unread: 0 });
                    ResumeAnswer::Started(RoomStart { from, head, resumed, read, unread })
                }
                Standing::NoRoom | Standing::Outsider => {
                    connection.unlisten(*room);
                    let Some(error) = refusal(&standing) else { continue };
                    ResumeAnswer::Refused(error)
                }
            };
            answers.insert(*room, answer);
        }
        Ok(answers)
    }

    /// Where a user stands, from the store; unfinished changes of these rooms are finished first.
    async fn settled_standings(&self, user: UserId, rooms: &[RoomId]) -> Result<Vec<Standing>> {
        let asked: Vec<_> = rooms.iter().map(|room| (*room, user)).collect();
        let standings = self.inner.storage.rooms.standings(&asked).await?;
        let unsettled = |standing: &Standing| match standing {
            Standing::Member(membership) => membership.member.joined_seq.is_none().then_some(membership.room.id),
            _ => None,
        };
        let unsettled: Vec<RoomId> = standings.iter().filter_map(unsettled).collect();
        if unsettled.is_empty() {
            return Ok(standings);
        }
        for room in unsettled {
            self.settle(room).await?;
        }
        Ok(self.inner.storage.rooms.standings(&asked).await?)
    }

    /// Somebody types, or has stopped: the others who listen to the room are told.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn typing(&self, caller: &Principal, room: RoomId, on: bool) -> Result<()> {
        self.spend(caller, Cost::rows(self.inner.hub.members_listening(room).len()))?;
        let membership = self.writer(caller, room).await?.membership;
        let signal = Signal::new(Some(room), Some(caller.user), SignalKind::Typing { on });
        let to = self.audience(caller.user, &membership).await?;
        self.inner.hub.signal_room(room, &to, &Arc::new(signal));
        Ok(())
    }
}

/// Why somebody who stands there does not listen to a room; `None` for a member.
fn refusal(standing: &Standing) -> Option<Error> {
    match standing {
        Standing::Member(_) => None,
        Standing::NoRoom => Some(Error::NotFound("room")),
        Standing::Outsider => Some(Error::Forbidden("not a member of the room")),
    }
}

/// A resume under way. Unless it is done, all that it began is taken back: after an error, and when its caller goes away.
struct Resuming<'a> {
    connection: &'a mut Connection,
    done: bool,
}

impl Drop for Resuming<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.connection.reset();
        }
    }
}
