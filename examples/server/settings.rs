//! What can be set, by flags or by the environment.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use chatcore::model::AccessSecret;
use chatcore::service::RateLimit;
use chatcore_hyper::{AllowedOrigins, ClientAddress, HttpSettings, IpNet, ProxyHeader, TrustedProxies};
use clap::{Parser, ValueEnum};

/// A chat server: REST and WebSocket over SQLite, MySQL, MariaDB or MongoDB, with a page to try it.
#[derive(Debug, Parser)]
#[command(name = "server", version)]
pub(crate) struct Settings {
    /// Address to listen on; port 0 takes a free one. The address is printed.
    #[arg(long, env = "CHATCORE_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Where everything is kept: `sqlite:FILE` (made at the first start), `mysql://USER:PASSWORD@HOST/DATABASE` (MariaDB too; the database has
    /// to be there), `mongodb://HOST/DATABASE` (a replica set; one node is enough), or `memory` (gone at the end).
    #[arg(long, env = "CHATCORE_STORE", default_value = "sqlite:chatcore.db", hide_env_values = true)]
    pub(crate) store: Store,

    /// Where the rooms' logs are kept, if elsewhere than everything else; as `--store`.
    #[arg(long, env = "CHATCORE_MESSAGES", hide_env_values = true)]
    pub(crate) messages: Option<Store>,

    /// Key that access tokens are signed with, at least 32 bytes. When none is given, one is made and kept in a file beside the
    /// database (`chatcore.db.secret`), or where the database is a server, in `chatcore.secret`: servers that share one need the same.
    #[arg(long, env = "CHATCORE_JWT_SECRET", hide_env_values = true)]
    pub(crate) jwt_secret: Option<String>,

    /// What all paths of the API begin with, such as `/api`. The page stays at `/` only without one.
    #[arg(long, env = "CHATCORE_PREFIX", default_value = "", value_parser = prefix)]
    pub(crate) prefix: String,

    /// A further origin whose pages may call, as `scheme://host[:port]`; may be given more than once. `*` allows all.
    #[arg(long = "origin", env = "CHATCORE_ORIGINS", value_delimiter = ',')]
    pub(crate) origins: Vec<String>,

    /// Header in which trusted proxies in front of the server tell the client's address, such as `x-forwarded-for` or `forwarded`.
    #[arg(long, env = "CHATCORE_CLIENT_ADDRESS_HEADER")]
    pub(crate) client_address_header: Option<http::HeaderName>,

    /// Proxies whose additions to that header are believed: how many there are in front of the server, or the networks that they are in, as
    /// `10.0.0.0/8,2001:db8::/32`.
    #[arg(long, env = "CHATCORE_TRUSTED_PROXIES", default_value = "1", requires = "client_address_header")]
    pub(crate) trusted_proxies: Proxies,

    /// Logins that may be tried for one account from one address, half of them under each of its names, as `COUNT/SECONDS`, or `off`.
    #[arg(long, env = "CHATCORE_LOGINS_PER_ACCOUNT", default_value = "10/60")]
    pub(crate) logins_per_account: Rate,

    /// Logins that may be tried for one account from all addresses together that it has not been signed in from, as `COUNT/SECONDS`, or `off`.
    #[arg(long, env = "CHATCORE_LOGINS_BY_STRANGERS", default_value = "100/300")]
    pub(crate) logins_by_strangers: Rate,

    /// Logins and refreshes that may be tried from one address, as `COUNT/SECONDS`, or `off`.
    #[arg(long, env = "CHATCORE_LOGINS_PER_ADDRESS", default_value = "60/60")]
    pub(crate) logins_per_address: Rate,

    /// Registrations from one address, as `COUNT/SECONDS`, or `off`.
    #[arg(long, env = "CHATCORE_REGISTRATIONS_PER_ADDRESS", default_value = "20/3600")]
    pub(crate) registrations_per_address: Rate,

    /// Units of work of one user, over all calls and sockets, as `COUNT/SECONDS`, or `off`. A call costs 1, a post 2, a change of members 2 each.
    #[arg(long, env = "CHATCORE_WORK_PER_USER", default_value = "2000/20")]
    pub(crate) work_per_user: Rate,

    /// Requests without a good token from one address, as `COUNT/SECONDS`, or `off`.
    #[arg(long, env = "CHATCORE_REQUESTS_PER_ADDRESS", default_value = "200/10")]
    pub(crate) requests_per_address: Rate,

