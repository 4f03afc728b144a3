//! All connections, by whom they count for, and which of them gives way when there are too many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chatcore::id::UserId;
use chatcore::service::ClientKey;
use tokio::time::Instant;

use super::state::State;

/// Connections that are looked up at once to give way, so that a flood of newcomers does not look through all of them for each.
const VICTIMS: usize = 64;
/// For how long nobody looks again when all were busy.
const ALL_BUSY: Duration = Duration::from_millis(100);

/// The party whose share a connection is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Share {
    /// Clients that are not signed in, by address.
    Client(ClientKey),
    User(UserId),
    /// None: it carries the requests of many.
    Proxy,
}

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) total: usize,
    pub(super) per_address: usize,
    pub(super) per_user: usize,
}

impl Limits {
    fn of(&self, share: Share) -> usize {
        match share {
            Share::Client(_) => self.per_address,
            Share::User(_) => self.per_user,
            Share::Proxy => usize::MAX,
        }
    }
}

/// There is no room, and no idle connection gives way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

pub(super) struct Registry {
    limits: Limits,
    entries: HashMap<u64, Entry>,
    /// Of those alone who have a connection.
    by_share: HashMap<Share, Vec<u64>>,
    /// Idle connections, the one to give way first last.
    victims: Vec<(u64, Instant)>,
    all_busy_until: Instant,
    latest: u64,
    pub(super) refused: u64,
    pub(super) gave_way: u64,
}

struct Entry {
    state: Arc<State>,
    share: Share,
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            by_share: HashMap::new(),
            victims: Vec::new(),
            all_busy_until: Instant::now(),
            latest: 0,
            refused: 0,
            gave_way: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn shares(&self) -> usize {
        self.by_share.len()
    }

    /// Takes in a connection, for which idle ones give way.
    pub(super) fn admit(&mut self, share: Share, state: impl FnOnce(u64) -> State) -> Result<Arc<State>, Full> {
        let room = self.make_room_of(share).and_then(|()| {
            let room = self.entries.len() < self.limits.total || self.make_room();
            if room { Ok(()) } else { Err(Full) }
        });
        if room.is_err() {
            self.refused += 1;
        }
        room?;
        self.latest += 1;
        let id = self.latest;
        let state = Arc::new(state(id));
        self.entries.insert(id, Entry { state: state.clone(), share });
        self.join(share, id);
        Ok(state)
    }

    /// Counts a connection for a user from now on.
    pub(super) fn sign_in(&mut self, id: u64, user: UserId) -> Result<(), Full> {
        let share = Share::User(user);
        let Some(before) = self.entries.get(&id).map(|entry| entry.share) else { return Ok(()) };
        if before == Share::Proxy || before == share {
            return Ok(());
        }
        self.make_room_of(share)?;
        self.leave(before, id);
        self.join(share, id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.share = share;
            entry.state.set_user(user);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            self.leave(entry.share, id);
        }
    }

    /// Lets the connection give way that has been idle for longest, one that is not signed in if there is any.
    pub(super) fn make_room(&mut self) -> bool {
        loop {
            while let Some((id, since)) = self.victims.pop() {
                if self.end(id, since) {
                    return true;
                }
            }
            let now = Instant::now();
            if now < self.all_busy_until {
                return false;
            }
            let idle = self.entries.iter().filter_map(|(id, entry)| {
                let signed_in = !matches!(entry.share, Share::Client(_));
                entry.state.idle_since().map(|since| (signed_in, since, *id))
            });
            let mut idle: Vec<_> = idle.collect();
            idle.sort_unstable();
            idle.truncate(VICTIMS);
            self.victims = idle.into_iter().rev().map(|(_, since, id)| (id, since)).collect();
            if self.victims.is_empty() {
                self.all_busy_until = now + ALL_BUSY;
                return false;
            }
        }
    }

    fn make_room_of(&mut self, share: Share) -> Result<(), Full> {
        let Some(ids) = self.by_share.get(&share).filter(|ids| ids.len() >= self.limits.of(share)) else {
            return Ok(());
        };
        let idle = ids.iter().filter_map(|id| Some((self.entries.get(id)?.state.idle_since()?, *id)));
        let (since, id) = idle.min().ok_or(Full)?;
        if self.end(id, since) { Ok(()) } else { Err(Full) }
    }

    fn end(&mut self, id: u64, since: Instant) -> bool {
        let ended = self.entries.get(&id).is_some_and(|entry| entry.state.give_way(since));
        if ended {
            self.gave_way += 1;
            self.remove(id);
        }
        ended
    }

    fn join(&mut self, share: Share, id: u64) {
        if share != Share::Proxy {
            self.by_share.entry(share).or_default().push(id);
        }
    }

