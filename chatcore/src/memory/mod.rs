//! The store without a database: everything in this process's memory, gone with it.
//!
//! It keeps every promise of [`crate::store`] but durability. It is a store like any other, with the indices that the
//! traits' orders need, so a page is a range of a sorted map here too; tests, demos and single-process hosts that can
//! lose everything run on it.
//!
//! Each family is a plain synchronous state behind its own lock. No lock is held across an `await`, so a method is one
//! step, and a dropped future has either done it or not begun.

mod friendships;
mod messages;
mod order;
mod post;
mod rooms;
mod sessions;
mod users;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::id::{FriendshipId, IntentId, RoomId, SessionId, UserId};
use crate::model::{
    Account, Draft, Email, Emoji, Friendship, Intent, LogPage, LogRange, Member, Membership, Message, MessagePage,
    MessageRange, PageKey, PasswordHash, Relation, Room, RoomName, SearchKey, Seq, Session, Standing, TokenHash, User,
    Username,
};
use crate::store::{
    Answered, AppendOutcome, Blocked, Changed, Created, Credentials, Digest, Ended, FriendshipList, FriendshipStore,
    Head, MarkerWrite, MessageStore, NewMember, NewRequest, NewRoom, NewUser, ProfileChange, Removal, Requested,
    RoleChange, RoomStore, Rotated, Rotation, SearchPosition, SessionStore, StoreResult, Taken, UserStore,
};
use crate::time::Timestamp;
use friendships::Friendships;
use messages::Logs;
use rooms::Rooms;
use sessions::Sessions;
use users::Users;

/// All five stores in memory.
///
/// ```
/// use std::sync::Arc;
/// use chatcore::memory::MemoryStore;
/// use chatcore::store::Storage;
/// let storage = Storage::single(Arc::new(MemoryStore::new()));
/// ```
#[derive(Default)]
pub struct MemoryStore {
    users: Mutex<Users>,
    sessions: Mutex<Sessions>,
    friendships: Mutex<Friendships>,
    rooms: Mutex<Rooms>,
    logs: Mutex<Logs>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        lock(&self.users)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    fn friendships(&self) -> MutexGuard<'_, Friendships> {
        lock(&self.friendships)
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        lock(&self.rooms)
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        lock(&self.logs)
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

/// A poisoned lock is taken all the same: a panic in here is a defect that the next call meets again, and a store that
/// answers is of more use than one that panics for ever.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl UserStore for MemoryStore {
    async fn ping(&self) -> StoreResult<()> {
        Ok(())
    }

    async fn create(&self, user: &NewUser) -> StoreResult<Result<(), Taken>> {
        Ok(self.users().create(user))
    }

    async fn users(&self, ids: &[UserId]) -> StoreResult<Vec<User>> {
        Ok(self.users().users(ids))
    }

    async fn account(&self, id: UserId) -> StoreResult<Option<Account>> {
        Ok(self.users().account(id))
    }

    async fn by_username(&self, username: &Username) -> StoreResult<Option<User>> {
        Ok(self.users().by_username(username))
    }

    async fn credentials_by_username(&self, username: &Username) -> StoreResult<Option<Credentials>> {
        Ok(self.users().credentials_by_username(username))
    }

    async fn credentials_by_email(&self, email: &Email) -> StoreResult<Option<Credentials>> {
        Ok(self.users().credentials_by_email(email))
    }

    async fn credentials(&self, id: UserId) -> StoreResult<Option<Credentials>> {
        Ok(self.users().credentials(id))
    }

    async fn update_profile(&self, id: UserId, change: &ProfileChange) -> StoreResult<Option<Result<Account, Taken>>> {
        Ok(self.users().update_profile(id, change))
    }

    async fn replace_password(&self, id: UserId, expected: &PasswordHash, new: &PasswordHash) -> StoreResult<bool> {
        Ok(self.users().replace_password(id, expected, new))
    }

