//! Sockets that send every frame of the protocol, and never read what they are answered.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Ground, unknown_id};
use crate::random::Random;
use crate::soak::wire::{PING, PONG, TEXT, frame, open_socket};

/// Sockets that send pings; a user may hold 32. Fewer send what costs more.
const SOCKETS: usize = 32;
/// Just below the limit of 50 frames per second.
const PACE: Duration = Duration::from_millis(22);

async fn open(ground: &Ground, index: usize) -> io::Result<TcpStream> {
    let person = ground.person(index);
    let path = if index.is_multiple_of(3) { format!("/ws/chat/{}", ground.field.room) } else { "/ws".to_owned() };
    let socket = open_socket(person.from, ground.field.server, &path, &person.token).await?;
    ground.count(1);
    Ok(socket)
}

/// Every frame of the protocol, once: those that are carried out, those that change nothing, and those that are refused.
fn every_frame(ground: &Ground, index: usize) -> Vec<Vec<u8>> {
    let person = index % ground.field.people.len();
    let (room, seq) = (&ground.field.room, ground.field.messages[person]);
    let long = "x".repeat(4000);
    let texts = [
        json!({"type": "resume", "id": "1", "rooms": {room: 0}}),
        // Stored once, under that key.
        json!({"type": "message.send", "id": "2", "room": room, "body": long, "client_id": "soak"}),
        json!({"type": "message.edit", "id": "3", "room": room, "seq": seq, "body": "Edited"}),
        json!({"type": "message.delete", "id": "4", "room": room, "seq": 1}),
        json!({"type": "reaction.add", "id": "5", "room": room, "seq": seq, "emoji": "👍"}),
        json!({"type": "reaction.remove", "id": "6", "room": room, "seq": seq, "emoji": "👍"}),
        json!({"type": "read", "id": "7", "room": room, "seq": seq}),
        json!({"type": "typing", "room": room, "on": true}),
        json!({"type": "presence", "id": "8", "status": "away"}),
        json!({"type": "presence", "status": "online"}),
        json!({"type": "auth", "id": "9", "token": "nonsense"}),
        json!({"type": "ping", "id": "x".repeat(128)}),
        json!({"type": "unheard-of", "id": "10"}),
        json!({"type": "message.send", "id": "11"}),
    ];
    let texts = texts.iter().map(|text| frame(true, TEXT, text.to_string().as_bytes()));
    texts.chain([frame(true, PING, &[7; 125]), frame(true, PONG, &[7; 125])]).collect()
}

/// As fast as the server takes them: until it closes the socket for that, or reads no more.
pub(super) async fn frames_at_full_pace(ground: Ground) {
    ground.crowd(SOCKETS / 8, frames_fast).await;
}

async fn frames_fast(ground: Ground, index: usize) -> io::Result<()> {
    let mut socket = open(&ground, index).await?;
    let frames = every_frame(&ground, index);
    loop {
        for frame in &frames {
            socket.write_all(frame).await?;
            ground.count(1);
        }
    }
}

/// As fast as is allowed, for as long as is wanted.
pub(super) async fn frames_below_the_limit(ground: Ground) {
    ground.crowd(SOCKETS / 4, frames_paced).await;
}

async fn frames_paced(ground: Ground, index: usize) -> io::Result<()> {
    let mut socket = open(&ground, index).await?;
    let frames = every_frame(&ground, index);
    paced(&ground, &mut socket, &frames).await
}

async fn paced(ground: &Ground, socket: &mut TcpStream, frames: &[Vec<u8>]) -> io::Result<()> {
    let mut ticks = tokio::time::interval(PACE);
    loop {
        for frame in frames {
            ticks.tick().await;
            socket.write_all(frame).await?;
            ground.count(1);
        }
    }
}

/// Pings, each of which is owed a pong (RFC 6455 §5.5.2) that nobody will read.
pub(super) async fn pings_below_the_limit(ground: Ground) {
    ground.crowd(SOCKETS, pings_paced).await;
}

async fn pings_paced(ground: Ground, index: usize) -> io::Result<()> {
    let person = ground.person(index);
    let mut socket = open_socket(person.from, ground.field.server, "/ws", &person.token).await?;
    stuff(&ground, &mut socket).await?;
    paced(&ground, &mut socket, &[frame(true, PING, &[7; 125])]).await
}

/// Answers that are longer than their frames' rights: a thousand rooms that do not exist, again and again.
pub(super) async fn resumes_of_unknown_rooms(ground: Ground) {
    ground.crowd(SOCKETS / 8, resumes).await;
}

async fn resumes(ground: Ground, index: usize) -> io::Result<()> {
    let person = ground.person(index);
    let mut socket = open_socket(person.from, ground.field.server, "/ws", &person.token).await?;
    let mut random = ground.random();
    let mut ticks = tokio::time::interval(PACE);
    loop {
        ticks.tick().await;
        socket.write_all(&unknown_rooms(&mut random)).await?;
        ground.count(1);
    }
}

/// Asks for so much that the kernel takes no more of it, by so few frames that the server goes on to read.
pub(super) async fn stuff(ground: &Ground, socket: &mut TcpStream) -> io::Result<()> {
    let mut random = ground.random();
    for _ in 0..4 {
        socket.write_all(&unknown_rooms(&mut random)).await?;
        ground.count(1);
    }
    Ok(())
}

/// A `resume` with more to come, which names as many rooms as one may.
fn unknown_rooms(random: &mut Random) -> Vec<u8> {
    let rooms: serde_json::Map<_, _> = (0..1000).map(|_| (unknown_id(random), json!(1))).collect();
    frame(true, TEXT, json!({"type": "resume", "id": "1", "rooms": rooms, "more": true}).to_string().as_bytes())
}
