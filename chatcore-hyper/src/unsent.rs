//! Bytes of answers that clients have not taken yet, and limits on them.
//!
//! A client that asks and does not read makes the server keep the answers: in HTTP/2 by a flow-control window of 0, in HTTP/1.1 by not reading its
//! socket. How long that goes on is for the server to end ([`Connections`](crate::Connections)); how much there is of it is limited here, under
//! any server: a permit lives inside the bytes of each answer, and is given back when the last piece of them is dropped, wherever they are then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chatcore::id::UserId;
use chatcore::service::ClientKey;

/// What an answer costs beside its body: its head, and what the server keeps for the request.
const OVERHEAD: usize = 1024;
/// Bytes set aside for a request before its answer is known, so that many at once do not outrun the limit.
const RESERVED: usize = 16 * 1024;
/// Of what is free, a client may hold one part in so many. So the more is held, the less each may hold, and those who hold nothing find room.
const SHARE: usize = 4;

/// The client that an answer counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    User(UserId),
    /// Those without a good token, by address.
    Client(ClientKey),
}

/// The limit that has no room for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Client,
    Server,
}

/// Counts the bytes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Unsent {
    inner: Arc<Inner>,
}

struct Inner {
    per_client: usize,
    total: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    total: usize,
    /// Of those without a good token.
    anonymous: usize,
    /// Of those alone who hold something.
    by_holder: HashMap<Holder, usize>,
}

impl Unsent {
    pub(crate) fn new(per_client: usize, total: usize) -> Self {
        Self { inner: Arc::new(Inner { per_client, total, held: Mutex::default() }) }
    }

    /// Sets bytes aside for a request.
    pub(crate) fn reserve(&self, holder: Holder) -> Result<Permit, Over> {
        let mut permit = Permit { unsent: self.clone(), holder, bytes: 0 };
        permit.resize(RESERVED)?;
        Ok(permit)
    }

    /// Bytes held at the moment, and by how many clients.
    pub(crate) fn held(&self) -> (usize, usize) {
        let held = self.lock();
        (held.total, held.by_holder.len())
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that a client holds, until this is dropped.
pub(crate) struct Permit {
    unsent: Unsent,
    holder: Holder,
    bytes: usize,
}

impl Permit {
    pub(crate) fn holder(&self) -> Holder {
        self.holder
    }

    fn resize(&mut self, bytes: usize) -> Result<(), Over> {
        let unsent = self.unsent.clone();
        let inner = &unsent.inner;
        let mut held = unsent.lock();
        let others = held.total - self.bytes;
        let own = held.by_holder.get(&self.holder).copied().unwrap_or_default() - self.bytes;
        if bytes > self.bytes {
            let free = inner.total.saturating_sub(others);
            // One answer is always within a client's limit, however large.
            if own > 0 && own + bytes > inner.per_client {
                return Err(Over::Client);
            }
            // What others hold keeps nobody who is signed in from their first request.
            let first = own == 0 && bytes <= RESERVED && matches!(self.holder, Holder::User(_));
            if others > 0 && own + bytes > free / SHARE && !first {
                return Err(Over::Server);
            }
            // Half is kept for those who are signed in, however many addresses there are.
            let anonymous = matches!(self.holder, Holder::Client(_)) && others > 0;
            if anonymous && held.anonymous - self.bytes + bytes > inner.total / 2 {
                return Err(Over::Server);
            }
        }
        self.set(&mut held, bytes);
        Ok(())
    }

    fn set(&mut self, held: &mut Held, bytes: usize) {
        held.total = held.total - self.bytes + bytes;
        if matches!(self.holder, Holder::Client(_)) {
            held.anonymous = held.anonymous - self.bytes + bytes;
        }
        let own = held.by_holder.entry(self.holder).or_default();
        *own = *own - self.bytes + bytes;
        if *own == 0 {
            held.by_holder.remove(&self.holder);
        }
        self.bytes = bytes;
    }

    /// Puts the permit into the bytes, so that it is given back with them.
    pub(crate) fn hold(mut self, bytes: Bytes) -> Result<Bytes, Over> {
        self.resize(bytes.len() + OVERHEAD)?;
        Ok(self.into_bytes(bytes))
    }

    /// The same for an answer that has to be given, because what it tells of has been done.
    pub(crate) fn hold_always(mut self, bytes: Bytes) -> Bytes {
        let unsent = self.unsent.clone();
        self.set(&mut unsent.lock(), bytes.len() + OVERHEAD);
        self.into_bytes(bytes)
    }

    fn into_bytes(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Owned { bytes, _permit: self })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let unsent = self.unsent.clone();
        self.set(&mut unsent.lock(), 0);
    }
}

struct Owned {
    bytes: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn client(number: u8) -> Holder {
        Holder::Client(ClientKey::from(Some([192, 0, 2, number].into())))
    }

