//! The address of a client, by which attempts are counted, where there may be proxies in between.
//!
//! Every proxy puts the address that it was connected from behind those that it was told. So the list is read from its end: what stands there
//! was written by the proxies that are trusted, and whatever a client has written itself stands before it.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use tokio::time::Instant;

/// Time between two warnings about addresses that could not be read.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Where the address of a client is read, by which attempts are counted.
///
/// What cannot be read counts against the peer of the connection, and without a peer against one budget that all such clients share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAddress {
    /// The peer of the connection: [`PeerAddress`](crate::PeerAddress) among the request's extensions.
    #[default]
    Peer,
    /// A header that trusted proxies in front of the server add to.
    Header(ProxyHeader),
}

impl ClientAddress {
    /// The address in this header that was added by the one proxy in front of the server.
    pub fn header(name: HeaderName) -> Self {
        Self::Header(ProxyHeader { name, proxies: TrustedProxies::Count(NonZeroUsize::MIN) })
    }

    /// Whether a connection from this peer carries the requests of many clients.
    pub(crate) fn is_proxy(&self, peer: Option<IpAddr>) -> bool {
        match self {
            Self::Peer => false,
            Self::Header(header) => match &header.proxies {
                TrustedProxies::Count(_) => true,
                TrustedProxies::Networks(networks) => peer.is_some_and(|peer| contains(networks, peer)),
            },
        }
    }
}

/// A header in which proxies tell the addresses of clients.
///
/// `Forwarded` is read as RFC 7239 has it, from its `for=` parameters; any other header as a list of addresses (`X-Forwarded-For`, or a header with
/// a single address such as `CF-Connecting-IP`). Addresses may have a port, brackets, quotes and a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Name of the header.
    pub name: HeaderName,
    /// Proxies whose additions are believed.
    pub proxies: TrustedProxies,
}

/// The proxies in front of the server whose additions to a header are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedProxies {
    /// So many, through all of which every request comes: the client's address is the last but `n - 1`. The server must not be reachable
    /// except through them.
    Count(NonZeroUsize),
    /// Those with addresses in these networks: the client's address is the last one that is in none of them. A peer outside of them is a client
    /// itself, whatever its headers say. Needs the peer's address.
    Networks(Vec<IpNet>),
}

/// Why the address of a client is not known.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unreadable {
    #[error("the server in front has not told the peer's address (`PeerAddress`)")]
    NoPeer,
    #[error("the request has no {0} header")]
    NoHeader(HeaderName),
    #[error("the {0} header has fewer addresses than there are proxies")]
    TooFew(HeaderName),
    #[error("the {0} header has no address where one should be: {1:?}")]
    NotAnAddress(HeaderName, String),
}

/// Reads the addresses of clients, and warns of those that it cannot read.
pub(crate) struct ClientAddresses {
    from: ClientAddress,
    warnings: Mutex<Warnings>,
}

#[derive(Default)]
struct Warnings {
    last: Option<Instant>,
    suppressed: u64,
}

impl ClientAddresses {
    pub(crate) fn new(from: ClientAddress) -> Self {
        Self { from, warnings: Mutex::default() }
    }

    /// The address that a request counts against; without one it counts against the budget that all of those share.
    pub(crate) fn of(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
        match read(&self.from, headers, peer) {
            Ok(address) => Some(address.to_canonical()),
            Err(reason) => {
                self.warn(&reason, peer);
                peer
            }
        }
    }

    fn warn(&self, reason: &Unreadable, peer: Option<IpAddr>) {
        let now = Instant::now();
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.last.is_some_and(|last| now < last + WARN_EVERY) {
            warnings.suppressed += 1;
            return;
        }
        let suppressed = std::mem::take(&mut warnings.suppressed);
        warnings.last = Some(now);
        drop(warnings);
        let counted = if peer.is_some() { "the peer" } else { "all clients without an address" };
        tracing::warn!(
            reason = reason as &dyn std::error::Error,
            suppressed,
            "a client's address is not known: its attempts count against {counted}"
        );
    }
}

