//! Rooms and their members.

use chatcore::id::UserId;
use chatcore::model::{FieldCode, FieldError, LogRange, Role, Seq};
use chatcore::service::{Error, GroupInput, Rule};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::friends::parse_id;
use crate::dto::{EventsDto, ListDto, MemberDto, ReadStateDto, RoleDto, RoomDto, RoomStatusDto, RoomSummaryDto};
use crate::number::Whole;
use crate::problem::{Problem, ProblemBody};
use crate::request::{Call, Reply, json, list as page, no_content, ok};
use crate::schema::{Id, Key, Place, Position};

/// A room: direct with `user_id`, or a group with `name` and `member_ids`.
#[derive(Deserialize)]
pub(crate) struct NewRoomDto {
    kind: String,
    user_id: Option<String>,
    name: Option<String>,
    member_ids: Option<Vec<String>>,
    client_id: Option<String>,
}

/// A room: direct with `user_id`, or a group with `name` and `member_ids`.
#[derive(ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[schema(as = NewRoom)]
#[expect(dead_code, reason = "describes the body, whose fields depend on its kind")]
pub(crate) enum NewRoomSchema {
    Direct {
        /// The other one.
        #[schema(value_type = Id)]
        user_id: String,
    },
    Group {
        #[schema(min_length = 1, max_length = 80)]
        name: String,
        /// Whom to add from the start.
        #[schema(value_type = Option<Vec<Id>>)]
        member_ids: Option<Vec<String>>,
        /// The maker's own key, so that making it may be repeated.
        #[schema(value_type = Option<Key>)]
        client_id: Option<String>,
    },
}

/// A new name.
#[derive(Deserialize, ToSchema)]
#[schema(as = RoomChange)]
pub(crate) struct RenameDto {
    #[schema(min_length = 1, max_length = 80)]
    name: String,
}

/// Users to add.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewMembers)]
pub(crate) struct NewMembersDto {
    #[schema(value_type = Vec<Id>, min_items = 1)]
    user_ids: Vec<String>,
}

/// A role to give.
#[derive(Deserialize, ToSchema)]
#[schema(as = RoleChange)]
pub(crate) struct RoleChangeDto {
    #[schema(value_type = RoleDto)]
    role: String,
}

/// How far somebody has read.
#[derive(Deserialize, ToSchema)]
#[schema(as = ReadChange)]
pub(crate) struct ReadDto {
    /// The number of any event.
    #[schema(value_type = Position)]
    seq: Whole,
}

fn parse_ids(call: &Call, field: &'static str, ids: &[String]) -> Result<Vec<UserId>, Problem> {
    // More can never be added; thousands of errors would be a long answer to a short question.
    if ids.len() > call.chat.settings().max_members as usize {
        return Err(Error::Rule(Rule::Full).into());
    }
    let mut errors = Vec::new();
    let mut parsed = Vec::with_capacity(ids.len());
    for (index, id) in ids.iter().enumerate() {
        match id.parse() {
            Ok(id) => parsed.push(id),
            Err(_) => errors.push(FieldError::new(format!("{field}[{index}]"), FieldCode::Format, "is not an id")),
        }
    }
    if errors.is_empty() { Ok(parsed) } else { Err(Problem::invalid(errors)) }
}

