//! A bystander's post, from the call to the acknowledgement, over SQLite with `synchronous=FULL`: alone, and beside one user who writes as much as
//! they can, in the bystander's room and in many others. The floor is the bystander alone, measured in turns with the flood in one run.
//!
//! `cargo bench -p chatcore-benches --bench fair`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chatcore::id::RoomId;
use chatcore::model::AccessSecret;
use chatcore::service::{GroupInput, LoginInput, PostInput, Principal, RegisterInput};
use chatcore::{Chat, Settings};
use chatcore_sqlx::SqliteStore;

/// Rounds of quiet and flood, and posts of the bystander in each.
const ROUNDS: usize = 6;
const POSTS: usize = 300;
/// Tasks of the user who floods, as many as there are sockets by default, and posts that each has under way.
const FLOODERS: usize = 32;
const PIPELINED: usize = 32;

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

async fn person(chat: &Chat, name: &str) -> Principal {
    let email = format!("{name}@example.org");
    let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
    chat.register(input, None).await.unwrap();
    let login = LoginInput { login: name, password: "correct horse", device: None };
    let token = chat.login(login, None).await.unwrap().access_token;
    chat.authenticate(&token).await.unwrap()
}

fn input(body: &str) -> PostInput<'_> {
    PostInput { body, client_id: None, reply_to: None }
}

async fn flood(
    chat: Chat,
    who: Principal,
    room: RoomId,
    body: Arc<str>,
    stop: Arc<AtomicBool>,
    posted: Arc<AtomicU64>,
) {
    while !stop.load(Ordering::Relaxed) {
        let mut pending = Vec::with_capacity(PIPELINED);
        for _ in 0..PIPELINED {
            pending.push(chat.submit_post(&who, room, input(&body)).await.unwrap());
        }
        for post in pending {
            post.wait().await.unwrap();
            posted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The bystander's latencies, one post every few milliseconds.
async fn bystander(chat: &Chat, who: &Principal, room: RoomId, times: &mut Vec<Duration>) {
    for _ in 0..POSTS {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let begun = Instant::now();
        chat.post(who, room, input("a bystander's message")).await.unwrap();
        times.push(begun.elapsed());
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::connect(&format!("sqlite:{}", folder.path().join("chat.db").display())).await.unwrap();
    let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
    settings.work_per_user = None;
    settings.append_queue_per_user = 4096;
    settings.hashing.memory_kib = 64;
    settings.hashing.iterations = 1;
    let chat = Chat::builder(store.storage(), settings).start().unwrap();
    let (ada, eve) = (person(&chat, "ada").await, person(&chat, "eve").await);
    let shared = [eve.user];
    let shared = GroupInput { name: "shared", members: &shared, client_id: None };
    let shared = chat.create_group(&ada, shared).await.unwrap().room.summary.room.id;
    let mut rooms = vec![shared];
    for _ in 1..FLOODERS {
        let own = GroupInput { name: "own", members: &[], client_id: None };
        rooms.push(chat.create_group(&eve, own).await.unwrap().room.summary.room.id);
    }
    for (what, size) in [("200 bytes", 200), ("4000 bytes", 4000)] {
        let body: Arc<str> = "x".repeat(size).into();
        let (mut quiet, mut beside) = (Vec::new(), Vec::new());
        let posted = Arc::new(AtomicU64::new(0));
        let mut flooded = Duration::ZERO;
        for _ in 0..ROUNDS {
            bystander(&chat, &ada, shared, &mut quiet).await;
            let stop = Arc::new(AtomicBool::new(false));
            let flooders: Vec<_> = rooms
                .iter()
                .map(|room| flood(chat.clone(), eve, *room, body.clone(), stop.clone(), posted.clone()))
                .map(tokio::spawn)
                .collect();
            let begun = Instant::now();
            bystander(&chat, &ada, shared, &mut beside).await;
            flooded += begun.elapsed();
            stop.store(true, Ordering::Relaxed);
            for flooder in flooders {
                flooder.await.unwrap();
            }
        }
        let rate = posted.load(Ordering::Relaxed) as f64 / flooded.as_secs_f64();
        for percent in [50, 99] {
            let (alone, flooded) = (percentile(&mut quiet, percent), percentile(&mut beside, percent));
            let ratio = flooded.as_secs_f64() / alone.as_secs_f64();
            println!(
                "fair, {what}: p{percent} alone {alone:?}, beside a flood of {rate:.0} posts/s {flooded:?}: {ratio:.2} times"
            );
        }
    }
}
