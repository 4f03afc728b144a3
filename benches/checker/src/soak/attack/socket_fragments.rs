//! Sockets that send messages in pieces without an end (RFC 6455 §5.4).

use std::io;

use tokio::io::AsyncWriteExt as _;

use super::Ground;
use crate::soak::wire::{CONTINUATION, PING, TEXT, frame, open_socket};

/// Frames written at once.
const BATCH: usize = 500;

/// Empty pieces, pieces of a byte, half a frame and silence, half a ping.
pub(super) async fn fragments(ground: Ground) {
    ground.crowd(16, pieces).await;
}

async fn pieces(ground: Ground, index: usize) -> io::Result<()> {
    let person = ground.person(index);
    let mut socket = open_socket(person.from, ground.field.server, "/ws", &person.token).await?;
    ground.count(1);
    match index / 4 % 4 {
        0 => {
            socket.write_all(&frame(false, TEXT, b"")).await?;
            let batch = frame(false, CONTINUATION, b"").repeat(BATCH);
            loop {
                socket.write_all(&batch).await?;
                ground.count(BATCH as u64);
            }
        }
        1 => {
            socket.write_all(&frame(false, TEXT, b"\"")).await?;
            let batch = frame(false, CONTINUATION, b"a").repeat(BATCH);
            loop {
                socket.write_all(&batch).await?;
                ground.count(BATCH as u64);
            }
        }
        2 => {
            let whole = frame(true, TEXT, &[b' '; 60_000]);
            socket.write_all(&whole[..30_000]).await?;
            ground.hold().await;
        }
        _ => {
            let ping = frame(true, PING, &[7; 125]);
            socket.write_all(&ping[..60]).await?;
            ground.hold().await;
        }
    }
    Ok(())
}