    /// Frames a second that one socket may send.
    #[arg(long, env = "CHATCORE_FRAMES_PER_SECOND", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) frames_per_second: u32,

    /// Sockets that one user may hold.
    #[arg(long, env = "CHATCORE_CONNECTIONS_PER_USER", default_value_t = 32)]
    pub(crate) connections_per_user: usize,

    /// Sockets that one user opens, as `COUNT/SECONDS`, or `off`.
    #[arg(long, env = "CHATCORE_CONNECTS_PER_USER", default_value = "128/60")]
    pub(crate) connects_per_user: Rate,

    /// Connections at once, sockets included. Each takes a file descriptor.
    #[arg(long, env = "CHATCORE_CONNECTIONS", default_value_t = 10_000)]
    pub(crate) connections: usize,

    /// Connections of one address that is no trusted proxy, without those of people who are logged in.
    #[arg(long, env = "CHATCORE_CONNECTIONS_PER_ADDRESS", default_value_t = 256)]
    pub(crate) connections_per_address: usize,

    /// Seconds that a client may take to read an answer.
    #[arg(long, env = "CHATCORE_WRITE_TIMEOUT", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) write_timeout: u64,

    /// Seconds after which a connection without a request is closed. Sockets are not idle.
    #[arg(long, env = "CHATCORE_IDLE_TIMEOUT", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) idle_timeout: u64,

    /// KiB of answers that one client has not read yet.
    #[arg(long, env = "CHATCORE_UNSENT_KIB_PER_CLIENT", default_value_t = 4 * 1024)]
    pub(crate) unsent_kib_per_client: usize,

    /// KiB of answers that all clients together have not read yet.
    #[arg(long, env = "CHATCORE_UNSENT_KIB", default_value_t = 64 * 1024)]
    pub(crate) unsent_kib: usize,

    /// Milliseconds between two pings of a socket.
    #[arg(long, env = "CHATCORE_HEARTBEAT_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) heartbeat_ms: u64,

    /// Seconds that an access token is good for.
    #[arg(long, env = "CHATCORE_ACCESS_TTL", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) access_ttl: u64,

    /// Sessions that one user may have; a login beyond that ends the one that was used longest ago.
    #[arg(long, env = "CHATCORE_SESSIONS_PER_USER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sessions_per_user: u32,

    /// Whether only friends may open a direct room, or add one another to groups.
    #[arg(long, env = "CHATCORE_FRIENDS_ONLY")]
    pub(crate) friends_only: bool,

    /// How the log is written, to standard error. What is logged is set by `RUST_LOG` (default: `info`).
    #[arg(long, env = "CHATCORE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Where something is kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Sqlite(String),
    MySql(String),
    Mongo(String),
}

impl fmt::Debug for Store {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::MySql(_) => "mysql",
            Self::Mongo(_) => "mongodb",
        })
    }
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("sqlite", file)) if !file.trim_start_matches('/').is_empty() => Ok(Self::Sqlite(text.to_owned())),
            Some(("mysql" | "mariadb", _)) => Ok(Self::MySql(text.to_owned())),
            Some(("mongodb" | "mongodb+srv", _)) => Ok(Self::Mongo(text.to_owned())),
            _ => Err("has to be `sqlite:FILE`, `mysql://…`, `mongodb://…` or `memory`".to_owned()),
        }
    }
}

/// `COUNT/SECONDS`, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<RateLimit>);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let wrong = |_: ParseIntError| "has to be `COUNT/SECONDS` or `off`".to_owned();
        let (count, seconds) = text.split_once('/').ok_or("has to be `COUNT/SECONDS` or `off`")?;
        let (count, seconds): (u32, u64) = (count.parse().map_err(wrong)?, seconds.parse().map_err(wrong)?);
        if count == 0 || seconds == 0 {
            return Err("neither number may be 0; `off` sets no limit".to_owned());
        }
        Ok(Self(Some(RateLimit::new(count, Duration::from_secs(seconds)))))
    }
}

/// A number of proxies, or their networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proxies(TrustedProxies);

