//! What stands between HTTP and the service: it counts requests, and puts a time limit into every answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower_service::Service;

use super::ConnectionHandle;
use super::state::{State, Ticket};
use crate::service::PeerAddress;

/// A service with the connection that it serves.
#[derive(Clone)]
pub(super) struct Accompanied<S> {
    pub(super) service: S,
    pub(super) state: Arc<State>,
    pub(super) peer: Option<SocketAddr>,
}

impl<S, B> Service<Request<Incoming>> for Accompanied<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Unpin,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let under_way = self.state.ticket(false);
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(PeerAddress(peer));
        }
        request.extensions_mut().insert(ConnectionHandle(self.state.clone()));
        let state = self.state.clone();
        let answer = self.service.call(request);
        async move {
            let response = answer.await?;
            let response = response.map(|body| Answer { body, ticket: state.ticket(true) });
            drop(under_way);
            Ok(response)
        }
        .boxed()
    }
}

/// The body of an answer, every piece of which has to be taken in time.
///
/// The limit lives in the bytes, not in this body: HTTP/2 takes them out of it, and keeps them, as soon as the client's window has room for one.
pub(super) struct Answer<B> {
    body: B,
    ticket: Ticket,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Pending => self.ticket.suspend(),
            Poll::Ready(_) => self.ticket.renew(),
        }
        frame.map_ok(|frame| frame.map_data(|data| if data.is_empty() { data } else { self.ticket.piece(data) }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
