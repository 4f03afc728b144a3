//! Those who are nobody: wrong passwords, and tokens that are not good.

use std::io;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{Ground, some_address, unknown_id};
use crate::soak::wire::{PATIENCE, connect, handshake, request, status};

/// Wrong passwords, one after the other, from more addresses than can be counted apart: each is hashed at full cost.
pub(super) async fn wrong_logins(ground: Ground) {
    ground.crowd(4, wrong_login).await;
}

async fn wrong_login(ground: Ground, index: usize) -> io::Result<()> {
    let mut random = ground.random();
    let login =
        if index.is_multiple_of(2) { ground.person(index).name.clone() } else { format!("u{}", random.below(1 << 40)) };
    let body = json!({"login": login, "password": "wrong horse"}).to_string();
    let mut stream = connect(some_address(&mut random), ground.field.server).await?;
    stream.write_all(request("POST", "/auth/login", "", "", &body).as_bytes()).await?;
    tokio::time::timeout(PATIENCE, status(&mut stream)).await??;
    ground.count(1);
    Ok(())
}

/// Calls and handshakes with tokens of every wrong kind.
pub(super) async fn bad_tokens(ground: Ground) {
    ground.crowd(4, bad_token).await;
}

async fn bad_token(ground: Ground, index: usize) -> io::Result<()> {
    let mut random = ground.random();
    let good = &ground.person(index).token;
    let token = match random.below(4) {
        0 => "nonsense".to_owned(),
        1 => "x".repeat(8000),
        2 => good.chars().rev().collect(),
        _ => format!("{}AAAA", &good[..good.len() - 4]),
    };
    let path = format!("/messages/{}", unknown_id(&mut random));
    let call = match random.below(3) {
        0 => handshake("/ws", &token),
        1 => request("POST", &path, &token, "", r#"{"body":"hi"}"#),
        _ => request("GET", "/auth/me", &token, "", ""),
    };
    let mut stream = connect(some_address(&mut random), ground.field.server).await?;
    stream.write_all(call.as_bytes()).await?;
    tokio::time::timeout(PATIENCE, status(&mut stream)).await??;
    ground.count(1);
    Ok(())
}
