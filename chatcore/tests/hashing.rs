//! The memory of password hashing, as the operating system sees it. In a process of its own, so that nothing else moves it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use chatcore::memory::MemoryStore;
use chatcore::model::AccessSecret;
use chatcore::service::{AuthFailure, Error, LoginInput};
use chatcore::store::Storage;
use chatcore::{Chat, Settings};

/// What the process holds, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

async fn wrong_logins(chat: &Chat, count: usize) {
    let input = LoginInput { login: "nobody", password: "a wrong guess", device: None };
    let attempts = (0..count).map(|_| chat.login(input, None));
    for answer in futures::future::join_all(attempts).await {
        assert!(matches!(answer, Err(Error::Unauthenticated(AuthFailure::Credentials))), "{answer:?}");
    }
}

/// Wrong logins at the full cost of 19 MiB each, one after another and many at once: 650 of them held 583 MiB once, because each
/// thread's allocator kept what its last hash had taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wrong_logins_take_a_fixed_amount_of_memory() {
    const WORKERS: usize = 4;
    /// A buffer for each worker, and threads' stacks and the like.
    const MOST: u64 = WORKERS as u64 * 19 + 24;
    let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
    settings.hashing.workers = WORKERS;
    settings.logins_per_account = None;
    settings.logins_per_address = None;
    settings.logins_by_strangers = None;
    let chat = Chat::builder(Storage::single(Arc::new(MemoryStore::new())), settings).start().unwrap();
    let before = resident();
    for _ in 0..40 {
        wrong_logins(&chat, 1).await;
    }
    let one_by_one = resident() - before;
    wrong_logins(&chat, 120).await;
    let at_once = resident() - before;
    let figures = format!("{before} MiB before, {one_by_one} more after 40 in a row, {at_once} more after 120 at once");
    assert!(one_by_one <= 19 + 24, "{figures}");
    assert!(at_once <= MOST, "{figures}");
    assert_eq!(chat.password_hashes(), 160);
}