/// Opens the direct room of a pair, or makes a group.
#[utoipa::path(post, path = "/chat-rooms", tag = "rooms", request_body = NewRoomSchema, responses(
    (status = 200, description = "The room that the pair already has, or that was made under this `client_id`.", body = RoomDto),
    (status = 201, description = "Made.", body = RoomDto),
    (status = 403, description = "`forbidden`: one of the two has blocked the other.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`: no such user.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "`rule`: `self`, `full` or `not_friends`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn create(call: Call) -> Reply {
    let body: NewRoomDto = call.json()?;
    let caller = call.caller()?;
    let created = match body.kind.as_str() {
        "direct" => {
            let user = body.user_id.as_deref().ok_or_else(|| Problem::malformed("missing field `user_id`"))?;
            call.chat.open_direct(caller, parse_id("user_id", user)?).await?
        }
        "group" => {
            let name = body.name.as_deref().ok_or_else(|| Problem::malformed("missing field `name`"))?;
            let members = parse_ids(&call, "member_ids", body.member_ids.as_deref().unwrap_or_default())?;
            let input = GroupInput { name, members: &members, client_id: body.client_id.as_deref() };
            call.chat.create_group(caller, input).await?
        }
        _ => {
            let message = "must be direct or group";
            return Err(Problem::invalid(vec![FieldError::new("kind", FieldCode::Unknown, message)]));
        }
    };
    let status = if created.created { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &RoomDto::from(&created.room))
}

/// The caller's rooms, latest message first.
#[utoipa::path(get, path = "/chat-rooms", tag = "rooms", params(crate::openapi::PageQuery),
    responses((status = 200, description = "A page.", body = ListDto<RoomSummaryDto>)))]
pub(crate) async fn list(call: Call) -> Reply {
    let rooms = call.chat.rooms(call.caller()?, call.cursor()?, call.limit()?).await?;
    page(&rooms, |room| RoomSummaryDto::from(room))
}

/// A room, with its first 50 members.
#[utoipa::path(get, path = "/chat-rooms/{room_id}", tag = "rooms", params(crate::openapi::RoomPath), responses(
    (status = 200, description = "The room.", body = RoomDto),
    (status = 403, description = "`forbidden`: not a member.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn room(call: Call) -> Reply {
    let room = call.chat.room(call.caller()?, call.room()?).await?;
    ok(&RoomDto::from(&room))
}

