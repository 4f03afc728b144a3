//! Stores within stores: a bound on how long one is waited for, and for tests something to do around each call.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Answered, AppendOutcome, Blocked, Changed, Created, Credentials, Digest, Ended, FriendshipList, FriendshipStore,
    Head, MarkerWrite, MessageStore, NewMember, NewRequest, NewRoom, NewUser, ProfileChange, Removal, Requested,
    RoleChange, RoomStore, Rotated, Rotation, SearchPosition, SessionStore, StoreError, StoreResult, Taken, UserStore,
};
use crate::id::{FriendshipId, IntentId, RoomId, SessionId, UserId};
use crate::model::{
    Account, Draft, Email, Emoji, Friendship, Intent, LogPage, LogRange, Member, Membership, Message, MessagePage,
    MessageRange, PageKey, PasswordHash, Relation, Room, RoomName, SearchKey, Seq, Session, Standing, TokenHash, User,
    Username,
};
use crate::time::Timestamp;

/// What is done around every call of a store.
pub(crate) trait Around: Send + Sync + 'static {
    /// Makes the call, or answers without. Calls are named by trait and method, such as `MessageStore::append`.
    fn around<T: Send>(
        &self,
        name: &'static str,
        call: impl Future<Output = StoreResult<T>> + Send,
    ) -> impl Future<Output = StoreResult<T>> + Send;
}

/// A store, each call of which has something around it.
pub(super) struct Within<S: ?Sized, A> {
    pub(super) store: Arc<S>,
    pub(super) around: A,
}

/// Fails as unavailable where the store has not answered within that time: a server that is frozen, or a network that has gone, says nothing
/// at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(pub(super) Duration);

#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

impl Around for Deadline {
    async fn around<T: Send>(
        &self,
        _: &'static str,
        call: impl Future<Output = StoreResult<T>> + Send,
    ) -> StoreResult<T> {
        match tokio::time::timeout(self.0, call).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::unavailable("the database does not answer", NoAnswer(self.0))),
        }
    }
}

/// Does something around every call of a store: waits, fails, panics, takes note.
///
/// Calls are named by trait and method, such as `MessageStore::append`.
#[cfg(feature = "testing")]
#[async_trait]
pub trait Tap: Send + Sync {
    /// Comes before the call. An error is the call's answer, and the store is not asked.
    async fn before(&self, call: &'static str) -> StoreResult<()> {
        let _ = call;
        Ok(())
    }

    /// Comes after a call that succeeded. An error is the call's answer, although the store has done it.
    async fn after(&self, call: &'static str) -> StoreResult<()> {
        let _ = call;
        Ok(())
    }
}

#[cfg(feature = "testing")]
impl Around for Arc<dyn Tap> {
    async fn around<T: Send>(
        &self,
        name: &'static str,
        call: impl Future<Output = StoreResult<T>> + Send,
    ) -> StoreResult<T> {
        self.before(name).await?;
        let answer = call.await?;
        self.after(name).await?;
        Ok(answer)
    }
}

/// Passes every call on, with what is around it. A method that the trait has and the list has not does not compile.
macro_rules! around {
    ($store:ident { $(async fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty;)* }) => {
        #[async_trait]
        impl<A: Around> $store for Within<dyn $store, A> {
            $(
                async fn $name(&self $(, $argument: $type)*) -> $answer {
                    let name = concat!(stringify!($store), "::", stringify!($name));
                    self.around.around(name, self.store.$name($($argument),*)).await
                }
            )*
        }
    };
}

around!(UserStore {
    async fn ping(&self) -> StoreResult<()>;
    async fn create(&self, user: &NewUser) -> StoreResult<Result<(), Taken>>;
    async fn users(&self, ids: &[UserId]) -> StoreResult<Vec<User>>;
    async fn account(&self, id: UserId) -> StoreResult<Option<Account>>;
    async fn by_username(&self, username: &Username) -> StoreResult<Option<User>>;
    async fn credentials_by_username(&self, username: &Username) -> StoreResult<Option<Credentials>>;
    async fn credentials_by_email(&self, email: &Email) -> StoreResult<Option<Credentials>>;
    async fn credentials(&self, id: UserId) -> StoreResult<Option<Credentials>>;
    async fn update_profile(&self, id: UserId, change: &ProfileChange) -> StoreResult<Option<Result<Account, Taken>>>;
    async fn replace_password(&self, id: UserId, expected: &PasswordHash, new: &PasswordHash) -> StoreResult<bool>;
    async fn touch_seen(&self, seen: &[(UserId, Timestamp)]) -> StoreResult<()>;
    async fn search(&self, prefix: &SearchKey, after: Option<&SearchPosition>, limit: u32) -> StoreResult<Vec<User>>;
});

