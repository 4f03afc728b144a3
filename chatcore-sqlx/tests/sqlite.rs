//! SQLite keeps every contract, in a file and in memory.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use chatcore::store::Storage;
use chatcore_sqlx::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

/// A store in a file of its own, and the folder that goes with it.
async fn file() -> (Storage, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&SqliteOptions::file(folder.path().join("chat.db"))).await.unwrap();
    (store.storage(), folder)
}

async fn memory() -> (Storage, ()) {
    (SqliteStore::open(&SqliteOptions::memory()).await.unwrap().storage(), ())
}

mod in_a_file {
    use super::*;

    chatcore::testing::conformance!(file);
}

mod in_memory {
    use super::*;

    chatcore::testing::conformance!(memory);
}

#[test]
fn model() {
    use chatcore::testing::model;
    model::run(model::cases(32), memory);
}
