//! chatcore-sqlx
