//! The program; all of it is in `lib.rs`, where its unit tests can be run beside the tests that need the built program.

use std::process::ExitCode;

fn main() -> ExitCode {
    chatcore_server::main()
}
