//! REST calls with a time limit.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::history::Outcome;
use crate::place::Failure;
use crate::socket::PATIENCE;

/// A client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rest(Client<HttpConnector, Full<Bytes>>);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, or null.
    pub body: Value,
}

impl Answer {
    /// Whether it is a success.
    pub fn ok(&self) -> bool {
        self.status < 300
    }

    /// What a history notes of it.
    pub fn outcome(&self) -> Outcome {
        if self.ok() {
            Outcome::Done { seq: self.body["seq"].as_u64(), duplicate: self.status == 200 }
        } else {
            refused(&self.body)
        }
    }
}

/// What a history notes of an error.
pub fn refused(problem: &Value) -> Outcome {
    let code = problem["code"].as_str().unwrap_or("no code").to_owned();
    // Whether it was done is not known then.
    if code == "unavailable" { Outcome::Unknown(code) } else { Outcome::Refused(code) }
}

impl Default for Rest {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl From<IpAddr> for Rest {
    /// A client whose connections come from that address.
    fn from(address: IpAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address));
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Rest {
    /// Makes a call.
    ///
    /// # Errors
    /// When no answer came in time.
    pub async fn call(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Full::from(body.to_string())
            }
            None => Full::default(),
        };
        let (status, body) = self.answer(request.body(body)?).await?;
        Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    /// Gets a text, without a token.
    ///
    /// # Errors
    /// When it is refused, or no answer came in time.
    pub async fn text(&self, address: SocketAddr, path: &str) -> Result<String, Failure> {
        let request = Request::get(format!("http://{address}{path}")).body(Full::default())?;
        match self.answer(request).await? {
            (200, body) => Ok(String::from_utf8(body.into())?),
            (status, _) => Err(format!("{path} was answered {status}").into()),
        }
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), Failure> {
        let answer = async {
            let response = self.0.request(request).await?;
            let status = response.status().as_u16();
            Ok::<_, Failure>((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, answer).await?
    }
}
