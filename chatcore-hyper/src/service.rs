//! The service: one for all requests, cheap to clone.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use chatcore::id::UserId;
use chatcore::service::{AuthFailure, Budget, ClientKey, Principal, Throttle};
use chatcore::{Chat, Error};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::Instrument;

use crate::body::{self, ResponseBody};
use crate::client_address::ClientAddresses;
use crate::connections::{ConnectionHandle, Connections};
use crate::http_settings::HttpSettings;
use crate::origin;
use crate::problem::Problem;
use crate::request::{Call, Reply, parse_query};
use crate::rest;
use crate::router::{Access, Router, Target};
use crate::unsent::{Holder, Permit, Unsent};
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
    /// Bytes of answers that clients have not taken yet, and those set aside for requests under way.
    pub unsent_bytes: u64,
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
    by_address: Throttle<ClientKey>,
    addresses: ClientAddresses,
    connections: Connections,
    unsent: Unsent,
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
            by_address: Throttle::new(Budget::Anonymous, settings.requests_per_address),
            addresses: ClientAddresses::new(settings.client_address.clone()),
            connections: Connections::new(&settings),
            unsent: Unsent::new(settings.unsent_bytes_per_client, settings.unsent_bytes),
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

    /// The connections that [`serve`](crate::serve()) serves it on, or a host's own server.
    pub fn connections(&self) -> &Connections {
        &self.shared.connections
    }

    /// Counts an answer of the host's own as bytes that the client has not taken yet, together with the answers of the API. Over the limit, 429 or
    /// 503 takes its place. For answers that take memory, such as metrics; static bytes take none.
    pub fn count_unsent<B>(&self, request: &Request<B>, response: Response<ResponseBody>) -> Response<ResponseBody> {
        let holder = Holder::Client(self.client_address(request).into());
        self.hold(response, None, holder, false, false, || request_id(request.headers(), &self.shared.chat))
    }

    /// Sizes of the maps that grow with what clients do, by name, the core's included, for a host's metrics.
    pub fn map_sizes(&self) -> Vec<(&'static str, usize)> {
        let mut sizes = self.shared.chat.map_sizes();
        sizes.push(("requests_by_address", self.shared.by_address.len()));
        let connections = self.shared.connections.stats();
        sizes.push(("connections", connections.open));
        sizes.push(("connection_shares", connections.shares));
        sizes.push(("unsent_bytes_by_client", self.shared.unsent.held().1));
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
            unsent_bytes: self.shared.unsent.held().0 as u64,
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
        let address = self.client_address(&request);
        let preflight = request.method() == Method::OPTIONS;
        let changes = !request.method().is_safe();
        let probe = self.shared.router.is_probe(request.uri().path());
        let mut permit = None;
        let reply = match preflight {
            true => self.preflight(request.uri().path(), allowed),
            false => self.route(request, allowed, address, &mut permit).await,
        };
        // What has been done is told, whatever that takes.
        let has_to_be_told = changes && reply.is_ok();
        let response = reply.unwrap_or_else(|problem| problem.into_response(request_id));
        let holder = Holder::Client(address.into());
        let mut response = self.hold(response, permit, holder, has_to_be_told, probe, || request_id.to_owned());
        if let Some(origin) = origin.filter(|_| allowed) {
            origin::add_cors(response.headers_mut(), &origin);
        }
        response
    }

    /// Counts the bytes of an answer until the client has taken them. Without a permit they count for `holder`.
    fn hold(
        &self,
        response: Response<ResponseBody>,
        permit: Option<Permit>,
        holder: Holder,
        has_to_be_told: bool,
        probe: bool,
        request_id: impl FnOnce() -> String,
    ) -> Response<ResponseBody> {
        let unsent = &self.shared.unsent;
        let (head, body) = response.into_parts();
        let bytes = body::into_bytes(body);
        if bytes.is_empty() {
            return Response::from_parts(head, ResponseBody::default());
        }
        let holder = permit.as_ref().map_or(holder, Permit::holder);
        let held = match permit.map_or_else(|| unsent.reserve(holder), Ok) {
            Ok(permit) if has_to_be_told => Ok(permit.hold_always(bytes)),
            Ok(permit) => permit.hold(bytes),
            Err(over) => Err(over),
        };
        let over = match held {
            Ok(bytes) => return Response::from_parts(head, bytes.into()),
            Err(over) => over,
        };
        // A probe is told its status all the same, which is all that it asks for.
        if probe {
            return Response::from_parts(head, ResponseBody::default());
        }
        let (mut head, body) = Problem::unsent(over).into_response(&request_id()).into_parts();
        let explained = unsent.reserve(holder).and_then(|permit| permit.hold(body::into_bytes(body)));
        let body = explained.unwrap_or_else(|_| {
            // There is no room for the explanation either; a head alone is not kept for a client that takes nothing.
            head.headers.remove(header::CONTENT_TYPE);
            bytes::Bytes::new()
        });
        Response::from_parts(head, body.into())
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

    async fn route<B>(
        &self,
        mut request: Request<B>,
        origin_allowed: bool,
        address: Option<IpAddr>,
        permit: &mut Option<Permit>,
    ) -> Reply
    where
        B: Body + Send + 'static,
        B::Data: Buf + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (params, routes) = self.shared.router.find(request.uri().path())?;
        let route = Target::choose(routes, request.method())?;
        let query = request.uri().query().map(parse_query).transpose()?.unwrap_or_default();
        let mut call = Call {
            chat: self.shared.chat.clone(),
            caller: None,
            params,
            query,
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
            address,
        };
        match route.target {
            Target::Socket => {
                if !origin_allowed {
                    return Err(Problem::forbidden_origin());
                }
                call.headers = request.headers().clone();
                let reply = ws::handshake(self, &mut request, call).await;
                if let (Ok(_), Some(connection)) = (&reply, request.extensions().get::<ConnectionHandle>()) {
                    connection.upgrade();
                }
                reply
            }
            Target::Rest(access, handler) => {
                let timeout = self.shared.settings.request_timeout;
                let work = self.rest(request, call, access, handler, permit);
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
        mut call: Call,
        access: Access,
        handler: crate::router::Handler,
        permit: &mut Option<Permit>,
    ) -> Reply
    where
        B: Body + Send + 'static,
        B::Data: Buf + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let holder = match access {
            Access::Alive => None,
            Access::Ready => {
                self.throttle_address(call.address)?;
                None
            }
            Access::Open => {
                self.throttle_address(call.address)?;
                Some(Holder::Client(call.address.into()))
            }
            Access::Token => {
                let caller = call.caller.insert(self.authenticate(request.headers(), call.address).await?);
                self.signed_in(request.extensions(), caller.user)?;
                Some(Holder::User(caller.user))
            }
        };
        // Before anything is done for a client that does not take the answers.
        *permit = holder.map(|holder| self.shared.unsent.reserve(holder)).transpose().map_err(Problem::unsent)?;
        let (head, body) = request.into_parts();
        call.body = body::read(body, self.shared.settings.body_limit).await?;
        call.headers = head.headers;
        handler(call).await
    }

    /// Counts a request of nobody known against its address.
    pub(crate) fn throttle_address(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        Ok(self.shared.by_address.check(&address.into())?)
    }

    /// Counts the connection that a request came over for the user who sent it.
    pub(crate) fn signed_in(&self, extensions: &Extensions, user: UserId) -> Result<(), Problem> {
        match extensions.get::<ConnectionHandle>() {
            Some(connection) if !connection.sign_in(user) => Err(Problem::connections()),
            _ => Ok(()),
        }
    }

    /// The user that the request's token stands for.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Principal, Problem> {
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
