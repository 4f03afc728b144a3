//! Connections: how many there may be, and how long they may be idle or leave an answer untaken.
//!
//! These are limits that only a server can keep, because only it can refuse or end a connection. [`serve`](crate::serve()) keeps them; a host with a
//! server of its own does so by [`Connections`].

mod opening;
mod registry;
mod service;
mod state;
mod stream;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use chatcore::id::UserId;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::client_address::ClientAddress;
use crate::http_settings::HttpSettings;
use opening::Opening;
use registry::{Full, Limits, Registry, Share};
use service::Accompanied;
use state::State;
use stream::Guarded;

pub use state::ConnectionEnd;

/// Bytes kept of a connection's requests that the service has not read, in HTTP/2; of one request, 64 KiB.
const HTTP2_CONNECTION_WINDOW: u32 = 256 * 1024;
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes that hyper would like to copy ahead of the client, in HTTP/2.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;
/// Requests that a client took back before they were looked at, after which an HTTP/2 connection is ended
/// (CVE-2023-44487).
const HTTP2_RESETS: usize = 16;
/// Streams that the server has reset over the life of an HTTP/2 connection, after which it is ended. A proxy's lives for long.
const HTTP2_ERRORS: usize = 256;
/// Bytes of a request's head.
const HEAD_BYTES: u32 = 16 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a server waits before it accepts again after it could not.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// All connections of a server, under the limits of [`HttpSettings`]. Cheap to clone.
///
/// - There are at most `connections`, and of those that are not signed in, `connections_per_address` from one address. A connection that has brought
///   a request with a good token counts for its user, who has `connections_per_user`. Trusted proxies have no share. When there are too many, the
///   one gives way that has been idle for longest; where none is idle, the newcomer is refused. Sockets count, and are never idle.
/// - A connection without a request is ended after `idle_timeout`, however many pings it answers.
/// - What a client does not take within `write_timeout` ends its connection, whether it does not read at all or gives HTTP/2 no window.
/// - A handshake (TLS, the head of the first request) has `header_timeout`.
/// - A connection that the server closes is read for `linger_timeout`, so that its last answer arrives.
///
/// ```no_run
/// # async fn run(api: chatcore_hyper::Api, listener: tokio::net::TcpListener) {
/// loop {
///     let (stream, connection) = api.connections().accept(&listener).await;
///     let api = api.clone();
///     tokio::spawn(async move {
///         // For TLS: let stream = connection.handshake(acceptor.accept(stream)).await?;
///         connection.serve(stream, api).await
///     });
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Connections {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    settings: Settings,
    registry: Mutex<Registry>,
    builder: Builder<TokioExecutor>,
    stop: CancellationToken,
    serving: TaskTracker,
}

struct Settings {
    client_address: ClientAddress,
    header_timeout: Duration,
    write_timeout: Duration,
    idle_timeout: Duration,
    linger_timeout: Duration,
}

/// Connections at the moment, and what has become of others since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Connections that are open, sockets included.
    pub open: usize,
    /// Addresses and users that they count for.
    pub shares: usize,
    /// Connections refused because there were too many.
    pub refused: u64,
    /// Idle connections ended to make room for others.
    pub gave_way: u64,
}

impl Connections {
    /// No connections yet, under the limits of these settings.
    pub fn new(settings: &HttpSettings) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            // Heads are small; what hyper would keep for each idle connection otherwise is more than a socket costs.
            .max_buf_size(HEAD_BYTES as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.http2_streams)
            .max_header_list_size(HEAD_BYTES)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .max_send_buf_size(HTTP2_SEND_BUFFER)
            .max_pending_accept_reset_streams(HTTP2_RESETS)
            .max_local_error_reset_streams(HTTP2_ERRORS)
            // A connection without a request is told apart from one without a client.
            .keep_alive_interval(settings.header_timeout)
            .keep_alive_timeout(settings.header_timeout);
        let limits = Limits {
            total: settings.connections,
            per_address: settings.connections_per_address,
            per_user: settings.connections_per_user,
        };
        let inner = Inner {
            settings: Settings {
                client_address: settings.client_address.clone(),
                header_timeout: settings.header_timeout,
                write_timeout: settings.write_timeout,
                idle_timeout: settings.idle_timeout,
                linger_timeout: settings.linger_timeout,
            },
            registry: Mutex::new(Registry::new(limits)),
            builder,
            stop: CancellationToken::new(),
            serving: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Accepts the next connection that has room, with `TCP_NODELAY`. Cancel-safe.
    ///
    /// Never ends for a connection that fails, or for want of file descriptors: an idle connection gives way then, and it is tried again.
    pub async fn accept(&self, listener: &TcpListener) -> (TcpStream, Admitted) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: a connection that ends gives one back.
                    let made_room = self.make_room();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        made_room,
                        "a connection was not accepted"
                    );
                    drop(error);
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let Some(connection) = self.admit(Some(peer)) else {
                tracing::debug!(%peer, "a connection was refused: there are too many, and all of them are busy");
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(error = &error as &dyn std::error::Error, "no TCP_NODELAY");
            }
            return (stream, connection);
        }
    }

    /// Takes in a connection that was just accepted, for which an idle one may give way. Without a peer (a Unix socket) it counts together with all
    /// others that have none.
    ///
    /// `None` when there are too many, and all of them are busy: drop the connection.
    pub fn admit(&self, peer: Option<SocketAddr>) -> Option<Admitted> {
        let address: Option<IpAddr> = peer.map(|peer| peer.ip());
        let settings = &self.inner.settings;
        let share = match settings.client_address.is_proxy(address) {
            true => Share::Proxy,
            false => Share::Client(address.into()),
        };
        let connections = Arc::downgrade(&self.inner);
        let state = self
            .inner
            .lock()
            .admit(share, |id| State::new(id, connections.clone(), settings.write_timeout, settings.idle_timeout));
        let state = state.ok()?;
        let seat = Seat { id: state.id, connections };
        Some(Admitted { connections: self.clone(), state, seat, peer })
    }

    /// Lets the connection give way that has been idle for longest. For a server that is out of file descriptors, for instance.
    ///
    /// `false` when all are busy.
    pub fn make_room(&self) -> bool {
        self.inner.lock().make_room()
    }

    /// Counts of connections.
    pub fn stats(&self) -> ConnectionStats {
        let registry = self.inner.lock();
        ConnectionStats {
            open: registry.len(),
            shares: registry.shares(),
            refused: registry.refused,
            gave_way: registry.gave_way,
        }
    }

    /// Asks all connections to end when the requests under way have been answered, and waits for that, at most so long. Sockets are ended by
    /// [`Api::drain`](crate::Api::drain).
    pub async fn drain(&self, patience: Duration) {
        self.inner.stop.cancel();
        self.inner.serving.close();
        if tokio::time::timeout(patience, self.inner.serving.wait()).await.is_err() {
            tracing::warn!(
                connections = self.inner.serving.len(),
                "requests were still under way at the end of the drain"
            );
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.stats().fmt(f)
    }
}

