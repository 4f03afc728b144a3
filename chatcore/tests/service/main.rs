//! The use cases over stores that wait, fail, panic and change behind this node's back.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod staying_up;
mod trust;
mod world;
mod writer;
