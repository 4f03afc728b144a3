//! A request on its way to its handler, and what handlers take from it.

use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use chatcore::id::{FriendshipId, RoomId, SessionId, UserId};
use chatcore::limits::{PAGE_DEFAULT, PAGE_MAX};
use chatcore::model::{FieldCode, FieldError, Seq};
use chatcore::service::Principal;
use chatcore::view::Page;
use chatcore::{Chat, Error};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::ResponseBody;
use crate::dto::ListDto;
use crate::page::{Key, cursor, parse_cursor};
use crate::problem::Problem;

/// What a handler answers.
pub(crate) type Reply = Result<Response<ResponseBody>, Problem>;

/// A request, routed and, where its route asks for that, authenticated.
pub(crate) struct Call {
    pub(crate) chat: Chat,
    /// There on every route that asks for a token.
    pub(crate) caller: Option<Principal>,
    /// The path's parameters, percent-decoded.
    pub(crate) params: Vec<(String, String)>,
    /// The query's pairs, decoded.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) address: Option<IpAddr>,
}

impl Call {
    /// Who calls.
    pub(crate) fn caller(&self) -> Result<&Principal, Problem> {
        let missing = Error::Unauthenticated(chatcore::service::AuthFailure::Missing);
        self.caller.as_ref().ok_or_else(|| missing.into())
    }

    /// A parameter of the path.
    pub(crate) fn param<T: FromStr>(&self, name: &'static str) -> Result<T, Problem> {
        let value = self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        value
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| Problem::malformed(format!("{name} in the path is not valid")))
    }

    pub(crate) fn room(&self) -> Result<RoomId, Problem> {
        self.param("room_id")
    }

    pub(crate) fn user(&self, name: &'static str) -> Result<UserId, Problem> {
        self.param(name)
    }

    pub(crate) fn friendship(&self) -> Result<FriendshipId, Problem> {
        self.param("friendship_id")
    }

    pub(crate) fn session(&self) -> Result<SessionId, Problem> {
        self.param("id")
    }

    /// The message's number in the path.
    pub(crate) fn seq(&self) -> Result<Seq, Problem> {
        let number: u64 = self.param("seq")?;
        Seq::new(number)
            .ok_or_else(|| Problem::invalid(vec![FieldError::new("seq", FieldCode::Range, "is not a position")]))
    }

    /// A value of the query. Given twice, it is malformed.
    pub(crate) fn query(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        match values.next() {
            Some(_) => Err(Problem::malformed(format!("{name} is given more than once"))),
            None => Ok(value),
        }
    }

    pub(crate) fn query_number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let number = |text: &str| match text.parse() {
            Ok(number) => Ok(number),
            // Digits that are too many for a u64 are a number all the same, and out of range.
            Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => Ok(u64::MAX),
            Err(_) => Err(Problem::malformed(format!("{name} is not a whole number"))),
        };
        self.query(name)?.map(number).transpose()
    }

    /// A position of the query: 0, where `zero` allows it, to 2^53 - 1.
    pub(crate) fn query_position(&self, name: &'static str, zero: bool) -> Result<Option<u64>, Problem> {
        let Some(number) = self.query_number(name)? else { return Ok(None) };
        if number > Seq::MAX || (number == 0 && !zero) {
            return Err(Problem::invalid(vec![FieldError::new(name, FieldCode::Range, "is not a position")]));
        }
        Ok(Some(number))
    }

    /// How many rows a page may have: 1 to 100, 50 when nothing is said.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        match self.query_number("limit")? {
            None => Ok(PAGE_DEFAULT),
            Some(number) => match u32::try_from(number) {
                Ok(limit @ 1..=PAGE_MAX) => Ok(limit),
                _ => {
                    let message = "must be between 1 and 100";
                    Err(Problem::invalid(vec![FieldError::new("limit", FieldCode::Range, message)]))
                }
            },
        }
    }

    /// Where the page begins.
    pub(crate) fn cursor<K: Key>(&self) -> Result<Option<K>, Problem> {
        self.query("cursor")?.map(parse_cursor).transpose()
    }

    /// The body, which has to be JSON of that shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if !is_json(&self.headers) {
            return Err(Problem::unsupported_media_type());
        }
        expect_object(&self.body)?;
        serde_json::from_slice(&self.body).map_err(|error| Problem::malformed(error.to_string()))
    }
}

/// Refuses a JSON array, which serde would take for an object: the fields in the order in which they are declared.
pub(crate) fn expect_object(json: &[u8]) -> Result<(), Problem> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Err(Problem::malformed("a JSON object is expected")),
        _ => Ok(()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Splits and decodes a query. `+` means a space, as forms and most client libraries write it.
pub(crate) fn parse_query(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_decode_str(&text).decode_utf8().map(|text| text.into_owned());
        decoded.map_err(|_| Problem::malformed("the query is not UTF-8"))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// An answer with a JSON body.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Reply {
    let bytes = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an answer could not be written as JSON");
        Problem::from(Error::Internal(std::sync::Arc::new(error)))
    })?;
    Ok(json_bytes(status, bytes.into()))
}

/// An answer with a body that is JSON already.
pub(crate) fn json_bytes(status: StatusCode, bytes: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with a JSON body.
pub(crate) fn ok<T: Serialize>(value: &T) -> Reply {
    json(StatusCode::OK, value)
}

/// 204.
pub(crate) fn no_content() -> Reply {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// 200 with a page of a list.
pub(crate) fn list<T, K: Key, D: Serialize>(page: &Page<T, K>, dto: impl Fn(&T) -> D) -> Reply {
    ok(&ListDto { items: page.items.iter().map(dto).collect(), next: page.next.as_ref().map(cursor) })
}
