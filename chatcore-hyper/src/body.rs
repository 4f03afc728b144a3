//! Bodies: what is sent, and how what comes in is read within its limit.

use std::pin::pin;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use http_body::Body;
use http_body_util::{BodyExt as _, Full};

use crate::problem::Problem;

/// The body of every response: whole, in memory.
pub type ResponseBody = Full<Bytes>;

/// The bytes of a response, which are all there.
pub(crate) fn into_bytes(body: ResponseBody) -> Bytes {
    match body.collect().now_or_never() {
        Some(Ok(whole)) => whole.to_bytes(),
        Some(Err(never)) => match never {},
        // A body in memory is never waited for.
        None => Bytes::new(),
    }
}

/// So many times the limit is still read of a body that is too large, and dropped. A connection that is closed with bytes unread is reset,
/// and the sender may never see the answer.
const DISCARDED: u64 = 16;

/// Reads a request's body, up to `limit` bytes.
pub(crate) async fn read<B>(body: B, limit: usize) -> Result<Bytes, Problem>
where
    B: Body,
    B::Data: Buf,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let most = DISCARDED * limit as u64;
    // A length that is announced is refused before anything is read.
    if body.size_hint().lower() > most {
        return Err(Problem::too_large(limit));
    }
    let mut body = pin!(body);
    let mut kept = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.as_mut().frame().await {
        let frame = frame.map_err(|_| Problem::malformed("the body did not arrive whole"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.remaining() as u64;
        if seen <= limit as u64 {
            kept.put(data);
        } else if seen > most {
            break;
        }
    }
    if seen > limit as u64 { Err(Problem::too_large(limit)) } else { Ok(kept.freeze()) }
}