fn read(from: &ClientAddress, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<IpAddr, Unreadable> {
    let header = match from {
        ClientAddress::Peer => return peer.ok_or(Unreadable::NoPeer),
        ClientAddress::Header(header) => header,
    };
    let name = || header.name.clone();
    let mut entries = entries(headers, &header.name).map(|(entry, address)| {
        let shown = || String::from_utf8_lossy(&entry[..entry.len().min(64)]).into_owned();
        address.ok_or_else(|| Unreadable::NotAnAddress(name(), shown()))
    });
    let missing =
        || if headers.contains_key(&header.name) { Unreadable::TooFew(name()) } else { Unreadable::NoHeader(name()) };
    match &header.proxies {
        TrustedProxies::Count(count) => entries.nth(count.get() - 1).unwrap_or_else(|| Err(missing())),
        TrustedProxies::Networks(networks) => {
            let peer = peer.ok_or(Unreadable::NoPeer)?;
            if !contains(networks, peer) {
                return Ok(peer);
            }
            let mut client = None;
            for entry in entries {
                let address = entry?;
                client = Some(address);
                if !contains(networks, address) {
                    break;
                }
            }
            client.ok_or_else(missing)
        }
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The entries of a header, the last one first, each with the address that it tells. Several lines are one list (RFC 9110 §5.3).
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a [u8], Option<IpAddr>)> {
    let forwarded = *name == header::FORWARDED;
    let lines = headers.get_all(name).iter().rev().map(HeaderValue::as_bytes);
    lines
        .flat_map(move |line| split_back(line, b',', forwarded))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
        .map(move |entry| {
            let node = if forwarded { forwarded_for(entry) } else { Some(entry) };
            (entry, node.and_then(parse_node))
        })
}

/// Splits at each delimiter, from the end. Where quoted strings are known, a delimiter within one does not count; and since they are told
/// apart from the end too, no quotation mark that stands further to the front changes what stands behind it.
fn split_back(line: &[u8], delimiter: u8, quoted_strings: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut quoted = false;
        for at in (0..line.len()).rev() {
            match line[at] {
                b'"' if quoted_strings && !quoted => quoted = true,
                b'"' if quoted && !is_escaped(&line[..at]) => quoted = false,
                byte if byte == delimiter && !quoted => {
                    rest = Some(&line[..at]);
                    return Some(&line[at + 1..]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(line)
    })
}

/// Whether what follows these bytes in a quoted string has a backslash of its own (RFC 9110 §5.6.4).
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The `for=` parameter of an element of `Forwarded` (RFC 7239 §4), which may stand there once.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut nodes = split_back(element, b';', true).filter_map(|pair| {
        let (name, value) = pair.split_at_checked(pair.iter().position(|byte| *byte == b'=')?)?;
        name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| value[1..].trim_ascii())
    });
    let node = nodes.next()?;
    nodes.next().is_none().then_some(node)
}

/// The address of a node (RFC 7239 §6): `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`, each perhaps with a zone or in quotes.
/// `unknown` and names that hide an address (`_proxy`) have none.
fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let node = unquote(std::str::from_utf8(node).ok()?);
    let node = node.trim();
    if let Some(bracketed) = node.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return parse_address(address).filter(|_| whole);
    }
    match node.split_once(':') {
        // One colon: an address of IPv4 with its port. One of IPv6 has two colons or more.
        Some((address, port)) if !port.contains(':') => {
            address.parse::<Ipv4Addr>().ok().filter(|_| is_port(port)).map(IpAddr::from)
        }
        _ => parse_address(node),
    }
}

