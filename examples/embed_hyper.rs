//! chatcore in a hyper server of one's own, under `/chat`.
//!
//! `CHAT_SECRET=at-least-32-bytes-that-nobody-knows! cargo run --example embed_hyper`

use chatcore::{Chat, Settings, model::AccessSecret};
use chatcore_hyper::{Api, HttpSettings};
use chatcore_sqlx::SqliteStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let store = SqliteStore::connect("sqlite:chat.db").await?;
    let secret = AccessSecret::new(std::env::var("CHAT_SECRET")?)?; // at least 32 bytes
    let chat = Chat::builder(store.storage(), Settings::new(secret)).start()?;
    let api = Api::new(chat, HttpSettings { prefix: "/chat".into(), ..HttpSettings::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    loop {
        // Under the limits on connections, and on what clients leave untaken.
        let (stream, connection) = api.connections().accept(&listener).await;
        let service = api.clone(); // or your own, in front of it
        tokio::spawn(async move { connection.serve(stream, service).await });
    }
}
