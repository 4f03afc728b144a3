//! Messages and reactions.

use chatcore::model::{MessageRange, Seq};
use chatcore::service::PostInput;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::dto::{HistoryDto, ListDto, MessageDto, UserDto};
use crate::number::Whole;
use crate::problem::{Problem, ProblemBody};
use crate::request::{Call, Reply, json, list as page, no_content, ok};
use crate::schema::{Key, Place, Position};

/// A message.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewMessage)]
pub(crate) struct NewMessageDto {
    /// 1 to 4000 characters.
    #[schema(min_length = 1, max_length = 4000)]
    body: String,
    /// The sender's own key, so that sending may be repeated; 1 to 64 printable ASCII characters.
    #[schema(value_type = Option<Key>)]
    client_id: Option<String>,
    /// The `seq` of a message of the room.
    #[schema(value_type = Option<Position>)]
    reply_to: Option<Whole>,
}

/// A new body.
#[derive(Deserialize, ToSchema)]
#[schema(as = MessageChange)]
pub(crate) struct EditDto {
    #[schema(min_length = 1, max_length = 4000)]
    body: String,
}

/// Posts a message. The same `client_id` from the same sender in that room again answers the first one, whatever the body.
#[utoipa::path(post, path = "/messages/{room_id}", tag = "messages", params(crate::openapi::RoomPath), request_body = NewMessageDto, responses(
    (status = 200, description = "It had been posted before.", body = MessageDto),
    (status = 201, description = "Posted, and durable.", body = MessageDto),
    (status = 403, description = "`forbidden`: not a member, or blocked.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn post(call: Call) -> Reply {
    let body: NewMessageDto = call.json()?;
    let (caller, room) = (call.caller()?, call.room()?);
    let input =
        PostInput { body: &body.body, client_id: body.client_id.as_deref(), reply_to: body.reply_to.map(|seq| seq.0) };
    let receipt = call.chat.post(caller, room, input).await?;
    match receipt.message {
        Some(message) => json(StatusCode::CREATED, &MessageDto::from(&message)),
        None => ok(&MessageDto::from(&call.chat.message(caller, room, receipt.seq).await?)),
    }
}

/// A page of messages, rising: the newest, or those before, after or around a position.
#[utoipa::path(get, path = "/messages/{room_id}", tag = "messages",
    params(
        crate::openapi::RoomPath,
        ("before" = Option<Position>, Query, description = "Exclusive. At most one of the three."),
        ("after" = Option<Place>, Query, description = "Exclusive; 0 is the beginning. At most one of the three."),
        ("around" = Option<Position>, Query, description = "Inclusive. At most one of the three."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "1 to 100; default 50."),
    ),
    responses(
        (status = 200, description = "A page.", body = HistoryDto),
        (status = 403, description = "`forbidden`: not a member.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`: a number out of range.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn history(call: Call) -> Reply {
    let limit = call.limit()?;
    let before = call.query_position("before", false)?.and_then(Seq::new);
    let after = call.query_position("after", true)?;
    let around = call.query_position("around", false)?.and_then(Seq::new);
    let range = match (before, after, around) {
        (None, None, None) => MessageRange::Newest,
        (Some(before), None, None) => MessageRange::Before(before),
        (None, Some(after), None) => MessageRange::After(after),
        (None, None, Some(around)) => MessageRange::Around(around),
        _ => return Err(Problem::malformed("before, after and around exclude one another")),
    };
    let history = call.chat.history(call.caller()?, call.room()?, range, limit).await?;
    ok(&HistoryDto::from(&history))
}

/// One message.
#[utoipa::path(get, path = "/messages/{room_id}/{seq}", tag = "messages", params(crate::openapi::MessagePath), responses(
    (status = 200, description = "The message.", body = MessageDto),
    (status = 403, description = "`forbidden`: not a member.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn message(call: Call) -> Reply {
    let message = call.chat.message(call.caller()?, call.room()?, call.seq()?).await?;
    ok(&MessageDto::from(&message))
}

/// Replaces the body of one's own message.
#[utoipa::path(patch, path = "/messages/{room_id}/{seq}", tag = "messages", params(crate::openapi::MessagePath), request_body = EditDto, responses(
    (status = 200, description = "The message as it is now.", body = MessageDto),
    (status = 403, description = "`forbidden`: somebody else's.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "`rule`: `deleted`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn edit(call: Call) -> Reply {
    let body: EditDto = call.json()?;
    let (caller, room, seq) = (call.caller()?, call.room()?, call.seq()?);
    call.chat.edit(caller, room, seq, &body.body).await?;
    ok(&MessageDto::from(&call.chat.message(caller, room, seq).await?))
}

/// Turns a message into a tombstone; by its sender, or an owner or admin of the group. Idempotent.
#[utoipa::path(delete, path = "/messages/{room_id}/{seq}", tag = "messages", params(crate::openapi::MessagePath), responses(
    (status = 204, description = "Its bodies are gone from the store."),
    (status = 403, description = "`forbidden`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn delete(call: Call) -> Reply {
    call.chat.delete(call.caller()?, call.room()?, call.seq()?).await?;
    no_content()
}

/// Who has that reaction on that message, in the order in which they gave it.
#[utoipa::path(get, path = "/messages/{room_id}/{seq}/reactions/{emoji}", tag = "messages",
    params(crate::openapi::ReactionPath, crate::openapi::PageQuery),
    responses(
        (status = 200, description = "A page.", body = ListDto<UserDto>),
        (status = 403, description = "`forbidden`: not a member.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`: not one grapheme of at most 32 bytes.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn reactors(call: Call) -> Reply {
    let (caller, room, seq) = (call.caller()?, call.room()?, call.seq()?);
    let emoji: String = call.param("emoji")?;
    let after = call.cursor::<Seq>()?.map_or(0, Seq::number);
    let users = call.chat.reactors(caller, room, seq, &emoji, after, call.limit()?).await?;
    page(&users, |user| UserDto::from(user))
}

/// Reacts to a message. Idempotent.
#[utoipa::path(put, path = "/messages/{room_id}/{seq}/reactions/{emoji}", tag = "messages", params(crate::openapi::ReactionPath), responses(
    (status = 204, description = "It is there."),
    (status = 403, description = "`forbidden`: not a member, or blocked.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "`rule`: `deleted` or `too_many_reactions`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`: not one grapheme of at most 32 bytes.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn react(call: Call) -> Reply {
    set_reaction(call, true).await
}

/// Takes a reaction back. Idempotent.
#[utoipa::path(delete, path = "/messages/{room_id}/{seq}/reactions/{emoji}", tag = "messages", params(crate::openapi::ReactionPath), responses(
    (status = 204, description = "It is not there."),
    (status = 403, description = "`forbidden`: not a member.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`: not one grapheme of at most 32 bytes.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn unreact(call: Call) -> Reply {
    set_reaction(call, false).await
}

async fn set_reaction(call: Call, on: bool) -> Reply {
    let emoji: String = call.param("emoji")?;
    call.chat.react(call.caller()?, call.room()?, call.seq()?, &emoji, on).await?;
    no_content()
}
