//! Collections and indexes: made once, by whoever connects first. The unique ones carry contracts.

use futures::future::try_join_all;
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Error;

use crate::documents::{HEADS, INTENTS, LOG, MEMBERS, PAIRS, REACTIONS, ROOMS, SCHEMA, SESSIONS, USERS};
use crate::error::{code, is_duplicate};
use crate::open::OpenError;

/// The version that this library writes and knows.
pub(crate) const VERSION: i64 = 1;

pub(crate) const BY_USERNAME: &str = "username";
pub(crate) const BY_DISPLAY_NAME: &str = "display_name";
pub(crate) const POSTS: &str = "posts";
pub(crate) const SENDERS: &str = "senders";
pub(crate) const KEYS: &str = "keys";

const NAMESPACE_EXISTS: i32 = 48;

/// Brings a database up to this version. Any number of nodes may do so at once.
pub(crate) async fn prepare(database: &Database) -> Result<(), OpenError> {
    let found = version(database).await?;
    if found > VERSION {
        return Err(OpenError::Newer { found, known: VERSION });
    }
    if found == VERSION {
        return Ok(());
    }
    create_log(database).await?;
    try_join_all(indexes().into_iter().map(|(collection, indexes)| create_indexes(database, collection, indexes)))
        .await?;
    Ok(note_version(database).await?)
}

async fn version(database: &Database) -> Result<i64, Error> {
    let schema = database.collection::<Document>(SCHEMA).find_one(doc! { "_id": "chatcore" }).await?;
    Ok(schema.and_then(|schema| schema.get("version").and_then(integer)).unwrap_or(0))
}

/// Also as another program may have written it.
fn integer(value: &Bson) -> Option<i64> {
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

/// Last of all, so that what was cut off begins anew.
async fn note_version(database: &Database) -> Result<(), Error> {
    let update = doc! { "$max": { "version": VERSION } };
    let schema = database.collection::<Document>(SCHEMA);
    match schema.update_one(doc! { "_id": "chatcore" }, update).upsert(true).await {
        // Another node has inserted it in the same moment.
        Err(error) if is_duplicate(&error) => Ok(()),
        other => other.map(drop),
    }
}

/// Clustered: the log lies in the order of its keys, so that a page is one range of the collection itself.
async fn create_log(database: &Database) -> Result<(), Error> {
    let command = doc! {
        "create": LOG,
        "clusteredIndex": { "key": { "_id": 1 }, "unique": true },
        "writeConcern": { "w": "majority" },
    };
    match database.run_command(command).await {
        Err(error) if code(&error) == Some(NAMESPACE_EXISTS) => Ok(()),
        other => other.map(drop),
    }
}

async fn create_indexes(database: &Database, collection: &str, indexes: Vec<Document>) -> Result<(), Error> {
    let command =
        doc! { "createIndexes": collection, "indexes": indexes, "writeConcern": { "w": "majority", "j": true } };
    database.run_command(command).await.map(drop)
}

fn plain(name: &str, key: Document) -> Document {
    doc! { "name": name, "key": key }
}

fn unique(name: &str, key: Document) -> Document {
    doc! { "name": name, "key": key, "unique": true }
}

/// Only of the documents that have this field.
fn having(field: &str, mut index: Document) -> Document {
    index.insert("partialFilterExpression", doc! { field: { "$exists": true } });
    index
}

fn indexes() -> Vec<(&'static str, Vec<Document>)> {
    let row = |side: &str| {
        doc! { format!("friendship.{side}"): 1, "friendship.status": 1, "friendship.updated_at": 1, "friendship.id": 1 }
    };
    vec![
        (
            USERS,
            vec![
                unique(BY_USERNAME, doc! { "username": 1 }),
                unique("email", doc! { "email_key": 1 }),
                // With the username, so that who is found by that is passed over here, and not read.
                plain(BY_DISPLAY_NAME, doc! { "display_key": 1, "_id": 1, "username": 1 }),
            ],
        ),
        (
            SESSIONS,
            vec![plain("user", doc! { "user": 1, "created_at": 1, "_id": 1 }), plain("end", doc! { "expires_at": 1 })],
        ),
        (
            PAIRS,
            vec![
                having("friendship.id", unique("friendship", doc! { "friendship.id": 1 })),
                having("friendship.requester", plain("requester", row("requester"))),
                having("friendship.addressee", plain("addressee", row("addressee"))),
                having("low_blocks", plain("low_blocks", doc! { "low": 1, "low_blocks": 1, "high": 1 })),
                having("high_blocks", plain("high_blocks", doc! { "high": 1, "high_blocks": 1, "low": 1 })),
            ],
        ),
        (
            ROOMS,
            vec![
                having("pair", unique("pair", doc! { "pair": 1 })),
                having("client_id", unique("client_id", doc! { "created_by": 1, "client_id": 1 })),
            ],
        ),
        (
            MEMBERS,
            vec![
                plain("user", doc! { "user": 1, "room": 1 }),
                plain("age", doc! { "room": 1, "joined_at": 1, "user": 1 }),
            ],
        ),
        (INTENTS, vec![plain("room", doc! { "room": 1, "ordinal": 1 }), plain("age", doc! { "at": 1, "room": 1 })]),
        (
            LOG,
            vec![
                unique(KEYS, doc! { "key": 1 }),
                // Posts alone have these fields, so that pages and counts never walk over reactions.
                having("open", plain(POSTS, doc! { "room": 1, "open": 1, "seq": 1 })),
                having("sender", plain(SENDERS, doc! { "sender": 1, "seq": 1 })),
                having("edits", plain("edits", doc! { "edits": 1 })),
            ],
        ),
        (HEADS, vec![plain("_id_", doc! { "_id": 1 })]),
        (REACTIONS, vec![plain("message", doc! { "of": 1, "emoji": 1, "given": 1, "user": 1 })]),
    ]
}
