//! Rooms, members, read markers. Implemented by adapters, called by [`crate::service`].
//!
//! Members live in one store and the logs perhaps in another, so no transaction spans both. Every change that the log
//! must show is therefore recorded here first, together with the change itself, as an [`Intent`]: a row that says
//! which event has yet to be appended. The service appends the event under the intent's id, so that appending it
//! again changes nothing, and then calls [`RoomStore::settle`]. Whoever meets an unfinished intent finishes it.

use async_trait::async_trait;

use super::error::StoreResult;
use crate::id::{IntentId, RoomId, UserId};
use crate::model::{ClientId, Intent, Member, Membership, PageKey, Role, Room, RoomKind, RoomName, Seq, Standing};
use crate::policy::room::Refusal;
use crate::time::Timestamp;

/// Somebody who is to come in.
#[derive(Debug, Clone, Copy)]
pub struct NewMember {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// The id of the intent that their coming leaves behind.
    pub intent: IntentId,
}

/// A room that is to be made.
#[derive(Debug, Clone)]
pub struct NewRoom {
    /// Made by the service.
    pub id: RoomId,
    /// The kind.
    pub kind: RoomKind,
    /// Of a group.
    pub name: Option<RoomName>,
    /// Who makes it.
    pub created_by: UserId,
    /// Now; also when its members come in.
    pub created_at: Timestamp,
    /// The maker's own key, for a group.
    pub client_id: Option<ClientId>,
    /// The first members, the maker among them, each once. Two for a direct room.
    pub members: Vec<NewMember>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// Made, with one `Joined` intent for each member, in their order, by the maker at `created_at`.
    New(Room),
    /// The pair had a room, the maker had used that `client_id`, or the room of that id is there already: nothing changed.
    /// The room as it is now.
    Existing(Room),
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Done, and recorded.
    Done,
    /// It was so already; nothing is recorded.
    Same,
    /// Nothing changed.
    Refused(Refusal),
}

/// Somebody who is to go.
#[derive(Debug, Clone, Copy)]
pub struct Removal {
    /// The room.
    pub room: RoomId,
    /// Who does it; the one who goes, when they leave themselves.
    pub by: UserId,
    /// Who goes.
    pub user: UserId,
    /// The id of the intent.
    pub intent: IntentId,
    /// Now.
    pub at: Timestamp,
}

/// A role that is to be given.
#[derive(Debug, Clone, Copy)]
pub struct RoleChange {
    /// The room.
    pub room: RoomId,
    /// Who gives it.
    pub by: UserId,
    /// Who gets it.
    pub user: UserId,
    /// Which.
    pub role: Role,
    /// The id of the intent.
    pub intent: IntentId,
    /// Now.
    pub at: Timestamp,
}

/// A read marker that is to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerWrite {
    /// The room.
    pub room: RoomId,
    /// Whose.
    pub user: UserId,
    /// Where to.
    pub seq: Seq,
}

/// Keeps rooms, their members, read markers, and the intents that the logs do not hold yet.
///
/// # Contract
/// - At most one direct room a pair, and at most one group for a (maker, `client_id`), under any race.
/// - What may happen is decided by [`crate::policy::room`], called inside the step with what the step itself read; so
///   two owners who leave at the same time cannot both be the last but one.
/// - A change and its intent are written together, and the intents of a room come in the order of their recording.
/// - `member_count` is the number of members at every moment.
#[async_trait]
pub trait RoomStore: Send + Sync {
    /// Whether the store answers.
    async fn ping(&self) -> StoreResult<()>;

    /// Makes a room with its first members.
    async fn create(&self, room: &NewRoom) -> StoreResult<Created>;

    /// The room of that pair, whichever comes first.
    async fn direct(&self, one: UserId, other: UserId) -> StoreResult<Option<Room>>;

    /// Where users stand towards rooms, in the order asked. One read for all.
    async fn standings(&self, of: &[(RoomId, UserId)]) -> StoreResult<Vec<Standing>>;

    /// All rooms that a user is in, in no order. One read.
    async fn memberships(&self, user: UserId) -> StoreResult<Vec<Membership>>;

    /// The ids of all rooms that these users are in, in no order. One read for all.
    async fn rooms_of(&self, users: &[UserId]) -> StoreResult<Vec<(UserId, RoomId)>>;

    /// A room's members, oldest first by (`joined_at`, user id), after `after`.
    async fn members(&self, room: RoomId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Member>>;

    /// The ids of all members, in no order.
    async fn member_ids(&self, room: RoomId) -> StoreResult<Vec<UserId>>;

    /// Adds members, by [`policy::room::add`](crate::policy::room::add): all of them or none. Who is in it already
    /// keeps role and marker. `members` is not empty and names each user once. One `Joined` intent for each who comes in,
    /// in their order, by `by`. `Same` when all are in it already.
    async fn add(
        &self,
        room: RoomId,
        by: UserId,
        members: &[NewMember],
        max_members: u32,
        at: Timestamp,
    ) -> StoreResult<Changed>;

    /// Removes a member, by [`policy::room::remove`](crate::policy::room::remove). Their row and marker are gone with
    /// it. `Same` when they are not in it.
    async fn remove(&self, removal: &Removal) -> StoreResult<Changed>;

    /// Gives a role, by [`policy::room::change_role`](crate::policy::room::change_role).
    async fn change_role(&self, change: &RoleChange) -> StoreResult<Changed>;

    /// Renames, by [`policy::room::rename`](crate::policy::room::rename). `Same` when that is its name already.
    async fn rename(
        &self,
        room: RoomId,
        by: UserId,
        name: &RoomName,
        intent: IntentId,
        at: Timestamp,
    ) -> StoreResult<Changed>;

    /// Moves read markers forward, never back; who is no member is left out. The batch may name a member twice.
    async fn mark_read(&self, markers: &[MarkerWrite]) -> StoreResult<()>;

    /// The unsettled intents of a room, in the order of their recording.
    async fn intents(&self, room: RoomId) -> StoreResult<Vec<Intent>>;

    /// Up to `limit` rooms that have an intent recorded at or before that time, each once, in no order.
    async fn unsettled(&self, before: Timestamp, limit: u32) -> StoreResult<Vec<RoomId>>;

    /// Notes that intents stand in the log under these numbers, and forgets them. A `Joined` one sets the member's
    /// `joined_seq`, unless that member has gone and come again since. Unknown intents are left out.
    async fn settle(&self, settled: &[(IntentId, Seq)]) -> StoreResult<()>;
}
