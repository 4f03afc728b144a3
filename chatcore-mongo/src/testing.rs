//! A database of its own for a test.

use std::time::Duration;

use mongodb::bson::{Document, Uuid, doc};
use mongodb::options::ConnectionString;
use mongodb::{Client, Database};

use crate::{MongoOptions, MongoStore, OpenError};

/// A database that is the test's own, and gone when this is dropped.
#[derive(Debug)]
pub struct TemporaryDatabase {
    url: String,
    name: String,
}

impl TemporaryDatabase {
    /// One on the server of that URL, whose user may make databases. The URL's own database is not touched.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn create(url: &str) -> Result<Self, OpenError> {
        let database =
            Self { url: url.to_owned(), name: format!("chatcore_test_{}", Uuid::new().to_string().replace('-', "")) };
        // A wrong address shows here, and not in the first test that fails.
        let answers = database.client().await?.database("admin").run_command(doc! { "ping": 1 }).await;
        answers.map(|_| database).map_err(OpenError::from)
    }

    /// How to open a store in it.
    ///
    /// # Errors
    /// [`OpenError::Url`].
    pub fn options(&self) -> Result<MongoOptions, OpenError> {
        Ok(MongoOptions::from_url(&self.url)?.database(&self.name))
    }

    /// Makes a collection as a dump has it, in lines of extended JSON: the first is `{"options": {…}, "indexes": […]}`,
    /// the others are its documents.
    ///
    /// # Errors
    /// [`OpenError::Database`], also for a line that cannot be read.
    pub async fn restore(&self, collection: &str, dump: &str) -> Result<(), OpenError> {
        let read = |line| serde_json::from_str::<Document>(line).map_err(mongodb::error::Error::custom);
        let mut lines = dump.lines();
        let head = read(lines.next().unwrap_or_default())?;
        let options = head.get_document("options").map_err(mongodb::error::Error::custom)?;
        let indexes = head.get_array("indexes").map_err(mongodb::error::Error::custom)?;
        let documents = lines.map(read).collect::<Result<Vec<_>, _>>()?;
        let database = self.database().await?;
        let mut create = doc! { "create": collection };
        create.extend(options.clone());
        database.run_command(create).await?;
        if !indexes.is_empty() {
            database.run_command(doc! { "createIndexes": collection, "indexes": indexes }).await?;
        }
        database.collection(collection).insert_many(documents).await?;
        Ok(())
    }

    /// Opens a store in it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn store(&self) -> Result<MongoStore, OpenError> {
        MongoStore::open(&self.options()?).await
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let (servers, options) = match self.url.split_once('?') {
            Some((servers, options)) => (servers, format!("?{options}")),
            None => (self.url.as_str(), String::new()),
        };
        let slashes = servers.find("://").map_or(0, |at| at + 3);
        let host = servers[slashes..].find('/').map_or(servers, |at| &servers[..slashes + at]);
        format!("{host}/{}{options}", self.name)
    }

    /// The database itself, past the store.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn database(&self) -> Result<Database, OpenError> {
        Ok(self.client().await?.database(&self.name))
    }

    async fn client(&self) -> Result<Client, OpenError> {
        ConnectionString::parse(&self.url).map_err(|error| OpenError::Url(error.to_string()))?;
        Ok(Client::with_uri_str(&self.url).await?)
    }
}

impl Drop for TemporaryDatabase {
    /// On a thread of its own, because the test's runtime may be ending.
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(10), async {
                    let client = Client::with_uri_str(url).await?;
                    client.database(&name).drop().await?;
                    client.shutdown().await;
                    Ok::<_, mongodb::error::Error>(())
                })
                .await
                .map_err(std::io::Error::other)?
                .map_err(std::io::Error::other)
            })
        });
        match dropped.join() {
            Ok(Ok(())) => {}
            failed => tracing::warn!(?failed, "a temporary database was left behind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_names_the_database() {
        let url = |url: &str| TemporaryDatabase { url: url.to_owned(), name: "x".to_owned() };
        for (given, wanted) in [
            ("mongodb://a:1", "mongodb://a:1/x"),
            ("mongodb://a:1,b:2/y", "mongodb://a:1,b:2/x"),
            ("mongodb://a:1/?replicaSet=r", "mongodb://a:1/x?replicaSet=r"),
        ] {
            let database = std::mem::ManuallyDrop::new(url(given));
            assert_eq!(database.url(), wanted);
        }
    }
}
