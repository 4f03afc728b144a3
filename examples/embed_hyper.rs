//! chatcore in a hyper server of one's own, under `/chat`.
//!
//! `CHAT_SECRET=at-least-32-bytes-that-nobody-knows! cargo run --example embed_hyper`

use chatcore::{Chat, Settings, model::AccessSecret};
use chatcore_hyper::{Api, HttpSettings, PeerAddress};
use chatcore_sqlx::SqliteStore;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let store = SqliteStore::connect("sqlite:chat.db").await?;
    let secret = AccessSecret::new(std::env::var("CHAT_SECRET")?)?; // at least 32 bytes
    let chat = Chat::builder(store.storage(), Settings::new(secret)).start()?;
    let api = Api::new(chat, HttpSettings { prefix: "/chat".into(), ..HttpSettings::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let api = api.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
                request.extensions_mut().insert(PeerAddress(peer)); // by which attempts are counted
                hyper::service::Service::call(&TowerToHyperService::new(api.clone()), request)
            });
            auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), service).await
        });
    }
}