    async fn touch_seen(&self, seen: &[(UserId, Timestamp)]) -> StoreResult<()> {
        self.users().touch_seen(seen);
        Ok(())
    }

    async fn search(&self, prefix: &SearchKey, after: Option<&SearchPosition>, limit: u32) -> StoreResult<Vec<User>> {
        Ok(self.users().search(prefix, after, limit as usize))
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn ping(&self) -> StoreResult<()> {
        Ok(())
    }

    async fn create(&self, session: &Session, token: &TokenHash) -> StoreResult<()> {
        self.sessions().create(session, token);
        Ok(())
    }

    async fn rotate(&self, rotation: &Rotation) -> StoreResult<Rotated> {
        Ok(self.sessions().rotate(rotation))
    }

    async fn alive(&self, ids: &[SessionId], at: Timestamp) -> StoreResult<Vec<Session>> {
        Ok(self.sessions().alive(ids, at))
    }

    async fn list(&self, user: UserId, at: Timestamp, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Session>> {
        Ok(self.sessions().list(user, at, after, limit as usize))
    }

    async fn end(&self, user: UserId, id: SessionId) -> StoreResult<bool> {
        Ok(self.sessions().end(user, id))
    }

    async fn end_others(&self, user: UserId, keep: SessionId) -> StoreResult<Vec<SessionId>> {
        Ok(self.sessions().end_others(user, keep))
    }

    async fn purge(&self, at: Timestamp, limit: u32) -> StoreResult<u64> {
        Ok(self.sessions().purge(at, limit as usize))
    }
}

#[async_trait]
impl FriendshipStore for MemoryStore {
    async fn ping(&self) -> StoreResult<()> {
        Ok(())
    }

    async fn request(&self, request: &NewRequest) -> StoreResult<Requested> {
        Ok(self.friendships().request(request))
    }

    async fn answer(&self, id: FriendshipId, by: UserId, accept: bool, at: Timestamp) -> StoreResult<Option<Answered>> {
        Ok(self.friendships().answer(id, by, accept, at))
    }

    async fn end(&self, id: FriendshipId, by: UserId) -> StoreResult<Option<Ended>> {
        Ok(self.friendships().end(id, by))
    }

    async fn list(
        &self,
        user: UserId,
        list: FriendshipList,
        after: Option<PageKey>,
        limit: u32,
    ) -> StoreResult<Vec<Friendship>> {
        Ok(self.friendships().list(user, list, after, limit as usize))
    }

    async fn friend_ids(&self, user: UserId) -> StoreResult<Vec<UserId>> {
        Ok(self.friendships().friend_ids(user))
    }

    async fn relation(&self, user: UserId, other: UserId) -> StoreResult<Relation> {
        Ok(self.friendships().relation(user, other))
    }

    async fn block(&self, by: UserId, user: UserId, at: Timestamp) -> StoreResult<Blocked> {
        Ok(self.friendships().block(by, user, at))
    }

    async fn unblock(&self, by: UserId, user: UserId) -> StoreResult<bool> {
        Ok(self.friendships().unblock(by, user))
    }

    async fn blocked(&self, by: UserId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<(UserId, Timestamp)>> {
        Ok(self.friendships().blocked(by, after, limit as usize))
    }

    async fn blockers_among(&self, user: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>> {
        Ok(self.friendships().blockers_among(user, users))
    }

    async fn blocked_among(&self, by: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>> {
        Ok(self.friendships().blocked_among(by, users))
    }
}

#[async_trait]
impl RoomStore for MemoryStore {
    async fn ping(&self) -> StoreResult<()> {
        Ok(())
    }

    async fn create(&self, room: &NewRoom) -> StoreResult<Created> {
        Ok(self.rooms().create(room))
    }

    async fn direct(&self, one: UserId, other: UserId) -> StoreResult<Option<Room>> {
        Ok(self.rooms().direct(one, other))
    }

    async fn standings(&self, of: &[(RoomId, UserId)]) -> StoreResult<Vec<Standing>> {
        Ok(self.rooms().standings(of))
    }

    async fn memberships(&self, user: UserId) -> StoreResult<Vec<Membership>> {
        Ok(self.rooms().memberships(user))
    }

    async fn rooms_of(&self, users: &[UserId]) -> StoreResult<Vec<(UserId, RoomId)>> {
        Ok(self.rooms().rooms_of(users))
    }

    async fn members(&self, room: RoomId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Member>> {
        Ok(self.rooms().members(room, after, limit as usize))
    }

    async fn member_ids(&self, room: RoomId) -> StoreResult<Vec<UserId>> {
        Ok(self.rooms().member_ids(room))
    }

    async fn add(
        &self,
        room: RoomId,
        by: UserId,
        members: &[NewMember],
        max_members: u32,
        at: Timestamp,
    ) -> StoreResult<Changed> {
        Ok(self.rooms().add(room, by, members, max_members, at))
    }

    async fn remove(&self, removal: &Removal) -> StoreResult<Changed> {
        Ok(self.rooms().remove(removal))
    }

    async fn change_role(&self, change: &RoleChange) -> StoreResult<Changed> {
        Ok(self.rooms().change_role(change))
    }

    async fn rename(
        &self,
        room: RoomId,
        by: UserId,
        name: &RoomName,
        intent: IntentId,
        at: Timestamp,
    ) -> StoreResult<Changed> {
        Ok(self.rooms().rename(room, by, name, intent, at))
    }

    async fn mark_read(&self, markers: &[MarkerWrite]) -> StoreResult<()> {
        self.rooms().mark_read(markers);
        Ok(())
    }

    async fn intents(&self, room: RoomId) -> StoreResult<Vec<Intent>> {
        Ok(self.rooms().intents(room))
    }

    async fn unsettled(&self, before: Timestamp, limit: u32) -> StoreResult<Vec<RoomId>> {
        Ok(self.rooms().unsettled(before, limit as usize))
    }

    async fn settle(&self, settled: &[(IntentId, Seq)]) -> StoreResult<()> {
        self.rooms().settle(settled);
        Ok(())
    }
}

#[async_trait]
impl MessageStore for MemoryStore {
    async fn ping(&self) -> StoreResult<()> {
        Ok(())
    }

    async fn append(&self, batch: &[Draft], max_reactions: u32) -> StoreResult<Vec<AppendOutcome>> {
        Ok(self.logs().append(batch, max_reactions))
    }

    async fn events(&self, room: RoomId, range: LogRange, limit: u32) -> StoreResult<LogPage> {
        Ok(self.logs().events(room, range, limit as usize))
    }

    async fn heads(&self, rooms: &[RoomId]) -> StoreResult<Vec<Head>> {
        Ok(self.logs().heads(rooms))
    }

    async fn messages(
        &self,
        viewer: UserId,
        room: RoomId,
        range: MessageRange,
        limit: u32,
    ) -> StoreResult<MessagePage> {
        Ok(self.logs().messages(viewer, room, range, limit as usize))
    }

    async fn messages_at(&self, viewer: UserId, room: RoomId, seqs: &[Seq]) -> StoreResult<Vec<Message>> {
        Ok(self.logs().messages_at(viewer, room, seqs))
    }

    async fn reactors(
        &self,
        room: RoomId,
        seq: Seq,
        emoji: &Emoji,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<(UserId, Seq)>> {
        Ok(self.logs().reactors(room, seq, emoji, after, limit as usize))
    }

    async fn digests(&self, viewer: UserId, rooms: &[(RoomId, u64)], cap: u32) -> StoreResult<Vec<Digest>> {
        Ok(self.logs().digests(viewer, rooms, cap as usize))
    }

    async fn last_posts(&self, room: RoomId, users: &[UserId]) -> StoreResult<Vec<(UserId, Seq)>> {
        Ok(self.logs().last_posts(room, users))
    }
}
