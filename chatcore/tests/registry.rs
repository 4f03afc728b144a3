//! A model of the hub's registry under a scheduler that explores interleavings (shuttle): the very source, with the scheduler's locks.
//!
//! Loom cannot replace what tokio brings, and the registry needs none of it; so shuttle's plain locks are enough, and neither a feature nor a
//! `cfg` has to reach into the crate.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;

use registry::Registry;
use shuttle::thread;
use sync::{Arc, Mutex};

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
}

#[path = "../src/hub/registry.rs"]
mod registry;

const ROOM: u8 = 1;

/// A room with its log: what is committed, and what each listener has been woken for.
#[derive(Default)]
struct Topic {
    listeners: Mutex<HashMap<u8, Arc<Mutex<u64>>>>,
}

type Topics = Arc<Registry<u8, Topic>>;

fn listen(topics: &Topics, id: u8) -> Arc<Mutex<u64>> {
    let heard = Arc::new(Mutex::new(0));
    topics.enter(ROOM, Topic::default, |topic| {
        topic.listeners.lock().unwrap().insert(id, heard.clone());
    });
    heard
}

fn unlisten(topics: &Topics, id: u8) {
    topics.leave(&ROOM, |topic| {
        let mut listeners = topic.listeners.lock().unwrap();
        listeners.remove(&id);
        listeners.is_empty()
    });
}

fn publish(topics: &Topics, number: u64) {
    if let Some(topic) = topics.get(&ROOM) {
        for heard in topic.listeners.lock().unwrap().values() {
            let mut heard = heard.lock().unwrap();
            *heard = number.max(*heard);
        }
    }
}

/// One comes, one goes, events are committed and published: whoever stays knows of the last event, by its notice or by the head that was read
/// after the registration.
fn coming_and_going() {
    let topics: Topics = Arc::new(Registry::new(2, |room| usize::from(*room)));
    let head = Arc::new(Mutex::new(0_u64));
    listen(&topics, 1);
    let goes = {
        let topics = topics.clone();
        thread::spawn(move || unlisten(&topics, 1))
    };
    let stays = {
        let (topics, head) = (topics.clone(), head.clone());
        thread::spawn(move || {
            let heard = listen(&topics, 2);
            let read = *head.lock().unwrap();
            (heard, read)
        })
    };
    let writes = {
        let (topics, head) = (topics.clone(), head.clone());
        thread::spawn(move || {
            for number in 1..=2 {
                *head.lock().unwrap() = number;
                publish(&topics, number);
            }
        })
    };
    goes.join().unwrap();
    writes.join().unwrap();
    let (heard, read) = stays.join().unwrap();
    let known = read.max(*heard.lock().unwrap());
    assert_eq!(known, 2, "a listener in a topic that was given up hears nothing");
    assert_eq!(topics.all().len(), 1);
    unlisten(&topics, 2);
    assert_eq!(topics.len(), 0, "a topic without listeners is given up");
}

#[test]
fn whoever_listens_hears() {
    shuttle::check_random(coming_and_going, 5_000);
}
