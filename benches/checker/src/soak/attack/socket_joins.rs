//! Sockets that do not read while their user comes into room after room.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Ground;
use super::socket_unread::stuff;
use crate::place::Failure;
use crate::soak::people::Person;
use crate::soak::wire::{TEXT, frame, open_socket};

/// Sockets of the one user: as many as one may hold.
const SOCKETS: usize = 32;
/// Users who make rooms.
const MAKERS: u8 = 3;
/// Rooms that each of them makes; a user has 200 calls in 10 s.
const ROOMS: u64 = 150;

/// A user of this wave alone, so that what stays of it is stored once and costs the next wave nothing.
pub(super) async fn joins(ground: Ground) {
    if let Ok(Err(error)) = tokio::time::timeout_at(ground.until, play(&ground)).await {
        crate::say(&format!("socket-joins: {error}"));
    }
}

async fn play(ground: &Ground) -> Result<(), Failure> {
    let register = |number: u8| {
        let [.., high, low] = ground.wave.to_be_bytes();
        let name = format!("joins_{}_{number}", ground.wave);
        async move { Person::register(ground.field.server, &name, Ipv4Addr::new(127, 32 + number, high, low)).await }
    };
    let victim = register(0).await?;
    let mut sockets = JoinSet::new();
    for _ in 0..SOCKETS {
        let (ground, victim) = (ground.clone(), victim.clone());
        sockets.spawn(async move { stuffed(&ground, &victim).await });
    }
    let enough = Instant::now() + ground.until.saturating_duration_since(Instant::now()) / 4;
    for number in 1..=MAKERS {
        let (ground, victim) = (ground.clone(), victim.clone());
        let maker = register(number).await?;
        sockets.spawn(async move {
            // Then only what they were told of waits, and may not become more.
            for room in (0..ROOMS).take_while(|_| Instant::now() < enough) {
                let made = maker.group(&room.to_string(), std::slice::from_ref(&victim)).await;
                made.map_err(io::Error::other)?;
                ground.count(1);
                ground.store(3);
            }
            Ok(())
        });
    }
    while let Some(ended) = sockets.join_next().await {
        ended??;
    }
    ground.hold().await;
    Ok(())
}

/// Has begun, and cannot be written to.
async fn stuffed(ground: &Ground, person: &Person) -> io::Result<()> {
    let mut socket = open_socket(person.from, ground.field.server, "/ws", &person.token).await?;
    stuff(ground, &mut socket).await?;
    socket.write_all(&frame(true, TEXT, br#"{"type": "resume", "rooms": {}}"#)).await?;
    ground.hold().await;
    Ok(())
}
