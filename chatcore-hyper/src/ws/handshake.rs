//! From an HTTP request to a socket (RFC 6455 §4.2).

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chatcore::hub::{Connection, Scope};
use chatcore::id::RoomId;
use chatcore::service::{AuthFailure, Hello, Principal};
use chatcore::{Chat, Error};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::meter::Metered;
use super::socket::{self, Io, Socket};
use crate::body::ResponseBody;
use crate::http_settings::HttpSettings;
use crate::problem::Problem;
use crate::request::{Call, Reply};
use crate::service::{Api, bearer};

const PROTOCOL: &str = "chatcore.v1";
const TOKEN_PREFIX: &str = "bearer.";

/// Bytes that a frame of the server stays below: the largest is the answer to a `resume` of 1000 rooms.
const LARGEST_FRAME: usize = 1024 * 1024;

/// What the client offers as subprotocols.
#[derive(Default)]
struct Offered<'a> {
    ours: bool,
    token: Option<&'a str>,
    tokens: usize,
}

fn offered(headers: &HeaderMap) -> Offered<'_> {
    let mut offered = Offered::default();
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    for protocol in values.flat_map(|value| value.split(',')).map(str::trim) {
        if protocol == PROTOCOL {
            offered.ours = true;
        } else if let Some(token) = protocol.strip_prefix(TOKEN_PREFIX) {
            offered.token = Some(token);
            offered.tokens += 1;
        }
    }
    offered
}

/// The accept key, if this is a handshake.
fn accept_key(request: &Request<impl Sized>) -> Result<String, Problem> {
    let headers = request.headers();
    let has = |name: header::HeaderName, token: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if request.version() != Version::HTTP_11
        || !has(header::CONNECTION, "upgrade")
        || !has(header::UPGRADE, "websocket")
    {
        return Err(Problem::malformed("a WebSocket handshake over HTTP/1.1 is expected here"));
    }
    if headers.get(header::HOST).is_none() {
        return Err(Problem::malformed("Host is missing"));
    }
    if only(headers, header::SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(Problem::websocket_version());
    }
    let key = only(headers, header::SEC_WEBSOCKET_KEY);
    match key.filter(|key| BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)) {
        Some(key) => Ok(derive_accept_key(key)),
        None => Err(Problem::malformed("Sec-WebSocket-Key has to be there once, as 16 bytes in base64")),
    }
}

/// The value of a header that may not be given twice.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&[u8]> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    values.next().filter(|_| values.next().is_none())
}

/// Answers a handshake, and begins the socket behind it.
pub(crate) async fn handshake<B: Send>(api: &Api, request: &mut Request<B>, call: Call) -> Reply {
    let key = accept_key(request)?;
    let offered = offered(&call.headers);
    // RFC 6750 §2: one token, one way of sending it. Which of two would count is for nobody to guess.
    if offered.tokens + call.headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Err(Problem::malformed("more than one token"));
    }
    if api.chat().is_draining() {
        return Err(Problem::draining());
    }
    // A browser shows its page neither status nor body of a refused handshake, so there the socket has to tell.
    let tells_by_socket = bearer(&call.headers).is_none() && offered.token.is_some();
    if tells_by_socket && !offered.ours {
        return Err(Problem::malformed("the subprotocol chatcore.v1 has to be offered beside the token"));
    }
    let opened = open(api, &call, offered.token).await;
    let opened = match opened {
        Err(problem) if !tells_by_socket => return Err(problem),
        opened => opened.map(Box::new),
    };
    if let Ok(opened) = &opened {
        api.signed_in(request.extensions(), opened.caller.user)?;
    }
    let upgrade = hyper::upgrade::on(request);
    let shared = api.shared.clone();
    let settings = shared.settings.clone();
    api.shared.sockets.spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a handshake was not followed by a socket");
                return;
            }
        };
        let ws = websocket(TokioIo::new(upgraded), &settings).await;
        match opened {
            Ok(opened) => {
                let Opened { caller, connection, hello } = *opened;
                Socket::new(ws, connection, caller, Arc::clone(&shared)).run(&hello).await;
            }
            Err(problem) => socket::refuse(ws, &problem, &shared).await,
        }
    });
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    if offered.ours {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(response)
}

async fn websocket(io: TokioIo<Upgraded>, settings: &HttpSettings) -> WebSocketStream<Io> {
    let io = Metered::new(io, settings.frames_per_second);
    let buffer = settings.write_bytes.saturating_add(LARGEST_FRAME);
    let config = WebSocketConfig::default()
        // Allocated for every socket, also for those that are silent: the library's default would be 128 KiB.
        .read_buffer_size(1024)
        // Frames are gathered up to `write_bytes`, and written out by the flush alone. The rest is for the frame that reaches it, and for a pong,
        // a ping and the close: a pong that did not fit would wait in the library.
        .write_buffer_size(buffer - 1)
        .max_write_buffer_size(buffer)
        .max_message_size(Some(settings.frame_bytes))
        .max_frame_size(Some(settings.frame_bytes));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

struct Opened {
    caller: Principal,
    connection: Connection,
    hello: Hello,
}

/// Who wants what, and whether they may.
async fn open(api: &Api, call: &Call, offered: Option<&str>) -> Result<Opened, Problem> {
    let chat: &Chat = api.chat();
    let caller = match (bearer(&call.headers), offered) {
        (Some(_), _) => api.authenticate(&call.headers, call.address).await?,
        (None, Some(token)) => {
            let authenticated = chat.authenticate(token).await;
            if let Err(Error::Unauthenticated(_)) = authenticated {
                api.throttle_address(call.address)?;
            }
            authenticated?
        }
        (None, None) => {
            api.throttle_address(call.address)?;
            return Err(Error::Unauthenticated(AuthFailure::Missing).into());
        }
    };
    let (scope, after) = if call.params.is_empty() {
        (Scope::All, None)
    } else {
        let room: RoomId = call.room()?;
        (Scope::Room(room), call.query_position("after", true)?)
    };
    let (connection, hello) = chat.connect(&caller, scope, after).await?;
    Ok(Opened { caller, connection, hello })
}
