//! Frames to the client.

use std::collections::BTreeMap;

use bytes::Bytes;
use chatcore::hub::{Logged, Signal};
use chatcore::id::RoomId;
use chatcore::model::{Event, Seq};
use chatcore::service::{Hello, ResumeAnswer, RoomStart};
use chatcore::view::ReadState;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::dto::{EventDto, SignalDto, UserDto};
use crate::http_settings::HttpSettings;
use crate::problem::{FieldProblem, Problem};
use crate::time::rfc3339;

#[derive(Serialize)]
struct HelloFrame<'a> {
    r#type: &'static str,
    protocol: u32,
    connection: String,
    user: UserDto,
    room: Option<String>,
    from: Option<u64>,
    head: Option<u64>,
    resumed: Option<bool>,
    read: Option<u64>,
    unread: Option<u32>,
    now: String,
    expires_at: String,
    heartbeat_ms: u128,
    limits: Limits<'a>,
}

#[derive(Serialize)]
struct Limits<'a> {
    frames_per_s: u32,
    frame_bytes: usize,
    resume_events: &'a u64,
}

#[derive(Serialize)]
struct EventFrame {
    r#type: &'static str,
    #[serde(flatten)]
    event: EventDto,
}

#[derive(Serialize)]
struct AckFrame<'a, T> {
    r#type: &'static str,
    id: &'a str,
    #[serde(flatten)]
    answer: T,
}

#[derive(Serialize)]
struct ErrorFrame<'a> {
    r#type: &'static str,
    id: Option<&'a str>,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<&'a str>,
    errors: &'a [FieldProblem],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u128>,
}

#[derive(Serialize)]
struct ByeFrame<'a> {
    r#type: &'static str,
    code: &'a str,
    detail: &'a str,
    reconnect: bool,
    retry_after_ms: Option<u64>,
}

/// What an `ack` says beside its id.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Ack {
    Change { room: String, seq: Option<u64>, duplicate: bool },
    Read { room: String, read: u64, unread: u32 },
    Auth { expires_at: String },
    Ping { now: String },
    Resume { rooms: BTreeMap<String, ResumeAck> },
    Nothing {},
}

/// What an `ack` of a `resume` says of a room.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ResumeAck {
    Started { from: u64, head: u64, resumed: bool, read: u64, unread: u32 },
    Refused { code: &'static str },
}

impl Ack {
    pub(crate) fn change(room: RoomId, seq: Option<Seq>, duplicate: bool) -> Self {
        Self::Change { room: room.to_string(), seq: seq.map(Seq::number), duplicate }
    }

    pub(crate) fn read(room: RoomId, state: &ReadState) -> Self {
        Self::Read { room: room.to_string(), read: state.read, unread: state.unread }
    }

    pub(crate) fn resume(answers: impl IntoIterator<Item = (RoomId, ResumeAnswer)>) -> Self {
        let rooms = answers.into_iter().map(|(room, answer)| {
            let ack = match answer {
                ResumeAnswer::Started(RoomStart { from, head, resumed, read, unread }) => {
                    ResumeAck::Started { from, head, resumed: resumed.unwrap_or(false), read, unread }
                }
                ResumeAnswer::Refused(error) => ResumeAck::Refused { code: Problem::from(error).code() },
            };
            (room.to_string(), ack)
        });
        Self::Resume { rooms: rooms.collect() }
    }
}

/// Writes a frame. All frames are structs of plain fields, which JSON always has a form for.
fn write<T: Serialize>(frame: &T) -> String {
    serde_json::to_string(frame).unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a frame could not be written as JSON");
        r#"{"type":"error","id":null,"code":"internal","detail":"a frame could not be written","errors":[]}"#.to_owned()
    })
}

pub(crate) fn hello(hello: &Hello, settings: &HttpSettings, resume_events: u64) -> Utf8Bytes {
    let room = hello.room.as_ref();
    let start = room.map(|(_, start)| start);
    write(&HelloFrame {
        r#type: "hello",
        protocol: 1,
        connection: hello.connection.to_string(),
        user: (&hello.user).into(),
        room: room.map(|(room, _)| room.to_string()),
        from: start.map(|start| start.from),
        head: start.map(|start| start.head),
        resumed: start.and_then(|start| start.resumed),
        read: start.map(|start| start.read),
        unread: start.map(|start| start.unread),
        now: rfc3339(hello.now),
        expires_at: rfc3339(hello.expires_at),
        heartbeat_ms: settings.heartbeat.as_millis(),
        limits: Limits {
            frames_per_s: settings.frames_per_second,
            frame_bytes: settings.frame_bytes,
            resume_events: &resume_events,
        },
    })
    .into()
}

pub(crate) fn ack(id: &str, answer: Ack) -> Utf8Bytes {
    write(&AckFrame { r#type: "ack", id, answer }).into()
}

pub(crate) fn error(id: Option<&str>, problem: &Problem) -> Utf8Bytes {
    write(&ErrorFrame {
        r#type: "error",
        id,
        code: problem.code(),
        detail: problem.detail(),
        rule: problem.rule(),
        budget: problem.budget(),
        errors: problem.errors(),
        retry_after_ms: problem.retry_after().map(|after| after.as_millis()),
    })
    .into()
}

pub(crate) fn bye(code: &str, detail: &str, reconnect: bool, retry_after_ms: Option<u64>) -> Utf8Bytes {
    write(&ByeFrame { r#type: "bye", code, detail, reconnect, retry_after_ms }).into()
}

/// An event's frame, encoded once for all who are sent it.
pub(crate) fn event(logged: &Logged) -> Utf8Bytes {
    let encode = |event: &Event| Bytes::from(write(&EventFrame { r#type: "event", event: event.into() }));
    shared(logged.encoded(encode).clone())
}

/// A signal's frame, encoded once for all who are sent it; empty for one that this protocol has no name for.
pub(crate) fn signal(signal: &Signal) -> Utf8Bytes {
    let encode = |signal: &Signal| SignalDto::new(signal).map(|dto| Bytes::from(write(&dto))).unwrap_or_default();
    shared(signal.encoded(encode).clone())
}

fn shared(bytes: Bytes) -> Utf8Bytes {
    // It was made from a `String`.
    Utf8Bytes::try_from(bytes).unwrap_or_default()
}