around!(SessionStore {
    async fn ping(&self) -> StoreResult<()>;
    async fn create(&self, session: &Session, token: &TokenHash) -> StoreResult<()>;
    async fn rotate(&self, rotation: &Rotation) -> StoreResult<Rotated>;
    async fn alive(&self, ids: &[SessionId], at: Timestamp) -> StoreResult<Vec<Session>>;
    async fn list(&self, user: UserId, at: Timestamp, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Session>>;
    async fn end(&self, user: UserId, id: SessionId) -> StoreResult<bool>;
    async fn end_others(&self, user: UserId, keep: SessionId) -> StoreResult<Vec<SessionId>>;
    async fn purge(&self, at: Timestamp, limit: u32) -> StoreResult<u64>;
});

around!(FriendshipStore {
    async fn ping(&self) -> StoreResult<()>;
    async fn request(&self, request: &NewRequest) -> StoreResult<Requested>;
    async fn answer(&self, id: FriendshipId, by: UserId, accept: bool, at: Timestamp) -> StoreResult<Option<Answered>>;
    async fn end(&self, id: FriendshipId, by: UserId) -> StoreResult<Option<Ended>>;
    async fn list(&self, user: UserId, list: FriendshipList, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Friendship>>;
    async fn friend_ids(&self, user: UserId) -> StoreResult<Vec<UserId>>;
    async fn relation(&self, user: UserId, other: UserId) -> StoreResult<Relation>;
    async fn block(&self, by: UserId, user: UserId, at: Timestamp) -> StoreResult<Blocked>;
    async fn unblock(&self, by: UserId, user: UserId) -> StoreResult<bool>;
    async fn blocked(&self, by: UserId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<(UserId, Timestamp)>>;
    async fn blockers_among(&self, user: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>>;
    async fn blocked_among(&self, by: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>>;
});

around!(RoomStore {
    async fn ping(&self) -> StoreResult<()>;
    async fn create(&self, room: &NewRoom) -> StoreResult<Created>;
    async fn direct(&self, one: UserId, other: UserId) -> StoreResult<Option<Room>>;
    async fn standings(&self, of: &[(RoomId, UserId)]) -> StoreResult<Vec<Standing>>;
    async fn memberships(&self, user: UserId) -> StoreResult<Vec<Membership>>;
    async fn rooms_of(&self, users: &[UserId]) -> StoreResult<Vec<(UserId, RoomId)>>;
    async fn members(&self, room: RoomId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Member>>;
    async fn member_ids(&self, room: RoomId) -> StoreResult<Vec<UserId>>;
    async fn add(&self, room: RoomId, by: UserId, members: &[NewMember], max_members: u32, at: Timestamp) -> StoreResult<Changed>;
    async fn remove(&self, removal: &Removal) -> StoreResult<Changed>;
    async fn change_role(&self, change: &RoleChange) -> StoreResult<Changed>;
    async fn rename(&self, room: RoomId, by: UserId, name: &RoomName, intent: IntentId, at: Timestamp) -> StoreResult<Changed>;
    async fn mark_read(&self, markers: &[MarkerWrite]) -> StoreResult<()>;
    async fn intents(&self, room: RoomId) -> StoreResult<Vec<Intent>>;
    async fn unsettled(&self, before: Timestamp, limit: u32) -> StoreResult<Vec<RoomId>>;
    async fn settle(&self, settled: &[(IntentId, Seq)]) -> StoreResult<()>;
});

around!(MessageStore {
    async fn ping(&self) -> StoreResult<()>;
    async fn append(&self, batch: &[Draft], max_reactions: u32) -> StoreResult<Vec<AppendOutcome>>;
    async fn events(&self, room: RoomId, range: LogRange, limit: u32) -> StoreResult<LogPage>;
    async fn heads(&self, rooms: &[RoomId]) -> StoreResult<Vec<Head>>;
    async fn messages(&self, viewer: UserId, room: RoomId, range: MessageRange, limit: u32) -> StoreResult<MessagePage>;
    async fn messages_at(&self, viewer: UserId, room: RoomId, seqs: &[Seq]) -> StoreResult<Vec<Message>>;
    async fn reactors(&self, room: RoomId, seq: Seq, emoji: &Emoji, after: u64, limit: u32) -> StoreResult<Vec<(UserId, Seq)>>;
    async fn digests(&self, viewer: UserId, rooms: &[(RoomId, u64)], cap: u32) -> StoreResult<Vec<Digest>>;
    async fn last_posts(&self, room: RoomId, users: &[UserId]) -> StoreResult<Vec<(UserId, Seq)>>;
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::store::{Storage, StoreErrorKind};

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_is_unavailable() {
        let deadline = Deadline(Duration::from_secs(3));
        let error = deadline.around("UserStore::ping", std::future::pending::<StoreResult<()>>()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.retryable());
    }

    mod conformance {
        use super::*;

        async fn store() -> (Storage, ()) {
            (Storage::single(Arc::new(MemoryStore::new())).within(Duration::from_secs(60)), ())
        }

        crate::testing::conformance!(store);
    }
}
