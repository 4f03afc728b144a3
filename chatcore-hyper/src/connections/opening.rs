//! A connection that has to say which version of HTTP it speaks before long.
//!
//! hyper's own time for a request's head begins when that is known. Until then it waits for ever, so that connections which say nothing, or
//! the beginning of what may be either version, would pile up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What an HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose reads fail when its version is still unknown after a time.
pub(super) struct Opening<S> {
    stream: S,
    /// Gone once the version is known.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How much of the preface has come.
    matched: usize,
}

impl<S> Opening<S> {
    pub(super) fn new(stream: S, time: Duration) -> Self {
        Self { stream, deadline: Some(Box::pin(tokio::time::sleep(time))), matched: 0 }
    }

    /// Takes note of what has come.
    fn look(&mut self, bytes: &[u8]) {
        let rest = &PREFACE[self.matched..];
        let common = rest.len().min(bytes.len());
        self.matched += common;
        if rest[..common] != bytes[..common] || self.matched == PREFACE.len() {
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let this = &mut *self;
        if let Some(deadline) = &mut this.deadline {
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client says nothing whole")));
            }
            if let Poll::Ready(Ok(())) = &read {
                this.look(&buf.filled()[before..]);
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    async fn after(sent: &[u8]) -> io::Result<usize> {
        let (mut client, server) = tokio::io::duplex(64);
        let mut opening = Opening::new(server, TIME);
        let mut buf = [0; 64];
        for byte in sent {
            client.write_all(&[*byte]).await.unwrap();
            opening.read_exact(&mut buf[..1]).await.unwrap();
        }
        tokio::time::timeout(TIME * 2, opening.read(&mut buf)).await.unwrap_or(Ok(usize::MAX))
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_either_version_has_an_end() {
        for sent in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            assert_eq!(after(sent).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_may_take_its_time() {
        for sent in [PREFACE, b"G", b"PUT /", b"PRI * HTTP/1.1"] {
            assert_eq!(after(sent).await.unwrap(), usize::MAX);
        }
    }
}
