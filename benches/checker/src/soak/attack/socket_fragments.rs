//! Sockets that send messages in pieces without an end (RFC 6455 §5.4).

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Ground;
use crate::soak::wire::{CONTINUATION, PING, TEXT, frame, open_socket};

/// Frames written at once.
const BATCH: usize = 500;

/// A message of empty pieces, as many as the server takes.
pub(super) async fn empty(ground: Ground) {
    ground.crowd(2, |ground, index| pieces(ground, index, b"")).await;
}

/// A message of pieces of a byte.
pub(super) async fn tiny(ground: Ground) {
    ground.crowd(2, |ground, index| pieces(ground, index, b" ")).await;
}

async fn pieces(ground: Ground, index: usize, piece: &'static [u8]) -> io::Result<()> {
    let mut socket = open(&ground, index).await?;
    socket.write_all(&frame(false, TEXT, piece)).await?;
    let batch = frame(false, CONTINUATION, piece).repeat(BATCH);
    loop {
        socket.write_all(&batch).await?;
        ground.count(BATCH as u64);
    }
}

/// Half a message, half a ping, and silence.
pub(super) async fn half(ground: Ground) {
    ground.crowd(32, silence).await;
}

async fn silence(ground: Ground, index: usize) -> io::Result<()> {
    let mut socket = open(&ground, index).await?;
    let whole = if index.is_multiple_of(8) { frame(true, PING, &[7; 125]) } else { frame(true, TEXT, &[b' '; 60_000]) };
    socket.write_all(&whole[..whole.len() / 2]).await?;
    ground.hold().await;
    Ok(())
}

async fn open(ground: &Ground, index: usize) -> io::Result<TcpStream> {
    let person = ground.person(index);
    let socket = open_socket(person.from, ground.field.server, "/ws", &person.token).await?;
    ground.count(1);
    Ok(socket)
}
