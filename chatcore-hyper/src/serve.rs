//! A server of its own, for those who have none: hyper over a listener, HTTP/1.1 and HTTP/2.

use std::future::Future;
use std::io;

use tokio::net::TcpListener;
use tower_service::Service;

use crate::service::Api;

/// Serves under the limits of [`Connections`](crate::Connections) until `stop` is ready, then drains: no new connections, sockets get their `bye` (1012), requests under way end.
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
    S::Future: Send + 'static,
{
    let connections = api.connections();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, connection) = tokio::select! {
            accepted = connections.accept(&listener) => accepted,
            () = &mut stop => break,
        };
        let service = service.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.serve(stream, service).await {
                tracing::debug!(error = &*error as &dyn std::error::Error, "a connection ended with an error");
            }
        });
    }
    drop(listener);
    let patience = api.settings().drain_timeout;
    tokio::join!(api.drain(patience), connections.drain(patience));
    Ok(())
}
