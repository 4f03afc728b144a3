//! The service: one for all requests, cheap to clone.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use chatcore::id::UserId;
use chatcore::service::{AuthFailure, ClientKey, Throttle};
use chatcore::{Chat, Error};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::Instrument;

use crate::body::{self, ResponseBody};
use crate::client_address::ClientAddresses;
use crate::http_settings::HttpSettings;
use crate::origin;
use crate::problem::Problem;
use crate::request::{Call, Reply, parse_query};
use crate::rest;
use crate::router::{Access, Router, Target};
use crate::ws;

/// The peer's address, which a server puts among a request's extensions so that attempts are counted by it.
///
/// Without it all clients share the limits of one address, and a warning says so once a minute. [`ClientAddress`](crate::ClientAddress) tells
/// what else the address can be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// What has gone through since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiStats {
    /// REST requests answered, by class of status: 1xx to 5xx.
    pub responses: [u64; 5],
    /// Sockets open now.
    pub sockets: u64,
    /// Event frames written.
    pub events: u64,
    /// Frames read.
    pub frames: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    responses: [AtomicU64; 5],
    pub(crate) sockets: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) frames: AtomicU64,
}

pub(crate) struct Shared {
    pub(crate) chat: Chat,
    pub(crate) settings: HttpSettings,
    pub(crate) counters: Counters,
    /// The sockets' tasks, which a stopping server waits for.
    pub(crate) sockets: TaskTracker,
    router: Router,
    by_user: Throttle<UserId>,
    by_address: Throttle<ClientKey>,
    addresses: ClientAddresses,
}

/// REST, WebSocket, OpenAPI: a [`Service`] over `http` types, for any body. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(crate) shared: Arc<Shared>,
}

impl Api {
    /// Serves `chat` under these settings.
    ///
    /// # Panics
    /// Never for the routes that are compiled in; a test builds them.
    pub fn new(chat: Chat, settings: HttpSettings) -> Self {
        let router = Router::new(settings.prefix.clone(), rest::routes());
        #[expect(clippy::expect_used, reason = "the routes are compiled in, and a test builds them")]
        let router = router.expect("routes do not conflict");
        let shared = Shared {
            router,
            by_user: Throttle::new(settings.requests_per_user),
            by_address: Throttle::new(settings.requests_per_address),
            addresses: ClientAddresses::new(settings.client_address.clone()),
            counters: Counters::default(),
            sockets: TaskTracker::new(),
            chat,
            settings,
        };
        Self { shared: Arc::new(shared) }
    }

    /// What it serves.
    pub fn chat(&self) -> &Chat {
        &self.shared.chat
    }

    /// What was set.
    pub fn settings(&self) -> &HttpSettings {
        &self.shared.settings
    }

    /// Sizes of the maps that grow with what clients do, by name, the core's included, for a host's metrics.
    pub fn map_sizes(&self) -> Vec<(&'static str, usize)> {
        let mut sizes = self.shared.chat.map_sizes();
        sizes.push(("requests_by_user", self.shared.by_user.len()));
        sizes.push(("requests_by_address", self.shared.by_address.len()));
        sizes
    }

    /// What has gone through since the start.
    pub fn stats(&self) -> ApiStats {
        let counters = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ApiStats {
            responses: counters.responses.each_ref().map(load),
            sockets: load(&counters.sockets),
            events: load(&counters.events),
            frames: load(&counters.frames),
        }
    }

    /// Stops: from now on `/readyz` says no and handshakes are refused; sockets get their `bye` and are waited for, at most so long.
    pub async fn drain(&self, patience: Duration) {
        self.shared.chat.shutdown(patience).await;
        self.shared.sockets.close();
        if tokio::time::timeout(patience, self.shared.sockets.wait()).await.is_err() {
            tracing::warn!(sockets = self.shared.sockets.len(), "sockets were still open at the end of the drain");
        }
    }

