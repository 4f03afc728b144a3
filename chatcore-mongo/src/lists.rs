//! Reading lists, and naming many documents in one statement.

use futures::TryStreamExt;
use mongodb::ClientSession;
use mongodb::action::{Aggregate, Find};
use mongodb::error::Error;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// Values named in one statement at most.
pub(crate) const BATCH: usize = 256;

/// Documents of one answer: enough for nearly every list, so that it takes one exchange.
pub(crate) const ROWS: u32 = 2_000;

/// Each once, in their order.
pub(crate) fn distinct<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// All that a query finds, in a transaction or at the moment of a session.
pub(crate) async fn in_session<T: DeserializeOwned + Send + Sync>(
    find: Find<'_, T>,
    session: &mut ClientSession,
) -> Result<Vec<T>, Error> {
    let mut cursor = find.batch_size(ROWS).session(&mut *session).await?;
    cursor.stream(session).try_collect().await
}

/// All that a pipeline makes, in a transaction or at the moment of a session.
pub(crate) async fn piped<T: DeserializeOwned + Send + Sync>(
    aggregate: Aggregate<'_>,
    session: &mut ClientSession,
) -> Result<Vec<T>, Error> {
    let mut cursor = aggregate.batch_size(ROWS).with_type::<T>().session(&mut *session).await?;
    cursor.stream(session).try_collect().await
}

/// Ids as they stand in a statement.
pub(crate) fn ids(ids: &[Uuid]) -> Vec<mongodb::bson::Uuid> {
    ids.iter().map(|id| crate::documents::id(*id)).collect()
}
