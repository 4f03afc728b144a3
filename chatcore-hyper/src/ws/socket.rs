//! The task that a socket is: one loop over what it waits for, no second task, no channel.
//!
//! News is asked for only when everything before it has been written out, so what a socket that does not read costs is bounded:
//! one batch of events, its answers up to their limit, and the hub's few signals.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use chatcore::Error;
use chatcore::hub::{Connection, Delivery, Scope};
use chatcore::id::RoomId;
use chatcore::model::{FieldCode, FieldError};
use chatcore::service::{AuthFailure, Hello, PostInput, Principal};
use chatcore::time::Timestamp;
use futures::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use super::close::Bye;
use super::decode::{Command, DecodeError, Frame, decode};
use super::encode::{self, Ack};
use super::meter::Metered;
use super::work::{Answer, Queue, Turn, Work, failed};
use crate::problem::Problem;
use crate::service::Shared;
use crate::time::rfc3339;

pub(super) type Io = Metered<TokioIo<Upgraded>>;

/// Malformed frames in a row after which a socket is closed.
const MALFORMED_LIMIT: u32 = 3;

/// What a socket has waited for.
enum Wake {
    Frame(Option<Result<Message, WsError>>),
    News(Delivery),
    Turn(Turn),
    Timer,
    WriteFailed,
    /// The flush has made room for the answers that wait.
    Room,
}

/// Why the loop ended.
enum End {
    /// The connection is gone.
    Gone,
    /// The client closes.
    Closed,
    /// The server closes.
    Bye(Bye),
}

