//! The OpenAPI 3.1 document, made from the handlers and shapes themselves.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, ResponseBuilder};
use utoipa::{IntoParams, Modify, OpenApi};

use crate::dto::EventDto;
use crate::problem::ProblemBody;
use crate::rest::{auth, friends, messages, operations, rooms, users};
use crate::schema::{EmojiText, Id, Ids, Place, Position};

/// A page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query; handlers read it from the request")]
pub(crate) struct PageQuery {
    /// Rows a page.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// `next` of the page before; opaque.
    cursor: Option<String>,
}

/// A room.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path; handlers read it from the request")]
pub(crate) struct RoomPath {
    /// The room.
    #[param(value_type = Id)]
    room_id: String,
}

/// A message.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path; handlers read it from the request")]
pub(crate) struct MessagePath {
    /// The room.
    #[param(value_type = Id)]
    room_id: String,
    /// The message's number.
    #[param(value_type = Position)]
    seq: u64,
}

/// A reaction.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path; handlers read it from the request")]
pub(crate) struct ReactionPath {
    /// The room.
    #[param(value_type = Id)]
    room_id: String,
    /// The message's number.
    #[param(value_type = Position)]
    seq: u64,
    /// One grapheme of at most 32 bytes, percent-encoded.
    #[param(value_type = EmojiText)]
    emoji: String,
}

/// A socket for all rooms of the caller, and what concerns them. The frames are described in the protocol's document.
#[utoipa::path(get, path = "/ws", tag = "sockets", responses(
    (status = 101, description = "A WebSocket (subprotocol `chatcore.v1` where the token came as one)."),
))]
#[expect(dead_code, reason = "describes the handshake for the document")]
fn socket_for_all() {}

/// A socket for one room.
#[utoipa::path(get, path = "/ws/chat/{room_id}", tag = "sockets",
    params(RoomPath, ("after" = Option<Place>, Query, description = "Begin with the events after this one.")),
    responses(
        (status = 101, description = "A WebSocket (subprotocol `chatcore.v1` where the token came as one)."),
        (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
#[expect(dead_code, reason = "describes the handshake for the document")]
fn socket_for_room() {}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "chatcore",
        description = "Users, friendships, rooms, messages, presence and live delivery. Every room is a log: its events are numbered 1, 2, 3, … without a hole, and a message is known by its room and number. Unknown request fields are ignored; clients ignore unknown response fields.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        auth::register, auth::login, auth::refresh, auth::logout, auth::me, auth::update_me, auth::change_password,
        auth::sessions, auth::end_session,
        users::list, users::profile, users::blocked, users::block, users::unblock,
        friends::request, friends::list, friends::requests, friends::answer, friends::end,
        rooms::create, rooms::list, rooms::room, rooms::rename, rooms::members, rooms::add_members,
        rooms::remove_member, rooms::change_role, rooms::mark_read, rooms::events, rooms::status,
        messages::post, messages::history, messages::message, messages::edit, messages::delete,
        messages::reactors, messages::react, messages::unreact,
        socket_for_all, socket_for_room,
        operations::healthz, operations::readyz, operations::openapi_json, operations::docs,
    ),
    components(schemas(EventDto, ProblemBody, Id, Ids, Place, Position, EmojiText)),
    modifiers(&Common),
    security(("bearer" = [])),
    tags(
        (name = "auth", description = "Accounts and sessions."),
        (name = "users", description = "Other users."),
        (name = "friends", description = "Friendships: one row a pair."),
        (name = "rooms", description = "Rooms, members, read markers, the log."),
        (name = "messages", description = "Messages and reactions."),
        (name = "sockets", description = "WebSocket handshakes."),
        (name = "operations", description = "For those who run the server."),
    ),
)]
struct Document;

/// What every call has in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        document.info.version = env!("CARGO_PKG_VERSION").to_owned();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        for (path, item) in &mut document.paths.paths {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            for operation in operations.into_iter().flatten() {
                for (status, description) in common_errors(path, operation) {
                    let problem = Ref::from_schema_name("Problem");
                    let content = Content::new(Some(problem));
                    let response = ResponseBuilder::new()
                        .description(description)
                        .content("application/problem+json", content)
                        .build();
                    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
                }
            }
        }
    }
}

/// The errors that any call may answer, beside its own.
fn common_errors(path: &str, operation: &Operation) -> Vec<(&'static str, &'static str)> {
    if ["/healthz", "/openapi.json", "/docs"].contains(&path) {
        return vec![("429", "`rate_limited`: `budget` says which limit, and `Retry-After` how long to wait.")];
    }
    let mut errors = vec![
        ("400", "`malformed`: not JSON, a wrong type, a missing field, a bad path parameter or cursor."),
        ("429", "`rate_limited`: `budget` says which limit, and `Retry-After` how long to wait."),
        ("500", "`internal`: a defect; the log tells more under `request_id`."),
        ("503", "`unavailable`: the storage is away; with `Retry-After`."),
    ];
    let open = operation
        .security
        .as_ref()
        .is_some_and(|security| security.iter().all(|s| *s == SecurityRequirement::default()));
    if !open {
        errors.push(("401", "`unauthenticated`: no token, a bad or expired one, or its session has ended."));
    }
    if operation.responses.responses.contains_key("101") {
        errors.push(("403", "`forbidden`: not a member, or the origin is not allowed."));
        errors.push(("426", "`upgrade_required`: a WebSocket of another version than 13."));
    }
    if operation.request_body.is_some() {
        errors.push(("413", "`too_large`."));
        errors.push(("415", "`unsupported_media_type`."));
    }
    if operation.parameters.is_some() {
        errors.push(("422", "`invalid`: a number out of range."));
    }
    errors
}

/// The OpenAPI 3.1 document of the service.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rest;

    #[test]
    fn the_document_and_the_routes_are_the_same() {
        let document = serde_json::to_value(openapi()).unwrap();
        let described: BTreeSet<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        let routed: BTreeSet<String> =
            rest::routes().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = serde_json::to_string(&openapi()).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
