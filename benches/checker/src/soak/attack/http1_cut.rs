//! Calls that end in the middle: after every byte of their heads and bodies.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::Ground;
use crate::soak::wire::{connect, request};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A post, a login, a page: a few bytes of it, and a reset.
pub(super) async fn cut_after_every_byte(ground: Ground) {
    ground.crowd(8, cut).await;
}

async fn cut(ground: Ground, index: usize) -> io::Result<()> {
    let turn = NEXT.fetch_add(1, Ordering::Relaxed);
    let person = ground.person(index);
    let messages = format!("/messages/{}", ground.field.room);
    // A key of its own, so that the whole of it is stored once.
    let post = json!({"body": "Cut in the middle", "client_id": "cut"}).to_string();
    let login = json!({"login": "nobody_here", "password": "wrong horse"}).to_string();
    let whole = match turn % 3 {
        0 => request("POST", &messages, &person.token, "", &post),
        1 => request("POST", "/auth/login", "", "", &login),
        _ => request("GET", &format!("{messages}?limit=100"), &person.token, "", ""),
    };
    let mut stream = connect(person.from, ground.field.server).await?;
    stream.write_all(&whole.as_bytes()[..turn / 3 % (whole.len() + 1)]).await?;
    ground.count(1);
    Ok(())
}
