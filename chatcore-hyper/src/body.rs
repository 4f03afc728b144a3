//! Bodies: what is sent, and how what comes in is read within its limit.

use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};

use crate::problem::Problem;

/// The body of every response: whole, in memory.
pub type ResponseBody = Full<Bytes>;

/// Reads a request's body, up to `limit` bytes.
pub(crate) async fn read<B>(body: B, limit: usize) -> Result<Bytes, Problem>
where
    B: Body,
    B::Data: Buf,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // A length that is announced is refused before anything is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::too_large(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large(limit)),
        Err(_) => Err(Problem::malformed("the body did not arrive whole")),
    }
}
