//! Errors on the wire: `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::time::Duration;

use chatcore::Error;
use chatcore::model::FieldError;
use chatcore::service::Budget;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::ResponseBody;
use crate::unsent::Over;

/// What an error says on the wire, over HTTP and in an `error` frame alike. Boxed, since most results carry none.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    rule: Option<&'static str>,
    errors: Vec<FieldProblem>,
    retry_after: Option<Duration>,
    allow: Option<String>,
    budget: Option<Budget>,
}

/// A field of the request, and what is wrong with it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// The field, as the client wrote it; `user_ids[3]` within a list.
    field: Cow<'static, str>,
    /// `blank`, `too_short`, `too_long`, `characters`, `format`, `range`, `unknown`, `taken`, `wrong` or `not_allowed`.
    code: &'static str,
    /// For people; goes on from the field's name.
    message: Cow<'static, str>,
}

impl From<FieldError> for FieldProblem {
    fn from(error: FieldError) -> Self {
        Self { field: error.field, code: error.code.as_str(), message: error.message }
    }
}

/// The body of every error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// Always `about:blank`.
    r#type: &'static str,
    /// The code in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// Stable; tells the errors apart.
    code: &'static str,
    /// For people.
    detail: String,
    /// With code `rule`: which business rule said no.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    /// With code `rate_limited`: which budget is spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<&'static str>,
    /// Every field that is wrong; empty where no field is to blame.
    errors: Vec<FieldProblem>,
    /// Under which the log tells more.
    request_id: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            status,
            code,
            title,
            detail: detail.into(),
            rule: None,
            errors: Vec::new(),
            retry_after: None,
            allow: None,
            budget: None,
        }))
    }

    pub(crate) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "Malformed request", detail)
    }

    pub(crate) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", "there is nothing at this path")
    }

    pub(crate) fn method_not_allowed(allow: &[Method]) -> Self {
        let allow = allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let detail = "this path does not take that method";
        let mut problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail);
        problem.0.allow = Some(allow);
        problem
    }

    /// To a handshake of another version than 13.
    pub(crate) fn websocket_version() -> Self {
        let detail = "Sec-WebSocket-Version has to be 13";
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "Upgrade required", detail)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Body too large", detail)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        let detail = "the body has to be application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type", detail)
    }

    pub(crate) fn forbidden_origin() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", "this origin is not allowed")
    }

    pub(crate) fn timed_out(after: Duration) -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Temporarily unavailable",
            "the request took too long; its outcome may be unknown",
        );
        problem.0.retry_after = Some(after);
        problem
    }

    /// To a client that has not taken the answers before.
    pub(crate) fn unsent(over: Over) -> Self {
        let wait = Duration::from_secs(1);
        match over {
            Over::Client => Self::rate_limited(Budget::Unsent, wait),
            Over::Server => {
                let detail = "too many answers wait to be taken by all clients together";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let mut problem = Self::new(status, "unavailable", "Temporarily unavailable", detail);
                problem.0.retry_after = Some(wait);
                problem
            }
        }
    }

    /// To a user whose connections are too many, and all busy.
    pub(crate) fn connections() -> Self {
        Self::rate_limited(Budget::Connections, Duration::from_secs(1))
    }

    fn rate_limited(budget: Budget, wait: Duration) -> Self {
        Error::RateLimited(budget, wait).into()
    }

    pub(crate) fn draining() -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Temporarily unavailable",
            "the server is stopping",
        );
        problem.0.retry_after = Some(Duration::from_secs(1));
        problem
    }

    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        Error::Invalid(errors).into()
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    pub(crate) fn rule(&self) -> Option<&'static str> {
        self.0.rule
    }

    pub(crate) fn budget(&self) -> Option<&'static str> {
        self.0.budget.map(Budget::as_str)
    }

    pub(crate) fn errors(&self) -> &[FieldProblem] {
        &self.0.errors
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The answer. A fault of the server's own is logged here, under the request's id, and nowhere else shown.
    pub(crate) fn into_response(self, request_id: &str) -> Response<ResponseBody> {
        let parts = *self.0;
        let body = ProblemBody {
            r#type: "about:blank",
            title: parts.title,
            status: parts.status.as_u16(),
            code: parts.code,
            detail: parts.detail.into_owned(),
            rule: parts.rule,
            budget: parts.budget.map(Budget::as_str),
            errors: parts.errors,
            request_id: request_id.to_owned(),
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(ResponseBody::from(json));
        *response.status_mut() = parts.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if parts.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if parts.status == StatusCode::UPGRADE_REQUIRED {
            // RFC 9110 §15.5.22 and RFC 6455 §4.4.
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if let Some(after) = parts.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if let Some(allow) = parts.allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

/// `Retry-After` knows whole seconds only; never too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let fields = |errors: Vec<FieldError>| errors.into_iter().map(FieldProblem::from).collect();
        match error {
            Error::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail),
            Error::Rule(rule) => {
                let mut problem = Self::new(StatusCode::CONFLICT, "rule", "A rule says no", detail);
                problem.0.rule = Some(rule.as_str());
                problem
            }
            Error::Conflict(errors) => {
                let mut problem = Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail);
                problem.0.errors = fields(errors);
                problem
            }
            Error::Unauthenticated(_) => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated", detail)
            }
            Error::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail),
            Error::Invalid(errors) => {
                let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Validation failed", detail);
                problem.0.errors = fields(errors);
                problem
            }
            Error::RateLimited(budget, after) => {
                let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests", detail);
                problem.0.budget = Some(budget);
                problem.0.retry_after = Some(after);
                problem
            }
            Error::Unavailable(source) => {
                tracing::error!(error = &*source as &dyn std::error::Error, cause = ?source, "storage unavailable");
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let mut problem = Self::new(status, "unavailable", "Temporarily unavailable", detail);
                problem.0.retry_after = Some(Duration::from_secs(1));
                problem
            }
            Error::Internal(source) => {
                tracing::error!(error = &*source as &dyn std::error::Error, cause = ?source, "internal error");
                let detail = "an error of the server's own; the log tells more under the request's id";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
            }
            _ => {
                tracing::error!(?error, "an error without a code on the wire");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", "an unknown error")
            }
        }
    }
}
