//! Transactions that nobody goes on with.
//!
//! A process that is killed in the middle of a transaction, or cut off from the server, leaves it open. The server keeps it for a minute
//! (`transactionLifetimeLimitSeconds`), and meanwhile nobody else can write what it has written: a room would take no posts. Other writers
//! notice that, and end it. Their own transactions are idle for the time between two statements only, and one that is ended wrongly, because
//! its process was stopped for so long, is made again like one that has lost a race.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use crate::open::MongoStore;

/// What connections of this library add to the name of their driver.
pub(crate) const LIBRARY: &str = "chatcore";
/// How long a step is in trouble before it looks for them.
pub(crate) const SUSPICIOUS: Duration = Duration::from_secs(1);
/// How often a process looks, at most.
const EVERY: Duration = Duration::from_secs(1);

impl MongoStore {
    /// Looks for abandoned transactions, and ends them; in a task of its own, and not more often than once a second.
    pub(crate) fn look_for_abandoned(&self) {
        {
            // A time, which is as good after a panic.
            let mut last = self.last_look().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if last.is_some_and(|last: Instant| last.elapsed() < EVERY) {
                return;
            }
            *last = Some(Instant::now());
        }
        let store = self.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(store.deadline(), store.end_abandoned()).await {
                Ok(Ok(0)) => {}
                Ok(Ok(count)) => tracing::warn!(count, "ended transactions that nobody went on with"),
                Ok(Err(error)) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "transactions that nobody goes on with could not be ended: they hold what they wrote until the server ends them"
                ),
                Err(_) => tracing::warn!("the server did not say in time which transactions nobody goes on with"),
            }
        });
    }

    /// Of this library alone, by the user that this process has logged in as, which needs no further rights. How many.
    async fn end_abandoned(&self) -> Result<usize, mongodb::error::Error> {
        let admin = self.client().database("admin");
        let idle = i64::try_from(self.abandoned_after().as_micros()).unwrap_or(i64::MAX);
        let sessions = admin.aggregate([
            doc! { "$currentOp": { "allUsers": false, "idleConnections": false, "idleSessions": true } },
            doc! { "$match": {
                "type": "idleSession",
                "clientMetadata.driver.name": { "$regex": format!("\\|{LIBRARY}(\\||$)") },
                "transaction.timeInactiveMicros": { "$gte": idle },
            } },
            doc! { "$project": { "id": "$lsid.id" } },
        ]);
        let found: Vec<Document> = sessions.await?.try_collect().await?;
        let sessions: Vec<Bson> =
            found.iter().filter_map(|session| Some(doc! { "id": session.get("id")?.clone() }.into())).collect();
        if !sessions.is_empty() {
            admin.run_command(doc! { "killSessions": &sessions }).await?;
        }
        Ok(sessions.len())
    }
}