/// Renames a group; by an owner or admin.
#[utoipa::path(patch, path = "/chat-rooms/{room_id}", tag = "rooms", params(crate::openapi::RoomPath), request_body = RenameDto, responses(
    (status = 200, description = "Renamed.", body = RoomDto),
    (status = 403, description = "`forbidden`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "`rule`: `direct_room`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn rename(call: Call) -> Reply {
    let body: RenameDto = call.json()?;
    let room = call.chat.rename_room(call.caller()?, call.room()?, &body.name).await?;
    ok(&RoomDto::from(&room))
}

/// A room's members, oldest first.
#[utoipa::path(get, path = "/chat-rooms/{room_id}/members", tag = "rooms", params(crate::openapi::RoomPath, crate::openapi::PageQuery), responses(
    (status = 200, description = "A page.", body = ListDto<MemberDto>),
    (status = 403, description = "`forbidden`: not a member.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn members(call: Call) -> Reply {
    let members = call.chat.members(call.caller()?, call.room()?, call.cursor()?, call.limit()?).await?;
    page(&members, |member| MemberDto::from(member))
}

/// Adds members to a group, all or none; by an owner or admin.
#[utoipa::path(post, path = "/chat-rooms/{room_id}/members", tag = "rooms", params(crate::openapi::RoomPath), request_body = NewMembersDto, responses(
    (status = 200, description = "All of them are in it.", body = RoomDto),
    (status = 403, description = "`forbidden`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "`rule`: `direct_room` or `full`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`: `user_ids[i]` names each who cannot be added.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn add_members(call: Call) -> Reply {
    let body: NewMembersDto = call.json()?;
    if body.user_ids.is_empty() {
        return Err(Problem::invalid(vec![FieldError::new("user_ids", FieldCode::Blank, "must not be empty")]));
    }
    let users = parse_ids(&call, "user_ids", &body.user_ids)?;
    let room = call.chat.add_members(call.caller()?, call.room()?, &users).await?;
    ok(&RoomDto::from(&room))
}

/// Leaves, or removes somebody: an owner anybody, an admin plain members. Also a success for one who is not there.
#[utoipa::path(delete, path = "/chat-rooms/{room_id}/members/{user_id}", tag = "rooms",
    params(crate::openapi::RoomPath, ("user_id" = Id, Path, description = "Who goes.")),
    responses(
        (status = 204, description = "Not a member."),
        (status = 403, description = "`forbidden`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`rule`: `direct_room` or `last_owner`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn remove_member(call: Call) -> Reply {
    call.chat.remove_member(call.caller()?, call.room()?, call.user("user_id")?).await?;
    no_content()
}

/// Gives a member another role; by an owner.
#[utoipa::path(put, path = "/chat-rooms/{room_id}/members/{user_id}/role", tag = "rooms", request_body = RoleChangeDto,
    params(crate::openapi::RoomPath, ("user_id" = Id, Path, description = "Who gets it.")),
    responses(
        (status = 200, description = "Given.", body = RoomDto),
        (status = 403, description = "`forbidden`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no such room or member.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`rule`: `direct_room` or `last_owner`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn change_role(call: Call) -> Reply {
    let body: RoleChangeDto = call.json()?;
    let role = match body.role.as_str() {
        "owner" => Role::Owner,
        "admin" => Role::Admin,
        "member" => Role::Member,
        _ => {
            let message = "must be owner, admin or member";
            return Err(Problem::invalid(vec![FieldError::new("role", FieldCode::Unknown, message)]));
        }
    };
    let room = call.chat.change_role(call.caller()?, call.room()?, call.user("user_id")?, role).await?;
    ok(&RoomDto::from(&room))
}

/// Moves the caller's read marker; never back.
#[utoipa::path(put, path = "/chat-rooms/{room_id}/read", tag = "rooms", params(crate::openapi::RoomPath), request_body = ReadDto, responses(
    (status = 200, description = "Where it stands.", body = ReadStateDto),
    (status = 403, description = "`forbidden`: not a member.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`: beyond the head.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn mark_read(call: Call) -> Reply {
    let body: ReadDto = call.json()?;
    let room = call.room()?;
    let state = call.chat.mark_read(call.caller()?, room, body.seq.0).await?;
    ok(&ReadStateDto::new(room, &state))
}

/// A part of the log itself, rising: after a position, or the newest before one; with neither, from the beginning.
#[utoipa::path(get, path = "/chat-rooms/{room_id}/events", tag = "rooms",
    params(
        crate::openapi::RoomPath,
        ("after" = Option<Place>, Query, description = "Exclusive; 0 is the beginning. Excludes `before`."),
        ("before" = Option<Position>, Query, description = "Exclusive. Excludes `after`."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "1 to 100; default 50."),
    ),
    responses(
        (status = 200, description = "Events.", body = EventsDto),
        (status = 403, description = "`forbidden`: not a member.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`: a number out of range.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn events(call: Call) -> Reply {
    let limit = call.limit()?;
    let range = match (call.query_position("after", true)?, call.query_position("before", false)?) {
        (Some(_), Some(_)) => return Err(Problem::malformed("after and before exclude one another")),
        (after, None) => LogRange::After(after.unwrap_or(0)),
        (None, Some(before)) => match Seq::new(before) {
            Some(before) => LogRange::Before(before),
            None => return Err(Problem::malformed("before is not a position")),
        },
    };
    let page = call.chat.events(call.caller()?, call.room()?, range, limit).await?;
    let more = match range {
        LogRange::After(_) => page.events.last().is_some_and(|last| last.seq.number() < page.head),
        LogRange::Before(_) => page.events.first().is_some_and(|first| first.seq > Seq::FIRST),
    };
    ok(&EventsDto::new(&page, more))
}

/// Who of a room is there.
#[utoipa::path(get, path = "/ws/rooms/{room_id}/status", tag = "rooms", params(crate::openapi::RoomPath), responses(
    (status = 200, description = "Who is there.", body = RoomStatusDto),
    (status = 403, description = "`forbidden`: not a member.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn status(call: Call) -> Reply {
    let status = call.chat.room_status(call.caller()?, call.room()?).await?;
    ok(&RoomStatusDto::from(&status))
}