impl FromStr for Proxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(count) = text.parse() {
            return Ok(Self(TrustedProxies::Count(count)));
        }
        let networks = text.split(',').map(|network| {
            let network = network.trim();
            let host = || network.parse::<IpAddr>().map(IpNet::from);
            network.parse().or_else(|_| host()).map_err(|_| format!("`{network}` is no network, and no number above 0"))
        });
        networks.collect::<Result<_, _>>().map(TrustedProxies::Networks).map(Self)
    }
}

fn prefix(text: &str) -> Result<String, String> {
    if text.is_empty() || (text.starts_with('/') && !text.ends_with('/') && !text.contains(['?', '#', '{'])) {
        Ok(text.to_owned())
    } else {
        Err("has to begin with `/` and not to end with it".to_owned())
    }
}

impl Settings {
    /// What the core is to be set to.
    pub(crate) fn core(&self, secret: AccessSecret) -> chatcore::Settings {
        let mut settings = chatcore::Settings::new(secret);
        settings.tokens.access_ttl = Duration::from_secs(self.access_ttl);
        settings.hub.connections_per_user = self.connections_per_user;
        settings.connects_per_user = self.connects_per_user.0;
        settings.max_sessions_per_user = self.sessions_per_user;
        settings.friends_only = self.friends_only;
        settings.work_per_user = self.work_per_user.0;
        settings.logins_per_account = self.logins_per_account.0;
        settings.logins_by_strangers = self.logins_by_strangers.0;
        settings.logins_per_address = self.logins_per_address.0;
        settings.registrations_per_address = self.registrations_per_address.0;
        settings
    }

    /// What the transport is to be set to.
    pub(crate) fn http(&self) -> HttpSettings {
        let origins = match self.origins.as_slice() {
            [] => AllowedOrigins::Own,
            all if all.iter().any(|origin| origin == "*") => AllowedOrigins::Any,
            list => AllowedOrigins::List(list.to_vec()),
        };
        HttpSettings {
            prefix: self.prefix.clone(),
            origins,
            client_address: self.client_address_header.clone().map_or(ClientAddress::Peer, |name| {
                ClientAddress::Header(ProxyHeader { name, proxies: self.trusted_proxies.0.clone() })
            }),
            requests_per_address: self.requests_per_address.0,
            frames_per_second: self.frames_per_second,
            connections: self.connections,
            connections_per_address: self.connections_per_address,
            // Beside sockets, browsers open six connections to a host.
            connections_per_user: self.connections_per_user.saturating_add(32),
            write_timeout: Duration::from_secs(self.write_timeout),
            idle_timeout: Duration::from_secs(self.idle_timeout),
            unsent_bytes_per_client: self.unsent_kib_per_client.saturating_mul(1024),
            unsent_bytes: self.unsent_kib.saturating_mul(1024),
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            ..HttpSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_rates_parse_or_say_how() {
        assert_eq!("memory".parse(), Ok(Store::Memory));
        assert_eq!("sqlite:a.db".parse(), Ok(Store::Sqlite("sqlite:a.db".into())));
        assert_eq!("mysql://a@b/c".parse(), Ok(Store::MySql("mysql://a@b/c".into())));
        assert_eq!("mongodb://a/b".parse(), Ok(Store::Mongo("mongodb://a/b".into())));
        assert_eq!(format!("{:?}", Store::MySql("mysql://a:secret@b/c".into())), "mysql");
        for wrong in ["", "sqlite", "sqlite:", "postgres://x", "memory:x"] {
            assert!(wrong.parse::<Store>().is_err(), "{wrong}");
        }
        assert_eq!("off".parse(), Ok(Rate(None)));
        assert_eq!("5/60".parse(), Ok(Rate(Some(RateLimit::new(5, Duration::from_secs(60))))));
        for wrong in ["", "5", "0/1", "1/0", "-1/1", "a/b"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn proxies_are_a_number_or_networks() {
        assert_eq!("2".parse(), Ok(Proxies(TrustedProxies::Count(2.try_into().unwrap()))));
        let networks = ["10.0.0.0/8", "2001:db8::1/128"].map(|network| network.parse().unwrap()).to_vec();
        assert_eq!("10.0.0.0/8, 2001:db8::1".parse(), Ok(Proxies(TrustedProxies::Networks(networks))));
        for wrong in ["", "0", "-1", "10.0.0.0/33", "example.org"] {
            assert!(wrong.parse::<Proxies>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory as _;
        Settings::command().debug_assert();
    }
}
