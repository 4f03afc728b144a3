//! Which origins may call, and CORS for those.

use http::header::{self, HeaderMap, HeaderValue};

use crate::http_settings::AllowedOrigins;

impl AllowedOrigins {
    /// Whether a request with these headers may come from where it says it comes from. Without `Origin` it may.
    pub(crate) fn allows(&self, headers: &HeaderMap, authority: Option<&str>) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        match self {
            Self::Any => true,
            Self::Own => is_own(origin, headers, authority),
            Self::List(list) => {
                list.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) || is_own(origin, headers, authority)
            }
        }
    }
}

/// Whether host and port of the origin are those that the request was sent to.
fn is_own(origin: &str, headers: &HeaderMap, authority: Option<&str>) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(authority);
    let (Some(host), Some((scheme, origin_host))) = (host, origin.split_once("://")) else { return false };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_ascii_lowercase();
    bare(origin_host) == bare(host)
}

/// Lets the page of an allowed origin read an answer. No credentials: tokens travel in a header of the page's own making.
pub(crate) fn add_cors(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After, X-Request-Id"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// What a preflight asks for (Fetch standard §3.2.2).
pub(crate) fn add_preflight(headers: &mut HeaderMap) {
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &'static str, host: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers.insert(header::HOST, HeaderValue::from_static(host));
        headers
    }

    #[test]
    fn the_own_origin_is_that_of_the_host_header() {
        let own = AllowedOrigins::Own;
        assert!(own.allows(&headers("http://chat.example:8080", "chat.example:8080"), None));
        assert!(own.allows(&headers("https://Chat.example", "chat.example:443"), None));
        assert!(own.allows(&HeaderMap::new(), None), "no browser");
        for (origin, host) in [
            ("http://evil.example", "chat.example"),
            ("http://chat.example:81", "chat.example"),
            ("http://chat.example.evil.example", "chat.example"),
            ("null", "chat.example"),
            ("file://chat.example", "chat.example"),
        ] {
            assert!(!own.allows(&headers(origin, host), None), "{origin}");
        }
    }

    #[test]
    fn listed_origins_are_allowed_beside_the_own() {
        let list = AllowedOrigins::List(vec!["https://app.example".into()]);
        assert!(list.allows(&headers("https://app.example", "chat.example"), None));
        assert!(list.allows(&headers("https://chat.example", "chat.example"), None));
        assert!(!list.allows(&headers("https://other.example", "chat.example"), None));
        assert!(AllowedOrigins::Any.allows(&headers("https://other.example", "chat.example"), None));
    }
}
