//! Hundreds of requests, one behind the other, whose answers nobody reads.

use std::io;

use tokio::io::AsyncWriteExt as _;

use super::Ground;
use crate::soak::wire::{connect, request};

/// Connections.
const CONNECTIONS: usize = 24;

/// Pages of long messages, the files of the page, the description of the API, metrics, and posts with long bodies.
pub(super) async fn pipelines(ground: Ground) {
    ground.crowd(CONNECTIONS, pipeline).await;
}

async fn pipeline(ground: Ground, index: usize) -> io::Result<()> {
    let person = ground.person(index);
    let messages = format!("/messages/{}", ground.field.room);
    let long = serde_json::json!({"body": "x".repeat(4000), "client_id": "pipelined"}).to_string();
    let call = match index / 4 % 6 {
        0 | 1 => request("GET", &format!("{messages}?limit=100"), &person.token, "", ""),
        2 => request("GET", "/", "", "", ""),
        3 => request("GET", "/openapi.json", "", "", ""),
        4 => request("GET", "/metrics", "", "", ""),
        _ => request("POST", &messages, &person.token, "", &long),
    };
    let mut stream = connect(person.from, ground.field.server).await?;
    for _ in 0..500 {
        stream.write_all(call.as_bytes()).await?;
        ground.count(1);
    }
    ground.hold().await;
    Ok(())
}