/// An address, without the zone that it may have (RFC 4007 §11), which means something on its own machine alone.
fn parse_address(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => address.parse().ok().filter(IpAddr::is_ipv6),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// A port, or a name that hides one (RFC 7239 §6.3).
fn is_port(text: &str) -> bool {
    let hidden = text.strip_prefix('_').is_some_and(|name| !name.is_empty());
    hidden || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

fn unquote(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(text);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut escaped = false;
    for letter in inner.chars() {
        escaped = letter == '\\' && !escaped;
        if !escaped {
            plain.push(letter);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn headers(name: &HeaderName, lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_bytes(line).unwrap())).collect()
    }

    fn list() -> HeaderName {
        HeaderName::from_static("x-forwarded-for")
    }

    fn by_count(name: HeaderName, count: usize) -> ClientAddress {
        let proxies = TrustedProxies::Count(NonZeroUsize::new(count).unwrap());
        ClientAddress::Header(ProxyHeader { name, proxies })
    }

    fn by_networks(name: HeaderName, networks: &[&str]) -> ClientAddress {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        ClientAddress::Header(ProxyHeader { name, proxies: TrustedProxies::Networks(networks) })
    }

    /// The address that one proxy told in one line.
    fn told(name: &HeaderName, line: &str) -> Option<IpAddr> {
        read(&by_count(name.clone(), 1), &headers(name, &[line.as_bytes()]), None).ok()
    }

    #[test]
    fn addresses_are_read_in_all_their_spellings() {
        for (spelling, address) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:51234", "203.0.113.9"),
            ("203.0.113.9:_port", "203.0.113.9"),
            ("\"203.0.113.9:51234\"", "203.0.113.9"),
            ("[203.0.113.9]:51234", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("[2001:db8::9]:51234", "2001:db8::9"),
            ("\"[2001:db8::9]:51234\"", "2001:db8::9"),
            ("\"[2001:db8::9\\]\"", "2001:db8::9"),
            ("fe80::9%eth0", "fe80::9"),
            ("[fe80::9%25eth0]:51234", "fe80::9"),
            ("  203.0.113.9\t", "203.0.113.9"),
            ("::ffff:203.0.113.9", "::ffff:203.0.113.9"),
        ] {
            assert_eq!(told(&list(), spelling), Some(ip(address)), "{spelling}");
            let quoted = if spelling.contains('"') { spelling.to_owned() } else { format!("\"{spelling}\"") };
            for element in [format!("for={quoted}"), format!("proto=https;FOR={quoted};by=\"_a;b,c\"")] {
                assert_eq!(told(&header::FORWARDED, &element), Some(ip(address)), "{element}");
            }
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for nothing in [
            "unknown",
            "_hidden",
            "",
            "\"\"",
            "[",
            "[]",
            "203.0.113",
            "203.0.113.9:",
            "203.0.113.9:65536",
            "203.0.113.9:+80",
            "203.0.113.9%eth0",
            "[2001:db8::9",
            "[2001:db8::9]51234",
            "2001:db8::9%",
            "\u{661}.0.0.1",
            "example.org",
            "203.0.113.9 203.0.113.8",
        ] {
            assert_eq!(told(&list(), nothing), None, "{nothing}");
            assert_eq!(told(&header::FORWARDED, &format!("for=\"{nothing}\"")), None, "{nothing}");
        }
        for element in ["by=203.0.113.9", "203.0.113.9", "for", "for=203.0.113.9;for=203.0.113.8", "for=\"203.0.113.9"]
        {
            assert_eq!(told(&header::FORWARDED, element), None, "{element}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = headers(&list(), &[b"192.0.2.1, 192.0.2.2", b"192.0.2.3", b"", b"192.0.2.4,"]);
        for (count, address) in [(1, "192.0.2.4"), (2, "192.0.2.3"), (3, "192.0.2.2"), (4, "192.0.2.1")] {
            assert_eq!(read(&by_count(list(), count), &lines, None), Ok(ip(address)));
        }
        assert_eq!(read(&by_count(list(), 5), &lines, None), Err(Unreadable::TooFew(list())));
        assert_eq!(read(&by_count(list(), 1), &HeaderMap::new(), None), Err(Unreadable::NoHeader(list())));
    }

    #[test]
    fn trusted_networks_are_walked_from_the_peer_on() {
        let from = by_networks(list(), &["10.0.0.0/8", "2001:db8:aaaa::/48"]);
        let of = |line: &str, peer: &str| read(&from, &headers(&list(), &[line.as_bytes()]), Some(ip(peer)));
        assert_eq!(of("203.0.113.9", PEER), Ok(ip("203.0.113.9")));
        assert_eq!(of("203.0.113.9", "::ffff:10.0.0.1"), Ok(ip("203.0.113.9")));
        assert_eq!(of("192.0.2.6, 203.0.113.9, 2001:db8:aaaa::1, 10.9.9.9", PEER), Ok(ip("203.0.113.9")));
        assert_eq!(of("10.0.0.7, 10.0.0.8", PEER), Ok(ip("10.0.0.7")), "a client within");
        assert_eq!(of("192.0.2.6", "198.51.100.1"), Ok(ip("198.51.100.1")), "no proxy: it says what it likes");
        assert!(matches!(of("203.0.113.9, unknown, 10.9.9.9", PEER), Err(Unreadable::NotAnAddress(..))));
        assert_eq!(read(&from, &headers(&list(), &[b"203.0.113.9"]), None), Err(Unreadable::NoPeer));
    }

    #[test]
    fn what_cannot_be_read_counts_against_the_peer_and_without_one_against_all() {
        let addresses = ClientAddresses::new(by_count(list(), 1));
        let unreadable = headers(&list(), &[b"203.0.113.9, unknown"]);
        assert_eq!(addresses.of(&unreadable, Some(ip(PEER))), Some(ip(PEER)));
        assert_eq!(addresses.of(&HeaderMap::new(), Some(ip(PEER))), Some(ip(PEER)));
        assert_eq!(addresses.of(&unreadable, None), None);
        assert_eq!(ClientAddresses::new(ClientAddress::Peer).of(&unreadable, None), None);
    }

    #[tokio::test(start_paused = true)]
    async fn warnings_come_once_a_minute() {
        let addresses = ClientAddresses::new(ClientAddress::Peer);
        let warnings = |calls: u32| {
            for _ in 0..calls {
                addresses.of(&HeaderMap::new(), None);
            }
            addresses.warnings.lock().unwrap().suppressed
        };
        assert_eq!(warnings(3), 2);
        tokio::time::advance(WARN_EVERY).await;
        assert_eq!(warnings(1), 0, "it was written, with the number of those that were not");
        assert_eq!(warnings(1), 1);
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|n| IpAddr::from(Ipv4Addr::from_bits(n))),
            any::<u128>().prop_map(|n| { IpAddr::from(Ipv6Addr::from_bits(n)) })
        ]
    }

    /// An address as some proxy may write it.
    fn spelled(address: IpAddr) -> impl Strategy<Value = String> {
        (proptest::option::of(any::<u16>()), any::<bool>(), any::<bool>()).prop_map(move |(port, zone, brackets)| {
            let plain = match address {
                IpAddr::V6(address) if zone => format!("{address}%eth0"),
                address => address.to_string(),
            };
            match port {
                Some(port) if address.is_ipv6() => format!("[{plain}]:{port}"),
                Some(port) => format!("{plain}:{port}"),
                None if address.is_ipv6() && brackets => format!("[{plain}]"),
                None => plain,
            }
        })
    }

    /// Anything that a client can put into a header.
    fn forged() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            3 => prop::sample::select(b"\",;=\\[]: \t%_for0123456789abcdef.".to_vec()),
            1 => (0x20_u8..=0xff).prop_filter("not in a header", |byte| *byte != 0x7f),
        ];
        prop::collection::vec(byte, 0..40)
    }

    proptest! {
        /// What a client writes itself stands before what the proxy adds, in the same line or another one, and never counts.
        #[test]
        fn a_forged_beginning_never_counts(
            (address, told) in any_address().prop_flat_map(|address| (Just(address), spelled(address))),
            forged in forged(),
            (same_line, quoted) in any::<(bool, bool)>(),
        ) {
            let quoted = quoted || told.contains(':');
            let element = if quoted { format!("for=\"{told}\";proto=https") } else { format!("proto=http;for={told}") };
            for (name, added) in [(list(), told.clone()), (header::FORWARDED, element)] {
                let lines = if same_line {
                    vec![[&forged[..], b", ", added.as_bytes()].concat()]
                } else {
                    vec![forged.clone(), added.into_bytes()]
                };
                let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
                let headers = headers(&name, &lines);
                prop_assert_eq!(read(&by_count(name.clone(), 1), &headers, None), Ok(address));
                if !contains(&["10.0.0.0/8".parse().unwrap()], address) {
                    let networks = by_networks(name, &["10.0.0.0/8"]);
                    prop_assert_eq!(read(&networks, &headers, Some(ip(PEER))), Ok(address));
                }
            }
        }

        /// Whatever the bytes: an address or none, and every byte of the line is looked at once.
        #[test]
        fn any_bytes_are_read_or_not(line in forged(), count in 1_usize..4) {
            for name in [list(), header::FORWARDED] {
                let headers = headers(&name, &[&line]);
                let _ = read(&by_count(name.clone(), count), &headers, None);
                let pieces: Vec<_> = split_back(&line, b',', name == header::FORWARDED).collect();
                prop_assert_eq!(pieces.iter().map(|piece| piece.len() + 1).sum::<usize>(), line.len() + 1);
            }
        }
    }
}
