//! MySQL and MariaDB keep every contract. The servers are named by `CHATCORE_TEST_MARIADB` and `CHATCORE_TEST_MYSQL`: URLs without a
//! database, of a user who may make some. Each test has a database of its own, which is gone with it.
#![cfg(all(feature = "mysql", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]

use chatcore::store::Storage;
use chatcore_sqlx::testing::TemporaryDatabase;

/// A store on the server that the variable names.
async fn on(variable: &str) -> Option<(Storage, TemporaryDatabase)> {
    let Ok(url) = std::env::var(variable) else {
        eprintln!("{variable} is not set: not tested");
        return None;
    };
    let database = TemporaryDatabase::create(&url).await.unwrap();
    Some((database.store().await.unwrap().storage(), database))
}

async fn on_mariadb() -> Option<(Storage, TemporaryDatabase)> {
    on("CHATCORE_TEST_MARIADB").await
}

async fn on_mysql() -> Option<(Storage, TemporaryDatabase)> {
    on("CHATCORE_TEST_MYSQL").await
}

mod mariadb {
    use super::*;

    chatcore::testing::conformance!(on_mariadb);

    #[test]
    fn model() {
        use chatcore::testing::model;
        model::run(model::cases(16), on_mariadb);
    }
}

mod mysql {
    use super::*;

    chatcore::testing::conformance!(on_mysql);

    #[test]
    fn model() {
        use chatcore::testing::model;
        model::run(model::cases(16), on_mysql);
    }
}
