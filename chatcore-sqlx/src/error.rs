/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not the URL of such a database. It is not repeated: it may hold a password.
    #[error("not the URL of such a database: expected {expected}")]
    Url {
        /// What one looks like.
        expected: &'static str,
    },
    /// The database has been written by a newer version of this library.
    #[error("the database has schema version {found}, and this version of chatcore knows only up to {known}")]
    Newer {
        /// The version of the database.
        found: i64,
        /// The latest version that is known.
        known: i64,
    },
    /// Another node has been bringing the schema up to date for a minute.
    #[error("another node is bringing the schema of the database up to date, and does not come to an end")]
    Migrating,
    /// The database could not be opened, or its schema could not be brought up to date.
    #[error("the database could not be opened")]
    Database(#[from] sqlx::Error),
}