    async fn handle<B>(self, request: Request<B>, request_id: &str) -> Response<ResponseBody>
    where
        B: Body + Send + 'static,
        B::Data: Buf + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
        let allowed = self.shared.settings.origins.allows(request.headers(), authority.as_deref());
        let preflight = request.method() == Method::OPTIONS;
        let reply =
            if preflight { self.preflight(request.uri().path(), allowed) } else { self.route(request, allowed).await };
        let mut response = reply.unwrap_or_else(|problem| problem.into_response(request_id));
        if let Some(origin) = origin.filter(|_| allowed) {
            origin::add_cors(response.headers_mut(), &origin);
        }
        response
    }

    fn preflight(&self, path: &str, allowed: bool) -> Reply {
        let (_, routes) = self.shared.router.find(path)?;
        let mut response = Response::new(ResponseBody::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let methods: Vec<&str> = routes.iter().map(|route| route.method.as_str()).chain(["OPTIONS"]).collect();
        if let Ok(allow) = HeaderValue::try_from(methods.join(", ")) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if allowed {
            origin::add_preflight(response.headers_mut());
        }
        Ok(response)
    }

    async fn route<B>(&self, mut request: Request<B>, origin_allowed: bool) -> Reply
    where
        B: Body + Send + 'static,
        B::Data: Buf + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (params, routes) = self.shared.router.find(request.uri().path())?;
        let route = Target::choose(routes, request.method())?;
        let query = request.uri().query().map(parse_query).transpose()?.unwrap_or_default();
        let address = self.client_address(&request);
        match route.target {
            Target::Socket => {
                if !origin_allowed {
                    return Err(Problem::forbidden_origin());
                }
                let call = Call {
                    chat: self.shared.chat.clone(),
                    caller: None,
                    params,
                    query,
                    headers: request.headers().clone(),
                    body: bytes::Bytes::new(),
                    address,
                };
                ws::handshake(self, &mut request, call).await
            }
            Target::Rest(access, handler) => {
                let timeout = self.shared.settings.request_timeout;
                let work = self.rest(request, params, query, address, access, handler);
                match tokio::time::timeout(timeout, work).await {
                    Ok(reply) => reply,
                    Err(_) => Err(Problem::timed_out(Duration::from_secs(1))),
                }
            }
        }
    }

    async fn rest<B>(
        &self,
        request: Request<B>,
        params: Vec<(String, String)>,
        query: Vec<(String, String)>,
        address: Option<IpAddr>,
        access: Access,
        handler: crate::router::Handler,
    ) -> Reply
    where
        B: Body + Send + 'static,
        B::Data: Buf + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let caller = match access {
            Access::Open => {
                self.throttle_address(address)?;
                None
            }
            Access::Token => Some(self.authenticate(request.headers(), address).await?),
        };
        if let Some(caller) = &caller {
            self.shared.by_user.check(&caller.user)?;
        }
        let (head, body) = request.into_parts();
        let body = body::read(body, self.shared.settings.body_limit).await?;
        let headers = head.headers;
        handler(Call { chat: self.shared.chat.clone(), caller, params, query, headers, body, address }).await
    }

    /// Counts a request of nobody known against its address.
    pub(crate) fn throttle_address(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        Ok(self.shared.by_address.check(&address.into())?)
    }

    /// Whom the request's token stands for.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<chatcore::service::Principal, Problem> {
        let authenticated = match bearer(headers) {
            Some(token) => self.shared.chat.authenticate(token).await,
            None => Err(Error::Unauthenticated(AuthFailure::Missing)),
        };
        if let Err(Error::Unauthenticated(_)) = authenticated {
            self.throttle_address(address)?;
        }
        Ok(authenticated?)
    }

    fn client_address<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip());
        self.shared.addresses.of(request.headers(), peer)
    }

    fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.shared.counters.responses[class].fetch_add(1, Ordering::Relaxed);
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1). Of two headers none counts: a proxy in between may have looked at the other.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

/// The client's own request id, if it is short and printable, else a new one.
fn request_id(headers: &HeaderMap, chat: &Chat) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => id.to_owned(),
        _ => chat.new_id().to_string(),
    }
}

impl<B> Service<Request<B>> for Api
where
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let api = self.clone();
        let id = request_id(request.headers(), &api.shared.chat);
        let span = tracing::info_span!("request", id = %id, method = %request.method(), path = request.uri().path());
        async move {
            let counting = api.clone();
            let mut response = api.handle(request, &id).await;
            counting.count(response.status());
            let headers = response.headers_mut();
            if let Ok(id) = HeaderValue::try_from(&id) {
                headers.insert("x-request-id", id);
            }
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            if !headers.contains_key(header::CACHE_CONTROL) {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            tracing::info!(status = response.status().as_u16(), "answered");
            Ok(response)
        }
        .instrument(span)
        .boxed()
    }
}
