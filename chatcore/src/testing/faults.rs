//! Faults under load: while people post, something happens to the store, and is over again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::id::{RoomId, UserId};
use crate::model::{AccessSecret, LogPage, LogRange, Seq};
use crate::service::{Error, GroupInput, LoginInput, PostInput, Principal, RegisterInput};
use crate::store::Storage;
use crate::{Chat, Settings};

/// Senders of one load.
const SENDERS: usize = 64;
/// Rooms that all of them are in.
const ROOMS: usize = 4;
/// Events of one page.
const PAGE: u32 = 500;
/// How long a load waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every message that was acknowledged: its room, its `client_id` and its number.
type Acknowledged = Vec<(RoomId, String, Seq)>;

/// People who post one message after another, and each again, under the same `client_id`, until it is acknowledged.
///
/// Stops when it is dropped.
#[derive(Debug)]
pub struct Load {
    rooms: Vec<RoomId>,
    senders: Vec<JoinHandle<Acknowledged>>,
    count: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    failures: watch::Receiver<usize>,
}

impl Load {
    /// 64 senders in four rooms, through a [`Chat`] of each of the storages, as several nodes on one database have them.
    ///
    /// # Panics
    /// When anything goes wrong before the load begins.
    pub async fn start(nodes: &[Storage]) -> Self {
        let chats: Vec<Chat> = nodes.iter().map(|storage| chat(storage.clone())).collect();
        let first = chats.first().must();
        let people: Vec<Principal> = futures::future::join_all((0..SENDERS).map(|number| person(first, number))).await;
        let members: Vec<UserId> = people.iter().skip(1).map(|person| person.user).collect();
        let mut rooms = Vec::new();
        for _ in 0..ROOMS {
            let input = GroupInput { name: "load", members: &members, client_id: None };
            rooms.push(first.create_group(&people[0], input).await.must().room.summary.room.id);
        }
        let (counter, count) = watch::channel(0);
        let (failure, failures) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let senders = people
            .into_iter()
            .enumerate()
            .map(|(number, person)| {
                let sender = Sender {
                    chat: chats[number % chats.len()].clone(),
                    person,
                    number,
                    rooms: rooms.clone(),
                    counter: counter.clone(),
                    failure: failure.clone(),
                    stopped: stopped.clone(),
                };
                tokio::spawn(sender.run())
            })
            .collect();
        Self { rooms, senders, count, stop, failures }
    }

    /// Waits until so many further messages are acknowledged; how long that took.
    ///
    /// # Panics
    /// When it takes longer than a minute.
    pub async fn acknowledges(&mut self, more: usize) -> Duration {
        let began = Instant::now();
        let goal = *self.count.borrow() + more;
        let reached = tokio::time::timeout(PATIENCE, self.count.wait_for(|count| *count >= goal)).await;
        reached.unwrap_or_else(|_| panic!("{more} messages were not acknowledged within {PATIENCE:?}")).must();
        began.elapsed()
    }

    /// Waits until somebody's post has been answered `unavailable`.
    ///
    /// # Panics
    /// When it takes longer than a minute.
    pub async fn fails(&mut self) {
        let before = *self.failures.borrow();
        let failed = tokio::time::timeout(PATIENCE, self.failures.wait_for(|failures| *failures > before)).await;
        failed.unwrap_or_else(|_| panic!("no post failed within {PATIENCE:?}")).must();
    }

    /// Ends the load, and compares what is stored with what was acknowledged: the numbers of each room are without a hole,
    /// every acknowledged message is there once under its number, and nothing else is there.
    ///
    /// # Panics
    /// When that is not so.
    pub async fn finish(self, storage: &Storage) {
        self.stop.send_replace(true);
        let mut acknowledged: BTreeMap<(RoomId, Seq), String> = BTreeMap::new();
        for sender in self.senders {
            for (room, client_id, seq) in sender.await.must() {
                let other = acknowledged.insert((room, seq), client_id);
                assert_eq!(other, None, "two messages under number {seq}");
            }
        }
        for room in self.rooms {
            let mut next = 1;
            loop {
                let page = read(storage, room, next - 1).await;
                for event in &page.events {
                    assert_eq!(event.seq.number(), next, "numbers without a hole");
                    next += 1;
                    if let Some(message) = event.posted_message() {
                        let client_id = message.client_id.must();
                        assert_eq!(
                            acknowledged.remove(&(room, event.seq)).as_deref(),
                            Some(client_id.as_str()),
                            "what is stored was acknowledged under its number, once"
                        );
                    }
                }
                if page.events.len() < PAGE as usize {
                    assert_eq!(page.head, next - 1, "the head is the last event");
                    break;
                }
            }
        }
        assert!(acknowledged.is_empty(), "acknowledged and not stored: {acknowledged:?}");
    }
}

