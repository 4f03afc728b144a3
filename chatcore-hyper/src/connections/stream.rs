//! The stream of a connection: it has to take what is written before long, and is still read for a moment when it is closed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::Seat;
use super::opening::Opening;
use super::state::State;

/// A stream under the limits of [`Connections`](super::Connections), which holds the connection's place for as long as it lives.
pub(super) struct Guarded<I> {
    stream: Opening<I>,
    state: Arc<State>,
    linger: Duration,
    /// Ends when a write has made no progress for too long.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Ends when a stream that is shut down has been read for long enough.
    lingering: Option<Pin<Box<Sleep>>>,
    _seat: Seat,
}

impl<I> Guarded<I> {
    pub(super) fn new(stream: Opening<I>, seat: Seat, state: Arc<State>, linger: Duration) -> Self {
        Self { stream, state, linger, stalled: None, lingering: None, _seat: seat }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Guarded<I> {
    /// Waits for a write to make progress, for as long as it may take.
    fn poll_progress<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() || self.state.is_upgraded() {
            self.stalled = None;
            return written;
        }
        let timeout = self.state.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }

    /// Reads and drops what still comes. A socket that is closed with bytes unread is reset, and the client may never see the last answer.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger;
        let lingering = self.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(linger)));
        if lingering.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.poll_progress(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.poll_progress(shut, cx))?;
            if self.state.is_upgraded() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_linger(cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.poll_progress(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    const WRITE: Duration = Duration::from_secs(60);
    const LINGER: Duration = Duration::from_secs(1);

    fn pair() -> (DuplexStream, Guarded<DuplexStream>, Arc<State>) {
        let (client, server) = tokio::io::duplex(16);
        let state = Arc::new(State::new(1, Weak::new(), WRITE, WRITE * 100));
        let opening = Opening::new(server, WRITE);
        let seat = Seat { id: 1, connections: Weak::new() };
        (client, Guarded::new(opening, seat, state.clone(), LINGER), state)
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_makes_no_progress_fails() {
        let (mut client, mut server, _state) = pair();
        let writing = tokio::spawn(async move { (server.write_all(&[0; 100]).await, Instant::now()) });
        // Any progress counts, here; that an answer as a whole is taken in time is not the stream's business.
        tokio::time::sleep(WRITE / 2).await;
        client.read_exact(&mut [0; 8]).await.unwrap();
        let progress = Instant::now();
        let (written, ended) = writing.await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(ended - progress, WRITE);
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_upgrade_writes_may_take_their_time() {
        let (mut client, mut server, state) = pair();
        state.finished();
        let writing = tokio::spawn(async move { server.write_all(&[0; 20]).await });
        tokio::time::sleep(WRITE * 10).await;
        client.read_exact(&mut [0; 20]).await.unwrap();
        writing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_the_end_is_read_for_a_moment() {
        let (mut client, mut server, _state) = pair();
        let closing = tokio::spawn(async move {
            let begun = Instant::now();
            server.shutdown().await.unwrap();
            begun.elapsed()
        });
        client.write_all(&[0; 1000]).await.unwrap();
        drop(client);
        assert_eq!(closing.await.unwrap(), Duration::ZERO);

        let (client, mut server, _state) = pair();
        let begun = Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(begun.elapsed(), LINGER);
        drop(client);
    }
}
