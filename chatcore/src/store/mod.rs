//! What is kept, and the promises that every store gives.
//!
//! Five small traits, each about one family of facts: [`UserStore`], [`SessionStore`], [`FriendshipStore`],
//! [`RoomStore`], [`MessageStore`]. **Implementers** are the adapters (`chatcore-sqlx`, [`crate::memory`], your own);
//! the only **caller** is [`crate::service`]. A [`Storage`] holds one of each, and any mix is legal: users in one
//! database, messages in another.
//!
//! # Contract, for every method of every trait
//! - **Atomic.** A method is one step: it happens whole or not at all, also when the future is dropped half-way, when
//!   the process is killed, and beside any number of other calls. Callers never read first and write after.
//! - **Durable.** When it has answered `Ok`, what it wrote survives a crash of process and database.
//! - **Visible.** What it wrote is seen by every call that begins after it has answered, on every node.
//! - **Absence is not an error**: it is `Ok(None)`, an empty list, or a typed outcome.
//! - **Order.** Lists come in the order that the method names, and their pages neither repeat nor leave out a row that
//!   was there all the while, whatever is written in between.
//! - **Text is compared by bytes.** The core has normalised and folded it.
//! - An `Err` says that nothing is known: the step may have happened. [`StoreError::retryable`] says whether making
//!   the same call again can help; every write here may be made again.
//!
//! [`crate::testing`] turns these sentences, and those of the traits, into a suite that any store can run.

mod around;
mod error;
mod friendship;
mod message;
mod room;
mod session;
mod user;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use around::Around;
#[cfg(feature = "testing")]
pub use around::Tap;
use around::{Deadline, Within};
pub use error::{StoreError, StoreErrorKind, StoreResult};
pub use friendship::{Answered, Blocked, Ended, FriendshipList, FriendshipStore, NewRequest, Requested};
pub use message::{AppendOutcome, Digest, Head, MessageStore, Rejection};
pub use room::{Changed, Created, MarkerWrite, NewMember, NewRoom, Removal, RoleChange, RoomStore};
pub use session::{Rotated, Rotation, SessionStore};
pub use user::{Credentials, NewUser, ProfileChange, SearchPosition, Taken, UserStore};

/// One store of each family.
#[derive(Clone)]
pub struct Storage {
    /// Accounts.
    pub users: Arc<dyn UserStore>,
    /// Logins.
    pub sessions: Arc<dyn SessionStore>,
    /// Friendships and blocks.
    pub friendships: Arc<dyn FriendshipStore>,
    /// Rooms, members, read markers.
    pub rooms: Arc<dyn RoomStore>,
    /// The logs.
    pub messages: Arc<dyn MessageStore>,
}

impl Storage {
    /// All five from one value.
    pub fn single<S>(store: Arc<S>) -> Self
    where
        S: UserStore + SessionStore + FriendshipStore + RoomStore + MessageStore + 'static,
    {
        Self {
            users: store.clone(),
            sessions: store.clone(),
            friendships: store.clone(),
            rooms: store.clone(),
            messages: store,
        }
    }

    /// The same stores, each call of which fails as unavailable where it has not been answered within `deadline`.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        self.around(Deadline(deadline))
    }

    /// The same stores, with that around each call.
    pub(crate) fn around<A: Around + Clone>(self, around: A) -> Self {
        Self {
            users: Arc::new(Within { store: self.users, around: around.clone() }),
            sessions: Arc::new(Within { store: self.sessions, around: around.clone() }),
            friendships: Arc::new(Within { store: self.friendships, around: around.clone() }),
            rooms: Arc::new(Within { store: self.rooms, around: around.clone() }),
            messages: Arc::new(Within { store: self.messages, around }),
        }
    }

    /// The same stores, with something to do around each call.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn tapped(self, tap: &Arc<dyn Tap>) -> Self {
        self.around(tap.clone())
    }

    /// Asks every store whether it answers.
    ///
    /// # Errors
    /// The first one that does not.
    pub async fn ping(&self) -> StoreResult<()> {
        futures::try_join!(
            self.users.ping(),
            self.sessions.ping(),
            self.friendships.ping(),
            self.rooms.ping(),
            self.messages.ping(),
        )?;
        Ok(())
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}
