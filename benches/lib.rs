//! Benchmarks of chatcore: `cargo bench -p chatcore-benches`.
//!
//! - `idle`: server memory that an idle WebSocket connection costs.
//! - `post`: post-to-acknowledgement over SQLite, beside a bare insert transaction of the same durability.
//! - `stores`: posts, pages and room lists on every database, beside bare inserts and beside short rooms and lists.
//! - `fanout`: deliveries of stored messages in one room, beside a queue a connection without any chat logic.
//!
//! Machines are shared and noisy, so what is compared is measured alternately in one run and printed as a ratio.
