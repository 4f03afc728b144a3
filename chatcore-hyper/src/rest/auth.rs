//! Registering, logging in, one's own account.

use chatcore::service::{LoginInput, ProfileInput, RegisterInput};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::dto::{AccountDto, ListDto, SessionDto, TokensDto};
use crate::problem::ProblemBody;
use crate::request::{Call, Reply, json, list as page, no_content, ok};
use crate::schema::Id;

/// A new account.
#[derive(Deserialize, ToSchema)]
#[schema(as = Register)]
pub(crate) struct RegisterDto {
    /// 3 to 32 of `a-z 0-9 _ .`, starting with a letter; upper case is folded.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z][A-Za-z0-9_.]*$")]
    username: String,
    /// As RFC 5321 allows, at most 254 bytes.
    #[schema(min_length = 3, max_length = 254, format = Email)]
    email: String,
    /// 8 to 128 characters.
    #[schema(min_length = 8, max_length = 128)]
    password: String,
    /// 1 to 64 characters; the username when left out.
    #[schema(min_length = 1, max_length = 64)]
    display_name: Option<String>,
}

/// A login.
#[derive(Deserialize, ToSchema)]
#[schema(as = Login)]
pub(crate) struct LoginDto {
    /// Username or e-mail address.
    #[schema(min_length = 1)]
    login: String,
    #[schema(min_length = 1)]
    password: String,
    /// What the device is called in the list of sessions; at most 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    device: Option<String>,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[schema(as = Refresh)]
pub(crate) struct RefreshDto {
    refresh_token: String,
}

/// What changes of a profile.
#[derive(Deserialize, ToSchema)]
#[schema(as = ProfileChange)]
pub(crate) struct ProfileChangeDto {
    #[schema(min_length = 1, max_length = 64)]
    display_name: Option<String>,
    #[schema(min_length = 3, max_length = 254, format = Email)]
    email: Option<String>,
}

/// A change of password.
#[derive(Deserialize, ToSchema)]
#[schema(as = PasswordChange)]
pub(crate) struct PasswordChangeDto {
    #[schema(min_length = 1)]
    current_password: String,
    #[schema(min_length = 8, max_length = 128)]
    new_password: String,
}

/// Makes an account.
#[utoipa::path(post, path = "/auth/register", tag = "auth", security(()), request_body = RegisterDto, responses(
    (status = 201, description = "Made.", body = AccountDto),
    (status = 409, description = "`conflict`: username or address is taken.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`: every wrong field.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn register(call: Call) -> Reply {
    let body: RegisterDto = call.json()?;
    let input = RegisterInput {
        username: &body.username,
        email: &body.email,
        password: &body.password,
        display_name: body.display_name.as_deref(),
    };
    let (account, view) = call.chat.register(input, call.address).await?;
    json(StatusCode::CREATED, &AccountDto::new(&account, &view))
}

/// Begins a session.
#[utoipa::path(post, path = "/auth/login", tag = "auth", security(()), request_body = LoginDto, responses(
    (status = 200, description = "Logged in.", body = TokensDto),
    (status = 401, description = "`unauthenticated`: login or password is wrong.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn login(call: Call) -> Reply {
    let body: LoginDto = call.json()?;
    let input = LoginInput { login: &body.login, password: &body.password, device: body.device.as_deref() };
    ok(&TokensDto::from(call.chat.login(input, call.address).await?))
}

/// Trades a refresh token for fresh tokens. Each works once; the one used last may be repeated for 30 s; any later or older use ends
/// the session.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", security(()), request_body = RefreshDto, responses(
    (status = 200, description = "Fresh tokens.", body = TokensDto),
    (status = 401, description = "`unauthenticated`: not a live token; the session may have been ended by this.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn refresh(call: Call) -> Reply {
    let body: RefreshDto = call.json()?;
    ok(&TokensDto::from(call.chat.refresh(&body.refresh_token, call.address).await?))
}

/// Ends the session of the access token, and its sockets.
#[utoipa::path(post, path = "/auth/logout", tag = "auth",
    responses((status = 204, description = "Ended; nothing more goes to its sockets.")))]
pub(crate) async fn logout(call: Call) -> Reply {
    call.chat.logout(call.caller()?).await?;
    no_content()
}

/// The caller's account.
#[utoipa::path(get, path = "/auth/me", tag = "auth", responses((status = 200, description = "The account.", body = AccountDto)))]
pub(crate) async fn me(call: Call) -> Reply {
    let (account, view) = call.chat.me(call.caller()?).await?;
    ok(&AccountDto::new(&account, &view))
}

/// Changes the caller's profile: all fields or none.
#[utoipa::path(patch, path = "/auth/me", tag = "auth", request_body = ProfileChangeDto, responses(
    (status = 200, description = "The account as it is now.", body = AccountDto),
    (status = 409, description = "`conflict`: the address is taken.", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "`invalid`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn update_me(call: Call) -> Reply {
    let body: ProfileChangeDto = call.json()?;
    let input = ProfileInput { display_name: body.display_name.as_deref(), email: body.email.as_deref() };
    let (account, view) = call.chat.update_profile(call.caller()?, input).await?;
    ok(&AccountDto::new(&account, &view))
}

/// Replaces the caller's password, and ends every other session.
#[utoipa::path(put, path = "/auth/password", tag = "auth", request_body = PasswordChangeDto, responses(
    (status = 204, description = "Replaced."),
    (status = 422, description = "`invalid`: `current_password` is `wrong`, or the new one breaks a rule.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn change_password(call: Call) -> Reply {
    let body: PasswordChangeDto = call.json()?;
    call.chat.change_password(call.caller()?, &body.current_password, &body.new_password).await?;
    no_content()
}

/// The caller's sessions, newest first.
#[utoipa::path(get, path = "/auth/sessions", tag = "auth", params(crate::openapi::PageQuery),
    responses((status = 200, description = "A page.", body = ListDto<SessionDto>)))]
pub(crate) async fn sessions(call: Call) -> Reply {
    let caller = call.caller()?;
    let sessions = call.chat.sessions(caller, call.cursor()?, call.limit()?).await?;
    page(&sessions, |session| SessionDto::new(session, session.id == caller.session))
}

/// Ends one of the caller's sessions.
#[utoipa::path(delete, path = "/auth/sessions/{id}", tag = "auth", params(("id" = Id, Path, description = "The session.")), responses(
    (status = 204, description = "Ended."),
    (status = 404, description = "`not_found`.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn end_session(call: Call) -> Reply {
    call.chat.end_session(call.caller()?, call.session()?).await?;
    no_content()
}
