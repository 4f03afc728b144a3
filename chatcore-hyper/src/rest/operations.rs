//! Health, readiness, the API document.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use chatcore::Error;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::ResponseBody;
use crate::openapi::openapi;
use crate::problem::{Problem, ProblemBody};
use crate::request::{Call, Reply, json_bytes, ok};

/// How it goes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthDto {
    /// Always `ok`.
    status: &'static str,
}

/// The process is up.
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()),
    responses((status = 200, description = "It is up.", body = HealthDto)))]
pub(crate) async fn healthz(_call: Call) -> Reply {
    ok(&HealthDto { status: "ok" })
}

/// The storage answers, and the server is not draining.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()), responses(
    (status = 200, description = "It is ready.", body = HealthDto),
    (status = 503, description = "Draining, or the storage is away.", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn readyz(call: Call) -> Reply {
    match call.chat.ready().await? {
        true => ok(&HealthDto { status: "ok" }),
        false => Err(Problem::draining()),
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value)))]
pub(crate) async fn openapi_json(_call: Call) -> Reply {
    // It never changes, and is asked for without a token.
    static DOCUMENT: LazyLock<Result<Bytes, String>> =
        LazyLock::new(|| serde_json::to_vec(&openapi()).map(Bytes::from).map_err(|error| error.to_string()));
    match &*DOCUMENT {
        Ok(bytes) => Ok(json_bytes(StatusCode::OK, bytes.clone())),
        Err(error) => Err(Error::Internal(Arc::new(std::io::Error::other(error.clone()))).into()),
    }
}

/// This document, for people.
#[utoipa::path(get, path = "/docs", tag = "operations", security(()),
    responses((status = 200, description = "A page that needs nothing from elsewhere.", body = String, content_type = "text/html")))]
pub(crate) async fn docs(_call: Call) -> Reply {
    let mut response = Response::new(ResponseBody::from(Bytes::from_static(include_bytes!("../docs.html"))));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Ok(response)
}
