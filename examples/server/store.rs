//! Opening what everything is kept in.

use std::error::Error;
use std::sync::Arc;

use chatcore::memory::MemoryStore;
use chatcore::store::Storage;
use chatcore_mongo::MongoStore;
use chatcore_sqlx::{MySqlStore, SqliteStore};

use crate::settings::Store;

/// A storage, and what has to be closed at the end.
pub(crate) struct Opened {
    pub(crate) storage: Storage,
    stores: Vec<AnyStore>,
}

enum AnyStore {
    Memory(Arc<MemoryStore>),
    Sqlite(SqliteStore),
    MySql(MySqlStore),
    Mongo(MongoStore),
}

impl AnyStore {
    async fn open(store: &Store) -> Result<Self, Box<dyn Error>> {
        Ok(match store {
            Store::Memory => Self::Memory(Arc::new(MemoryStore::new())),
            Store::Sqlite(url) => Self::Sqlite(SqliteStore::connect(url).await?),
            Store::MySql(url) => Self::MySql(MySqlStore::connect(url).await?),
            Store::Mongo(url) => Self::Mongo(MongoStore::connect(url).await?),
        })
    }

    fn storage(&self) -> Storage {
        match self {
            Self::Memory(store) => Storage::single(store.clone()),
            Self::Sqlite(store) => store.storage(),
            Self::MySql(store) => store.storage(),
            Self::Mongo(store) => store.storage(),
        }
    }

    async fn close(self) {
        match self {
            Self::Memory(_) => {}
            Self::Sqlite(store) => store.close().await,
            Self::MySql(store) => store.close().await,
            Self::Mongo(store) => store.close().await,
        }
    }
}

impl Opened {
    pub(crate) async fn close(self) {
        drop(self.storage);
        for store in self.stores {
            store.close().await;
        }
    }
}

/// Opens the store, and another one for the logs where they are to be kept apart.
pub(crate) async fn open(store: &Store, messages: Option<&Store>) -> Result<Opened, Box<dyn Error>> {
    let mut stores = vec![AnyStore::open(store).await?];
    let mut storage = stores[0].storage();
    if let Some(messages) = messages {
        let apart = AnyStore::open(messages).await?;
        storage.messages = apart.storage().messages;
        stores.push(apart);
    }
    Ok(Opened { storage, stores })
}
