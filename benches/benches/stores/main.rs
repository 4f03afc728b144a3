//! What the databases cost: posts beside bare inserts, pages of long rooms beside short ones, long room lists beside short ones.
//!
//! SQLite is always measured; servers where a URL names one: `CHATCORE_BENCH_MARIADB`, `CHATCORE_BENCH_MYSQL` (without a database),
//! `CHATCORE_BENCH_MONGODB`. `CHATCORE_BENCH_MESSAGES` is the length of the long room; default: 1,000,000.
//!
//! `cargo bench -p chatcore-benches --bench stores`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod floor;
mod pages;
mod posts;

use std::time::{Duration, Instant};

use chatcore::model::AccessSecret;
use chatcore::service::{LoginInput, Principal, RegisterInput};
use chatcore::store::Storage;
use chatcore::{Chat, Settings};
use floor::Floor;

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

async fn run() {
    // Those that are asked for, or all.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for name in ["sqlite", "mariadb", "mysql", "mongodb"] {
        if !asked.is_empty() && !asked.iter().any(|asked| asked == name) {
            continue;
        }
        let Some((storage, floor, guard)) = floor::open(name).await else {
            println!("{name}: not measured, no server is named");
            continue;
        };
        measure(name, storage, floor).await;
        drop(guard);
    }
}

async fn measure(name: &str, storage: Storage, floor: Box<dyn Floor>) {
    let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
    settings.work_per_user = None;
    settings.hashing.memory_kib = 64;
    settings.hashing.iterations = 1;
    let chat = Chat::builder(storage.clone(), settings).start().unwrap();
    let ada = person(&chat, "ada").await;
    let floor = std::sync::Arc::from(floor);
    posts::one_sender(name, &chat, &ada, &floor).await;
    posts::many_senders(name, &chat, &ada, &floor, 256).await;
    posts::many_senders(name, &chat, &ada, &floor, 1).await;
    pages::long_rooms(name, &chat, &storage, &ada).await;
    pages::long_lists(name, &chat, &storage).await;
}

pub(crate) async fn person(chat: &Chat, name: &str) -> Principal {
    let email = format!("{name}@example.org");
    let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
    chat.register(input, None).await.unwrap();
    let login = LoginInput { login: name, password: "correct horse", device: None };
    let token = chat.login(login, None).await.unwrap().access_token;
    chat.authenticate(&token).await.unwrap()
}

pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How long that takes.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> Duration {
    let begun = Instant::now();
    work.await;
    begun.elapsed()
}

pub(crate) fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64()
}
