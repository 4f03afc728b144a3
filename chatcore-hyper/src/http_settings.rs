//! What a host may set of the transport. Everything has a default.

use std::time::Duration;

use chatcore::service::RateLimit;

use crate::client_address::ClientAddress;

/// Which pages of other servers may talk to this one from a browser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllowedOrigins {
    /// Those whose host and port are the `Host` of the request.
    #[default]
    Own,
    /// The own one, and these: `scheme://host[:port]`, as browsers write it.
    List(Vec<String>),
    /// All. Safe, since no cookie is ever used, but anybody's page may then spend its visitors' rate limits.
    Any,
}

/// What a host may set of the transport.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// What all paths begin with: empty, or `/` and more, without a `/` at the end. Default: empty.
    pub prefix: String,
    /// Bytes a request body. Default: 64 KiB.
    pub body_limit: usize,
    /// Time for a request, from its head to the answer. Default: 30 s.
    pub request_timeout: Duration,
    /// Time for a request's head, for [`Connections`](crate::Connections): from the connection or the answer before on; also for a TLS handshake. An
    /// HTTP/2 connection that does not answer a ping within it is closed. Default: 10 s.
    pub header_timeout: Duration,
    /// Time for a client to take an answer, for [`Connections`](crate::Connections): what it does not take ends its connection. Default: 60 s.
    pub write_timeout: Duration,
    /// Time without a request after which a connection is closed, for [`Connections`](crate::Connections). Pings do not count, sockets are not
    /// idle. Default: 60 s.
    pub idle_timeout: Duration,
    /// How long a connection that the server closes is still read, for [`Connections`](crate::Connections), so that the last answer arrives.
    /// Default: 1 s.
    pub linger_timeout: Duration,
    /// Connections at once, sockets included, for [`Connections`](crate::Connections). Each takes a file descriptor. Default: 10,000.
    pub connections: usize,
    /// Connections of one address that have not brought a request with a good token yet, for [`Connections`](crate::Connections). Trusted proxies
    /// have no such limit. Default: 256.
    pub connections_per_address: usize,
    /// Connections of one user, sockets included, for [`Connections`](crate::Connections). Default: 64; should be above the sockets of a user.
    pub connections_per_user: usize,
    /// Requests at once on one HTTP/2 connection, for [`Connections`](crate::Connections). Default: 64.
    pub http2_streams: u32,
    /// Bytes of answers that one client (a user, or an address without a good token) has not taken yet, under any server; further requests are
    /// answered with 429. One answer is always within it. Default: 4 MiB.
    pub unsent_bytes_per_client: usize,
    /// The same for all clients together, half of it at most for those without a good token; further requests are answered with 503. One client may hold a quarter of what is free, so there is
    /// room for others until very many take nothing. At least some times the largest answer. Default: 64 MiB.
    pub unsent_bytes: usize,
    /// Origins beside which a handshake from a browser is refused. Default: the own one.
    pub origins: AllowedOrigins,
    /// Where the client's address is read. Default: the connection's peer.
    pub client_address: ClientAddress,
    /// REST requests and handshakes without a good token, an address. `None`: unlimited. Default: 200 in 10 s.
    pub requests_per_address: Option<RateLimit>,
    /// Time between two pings of a socket; after two without a frame from the client it is closed. Default: 30 s.
    pub heartbeat: Duration,
    /// Frames per second and socket, parts of messages of less than 1 KiB included; those of two seconds may come at once. Default: 50.
    pub frames_per_second: u32,
    /// Bytes a frame. Default: 64 KiB.
    pub frame_bytes: usize,
    /// Answers that wait for a socket at most; the server reads no further frames then. Default: 32.
    pub answers: usize,
    /// Bytes that are written to a socket in one go, about; what more there is waits until they are out. Default: 32 KiB.
    pub write_bytes: usize,
    /// Time for a `bye` to be sent before a close. Default: 1 s.
    pub bye_timeout: Duration,
    /// Within which time after a restart clients are asked to come again, spread evenly. Default: 3 s.
    pub restart_spread: Duration,
    /// How long a stopping server waits for requests under way and sockets. Default: 10 s.
    pub drain_timeout: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Self {
            prefix: String::new(),
            body_limit: 64 * 1024,
            request_timeout: Duration::from_secs(30),
            header_timeout: ten,
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(1),
            connections: 10_000,
            connections_per_address: 256,
            connections_per_user: 64,
            http2_streams: 64,
            unsent_bytes_per_client: 4 * 1024 * 1024,
            unsent_bytes: 64 * 1024 * 1024,
            origins: AllowedOrigins::Own,
            client_address: ClientAddress::Peer,
            requests_per_address: Some(RateLimit::new(200, ten)),
            heartbeat: Duration::from_secs(30),
            frames_per_second: 50,
            frame_bytes: 64 * 1024,
            answers: 32,
            write_bytes: 32 * 1024,
            bye_timeout: Duration::from_secs(1),
            restart_spread: Duration::from_secs(3),
            drain_timeout: ten,
        }
    }
}