pub(super) struct Socket {
    ws: WebSocketStream<Io>,
    connection: Connection,
    caller: Principal,
    shared: Arc<Shared>,
    queue: Queue,
    /// Answers that are not written into the socket's buffer yet.
    outbox: VecDeque<Utf8Bytes>,
    /// Events and signals that are not written into the socket's buffer yet.
    news: VecDeque<Utf8Bytes>,
    /// Whether the buffer holds what has not been flushed.
    dirty: bool,
    /// Whether it holds the answer to a ping.
    pong_waits: bool,
    /// Takes turns, so that a busy room does not keep the client's frames from being read.
    read_first: bool,
    malformed: u32,
    /// The end of the latest token that came by `auth`, in microseconds; 0 before.
    renewed: Arc<AtomicI64>,
    heard: Instant,
    /// Whether a flush waits for the client to read.
    stuck: bool,
    /// Whether the latest ping waits for its pong, which is not counted as a frame.
    pinged: bool,
    next_ping: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Socket {
    pub(super) fn new(ws: WebSocketStream<Io>, connection: Connection, caller: Principal, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let next_ping = now + shared.settings.heartbeat;
        Self {
            ws,
            connection,
            caller,
            queue: Queue::default(),
            outbox: VecDeque::new(),
            news: VecDeque::new(),
            dirty: false,
            pong_waits: false,
            read_first: false,
            malformed: 0,
            renewed: Arc::default(),
            heard: now,
            stuck: false,
            pinged: false,
            next_ping,
            timer: Box::pin(tokio::time::sleep_until(next_ping)),
            shared,
        }
    }

    /// Serves the socket to its end.
    pub(super) async fn run(mut self, hello: &Hello) {
        self.shared.counters.sockets.fetch_add(1, Ordering::Relaxed);
        let resume_events = self.shared.chat.settings().resume_events;
        self.outbox.push_back(encode::hello(hello, &self.shared.settings, resume_events));
        self.set_timer();
        let end = self.serve().await;
        let Self { mut ws, connection, shared, dirty, mut news, .. } = self;
        match end {
            End::Gone => drop(connection),
            End::Closed => {
                drop(connection);
                answer_close(&mut ws, &shared).await;
            }
            End::Bye(bye) => {
                if bye == Bye::Revoked {
                    news.clear();
                }
                if !dirty && news.is_empty() {
                    // Nothing but the `bye` goes out from here on.
                    connection.finish();
                }
                say_bye(&mut ws, news, bye, Duration::ZERO, &shared).await;
                drop(connection);
            }
        }
        shared.counters.sockets.fetch_sub(1, Ordering::Relaxed);
    }

    async fn serve(&mut self) -> End {
        loop {
            if !self.dirty && self.has_frames() && self.write_out().is_err() {
                return End::Gone;
            }
            let wake = std::future::poll_fn(|cx| self.poll_wake(cx)).await;
            let end = match wake {
                Wake::WriteFailed => Some(End::Gone),
                Wake::Frame(None) => Some(End::Gone),
                Wake::Frame(Some(Ok(message))) => self.message(message),
                Wake::Frame(Some(Err(error))) => Some(Bye::of_error(&error).map_or(End::Gone, End::Bye)),
                Wake::News(Delivery::Closed(reason)) => Some(End::Bye(reason.into())),
                Wake::News(Delivery::News { signals, events }) => {
                    self.take_news(&signals, &events);
                    None
                }
                Wake::Turn(Turn::Answer(answer)) => {
                    self.outbox.extend(answer);
                    // An `auth` may have moved the end.
                    self.set_timer();
                    None
                }
                Wake::Turn(Turn::Resume { id, rooms, more }) => {
                    let answer = self.resume(id, &rooms, more).await;
                    self.outbox.extend(answer);
                    None
                }
                Wake::Room => None,
                Wake::Timer => self.tick(),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if self.dirty {
            match Pin::new(&mut self.ws).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    // One who is slow and reads is alive: what was stuck has been taken.
                    if std::mem::take(&mut self.stuck) {
                        self.heard = Instant::now();
                    }
                    (self.dirty, self.pong_waits) = (false, false);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Wake::WriteFailed),
                Poll::Pending => self.stuck = true,
            }
        }
        if let Poll::Ready(turn) = self.queue.poll_turn(cx) {
            return Poll::Ready(Wake::Turn(turn));
        }
        if self.read_first
            && let Poll::Ready(frame) = self.poll_frame(cx)
        {
            self.read_first = false;
            return Poll::Ready(Wake::Frame(frame));
        }
        if let Poll::Ready(delivery) = self.poll_news(cx) {
            self.read_first = true;
            return Poll::Ready(Wake::News(delivery));
        }
        if !self.read_first
            && let Poll::Ready(frame) = self.poll_frame(cx)
        {
            return Poll::Ready(Wake::Frame(frame));
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Wake::Timer);
        }
        if !self.dirty && self.has_frames() {
            return Poll::Ready(Wake::Room);
        }
        Poll::Pending
    }

    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<Delivery> {
        if self.dirty || self.has_frames() {
            return self.connection.poll_closed(cx).map(Delivery::Closed);
        }
        self.connection.poll_next(cx)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, WsError>>> {
        // A client that does not take its answers is not asked for more.
        if self.queue.len() + self.outbox.len() >= self.shared.settings.answers {
            return Poll::Pending;
        }
        // The library puts a pong into the buffer for every ping that it reads: one at most waits there. Should the client be gone, the
        // heartbeat ends the socket.
        if self.dirty && self.pong_waits {
            return Poll::Pending;
        }
        Pin::new(&mut self.ws).poll_next(cx)
    }

    /// Whether frames wait for their turn in the socket's buffer.
    fn has_frames(&self) -> bool {
        !self.outbox.is_empty() || !self.news.is_empty()
    }

    /// Puts a frame into the socket's buffer, which is clean or being filled: nothing is written before the flush.
    fn put(&mut self, message: Message) -> Result<(), WsError> {
        self.dirty = true;
        Pin::new(&mut self.ws).start_send(message)
    }

    /// Fills the buffer, which is clean. News goes first: no more of it is asked for before all of it and all answers are out.
    fn write_out(&mut self) -> Result<(), WsError> {
        let mut bytes = 0;
        while bytes < self.shared.settings.write_bytes {
            let Some(frame) = self.news.pop_front().or_else(|| self.outbox.pop_front()) else { break };
            bytes += frame.len();
            self.put(Message::Text(frame))?;
        }
        Ok(())
    }

    fn take_news(&mut self, signals: &[Arc<chatcore::hub::Signal>], events: &[Arc<chatcore::hub::Logged>]) {
        let events_written = events.len() as u64;
        let signals = signals.iter().map(|signal| encode::signal(signal)).filter(|frame| !frame.is_empty());
        self.news.extend(events.iter().map(|logged| encode::event(logged)).chain(signals));
        self.shared.counters.events.fetch_add(events_written, Ordering::Relaxed);
    }

    /// Takes a frame in. Answers why the socket ends, if it does.
    fn message(&mut self, message: Message) -> Option<End> {
        self.heard = Instant::now();
        self.shared.counters.frames.fetch_add(1, Ordering::Relaxed);
        match message {
            Message::Close(_) => return Some(End::Closed),
            Message::Pong(_) if std::mem::take(&mut self.pinged) => return None,
            _ => {}
        }
        if self.ws.get_ref().pace().check().is_err() {
            return Some(End::Bye(Bye::Rate));
        }
        match message {
            Message::Text(text) => self.text(&text),
            Message::Binary(_) => Some(End::Bye(Bye::Binary)),
            Message::Ping(_) => {
                // The library has queued the pong; the flush sends it.
                (self.dirty, self.pong_waits) = (true, true);
                None
            }
            Message::Close(_) | Message::Pong(_) | Message::Frame(_) => None,
        }
    }

    fn text(&mut self, text: &str) -> Option<End> {
        match decode(text) {
            Ok(Frame { id, command }) => {
                self.malformed = 0;
                let work = self.work(id.clone(), command);
                let work = work.unwrap_or_else(|problem| Work::Done(failed(id.as_deref(), problem)));
                self.queue.push(work);
            }
            Err(DecodeError { id, problem, malformed }) => {
                // What is well-formed and wrong ends the row as well.
                self.malformed = if malformed { self.malformed + 1 } else { 0 };
                if self.malformed >= MALFORMED_LIMIT {
                    return Some(End::Bye(Bye::Malformed));
                }
                self.queue.push(Work::Done(failed(id.as_deref(), problem)));
            }
        }
        None
    }

    /// The room that a command is about.
    fn room(&self, named: Option<RoomId>) -> Result<RoomId, Problem> {
        match (self.connection.scope(), named) {
            (Scope::Room(own), None) => Ok(own),
            (Scope::Room(own), Some(room)) if room != own => {
                let message = "is not the room of this socket";
                Err(Problem::invalid(vec![FieldError::new("room", FieldCode::NotAllowed, message)]))
            }
            (_, Some(room)) => Ok(room),
            (Scope::All, None) => Err(Problem::malformed("missing field `room`")),
        }
    }

    /// What a command needs done.
    fn work(&mut self, id: Option<String>, command: Command) -> Result<Work, Problem> {
        let chat = self.shared.chat.clone();
        let caller = self.caller;
        Ok(match command {
            Command::Send { room, body, client_id, reply_to } => {
                let room = self.room(room)?;
                let submit = async move {
                    let input = PostInput { body: &body, client_id: client_id.as_deref(), reply_to };
                    chat.submit_post(&caller, room, input).await
                };
                Work::Submit { id, room, submit: submit.boxed() }
            }
            Command::Edit { room, seq, body } => {
                let room = self.room(room)?;
                change(id, room, async move { chat.edit(&caller, room, seq, &body).await })
            }
            Command::Delete { room, seq } => {
                let room = self.room(room)?;
                change(id, room, async move { chat.delete(&caller, room, seq).await })
            }
            Command::React { room, seq, emoji, on } => {
                let room = self.room(room)?;
                change(id, room, async move { chat.react(&caller, room, seq, &emoji, on).await })
            }
            Command::Read { room, seq } => {
                let room = self.room(room)?;
                other(id, async move { Ok(Ack::read(room, &chat.mark_read(&caller, room, seq).await?)) })
            }
            Command::Typing { room, on } => {
                let room = self.room(room)?;
                other(id, async move { chat.typing(&caller, room, on).await.map(|()| Ack::Nothing {}) })
            }
            Command::Presence { status } => {
                self.connection.set_presence(status);
                Work::Done(id.map(|id| encode::ack(&id, Ack::Nothing {})))
            }
            Command::Resume { rooms, more } => Work::Resume { id, rooms, more },
            Command::Auth { token } => self.auth(id, token),
            Command::Ping => Work::Done(id.map(|id| encode::ack(&id, Ack::Ping { now: rfc3339(chat.now()) }))),
        })
    }

    /// A fresh token of the same session moves the socket's end. A refused one leaves it.
    fn auth(&mut self, id: Option<String>, token: String) -> Work {
        let chat = self.shared.chat.clone();
        let caller = self.caller;
        let expires_at = self.renewed.clone();
        other(id, async move {
            let fresh = chat.authenticate(&token).await?;
            if fresh.session != caller.session || fresh.user != caller.user {
                return Err(Error::Unauthenticated(AuthFailure::Invalid));
            }
            expires_at.store(fresh.expires_at.micros(), Ordering::Relaxed);
            Ok(Ack::Auth { expires_at: rfc3339(fresh.expires_at) })
        })
    }

    async fn resume(&mut self, id: Option<String>, rooms: &[(RoomId, u64)], more: bool) -> Answer {
        match self.shared.chat.resume(&mut self.connection, rooms, more).await {
            Ok(answers) => id.map(|id| encode::ack(&id, Ack::resume(answers))),
            Err(error) => failed(id.as_deref(), error),
        }
    }

    /// When the token in force ends.
    fn expires_at(&self) -> Timestamp {
        Timestamp::from_micros(self.renewed.load(Ordering::Relaxed)).max(self.caller.expires_at)
    }

    fn set_timer(&mut self) {
        let left = self.expires_at().since(self.shared.chat.now());
        let at = self.next_ping.min(Instant::now() + left);
        self.timer.as_mut().reset(at);
    }

    fn tick(&mut self) -> Option<End> {
        let now = Instant::now();
        if self.expires_at() <= self.shared.chat.now() {
            return Some(End::Bye(Bye::Expired));
        }
        if self.next_ping <= now {
            let heartbeat = self.shared.settings.heartbeat;
            if now.duration_since(self.heard) >= heartbeat * 2 {
                return Some(End::Bye(Bye::Heartbeat));
            }
            self.next_ping = now + heartbeat;
            if !self.dirty {
                self.pinged = true;
                if self.put(Message::Ping(bytes::Bytes::new())).is_err() {
                    return Some(End::Gone);
                }
            }
        }
        self.set_timer();
        None
    }
}

/// A command that appends an event.
fn change(
    id: Option<String>,
    room: RoomId,
    work: impl Future<Output = chatcore::service::Result<chatcore::view::ChangeReceipt>> + Send + 'static,
) -> Work {
    other(id, async move {
        let receipt = work.await?;
        Ok(Ack::change(room, receipt.seq, receipt.seq.is_none()))
    })
}

fn other(id: Option<String>, work: impl Future<Output = chatcore::service::Result<Ack>> + Send + 'static) -> Work {
    let answer = async move {
        match work.await {
            Ok(ack) => id.map(|id| encode::ack(&id, ack)),
            Err(error) => failed(id.as_deref(), error),
        }
    };
    Work::Other(answer.boxed())
}

/// Tells a client whose handshake was refused, and closes.
pub(super) async fn refuse(mut ws: WebSocketStream<Io>, problem: &Problem, shared: &Shared) {
    let wait = problem.retry_after().unwrap_or_default();
    say_bye(&mut ws, VecDeque::new(), Bye::of_refusal(problem), wait, shared).await;
}

/// Sends what was handed out before, `bye` and the close, waits for the client's, and ends the connection, all within the time for it. Coming
/// again helps after `wait`.
async fn say_bye(ws: &mut WebSocketStream<Io>, news: VecDeque<Utf8Bytes>, bye: Bye, wait: Duration, shared: &Shared) {
    let retry_after = match bye {
        Bye::Restart | Bye::Heartbeat | Bye::Rate => {
            Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(jitter(shared)))
        }
        _ => None,
    };
    let frame = encode::bye(bye.code(), bye.detail(), bye.reconnect(), retry_after);
    let close = CloseFrame { code: bye.close_code().into(), reason: Utf8Bytes::from_static(bye.detail()) };
    let ended = async {
        if let Err(error) = close_in_order(ws, news, frame, close).await {
            tracing::debug!(?bye, error = &error as &dyn std::error::Error, "no orderly close");
        }
        linger(ws).await;
    };
    if tokio::time::timeout(shared.settings.bye_timeout, ended).await.is_err() {
        tracing::debug!(?bye, "the client did not take the close in time");
    }
}

