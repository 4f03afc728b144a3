//! The wire contract, over real sockets and over every store: each call, each success, each error code, each frame.
//!
//! The client is not the server's own library: HTTP by hyper's client, WebSocket by `fastwebsockets`.

mod harness;
mod live;
mod sockets;
mod soak;
