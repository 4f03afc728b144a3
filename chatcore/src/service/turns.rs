//! One at a time per room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::id::RoomId;

type Rooms = HashMap<RoomId, Arc<tokio::sync::Mutex<()>>>;

/// Gives out turns. Keeps no room for which nobody has a turn or waits for one.
#[derive(Default)]
pub(crate) struct Turns {
    rooms: Mutex<Rooms>,
}

/// A turn, until this is dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    room: RoomId,
    lock: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn in that room.
    pub(crate) async fn take(&self, room: RoomId) -> Turn<'_> {
        let lock = self.lock().entry(room).or_default().clone();
        // Made before the wait, so that one who is dropped while waiting leaves nothing.
        let mut turn = Turn { turns: self, room, lock: None };
        turn.lock = Some(lock.lock_owned().await);
        turn
    }

    /// Returns the number of rooms in which somebody has a turn.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.lock.take());
        let mut rooms = self.turns.lock();
        if rooms.get(&self.room).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            rooms.remove(&self.room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_kept() {
        let turns = Turns::default();
        let room = RoomId::from_uuid(uuid::Uuid::from_u128(1));
        let first = turns.take(room).await;
        let other = turns.take(RoomId::from_uuid(uuid::Uuid::from_u128(2))).await;
        let mut waiting = Box::pin(turns.take(room));
        assert!(futures::poll!(&mut waiting).is_pending());
        let mut given_up = Box::pin(turns.take(room));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        drop(first);
        let second = waiting.await;
        assert_eq!(turns.len(), 2);
        drop((second, other));
        assert_eq!(turns.len(), 0);
    }
}
