//! A server of its own, for those who have none: hyper over a listener, HTTP/1.1 and HTTP/2.

use std::future::Future;
use std::io;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower_service::Service;

use crate::opening::Opening;
use crate::service::{Api, PeerAddress};

/// Serves until `stop` is ready, then drains: no new connections, sockets get their `bye` (1012), requests under way end.
///
/// # Errors
/// When the listener cannot be asked for its address. A connection that fails to be accepted is logged and passed over.
pub async fn serve(listener: TcpListener, api: Api, stop: impl Future<Output = ()>) -> io::Result<()> {
    serve_with(listener, api.clone(), api, stop).await
}

/// Like [`serve`], with another service in front, which answers some paths itself and hands the others on to `api`.
///
/// # Errors
/// Like [`serve`].
pub async fn serve_with<S>(
    listener: TcpListener,
    api: Api,
    service: S,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: Service<http::Request<hyper::body::Incoming>, Response = http::Response<crate::ResponseBody>>
        + Clone
        + Send
        + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send,
{
    let header_timeout = api.settings().header_timeout;
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        // Heads are small; what hyper would keep for each idle connection otherwise is more than a socket costs.
        .max_buf_size(16 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(64)
        .max_header_list_size(16 * 1024)
        // A connection without a request is told apart from one without a client.
        .keep_alive_interval(header_timeout)
        .keep_alive_timeout(header_timeout);
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: connections that end give some back.
                tracing::warn!(error = &error as &dyn std::error::Error, "a connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = &error as &dyn std::error::Error, "no TCP_NODELAY");
        }
        let service = WithPeer { service: service.clone(), peer: PeerAddress(peer) };
        let stream = TokioIo::new(Opening::new(stream, header_timeout));
        let connection = builder.serve_connection_with_upgrades(stream, TowerToHyperService::new(service));
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &*error as &dyn std::error::Error, "a connection ended with an error");
            }
        });
    }
    drop(listener);
    let patience = api.settings().drain_timeout;
    let requests = async {
        if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still under way at the end of the drain");
        }
    };
    tokio::join!(api.drain(patience), requests);
    Ok(())
}

/// Puts the peer's address among each request's extensions.
#[derive(Clone)]
struct WithPeer<S> {
    service: S,
    peer: PeerAddress,
}

impl<S, B> Service<http::Request<B>> for WithPeer<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> S::Future {
        request.extensions_mut().insert(self.peer);
        self.service.call(request)
    }
}
