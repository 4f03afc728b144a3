//! Opening what everything is kept in.

use std::sync::Arc;

use chatcore::memory::MemoryStore;
use chatcore::store::Storage;
use chatcore_sqlx::{OpenError, SqliteStore};

use crate::settings::Store;

/// A storage, and what has to be closed at the end.
pub(crate) struct Opened {
    pub(crate) storage: Storage,
    sqlite: Option<SqliteStore>,
}

impl Opened {
    pub(crate) async fn close(self) {
        if let Some(sqlite) = self.sqlite {
            sqlite.close().await;
        }
    }
}

pub(crate) async fn open(store: &Store) -> Result<Opened, OpenError> {
    match store {
        Store::Memory => Ok(Opened { storage: Storage::single(Arc::new(MemoryStore::new())), sqlite: None }),
        Store::Sqlite(url) => {
            let sqlite = SqliteStore::connect(url).await?;
            Ok(Opened { storage: sqlite.storage(), sqlite: Some(sqlite) })
        }
    }
}
