//! Users, friendships and rooms in MySQL, the rooms' logs in MongoDB.
//!
//! `MYSQL_URL=mysql://root@127.0.0.1/chat MONGODB_URL=mongodb://127.0.0.1/chat CHAT_SECRET=at-least-32-bytes-that-nobody-knows! cargo run --example hybrid`

use chatcore::store::Storage;
use chatcore::{Chat, Settings, model::AccessSecret};
use chatcore_hyper::{Api, HttpSettings};
use chatcore_mongo::MongoStore;
use chatcore_sqlx::MySqlStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mysql = MySqlStore::connect(&std::env::var("MYSQL_URL")?).await?;
    let mongo = MongoStore::connect(&std::env::var("MONGODB_URL")?).await?;
    // Any of the five may come from any store. What spans two of them is recorded in one first and can be made again in the other:
    // see "Members and logs, perhaps in two databases" in DESIGN.md.
    let storage = Storage { messages: mongo.storage().messages, ..mysql.storage() };

    let secret = AccessSecret::new(std::env::var("CHAT_SECRET")?)?; // at least 32 bytes
    let chat = Chat::builder(storage, Settings::new(secret)).start()?;
    let api = Api::new(chat, HttpSettings::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    chatcore_hyper::serve(listener, api, async {
        // Without a signal to wait for it would never stop, which does no harm: whatever was acknowledged is stored.
        let _ = tokio::signal::ctrl_c().await;
    })
    .await?;
    mysql.close().await;
    mongo.close().await;
    Ok(())
}
