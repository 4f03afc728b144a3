//! What stands in front of the API: the page, and `/metrics`.

use std::borrow::Cow;
use std::task::{Context, Poll};

use bytes::Bytes;
use chatcore_hyper::{Api, ResponseBody};
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use rust_embed::{EmbeddedFile, RustEmbed};
use tower_service::Service;

use crate::metrics;

/// The files of the page. A debug build reads them from the folder, so that they can be changed while it runs.
#[derive(RustEmbed)]
#[folder = "server/page"]
struct Page;

const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; script-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The API, and the page in front of it.
#[derive(Clone)]
pub(crate) struct Site {
    api: Api,
}

impl Site {
    pub(crate) fn new(api: Api) -> Self {
        Self { api }
    }
}

impl Service<Request<Incoming>> for Site {
    type Response = Response<ResponseBody>;
    type Error = std::convert::Infallible;
    type Future = futures::future::Either<
        std::future::Ready<Result<Self::Response, Self::Error>>,
        <Api as Service<Request<Incoming>>>::Future,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Incoming>>::poll_ready(&mut self.api, cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let answer = (request.method() == Method::GET).then(|| self.own(&request)).flatten();
        match answer {
            Some(response) => futures::future::Either::Left(std::future::ready(Ok(response))),
            None => futures::future::Either::Right(self.api.call(request)),
        }
    }
}

impl Site {
    /// The answer to a path that is not the API's.
    fn own(&self, request: &Request<Incoming>) -> Option<Response<ResponseBody>> {
        let path = request.uri().path();
        if path == "/metrics" {
            let response = respond("text/plain; version=0.0.4; charset=utf-8", metrics::text(&self.api).into());
            return Some(self.api.count_unsent(request, response));
        }
        let name = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
        let EmbeddedFile { data, .. } = Page::get(name)?;
        let (bytes, in_memory) = match data {
            Cow::Borrowed(data) => (Bytes::from_static(data), false),
            Cow::Owned(data) => (Bytes::from(data), true),
        };
        let mut response = respond(media_type(name), bytes);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // What is in the program already takes no memory, however many have yet to read it.
        Some(if in_memory { self.api.count_unsent(request, response) } else { response })
    }
}

fn respond(media_type: &'static str, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "webmanifest") => "application/json",
        _ => "application/octet-stream",
    }
}