    fn leave(&mut self, share: Share, id: u64) {
        if let Some(ids) = self.by_share.get_mut(&share) {
            if let Some(at) = ids.iter().position(|other| *other == id) {
                ids.swap_remove(at);
            }
            if ids.is_empty() {
                self.by_share.remove(&share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use uuid::Uuid;

    use super::*;

    fn registry(total: usize, per_address: usize, per_user: usize) -> Registry {
        Registry::new(Limits { total, per_address, per_user })
    }

    fn address(number: u8) -> Share {
        Share::Client(ClientKey::from(Some([192, 0, 2, number].into())))
    }

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    fn admit(registry: &mut Registry, share: Share) -> Option<Arc<State>> {
        let day = Duration::from_secs(86_400);
        registry.admit(share, |id| State::new(id, Weak::new(), day, day)).ok()
    }

    async fn later() {
        tokio::time::advance(Duration::from_secs(1)).await;
    }

    fn gave_way(state: &State) -> bool {
        futures::FutureExt::now_or_never(state.overdue()).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_idle_one_of_an_address_gives_way() {
        let mut registry = registry(100, 3, 100);
        let mut states = Vec::new();
        for _ in 0..3 {
            states.push(admit(&mut registry, address(1)).unwrap());
            later().await;
        }
        let request = states[0].ticket(false);
        assert!(admit(&mut registry, address(2)).is_some(), "an address of its own");
        assert!(admit(&mut registry, address(1)).is_some());
        assert_eq!(states.iter().map(|state| gave_way(state)).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!((registry.len(), registry.gave_way), (4, 1));
        drop(request);
        registry.remove(states[1].id);
        assert_eq!(registry.len(), 4, "it had been taken out already");
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_busy_the_newcomer_is_refused() {
        let mut registry = registry(100, 2, 100);
        let states = [admit(&mut registry, address(1)).unwrap(), admit(&mut registry, address(1)).unwrap()];
        let _busy = states.each_ref().map(|state| state.ticket(false));
        assert!(admit(&mut registry, address(1)).is_none());
        assert_eq!((registry.len(), registry.refused), (2, 1));
        registry.remove(states[0].id);
        assert!(admit(&mut registry, address(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_are_signed_in_count_for_themselves() {
        let mut registry = registry(100, 2, 2);
        let mut of_user = Vec::new();
        for _ in 0..4 {
            let state = admit(&mut registry, address(1)).unwrap();
            let _request = state.ticket(false);
            assert_eq!(registry.sign_in(state.id, user(1)), Ok(()));
            of_user.push(state);
            later().await;
        }
        assert_eq!(of_user.iter().map(|state| gave_way(state)).collect::<Vec<_>>(), [true, true, false, false]);
        assert!(admit(&mut registry, address(1)).is_some(), "the address has its whole share");
        let busy: Vec<_> = of_user.iter().map(|state| state.ticket(false)).collect();
        let another = admit(&mut registry, address(1)).unwrap();
        assert_eq!(registry.sign_in(another.id, user(1)), Err(Full));
        assert_eq!(registry.sign_in(another.id, user(2)), Ok(()));
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_server_takes_in_newcomers_for_those_who_are_not_signed_in_first() {
        let mut registry = registry(3, 100, 100);
        let signed_in = admit(&mut registry, address(1)).unwrap();
        registry.sign_in(signed_in.id, user(1)).unwrap();
        later().await;
        let idle = admit(&mut registry, address(2)).unwrap();
        later().await;
        let behind_a_proxy = admit(&mut registry, Share::Proxy).unwrap();
        assert!(admit(&mut registry, address(3)).is_some());
        let ended = |states: [&State; 3]| states.map(gave_way);
        assert_eq!(ended([&signed_in, &idle, &behind_a_proxy]), [false, true, false]);
        assert!(admit(&mut registry, address(4)).is_some(), "in place of the one before");
        let _busy = behind_a_proxy.ticket(false);
        let newest = admit(&mut registry, address(5)).unwrap();
        let _too = newest.ticket(false);
        assert!(admit(&mut registry, address(6)).is_some());
        assert_eq!(ended([&signed_in, &idle, &behind_a_proxy]), [true, true, false]);
        assert_eq!((registry.len(), registry.shares()), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn proxies_have_no_share() {
        let mut registry = registry(100, 1, 1);
        for _ in 0..10 {
            let state = admit(&mut registry, Share::Proxy).unwrap();
            assert_eq!(registry.sign_in(state.id, user(1)), Ok(()));
        }
        assert_eq!((registry.len(), registry.shares()), (10, 0));
    }
}
