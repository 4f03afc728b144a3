//! The wire contract, over real sockets and over every store: each call, each success, each error code, each frame.
//!
//! The client is not the server's own library: HTTP by hyper's client, WebSocket by `fastwebsockets`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]

mod attacks_fields;
mod attacks_input;
mod attacks_passwords;
mod attacks_roles;
mod attacks_rooms;
mod attacks_tokens;
mod client_addresses;
mod errors;
mod halves;
mod harness;
mod hostile;
mod hostile_answers;
mod hostile_connections;
mod hostile_crowds;
mod hostile_frames;
mod live;
mod mounts;
mod shapes;
mod soak;
mod sockets;
mod upgrades;
