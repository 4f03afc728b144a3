//! The history checker: many clients over real sockets and REST against real servers, which are killed, stopped and cut off meanwhile; then a
//! proof, from what each client did and saw and from what is stored, that every promise of the protocol was kept.
//!
//! And the [`soak`]: attackers of every kind, and the proof that they cost nothing that lasts.

pub mod check;
pub mod client;
pub mod history;
pub mod place;
pub mod random;
pub mod rest;
pub mod run;
pub mod soak;
pub mod socket;

use std::io::Write as _;

/// Prints a line.
pub fn say(line: &str) {
    // There is nowhere left to say that standard output is gone.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
