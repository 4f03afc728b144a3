//! Handshakes that end before they are done: after every byte, and at every moment in between.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::{Ground, unknown_id};
use crate::soak::wire::{PATIENCE, connect, drain, handshake, handshake_of_page, status};

/// Which handshake is next, over all waves, so that every byte has its turn however short a wave is.
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn next() -> usize {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// All the ways in: one room or all, the token as header or as subprotocol, a room of one's own or one that is not there.
fn some_handshake(ground: &Ground, index: usize, turn: usize) -> String {
    let person = ground.person(index);
    let path = match turn % 3 {
        0 => "/ws".to_owned(),
        1 => format!("/ws/chat/{}?after=0", ground.field.room),
        _ => format!("/ws/chat/{}", unknown_id(&mut ground.random())),
    };
    if turn.is_multiple_of(2) { handshake(&path, &person.token) } else { handshake_of_page(&path, &person.token) }
}

/// A few bytes of a handshake, and a reset.
pub(super) async fn cut_after_every_byte(ground: Ground) {
    ground.crowd(8, cut).await;
}

async fn cut(ground: Ground, index: usize) -> io::Result<()> {
    let turn = next();
    let whole = some_handshake(&ground, index, turn);
    let mut stream = connect(ground.person(index).from, ground.field.server).await?;
    stream.write_all(&whole.as_bytes()[..turn / 6 % (whole.len() + 1)]).await?;
    ground.count(1);
    Ok(())
}

/// A whole handshake, and a reset a few microseconds later: in the middle of whatever the server does for it.
pub(super) async fn reset_after_a_moment(ground: Ground) {
    ground.crowd(8, reset).await;
}

async fn reset(ground: Ground, index: usize) -> io::Result<()> {
    let turn = next();
    let whole = some_handshake(&ground, index, turn);
    let mut stream = connect(ground.person(index).from, ground.field.server).await?;
    stream.write_all(whole.as_bytes()).await?;
    ground.count(1);
    // Finer than the timer's milliseconds: the point is to hit every await.
    let micros = u64::try_from(turn % 60 * turn % 3000).unwrap_or(0);
    let until = std::time::Instant::now() + Duration::from_micros(micros);
    while std::time::Instant::now() < until {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Sockets for rooms that do not exist, and patience until each is refused.
pub(super) async fn rooms_that_do_not_exist(ground: Ground) {
    ground.crowd(16, unknown).await;
}

async fn unknown(ground: Ground, index: usize) -> io::Result<()> {
    let turn = next();
    let person = ground.person(index);
    let path = format!("/ws/chat/{}", unknown_id(&mut ground.random()));
    let whole =
        if turn.is_multiple_of(2) { handshake(&path, &person.token) } else { handshake_of_page(&path, &person.token) };
    let mut stream = connect(person.from, ground.field.server).await?;
    stream.write_all(whole.as_bytes()).await?;
    ground.count(1);
    let answered = tokio::time::timeout(PATIENCE, status(&mut stream)).await??;
    if answered == 101 {
        drain(&mut stream, 4096).await?;
    }
    Ok(())
}
