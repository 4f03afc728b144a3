//! Counts those frames of a socket that the WebSocket library takes in without handing anything on: parts of messages.
//!
//! All others are counted when they are handed on. Together each frame costs one, whatever it holds, from the same budget; but for large
//! parts, of which the limit on a message's size lets only so many come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

/// Bytes from which on a part of a message is free.
const FREE_PART: u64 = 1024;

/// Seconds of frames that may come at once.
const BURST: std::num::NonZeroU32 = std::num::NonZeroU32::new(2).unwrap();

/// The largest head: two bytes, eight of length, four of mask (RFC 6455 §5.2).
const HEAD_MAX: usize = 14;

/// The budget of frames of one socket.
pub(super) type Pace = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;

/// The reason why no more is read: the budget is used up.
#[derive(Debug, thiserror::Error)]
#[error("too many parts of messages")]
pub(super) struct TooManyParts;

/// A connection whose parts of messages are counted as they are read.
pub(super) struct Metered<S> {
    inner: S,
    frames: Frames,
    pace: Pace,
}

impl<S> Metered<S> {
    pub(super) fn new(inner: S, frames_per_second: u32) -> Self {
        let frames = std::num::NonZeroU32::new(frames_per_second).unwrap_or(std::num::NonZeroU32::MIN);
        let pace = RateLimiter::direct_with_clock(
            // What came while nobody read, because the server or the network stood still, comes at once.
            Quota::per_second(frames).allow_burst(frames.saturating_mul(BURST)),
            DefaultClock::default(),
        );
        Self { inner, frames: Frames::default(), pace }
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The connection itself, for when frames do not matter any more.
    pub(super) fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

/// The place in a stream of frames.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_MAX],
    /// How much of a head has come.
    come: usize,
    /// How much of a payload has yet to come.
    payload: u64,
}

impl Frames {
    /// Reads on. Answers how many small parts of messages began.
    fn read(&mut self, mut bytes: &[u8]) -> usize {
        let mut parts = 0;
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            self.payload -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((first, rest)) = bytes.split_first() else { break };
            self.head[self.come] = *first;
            self.come += 1;
            bytes = rest;
            if let Some(length) = self.length() {
                let last = self.head[0] & 0x80 != 0;
                parts += usize::from(!last && length < FREE_PART);
                self.payload = length;
                self.come = 0;
            }
        }
        parts
    }

    /// The length of the payload, once the whole head is there.
    fn length(&self) -> Option<u64> {
        if self.come < 2 {
            return None;
        }
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        let (extended, short) = match self.head[1] & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, short),
        };
        if self.come < 2 + extended + mask {
            return None;
        }
        let length = self.head[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        Some(length + u64::from(short))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        // The library reads until it has a message. Whatever the connection is, that must not go on for ever in one poll.
        let turn = ready!(coop::poll_proceed(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        turn.made_progress();
        for _ in 0..this.frames.read(&buf.filled()[before..]) {
            if this.pace.check().is_err() {
                return Poll::Ready(Err(std::io::Error::other(TooManyParts)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use proptest::prelude::*;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[derive(Debug, Clone)]
    struct Frame {
        last: bool,
        masked: bool,
        length: usize,
    }

    fn bytes(frame: &Frame) -> Vec<u8> {
        let mask = if frame.masked { 0x80 } else { 0 };
        let mut bytes = vec![if frame.last { 0x80 } else { 0 }];
        match frame.length {
            0..126 => bytes.push(mask | frame.length as u8),
            126..65_536 => {
                bytes.push(mask | 126);
                bytes.extend((frame.length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((frame.length as u64).to_be_bytes());
            }
        }
        bytes.extend(vec![0xff; frame.length + if frame.masked { 4 } else { 0 }]);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn parts_are_counted_however_the_stream_is_cut(
            frames in prop::collection::vec(
                (any::<bool>(), any::<bool>(), prop_oneof![0usize..4, 120usize..130, 1_020usize..1_030, 65_530usize..65_540]),
                0..12,
            ),
            cuts in prop::collection::vec(1usize..3_000, 1..20),
        ) {
            let frames: Vec<_> =
                frames.into_iter().map(|(last, masked, length)| Frame { last, masked, length }).collect();
            let stream: Vec<u8> = frames.iter().flat_map(bytes).collect();
            let mut counted = Frames::default();
            let (mut rest, mut parts) = (&stream[..], 0);
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                parts += counted.read(now);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(parts, frames.iter().filter(|frame| !frame.last && frame.length < 1_024).count());
            prop_assert_eq!((counted.come, counted.payload), (0, 0));
        }
    }

    /// A connection on which the same bytes come without end.
    struct Endless {
        bytes: Vec<u8>,
        reads: usize,
    }

    impl AsyncRead for Endless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.reads += 1;
            let many = buf.remaining() / self.bytes.len() * self.bytes.len();
            let bytes: Vec<u8> = self.bytes.iter().copied().cycle().take(many).collect();
            buf.put_slice(&bytes);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Endless {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn endless(frames_per_second: u32) -> WebSocketStream<Metered<Endless>> {
        // Text that goes on, and nothing; then nothing that goes on, again and again.
        let first = [0x01, 0x80, 0, 0, 0, 0];
        let endless = Endless { bytes: vec![0x00, 0x80, 0, 0, 0, 0], reads: 0 };
        let metered = Metered::new(endless, frames_per_second);
        WebSocketStream::from_partially_read(metered, first.to_vec(), Role::Server, None).await
    }

    #[tokio::test]
    async fn empty_parts_without_end_use_up_the_budget() {
        let mut socket = endless(50).await;
        let error = socket.next().await.unwrap().unwrap_err();
        assert_eq!(super::super::close::Bye::of_error(&error), Some(super::super::close::Bye::Rate));
        assert!(socket.get_mut().inner_mut().reads <= 2);
    }

    #[tokio::test]
    async fn one_poll_reads_for_a_while_and_not_for_ever() {
        let mut socket = endless(u32::MAX).await;
        for _ in 0..3 {
            let before = socket.get_mut().inner_mut().reads;
            let polled = std::future::poll_fn(|cx| Poll::Ready(socket.poll_next_unpin(cx).is_pending())).await;
            assert!(polled);
            let reads = socket.get_mut().inner_mut().reads - before;
            assert!((1..1_000).contains(&reads), "{reads}");
            tokio::task::yield_now().await;
        }
    }
}
