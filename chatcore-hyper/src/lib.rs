//! REST and WebSocket for [`chatcore`]: one [`tower_service::Service`] over `http` types.
//!
//! [`Api`] takes requests of any body, so it can be served by hyper directly, nested in axum or beside tonic, or anything
//! else that speaks `http`. The wire contract is `docs/protocol.md` in the repository, and the OpenAPI document that the service
//! itself serves at `/openapi.json`.
//!
//! ```no_run
//! # async fn run(chat: chatcore::Chat) -> std::io::Result<()> {
//! use chatcore_hyper::{Api, HttpSettings};
//!
//! let api = Api::new(chat, HttpSettings::default());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! chatcore_hyper::serve(listener, api, std::future::pending()).await
//! # }
//! ```

mod body;
mod client_address;
mod connections;
mod dto;
mod http_settings;
mod number;
mod openapi;
mod origin;
mod page;
mod problem;
mod request;
mod rest;
mod router;
mod schema;
mod serve;
mod service;
mod time;
mod unsent;
mod ws;

pub use body::ResponseBody;
pub use client_address::{ClientAddress, ProxyHeader, TrustedProxies};
pub use connections::{Admitted, ConnectionEnd, ConnectionStats, Connections};
pub use http_settings::{AllowedOrigins, HttpSettings};
pub use ipnet::IpNet;
pub use openapi::openapi;
pub use serve::{serve, serve_with};
pub use service::{Api, ApiStats, PeerAddress};