/// Takes what has to be there; the test fails where it is not.
trait Must<T> {
    fn must(self) -> T;
}

impl<T, E: std::fmt::Debug> Must<T> for Result<T, E> {
    #[track_caller]
    fn must(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => panic!("{error:?}"),
        }
    }
}

impl<T> Must<T> for Option<T> {
    #[track_caller]
    fn must(self) -> T {
        match self {
            Some(value) => value,
            None => panic!("nothing is there"),
        }
    }
}

/// A page of a log. A connection from before a fault may still have to be found dead, so it is asked for again.
async fn read(storage: &Storage, room: RoomId, after: u64) -> LogPage {
    let began = Instant::now();
    loop {
        match storage.messages.events(room, LogRange::After(after), PAGE).await {
            Ok(page) => return page,
            Err(error) if error.retryable() && began.elapsed() < PATIENCE => {}
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct Sender {
    chat: Chat,
    person: Principal,
    number: usize,
    rooms: Vec<RoomId>,
    counter: watch::Sender<usize>,
    failure: watch::Sender<usize>,
    stopped: watch::Receiver<bool>,
}

impl Sender {
    async fn run(self) -> Acknowledged {
        let mut acknowledged = Vec::new();
        while !*self.stopped.borrow() {
            let message = acknowledged.len();
            let room = self.rooms[(self.number + message) % self.rooms.len()];
            let client_id = format!("{}-{message}", self.number);
            let input = PostInput { body: "text", client_id: Some(&client_id), reply_to: None };
            let began = Instant::now();
            let seq = loop {
                match self.chat.post(&self.person, room, input).await {
                    Ok(receipt) => break receipt.seq,
                    Err(Error::Unavailable(_)) => self.failure.send_modify(|failures| *failures += 1),
                    Err(error) => panic!("not a failure that may pass: {error:?}"),
                }
                assert!(began.elapsed() < PATIENCE, "{client_id} was not acknowledged within {PATIENCE:?}");
                // As a client does, which does not hammer at a server that is away.
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            acknowledged.push((room, client_id, seq));
            self.counter.send_modify(|count| *count += 1);
        }
        acknowledged
    }
}

fn chat(storage: Storage) -> Chat {
    let mut settings = Settings::new(AccessSecret::new([7; 32]).must());
    settings.work_per_user = None;
    settings.hashing.memory_kib = 64;
    settings.hashing.iterations = 1;
    settings.logins_per_account = None;
    settings.logins_by_strangers = None;
    settings.logins_per_address = None;
    settings.registrations_per_address = None;
    settings.store_deadline = Duration::from_secs(2);
    Chat::builder(storage, settings).start().must()
}

async fn person(chat: &Chat, number: usize) -> Principal {
    let (name, password) = (format!("sender{number}"), "correct horse");
    let email = format!("{name}@example.org");
    let input = RegisterInput { username: &name, email: &email, password, display_name: None };
    chat.register(input, None).await.must();
    let token = chat.login(LoginInput { login: &name, password, device: None }, None).await.must().access_token;
    chat.authenticate(&token).await.must()
}

/// A load during which `fault` happens: a future that ends when the fault is over. Answers how long after that 64 further messages were
/// acknowledged.
///
/// # Panics
/// When an acknowledged message is not there exactly once, or anything else is there; see [`Load::finish`].
pub async fn rides_out<F: Future<Output = ()>>(storage: &Storage, fault: impl FnOnce() -> F) -> Duration {
    let mut load = Load::start(std::slice::from_ref(storage)).await;
    load.acknowledges(4 * SENDERS).await;
    fault().await;
    let recovery = load.acknowledges(SENDERS).await;
    load.finish(storage).await;
    recovery
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::MemoryStore;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_load_is_what_it_says() {
        let storage = Storage::single(Arc::new(MemoryStore::new()));
        rides_out(&storage, || std::future::ready(())).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[should_panic(expected = "what is stored was acknowledged")]
    async fn a_message_of_nobody_is_found() {
        let storage = Storage::single(Arc::new(MemoryStore::new()));
        let mut load = Load::start(std::slice::from_ref(&storage)).await;
        load.acknowledges(10).await;
        let draft =
            super::super::fixtures::post(load.rooms[0], UserId::from_uuid(uuid::Uuid::nil()), "strange", "text");
        storage.messages.append(&[draft], 20).await.must();
        load.finish(&storage).await;
    }
}