    fn user(number: u128) -> Holder {
        Holder::User(UserId::from_uuid(uuid::Uuid::from_u128(number)))
    }

    fn answer(unsent: &Unsent, holder: Holder, len: usize) -> Result<Bytes, Over> {
        unsent.reserve(holder)?.hold(Bytes::from(vec![7; len]))
    }

    #[test]
    fn bytes_count_until_their_last_piece_is_dropped() {
        let unsent = Unsent::new(4 * MIB, 64 * MIB);
        let mut bytes = answer(&unsent, client(1), MIB).unwrap();
        assert_eq!(unsent.held(), (MIB + OVERHEAD, 1));
        let piece = bytes.split_to(10);
        drop(bytes);
        assert_eq!(unsent.held(), (MIB + OVERHEAD, 1));
        assert_eq!(&piece[..], [7; 10]);
        drop(piece);
        assert_eq!(unsent.held(), (0, 0));
        drop(unsent.reserve(client(1)).unwrap());
        assert_eq!(unsent.held(), (0, 0));
    }

    #[test]
    fn a_client_has_a_limit_and_one_answer_always() {
        let unsent = Unsent::new(4 * MIB, 64 * MIB);
        let held: Vec<Bytes> = std::iter::from_fn(|| answer(&unsent, client(1), MIB).ok()).collect();
        assert_eq!(held.len(), 3);
        assert_eq!(answer(&unsent, client(1), MIB), Err(Over::Client));
        assert!(answer(&unsent, client(1), MIB / 2).is_ok());
        assert!(answer(&unsent, client(2), 5 * MIB).is_ok());
        drop(held);
        assert!(answer(&unsent, client(1), MIB).is_ok());
        let waiting: Vec<Permit> = std::iter::from_fn(|| unsent.reserve(client(1)).ok()).collect();
        assert_eq!(waiting.len(), 4 * MIB / RESERVED, "requests under way count too");
    }

    #[test]
    fn crowds_that_take_nothing_leave_room_for_others() {
        let unsent = Unsent::new(4 * MIB, 64 * MIB);
        let mut held = Vec::new();
        for number in 0..200 {
            while let Ok(bytes) = answer(&unsent, user(number), 256 * 1024) {
                held.push(bytes);
            }
        }
        let (bytes, _) = unsent.held();
        assert!((56 * MIB..64 * MIB).contains(&bytes), "{bytes}");
        assert!(answer(&unsent, user(250), 100 * 1024).is_ok());
        assert_eq!(answer(&unsent, user(250), 4 * MIB), Err(Over::Server));
    }

    #[test]
    fn what_has_been_done_is_told() {
        let unsent = Unsent::new(MIB, MIB);
        let first = unsent.reserve(client(1)).unwrap();
        let second = unsent.reserve(client(1)).unwrap();
        let bytes = second.hold_always(Bytes::from(vec![0; 2 * MIB]));
        assert_eq!(answer(&unsent, client(1), 1), Err(Over::Client));
        drop((bytes, first));
        assert_eq!(unsent.held(), (0, 0));
    }

    /// Many who take nothing, in the smallest pieces that there are, with and without a token: whoever is signed in has their first request.
    #[test]
    fn small_pieces_leave_room_for_a_first_request() {
        let unsent = Unsent::new(4 * MIB, 64 * MIB);
        let mut permits = Vec::new();
        for number in 0..200 {
            permits.extend(std::iter::from_fn(|| unsent.reserve(client(number)).ok()));
        }
        assert!(unsent.held().0 <= 32 * MIB, "half is for those who are signed in");
        for number in 0..200 {
            permits.extend(std::iter::from_fn(|| unsent.reserve(user(number)).ok()));
        }
        assert!(unsent.held().0 <= 64 * MIB + 200 * RESERVED);
        assert!(unsent.reserve(user(1000)).is_ok());
    }
}
