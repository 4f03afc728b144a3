//! The stores on a server.
//!
//! Its URL is in `CHATCORE_TEST_MONGODB`, and the path of a `mongod` for servers of a test's own in `MONGOD`;
//! `scripts/mongodb.sh` has both. What is not set is not tested, which is said.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod database;
mod outage;
mod plans;
mod server;

use std::io::Write as _;

use chatcore::store::Storage;
use chatcore_mongo::testing::TemporaryDatabase;

const VARIABLE: &str = "CHATCORE_TEST_MONGODB";

/// A database that is dropped with this; none, and a line that says so, where the environment names no server.
async fn temporary() -> Option<TemporaryDatabase> {
    let Ok(url) = std::env::var(VARIABLE) else {
        say(&format!("{VARIABLE} is not set: not tested"));
        return None;
    };
    Some(TemporaryDatabase::create(&url).await.unwrap())
}

/// Says something past the test harness, which keeps what a test prints that does not fail.
fn say(line: &str) {
    let mut stderr = std::io::stderr();
    stderr.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A store in a database of its own, and what drops that.
async fn server() -> Option<(Storage, TemporaryDatabase)> {
    let place = temporary().await?;
    Some((place.store().await.unwrap().storage(), place))
}

mod conformance {
    use super::*;

    chatcore::testing::conformance!(server);
}

#[test]
fn model() {
    use chatcore::testing::model;
    model::run(model::cases(32), server);
}
