//! Limits by address, where the address comes through proxies, cannot be read, or is not told at all.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatcore::Chat;
use chatcore::memory::MemoryStore;
use chatcore::service::RateLimit;
use chatcore::store::Storage;
use chatcore_hyper::{Api, ClientAddress, PeerAddress, ProxyHeader, TrustedProxies};
use http::{HeaderName, Request, header};
use http_body_util::Full;
use tower_service::Service;

use crate::harness::settings;

/// The service of a host that does its own serving, with three tries an address at each limit. None comes back while a test runs.
fn api(client_address: ClientAddress) -> Api {
    let (mut core, mut http) = settings();
    let three = Some(RateLimit::new(3, Duration::from_secs(3600)));
    core.logins_per_address = three;
    core.registrations_per_address = three;
    http.requests_per_address = three;
    http.client_address = client_address;
    let chat = Chat::builder(Storage::single(Arc::new(MemoryStore::new())), core).start().unwrap();
    Api::new(chat, http)
}

struct Host {
    api: Api,
    peer: Option<&'static str>,
    header: HeaderName,
}

impl Host {
    async fn status(&mut self, line: &str, method: &str, path: &str, body: &str) -> u16 {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if !line.is_empty() {
            request = request.header(&self.header, line);
        }
        let mut request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(PeerAddress(peer.parse().unwrap()));
        }
        self.api.call(request).await.unwrap().status().as_u16()
    }

    /// Tries until it is stopped, each time as another account and with the next of these lines; answers how often it was let through, by the limits
    /// of calls without a token, of logins, refreshes and registrations.
    async fn tries(&mut self, lines: &[&str]) -> [usize; 4] {
        let bodies = [
            ("GET", "/auth/me", ""),
            ("POST", "/auth/login", r#"{"login": "name-%", "password": "a wrong guess"}"#),
            ("POST", "/auth/refresh", r#"{"refresh_token": "%"}"#),
            (
                "POST",
                "/auth/register",
                r#"{"username": "name-%", "email": "%@example.org", "password": "correct horse"}"#,
            ),
        ];
        let mut through = [0; 4];
        for (count, (method, path, body)) in through.iter_mut().zip(bodies) {
            // Calls without a token are limited on their own, in front of everything else.
            let mut fresh = Self { api: api(self.api.settings().client_address.clone()), ..self.copy() };
            for n in 0..20 {
                let line = lines.get(n % lines.len().max(1)).copied().unwrap_or_default();
                let status = fresh.status(line, method, path, &body.replace('%', &n.to_string())).await;
                *count += usize::from(status != 429);
            }
        }
        through
    }

    fn copy(&self) -> Self {
        Self { api: self.api.clone(), peer: self.peer, header: self.header.clone() }
    }
}

fn host(peer: Option<&'static str>, header: HeaderName, proxies: TrustedProxies) -> Host {
    let from = ClientAddress::Header(ProxyHeader { name: header.clone(), proxies });
    Host { api: api(from), peer, header }
}

fn one() -> TrustedProxies {
    TrustedProxies::Count(NonZeroUsize::MIN)
}

const LIST: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROXY: Option<&str> = Some("10.0.0.1:4711");

#[tokio::test]
async fn a_host_that_tells_no_address_has_one_budget_for_all() {
    let mut host = Host { api: api(ClientAddress::Peer), peer: None, header: LIST };
    assert_eq!(host.tries(&[]).await, [3; 4]);
    host.peer = PROXY;
    assert_eq!(host.tries(&[]).await, [3; 4]);
}

#[tokio::test]
async fn what_cannot_be_read_counts_against_the_peer() {
    for peer in [PROXY, None] {
        let unreadable = ["unknown", "_hidden", "", "203.0.113.9:port", "203.0.113.9, [", "\u{fc}"];
        assert_eq!(host(peer, LIST, one()).tries(&unreadable).await, [3; 4]);
        let unreadable =
            ["for=unknown", "for=_hidden", "", "by=203.0.113.9", "for=\"203.0.113.9", "for=1.1.1.1;for=1.1.1.2"];
        assert_eq!(host(peer, header::FORWARDED, one()).tries(&unreadable).await, [3; 4]);
    }
}

#[tokio::test]
async fn spellings_and_forged_beginnings_make_nobody_another_one() {
    let spellings = [
        "203.0.113.9",
        "203.0.113.9:51234",
        "\"203.0.113.9:51235\"",
        "192.0.2.1, 203.0.113.9",
        "192.0.2.2\", 203.0.113.9:1",
        "[::ffff:203.0.113.9]:51236",
    ];
    assert_eq!(host(PROXY, LIST, one()).tries(&spellings).await, [3; 4]);
    let spellings = [
        "for=203.0.113.9",
        "for=\"203.0.113.9:51234\";proto=https",
        "for=192.0.2.1, For=203.0.113.9",
        "for=\"192.0.2.2, for=203.0.113.9",
        "for=\"[::ffff:203.0.113.9]\"",
    ];
    assert_eq!(host(PROXY, header::FORWARDED, one()).tries(&spellings).await, [3; 4]);
    let apart: Vec<String> = (0..20).map(|n| format!("192.0.2.1, 203.0.113.{n}:51234")).collect();
    let apart: Vec<&str> = apart.iter().map(String::as_str).collect();
    assert_eq!(
        host(PROXY, LIST, one()).tries(&apart).await,
        [20; 4],
        "clients behind a proxy have limits of their own"
    );
}

#[tokio::test]
async fn headers_of_whoever_is_no_proxy_do_not_count() {
    let forged: Vec<String> = (0..20).map(|n| format!("203.0.113.{n}, 10.0.0.7")).collect();
    let forged: Vec<&str> = forged.iter().map(String::as_str).collect();
    let networks = || TrustedProxies::Networks(vec!["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(host(Some("198.51.100.1:80"), LIST, networks()).tries(&forged).await, [3; 4]);
    assert_eq!(host(None, LIST, networks()).tries(&forged).await, [3; 4]);
    assert_eq!(host(PROXY, LIST, networks()).tries(&forged).await, [20; 4], "through both proxies");
    assert_eq!(host(PROXY, LIST, one()).tries(&forged).await, [3; 4], "only the last proxy is known");
}
