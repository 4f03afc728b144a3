//! Connections that say whatever an attacker wants: raw bytes of HTTP/1.1, WebSocket and HTTP/2.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// How long an attacker waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a segment, as over Ethernet.
const SEGMENT: u32 = 1400;

/// Opens a connection from one of this machine's own addresses, all of which are 127.0.0.0/8.
///
/// Its end is a reset, at once and without a trace, so that a few thousand of them do not use up the ports. It takes few bytes that nobody reads:
/// with segments as small as those of a real network, where this machine's own would have the kernel keep 2.5 MB for each.
///
/// # Errors
/// When the server does not take it within [`PATIENCE`].
pub async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4 * 1024)?;
    socket2::SockRef::from(&socket).set_tcp_mss(SEGMENT)?;
    // So that what is sent has been taken by the server, and is not kept by the kernel at this end.
    socket.set_send_buffer_size(16 * 1024)?;
    socket.set_zero_linger()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = tokio::time::timeout(PATIENCE, socket.connect(to)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A request of HTTP/1.1, with its body.
pub fn request(method: &str, path: &str, token: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let token = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    format!("{method} {path} HTTP/1.1\r\nhost: soak\r\n{token}{kind}{length}{headers}\r\n{body}")
}

/// A handshake whose token comes in its header.
pub fn handshake(path: &str, token: &str) -> String {
    let headers = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    request("GET", path, token, headers, "")
}

/// A handshake whose token comes as a subprotocol.
pub fn handshake_of_page(path: &str, token: &str) -> String {
    let headers = format!(
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: chatcore.v1, bearer.{token}\r\n"
    );
    request("GET", path, "", &headers, "")
}

/// Opens a socket, and reads no more than the answer to its handshake.
///
/// # Errors
/// When it is refused, or not answered within [`PATIENCE`].
pub async fn open_socket(from: Ipv4Addr, to: SocketAddr, path: &str, token: &str) -> io::Result<TcpStream> {
    let mut stream = connect(from, to).await?;
    stream.write_all(handshake(path, token).as_bytes()).await?;
    let status = tokio::time::timeout(PATIENCE, status(&mut stream)).await??;
    if status == 101 { Ok(stream) } else { Err(io::Error::other(format!("a handshake was answered {status}"))) }
}

/// Reads the head of an answer, byte by byte so that nothing behind it is read, and returns its status.
///
/// # Errors
/// When the connection ends before.
pub async fn status(stream: &mut TcpStream) -> io::Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        if head.len() > 16 * 1024 {
            return Err(io::Error::other("a head without an end"));
        }
    }
    let text = String::from_utf8_lossy(&head);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| io::Error::other("no status"))
}

/// Reads and forgets until the connection ends, or `limit` bytes have come.
///
/// # Errors
/// When the connection breaks.
pub async fn drain(stream: &mut TcpStream, limit: u64) -> io::Result<u64> {
    tokio::io::copy(&mut stream.take(limit), &mut tokio::io::sink()).await
}

/// The opcode of a continuation frame (RFC 6455 §5.2).
pub const CONTINUATION: u8 = 0x0;
/// The opcode of a text frame.
pub const TEXT: u8 = 0x1;
/// The opcode of a ping.
pub const PING: u8 = 0x9;
/// The opcode of a pong.
pub const PONG: u8 = 0xA;

/// A client's frame. Its mask is 0, which is legal and leaves the payload readable.
pub fn frame(last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![u8::from(last) << 7 | opcode];
    match u16::try_from(payload.len()) {
        Ok(length @ ..=125) => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// What opens a connection of HTTP/2 (RFC 9113 §3.4), with the settings given as (identifier, value).
pub fn http2(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let payload: Vec<u8> =
        settings.iter().flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect();
    bytes.extend(http2_frame(0x4, 0, 0, &payload));
    bytes
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A block of headers of HTTP/2, as literals that no table keeps (RFC 7541 §6.2.3).
pub fn http2_headers(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0x10);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn integer(block: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else {
        block.push(u8::try_from(value).unwrap_or(0));
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(0x80 | u8::try_from(rest % 128).unwrap_or(0));
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or(0));
}

/// The headers of a GET over HTTP/2.
pub fn http2_get(path: &str, token: &str) -> Vec<u8> {
    let token = format!("Bearer {token}");
    http2_headers(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "soak"),
        (":path", path),
        ("authorization", &token),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_say_how_long_they_are() {
        assert_eq!(frame(true, TEXT, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(frame(false, CONTINUATION, &[7; 126])[..8], [0x00, 0xFE, 0, 126, 0, 0, 0, 0]);
        assert_eq!(frame(true, PING, &[7; 65_536])[..10], [0x89, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(http2_frame(1, 5, 3, b"abc"), [0, 0, 3, 1, 5, 0, 0, 0, 3, b'a', b'b', b'c']);
    }

    #[test]
    fn integers_are_those_of_the_rfc() {
        let encoded = |value| {
            let mut block = Vec::new();
            integer(&mut block, value);
            block
        };
        assert_eq!(encoded(126), [126]);
        assert_eq!(encoded(127), [127, 0]);
        assert_eq!(encoded(254), [127, 127]);
        assert_eq!(encoded(1337), [127, 0xBA, 0x09]);
    }
}
