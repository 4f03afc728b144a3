//! Frames from the client: any text becomes a command or an error, never a panic.

use std::collections::HashMap;

use chatcore::id::RoomId;
use chatcore::model::{FieldCode, FieldError, Seq};
use chatcore::view::PresenceStatus;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::number::Whole;
use crate::problem::Problem;
use crate::request::expect_object;

/// Rooms that one `resume` may name.
const MAX_RESUME_ROOMS: usize = 1000;
/// Bytes of a frame's `id`.
const MAX_ID: usize = 128;

/// A frame: the client's own id of it, and what it asks for.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: Option<String>,
    pub(crate) command: Command,
}

/// What a frame asks for. `room` is left out where the socket is for one room.
#[derive(Debug)]
pub(crate) enum Command {
    Send { room: Option<RoomId>, body: String, client_id: Option<String>, reply_to: Option<u64> },
    Edit { room: Option<RoomId>, seq: Seq, body: String },
    Delete { room: Option<RoomId>, seq: Seq },
    React { room: Option<RoomId>, seq: Seq, emoji: String, on: bool },
    Read { room: Option<RoomId>, seq: u64 },
    Typing { room: Option<RoomId>, on: bool },
    Presence { status: PresenceStatus },
    Resume { rooms: Vec<(RoomId, u64)>, more: bool },
    Auth { token: String },
    Ping,
}

/// Why a frame is none.
#[derive(Debug)]
pub(crate) struct DecodeError {
    pub(crate) id: Option<String>,
    pub(crate) problem: Problem,
    /// Whether it counts towards the close after several malformed frames.
    pub(crate) malformed: bool,
}

#[derive(Deserialize)]
struct Envelope {
    r#type: String,
    id: Option<String>,
}

#[derive(Deserialize)]
struct SendBody {
    room: Option<String>,
    body: String,
    client_id: Option<String>,
    reply_to: Option<Whole>,
}

#[derive(Deserialize)]
struct EditBody {
    room: Option<String>,
    seq: Whole,
    body: String,
}

#[derive(Deserialize)]
struct SeqBody {
    room: Option<String>,
    seq: Whole,
}

#[derive(Deserialize)]
struct ReactBody {
    room: Option<String>,
    seq: Whole,
    emoji: String,
}

#[derive(Deserialize)]
struct TypingBody {
    room: Option<String>,
    on: bool,
}

#[derive(Deserialize)]
struct PresenceBody {
    status: String,
}

#[derive(Deserialize)]
struct ResumeBody {
    rooms: HashMap<String, Whole>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct AuthBody {
    token: String,
}

/// Reads a frame.
pub(crate) fn decode(text: &str) -> Result<Frame, DecodeError> {
    let envelope: Envelope = expect_object(text.as_bytes())
        .and_then(|()| parse(text))
        .map_err(|problem| DecodeError { id: None, problem, malformed: true })?;
    let id = envelope.id;
    if id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
        let error = FieldError::new("id", FieldCode::TooLong, "has more than 128 bytes");
        return Err(DecodeError { id: None, problem: Problem::invalid(vec![error]), malformed: false });
    }
    match command(&envelope.r#type, text) {
        Ok(command) => Ok(Frame { id, command }),
        Err(problem) => {
            let malformed = problem.code() == "malformed";
            Err(DecodeError { id, problem, malformed })
        }
    }
}

fn command(kind: &str, text: &str) -> Result<Command, Problem> {
    Ok(match kind {
        "message.send" => {
            let body: SendBody = parse(text)?;
            let room = room(body.room)?;
            Command::Send { room, body: body.body, client_id: body.client_id, reply_to: body.reply_to.map(|seq| seq.0) }
        }
        "message.edit" => {
            let body: EditBody = parse(text)?;
            Command::Edit { room: room(body.room)?, seq: seq(body.seq)?, body: body.body }
        }
        "message.delete" => {
            let body: SeqBody = parse(text)?;
            Command::Delete { room: room(body.room)?, seq: seq(body.seq)? }
        }
        "reaction.add" | "reaction.remove" => {
            let body: ReactBody = parse(text)?;
            let on = kind == "reaction.add";
            Command::React { room: room(body.room)?, seq: seq(body.seq)?, emoji: body.emoji, on }
        }
        "read" => {
            let body: SeqBody = parse(text)?;
            Command::Read { room: room(body.room)?, seq: body.seq.0 }
        }
        "typing" => {
            let body: TypingBody = parse(text)?;
            Command::Typing { room: room(body.room)?, on: body.on }
        }
        "presence" => {
            let body: PresenceBody = parse(text)?;
            let status = match body.status.as_str() {
                "online" => PresenceStatus::Online,
                "away" => PresenceStatus::Away,
                _ => return Err(invalid("status", FieldCode::Unknown, "must be online or away")),
            };
            Command::Presence { status }
        }
        "resume" => resume(parse(text)?)?,
        "auth" => Command::Auth { token: parse::<AuthBody>(text)?.token },
        "ping" => Command::Ping,
        _ => return Err(invalid("type", FieldCode::Unknown, "is no frame of this protocol")),
    })
}

