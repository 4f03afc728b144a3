//! A system message in a room: what the application that hosts a server says there, from a process of its own.
//!
//! `cargo run --example announce -- sqlite:chatcore.db ROOM 'The server restarts at noon'`

use chatcore::store::Storage;
use chatcore::{Chat, Settings, model::AccessSecret};
use chatcore_mongo::MongoStore;
use chatcore_sqlx::{MySqlStore, SqliteStore};

async fn open(url: &str) -> Result<Storage, Box<dyn std::error::Error + Send + Sync>> {
    Ok(match url.split_once(':') {
        Some(("sqlite", _)) => SqliteStore::connect(url).await?.storage(),
        Some(("mysql" | "mariadb", _)) => MySqlStore::connect(url).await?.storage(),
        _ => MongoStore::connect(url).await?.storage(),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, room, body] = &arguments[..] else { return Err("announce STORE ROOM BODY".into()) };
    // Nobody signs in here, so any secret will do.
    let secret = AccessSecret::new([0; 32])?;
    let chat = Chat::builder(open(store).await?, Settings::new(secret)).start()?;
    // The key makes a repeat harmless: a body is announced once.
    chat.post_system(room.parse()?, body, Some("announcement")).await?;
    chat.shutdown(std::time::Duration::from_secs(10)).await;
    Ok(())
}
