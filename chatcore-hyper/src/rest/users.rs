//! Other users.

use chatcore::id::UserId;
use chatcore::model::{FieldCode, FieldError};
use chatcore::store::SearchPosition;

use crate::dto::{ListDto, ProfileDto, UserDto};
use crate::problem::{Problem, ProblemBody};
use crate::request::{Call, Reply, list as page, no_content, ok};
use crate::schema::{Id, Ids};

/// Users that one asks for by id, at most.
const MAX_IDS: usize = 100;

/// Users by id, or by what their username or display name starts with.
#[utoipa::path(get, path = "/users", tag = "users",
    params(
        ("ids" = Option<Ids>, Query, description = "1 to 100 ids, comma-separated; unknown ones are left out. Excludes `q`."),
        ("q" = Option<String>, Query, min_length = 2, max_length = 64, description = "What the name starts with; at least 2 characters. Excludes `ids`."),
        crate::openapi::PageQuery,
    ),
    responses(
        (status = 200, description = "A page.", body = ListDto<UserDto>),
        (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn list(call: Call) -> Reply {
    let caller = call.caller()?;
    // Read for either, so that what is wrong is refused even where it would not be needed.
    let (after, limit) = (call.cursor::<SearchPosition>()?, call.limit()?);
    match (call.query("ids")?, call.query("q")?) {
        (Some(_), Some(_)) => Err(Problem::malformed("ids and q exclude one another")),
        (None, None) => Err(Problem::malformed("ids or q has to be given")),
        (Some(ids), None) => {
            let parsed: Result<Vec<UserId>, _> = ids.split(',').map(str::parse).collect();
            let mut ids = parsed.map_err(|_| Problem::malformed("ids is not a list of ids"))?;
            if ids.len() > MAX_IDS {
                let message = "holds more than 100 ids";
                return Err(Problem::invalid(vec![FieldError::new("ids", FieldCode::TooLong, message)]));
            }
            let mut seen = std::collections::HashSet::new();
            ids.retain(|id| seen.insert(*id));
            let users = call.chat.users_by_id(caller, &ids).await?;
            ok(&ListDto { items: users.iter().map(UserDto::from).collect(), next: None })
        }
        (None, Some(query)) => {
            let users = call.chat.search_users(caller, query, after.as_ref(), limit).await?;
            page(&users, |user| UserDto::from(user))
        }
    }
}

/// A user, and what is between them and the caller.
#[utoipa::path(get, path = "/users/{id}", tag = "users", params(("id" = Id, Path, description = "The user.")), responses(
    (status = 200, description = "The user.", body = ProfileDto),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn profile(call: Call) -> Reply {
    let profile = call.chat.profile(call.caller()?, call.user("id")?).await?;
    ok(&ProfileDto::from(&profile))
}

/// Whom the caller has blocked, newest first.
#[utoipa::path(get, path = "/users/blocked", tag = "users", params(crate::openapi::PageQuery),
    responses((status = 200, description = "A page.", body = ListDto<UserDto>)))]
pub(crate) async fn blocked(call: Call) -> Reply {
    let users = call.chat.blocked_users(call.caller()?, call.cursor()?, call.limit()?).await?;
    page(&users, |user| UserDto::from(user))
}

/// Blocks a user: ends the friendship and any request. Idempotent.
#[utoipa::path(put, path = "/users/{id}/block", tag = "users", params(("id" = Id, Path, description = "The user.")), responses(
    (status = 204, description = "Blocked."),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "`rule`: `self`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn block(call: Call) -> Reply {
    call.chat.block(call.caller()?, call.user("id")?).await?;
    no_content()
}

/// Takes a block back. Idempotent.
#[utoipa::path(delete, path = "/users/{id}/block", tag = "users", params(("id" = Id, Path, description = "The user.")), responses(
    (status = 204, description = "Not blocked."),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "`rule`: `self`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn unblock(call: Call) -> Reply {
    call.chat.unblock(call.caller()?, call.user("id")?).await?;
    no_content()
}