async fn close_in_order(
    ws: &mut WebSocketStream<Io>,
    news: VecDeque<Utf8Bytes>,
    bye: Utf8Bytes,
    close: CloseFrame,
) -> Result<(), WsError> {
    for frame in news {
        ws.send(Message::Text(frame)).await?;
    }
    ws.feed(Message::Text(bye)).await?;
    ws.feed(Message::Close(Some(close))).await?;
    ws.flush().await?;
    // Until the client has answered the close. After a frame that could not be read there is nothing more.
    while let Some(message) = ws.next().await {
        message?;
    }
    Ok(())
}

/// Sends the answer to the client's close, which the library has queued.
async fn answer_close(ws: &mut WebSocketStream<Io>, shared: &Shared) {
    let answered = async {
        // Fails once the answer is out, since the closing is complete then.
        let _ = ws.flush().await;
        linger(ws).await;
    };
    if tokio::time::timeout(shared.settings.bye_timeout, answered).await.is_err() {
        tracing::debug!("the client did not end the connection in time");
    }
}

/// Ends the connection from here, and reads until the client does too: bytes left unread would make the kernel reset it, and what
/// was sent last could be lost.
async fn linger(ws: &mut WebSocketStream<Io>) {
    let io = ws.get_mut().inner_mut();
    if io.shutdown().await.is_err() {
        return;
    }
    // Not within the task, which every socket would pay for.
    let mut scratch = vec![0; 4096];
    while let Ok(1..) = io.read(&mut scratch).await {}
}

/// A random part of the spread, so that clients do not all come back at once.
fn jitter(shared: &Shared) -> u64 {
    let spread = u64::try_from(shared.settings.restart_spread.as_millis()).unwrap_or(u64::MAX).max(1);
    let id = shared.chat.new_id();
    let random = u64::from_le_bytes(id.as_bytes()[8..].try_into().unwrap_or_default());
    // The first bits of these bytes are the UUID's variant, the last ones are random.
    (random >> 8) % spread
}