fn resume(body: ResumeBody) -> Result<Command, Problem> {
    if body.rooms.len() > MAX_RESUME_ROOMS {
        return Err(invalid("rooms", FieldCode::TooLong, "names more than 1000 rooms"));
    }
    let mut rooms = Vec::with_capacity(body.rooms.len());
    let mut errors = Vec::new();
    for (room, Whole(position)) in body.rooms {
        match room.parse() {
            Ok(_) if position > Seq::MAX => {
                errors.push(FieldError::new(format!("rooms.{room}"), FieldCode::Range, "is not a position"));
            }
            Ok(id) => rooms.push((id, position)),
            // The key itself may be anything, so it is not repeated.
            Err(_) => errors.push(FieldError::new("rooms", FieldCode::Format, "holds a key that is not an id")),
        }
    }
    if errors.is_empty() { Ok(Command::Resume { rooms, more: body.more }) } else { Err(Problem::invalid(errors)) }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::malformed(error.to_string()))
}

fn invalid(field: &'static str, code: FieldCode, message: &'static str) -> Problem {
    Problem::invalid(vec![FieldError::new(field, code, message)])
}

fn room(text: Option<String>) -> Result<Option<RoomId>, Problem> {
    text.map(|text| text.parse().map_err(|_| invalid("room", FieldCode::Format, "is not an id"))).transpose()
}

fn seq(number: Whole) -> Result<Seq, Problem> {
    Seq::new(number.0).ok_or_else(|| invalid("seq", FieldCode::Range, "is not a position"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: &str = "01920000-0000-7000-8000-000000000001";

    #[test]
    fn every_frame_of_the_protocol_is_read() {
        for text in [
            format!(r#"{{"type":"message.send","id":"1","room":"{ROOM}","body":"hi","client_id":"a","reply_to":12}}"#),
            r#"{"type":"message.send","body":"hi"}"#.to_owned(),
            format!(r#"{{"type":"message.edit","id":"2","room":"{ROOM}","seq":12,"body":"hi!"}}"#),
            format!(r#"{{"type":"message.delete","id":"3","room":"{ROOM}","seq":12}}"#),
            format!(r#"{{"type":"reaction.add","id":"4","room":"{ROOM}","seq":12,"emoji":"👍"}}"#),
            format!(r#"{{"type":"reaction.remove","id":"4","room":"{ROOM}","seq":12,"emoji":"👍","extra":[1]}}"#),
            format!(r#"{{"type":"read","id":"5","room":"{ROOM}","seq":42}}"#),
            format!(r#"{{"type":"typing","room":"{ROOM}","on":true}}"#),
            r#"{"type":"presence","status":"away"}"#.to_owned(),
            format!(r#"{{"type":"resume","id":"6","rooms":{{"{ROOM}":37}},"more":false}}"#),
            format!(r#"{{"type":"resume","rooms":{{"{ROOM}":37.0}}}}"#),
            r#"{"type":"resume","rooms":{}}"#.to_owned(),
            r#"{"type":"auth","id":"7","token":"x"}"#.to_owned(),
            r#"{"type":"ping","id":"8"}"#.to_owned(),
        ] {
            assert!(decode(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, code, malformed) in [
            ("", "malformed", true),
            ("[]", "malformed", true),
            (r#"["ping","1"]"#, "malformed", true),
            (r#"{"id":"1"}"#, "malformed", true),
            (r#"{"type":"message.send"}"#, "malformed", true),
            (r#"{"type":"read","seq":"1"}"#, "malformed", true),
            (r#"{"type":"read","seq":-1}"#, "malformed", true),
            (r#"{"type":"no.such"}"#, "invalid", false),
            (r#"{"type":"presence","status":"gone"}"#, "invalid", false),
            (r#"{"type":"message.delete","seq":0}"#, "invalid", false),
            (r#"{"type":"read","room":"x","seq":1}"#, "invalid", false),
        ] {
            let error = decode(text).expect_err(text);
            assert_eq!((error.problem.code(), error.malformed), (code, malformed), "{text}");
        }
        let error = decode(r#"{"type":"no.such","id":"9"}"#).expect_err("unknown");
        assert_eq!(error.id.as_deref(), Some("9"));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
            Just(ROOM.into()),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::hash_map("[a-z_]{1,6}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_a_command_or_an_error(text in ".*") {
            let _ = decode(&text);
        }

        #[test]
        fn any_bytes_are_a_command_or_an_error(bytes: Vec<u8>) {
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let _ = decode(text);
            }
        }

        #[test]
        fn any_fields_of_any_type_are_a_command_or_an_error(
            kind in prop_oneof![
                Just("message.send"), Just("message.edit"), Just("message.delete"), Just("reaction.add"),
                Just("reaction.remove"), Just("read"), Just("typing"), Just("presence"), Just("resume"), Just("auth"), Just("ping"),
            ],
            fields in prop::collection::hash_map(
                prop_oneof![
                    Just("id"), Just("room"), Just("body"), Just("seq"), Just("emoji"), Just("on"), Just("status"),
                    Just("rooms"), Just("more"), Just("token"), Just("client_id"), Just("reply_to"),
                ],
                json(),
                0..6,
            ),
        ) {
            let mut object: serde_json::Map<_, _> = fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            object.insert("type".to_owned(), kind.into());
            let _ = decode(&serde_json::Value::Object(object).to_string());
        }
    }
}
