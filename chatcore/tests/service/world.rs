//! A chat in memory, people in it, and a tap on every call of its stores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chatcore::id::{RoomId, UserId};
use chatcore::memory::MemoryStore;
use chatcore::model::{AccessSecret, EventKind, LogRange};
use chatcore::service::{GroupInput, LoginInput, PostInput, Principal, RegisterInput};
use chatcore::store::{Storage, StoreError, StoreResult, Tap};
use chatcore::{Chat, Settings};
use tokio::sync::{Semaphore, mpsc};

/// What a call does before the store is asked.
#[derive(Clone)]
pub(crate) enum Act {
    /// Panics, once.
    Panic,
    /// Fails as unavailable, once.
    Fail,
    /// Waits for a permit, which it keeps; says so first.
    Wait(Arc<Semaphore>),
}

/// Acts by the name of the call.
pub(crate) struct Script {
    acts: Mutex<HashMap<&'static str, Act>>,
    calls: Mutex<HashMap<&'static str, usize>>,
    arrived: mpsc::UnboundedSender<&'static str>,
}

impl Script {
    pub(crate) fn put(&self, call: &'static str, act: Act) {
        self.acts.lock().unwrap().insert(call, act);
    }

    pub(crate) fn wait(&self, call: &'static str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.put(call, Act::Wait(gate.clone()));
        gate
    }

    /// Lets further calls through; those that wait go on waiting.
    pub(crate) fn forget(&self, call: &'static str) {
        self.acts.lock().unwrap().remove(call);
    }

    /// Lets all calls through.
    pub(crate) fn clear(&self, call: &'static str) {
        if let Some(Act::Wait(gate)) = self.acts.lock().unwrap().remove(call) {
            gate.add_permits(1000);
        }
    }

    /// How often that call was made.
    pub(crate) fn calls(&self, call: &'static str) -> usize {
        self.calls.lock().unwrap().get(call).copied().unwrap_or(0)
    }

    /// Whether nothing is left to be done.
    pub(crate) fn is_played(&self) -> bool {
        self.acts.lock().unwrap().is_empty()
    }
}

#[async_trait]
impl Tap for Script {
    async fn before(&self, call: &'static str) -> StoreResult<()> {
        *self.calls.lock().unwrap().entry(call).or_default() += 1;
        let act = {
            let mut acts = self.acts.lock().unwrap();
            match acts.get(call) {
                Some(Act::Wait(gate)) => Some(Act::Wait(gate.clone())),
                _ => acts.remove(call),
            }
        };
        match act {
            None => Ok(()),
            Some(Act::Panic) => panic!("{call} panics on purpose"),
            Some(Act::Fail) => Err(StoreError::unavailable("fails on purpose", call)),
            Some(Act::Wait(gate)) => {
                self.arrived.send(call).unwrap();
                gate.acquire().await.unwrap().forget();
                Ok(())
            }
        }
    }
}

pub(crate) struct World {
    pub(crate) chat: Chat,
    /// The stores behind the tap: what another node would write to.
    pub(crate) storage: Storage,
    pub(crate) script: Arc<Script>,
    pub(crate) arrivals: mpsc::UnboundedReceiver<&'static str>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::set(|_| ())
    }

    pub(crate) fn set(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with(Storage::single(Arc::new(MemoryStore::new())), change)
    }

    pub(crate) fn with(storage: Storage, change: impl FnOnce(&mut Settings)) -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let script = Arc::new(Script { acts: Mutex::default(), calls: Mutex::default(), arrived });
        let tap: Arc<dyn Tap> = script.clone();
        let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
        settings.work_per_user = None;
        settings.registrations_per_address = None;
        settings.logins_per_address = None;
        settings.hashing.memory_kib = 64;
        settings.hashing.iterations = 1;
        change(&mut settings);
        let chat = Chat::builder(storage.clone().tapped(&tap), settings).start().unwrap();
        Self { chat, storage, script, arrivals }
    }

    pub(crate) async fn person(&self, name: &str) -> Principal {
        let email = format!("{name}@example.org");
        let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
        self.chat.register(input, None).await.unwrap();
        let login = LoginInput { login: name, password: "correct horse", device: None };
        let token = self.chat.login(login, None).await.unwrap().access_token;
        self.chat.authenticate(&token).await.unwrap()
    }

    pub(crate) async fn group(&self, owner: &Principal, members: &[UserId]) -> RoomId {
        let input = GroupInput { name: "room", members, client_id: None };
        self.chat.create_group(owner, input).await.unwrap().room.summary.room.id
    }

    /// The bodies of a log, which is dense.
    pub(crate) async fn bodies(&self, room: RoomId) -> Vec<String> {
        let page = self.storage.messages.events(room, LogRange::After(0), 1000).await.unwrap();
        let numbers: Vec<u64> = page.events.iter().map(|event| event.seq.number()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        page.events
            .into_iter()
            .filter_map(|event| match event.kind {
                EventKind::Posted(posted) => posted.body.map(|body| body.as_str().to_owned()),
                _ => None,
            })
            .collect()
    }
}

pub(crate) fn input(body: &str) -> PostInput<'_> {
    PostInput { body, client_id: None, reply_to: None }
}
