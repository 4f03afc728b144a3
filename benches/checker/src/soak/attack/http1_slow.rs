//! Requests that take their time: heads and bodies byte by byte, bodies that never come, bodies that never end.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::Ground;
use crate::soak::wire::{connect, request};

/// Time between two bytes.
const PACE: Duration = Duration::from_millis(100);

/// Each kind of slowness, on many connections.
pub(super) async fn slow(ground: Ground) {
    ground.crowd(64, slowly).await;
}

async fn slowly(ground: Ground, index: usize) -> io::Result<()> {
    let person = ground.person(index);
    let path = format!("/messages/{}", ground.field.room);
    let mut stream = connect(person.from, ground.field.server).await?;
    ground.count(1);
    let endless = format!(
        "POST {path} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n",
        person.token
    );
    match index / 4 % 5 {
        0 => return trickle(&mut stream, request("GET", &path, &person.token, "", "").bytes()).await,
        1 => {
            let whole = request("POST", &path, &person.token, "", &format!("{{\"body\":\"{}\"}}", "x".repeat(3000)));
            let head = whole.find("\r\n\r\n").map_or(0, |end| end + 4);
            stream.write_all(&whole.as_bytes()[..head]).await?;
            return trickle(&mut stream, whole.bytes().skip(head)).await;
        }
        2 => {
            let headers = "content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n";
            stream.write_all(request("POST", &path, &person.token, headers, "").as_bytes()).await?;
        }
        3 => {
            stream.write_all(endless.as_bytes()).await?;
            return trickle(&mut stream, "1\r\n \r\n".bytes().cycle()).await;
        }
        _ => {
            stream.write_all(endless.as_bytes()).await?;
            // Until the limit of a body has come.
            loop {
                stream.write_all("1\r\n \r\n".repeat(1000).as_bytes()).await?;
            }
        }
    }
    ground.hold().await;
    Ok(())
}

async fn trickle(stream: &mut tokio::net::TcpStream, bytes: impl Iterator<Item = u8>) -> io::Result<()> {
    let mut ticks = tokio::time::interval(PACE);
    for byte in bytes {
        ticks.tick().await;
        stream.write_u8(byte).await?;
    }
    Ok(())
}