/// The place of a connection, given back when this is dropped.
struct Seat {
    id: u64,
    connections: Weak<Inner>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(connections) = self.connections.upgrade() {
            connections.lock().remove(self.id);
        }
    }
}

/// A connection that has a place.
pub struct Admitted {
    connections: Connections,
    state: Arc<State>,
    seat: Seat,
    peer: Option<SocketAddr>,
}

impl Admitted {
    /// Waits for a handshake of another layer, such as TLS, for at most `header_timeout`, and for as long as the connection has its place.
    ///
    /// # Errors
    /// The handshake's own, `TimedOut`, or `ConnectionAborted` when the connection gave way.
    pub async fn handshake<T, E: Into<BoxError>>(
        &self,
        handshake: impl Future<Output = Result<T, E>>,
    ) -> io::Result<T> {
        let handshake = tokio::time::timeout(self.connections.inner.settings.header_timeout, handshake);
        tokio::select! {
            done = handshake => match done {
                Ok(done) => done.map_err(io::Error::other),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")),
            },
            end = self.state.overdue() => Err(io::Error::new(io::ErrorKind::ConnectionAborted, end)),
        }
    }

    /// Serves the connection by HTTP/1.1 or HTTP/2, whichever the client speaks, until it ends or is upgraded. The service finds the peer's address
    /// ([`PeerAddress`](crate::PeerAddress)) among each request's extensions.
    ///
    /// # Errors
    /// What has gone wrong with the connection, or a [`ConnectionEnd`].
    pub async fn serve<I, S, B>(self, stream: I, service: S) -> Result<(), BoxError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Self { connections, state, seat, peer } = self;
        let inner = connections.inner;
        let settings = &inner.settings;
        let serving = inner.serving.token();
        let stream = Opening::new(stream, settings.header_timeout);
        let stream = Guarded::new(stream, seat, state.clone(), settings.linger_timeout);
        let service = TowerToHyperService::new(Accompanied { service, state: state.clone(), peer });
        let connection = inner.builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut stopping = false;
        // Set when the connection was asked to end: by then it has to.
        let mut last_call: Option<Instant> = None;
        let ended = loop {
            let end = tokio::select! {
                ended = connection.as_mut() => break ended,
                end = state.overdue(), if last_call.is_none() => end,
                () = tokio::time::sleep_until(last_call.unwrap_or_else(Instant::now)), if last_call.is_some() => ConnectionEnd::NotTaken,
                () = inner.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
            };
            match end {
                ConnectionEnd::Idle => {
                    // Goes on with a request that has crossed the notice on its way (RFC 9113 §6.8).
                    connection.as_mut().graceful_shutdown();
                    last_call = Some(Instant::now() + settings.header_timeout);
                }
                end => return Err(end.into()),
            }
        };
        state.finished();
        drop(serving);
        ended
    }
}

/// The connection that a request came over, among its extensions.
#[derive(Clone)]
pub(crate) struct ConnectionHandle(Arc<State>);

impl ConnectionHandle {
    /// Counts the connection for a user from now on. `false` when the user has too many, and all of them are busy.
    pub(crate) fn sign_in(&self, user: UserId) -> bool {
        if self.0.user() == Some(user) {
            return true;
        }
        let Some(connections) = self.0.connections.upgrade() else { return true };
        let signed_in = connections.lock().sign_in(self.0.id, user);
        signed_in != Err(Full)
    }

    /// The answer to this request is the end of HTTP: the connection is never idle from here on.
    pub(crate) fn upgrade(&self) {
        self.0.upgrade();
    }
}
