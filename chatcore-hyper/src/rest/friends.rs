//! Friendships.

use chatcore::id::UserId;
use chatcore::model::{FieldCode, FieldError};
use chatcore::service::FriendRef;
use chatcore::store::FriendshipList;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::dto::{FriendshipDto, ListDto};
use crate::problem::{Problem, ProblemBody};
use crate::request::{Call, Reply, json, list as page, no_content, ok};
use crate::schema::Id;

/// Whom to ask: one of the two.
#[derive(Deserialize)]
pub(crate) struct FriendRequestDto {
    user_id: Option<String>,
    username: Option<String>,
}

/// Whom to ask: one of the two.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = FriendRequest)]
#[expect(dead_code, reason = "describes the body, of which exactly one has to be given")]
pub(crate) enum FriendRequestSchema {
    ById {
        #[schema(value_type = Id)]
        user_id: String,
    },
    ByName {
        #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z][A-Za-z0-9_.]*$")]
        username: String,
    },
}

/// An answer to a request.
#[derive(Deserialize, ToSchema)]
#[schema(as = FriendAnswer)]
pub(crate) struct FriendAnswerDto {
    /// `accepted` or `rejected`.
    #[schema(pattern = "^(accepted|rejected)$")]
    status: String,
}

/// Asks somebody. If they have asked already, both are friends now.
#[utoipa::path(post, path = "/friends/request", tag = "friends", request_body = FriendRequestSchema, responses(
    (status = 200, description = "Pending already, or accepted because the other had asked.", body = FriendshipDto),
    (status = 201, description = "Asked.", body = FriendshipDto),
    (status = 403, description = "`forbidden`: one of the two has blocked the other.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "`rule`: `self` or `already_friends`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn request(call: Call) -> Reply {
    let body: FriendRequestDto = call.json()?;
    let whom = match (&body.user_id, &body.username) {
        (Some(id), None) => FriendRef::Id(parse_id("user_id", id)?),
        (None, Some(name)) => FriendRef::Name(name),
        (Some(_), Some(_)) => return Err(Problem::malformed("user_id and username exclude one another")),
        (None, None) => return Err(Problem::malformed("user_id or username has to be given")),
    };
    let result = call.chat.request_friend(call.caller()?, whom).await?;
    let status = if result.created { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &FriendshipDto::from(&result.friendship))
}

/// An id within a body.
pub(super) fn parse_id(field: &'static str, text: &str) -> Result<UserId, Problem> {
    text.parse().map_err(|_| Problem::invalid(vec![FieldError::new(field, FieldCode::Format, "is not an id")]))
}

/// Accepts or refuses a request. The same answer again changes nothing.
#[utoipa::path(put, path = "/friends/{friendship_id}/status", tag = "friends", request_body = FriendAnswerDto,
    params(("friendship_id" = Id, Path, description = "The request.")),
    responses(
        (status = 200, description = "Answered.", body = FriendshipDto),
        (status = 403, description = "`forbidden`: between others.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`rule`: `own_request` or `not_pending`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn answer(call: Call) -> Reply {
    let body: FriendAnswerDto = call.json()?;
    let accept = match body.status.as_str() {
        "accepted" => true,
        "rejected" => false,
        _ => {
            let message = "must be accepted or rejected";
            return Err(Problem::invalid(vec![FieldError::new("status", FieldCode::Unknown, message)]));
        }
    };
    let friendship = call.chat.answer_friend(call.caller()?, call.friendship()?, accept).await?;
    ok(&FriendshipDto::from(&friendship))
}

/// The caller's friends, newest first.
#[utoipa::path(get, path = "/friends", tag = "friends", params(crate::openapi::PageQuery),
    responses((status = 200, description = "A page.", body = ListDto<FriendshipDto>)))]
pub(crate) async fn list(call: Call) -> Reply {
    rows(&call, FriendshipList::Friends).await
}

/// Pending requests, newest first.
#[utoipa::path(get, path = "/friends/requests", tag = "friends",
    params(
        ("direction" = Option<String>, Query, pattern = "^(incoming|outgoing)$", description = "`incoming` (default) or `outgoing`."),
        crate::openapi::PageQuery,
    ),
    responses(
        (status = 200, description = "A page.", body = ListDto<FriendshipDto>),
        (status = 422, description = "`invalid`: an unknown direction.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn requests(call: Call) -> Reply {
    let list = match call.query("direction")? {
        None | Some("incoming") => FriendshipList::Incoming,
        Some("outgoing") => FriendshipList::Outgoing,
        Some(_) => {
            let message = "must be incoming or outgoing";
            return Err(Problem::invalid(vec![FieldError::new("direction", FieldCode::Unknown, message)]));
        }
    };
    rows(&call, list).await
}

async fn rows(call: &Call, list: FriendshipList) -> Reply {
    let rows = call.chat.friendships(call.caller()?, list, call.cursor()?, call.limit()?).await?;
    page(&rows, |row| FriendshipDto::from(row))
}

/// Ends a friendship, or takes a request back.
#[utoipa::path(delete, path = "/friends/{friendship_id}", tag = "friends",
    params(("friendship_id" = Id, Path, description = "The friendship or request.")),
    responses(
        (status = 204, description = "Ended."),
        (status = 403, description = "`forbidden`: between others.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`rule`: `not_friends`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn end(call: Call) -> Reply {
    call.chat.end_friendship(call.caller()?, call.friendship()?).await?;
    no_content()
}
