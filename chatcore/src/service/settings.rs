//! What a host may set. Everything has a default.

use std::time::Duration;

use crate::hub::HubSettings;
use crate::model::AccessSecret;

/// How many attempts, and how long until they have all come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Attempts at once; at least 1.
    pub burst: u32,
    /// Time in which a spent burst comes back, evenly.
    pub per: Duration,
}

impl RateLimit {
    /// So many attempts within that time.
    pub const fn new(burst: u32, per: Duration) -> Self {
        Self { burst, per }
    }

    /// Half of the attempts, at least one, in the same time.
    pub(crate) fn half(self) -> Self {
        Self { burst: (self.burst / 2).max(1), ..self }
    }
}

/// A key that access tokens are signed with.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// Its name, which tokens carry as `kid`.
    pub id: String,
    /// The secret.
    pub secret: AccessSecret,
}

/// Access and refresh tokens.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// The first one signs, all of them verify: to rotate, put a new one in front and take the old one out after
    /// `access_ttl`.
    pub keys: Vec<SigningKey>,
    /// `iss` of the tokens. Default: `chatcore`.
    pub issuer: String,
    /// `aud` of the tokens. Default: `chatcore`.
    pub audience: String,
    /// How long an access token is good for. Default: 15 minutes.
    pub access_ttl: Duration,
    /// How long a session lives without a refresh. Default: 30 days.
    pub refresh_ttl: Duration,
    /// How long after its first use the refresh token used last may be repeated. Default: 30 s.
    pub refresh_grace: Duration,
}

/// Password hashing: Argon2id.
#[derive(Debug, Clone, Copy)]
pub struct HashSettings {
    /// Memory per hash, in KiB. Default: 19456 (OWASP Password Storage Cheat Sheet). Allocated once per worker that is needed, reused, and
    /// given back after a minute without need.
    pub memory_kib: u32,
    /// Passes. Default: 2.
    pub iterations: u32,
    /// Hashes computed at once; further ones wait. Default: the number of cores.
    pub workers: usize,
}

/// What a host may set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Access and refresh tokens.
    pub tokens: TokenSettings,
    /// Password hashing.
    pub hashing: HashSettings,
    /// Listeners, tails, presence.
    pub hub: HubSettings,
    /// Members a group. Default: 1000.
    pub max_members: u32,
    /// Different reactions a message. Default: 20.
    pub max_reactions: u32,
    /// Further behind than this many events, a resume is answered with a fresh start. Default: 1000.
    pub resume_events: u64,
    /// Sessions per user, at least 1. A login beyond that ends the session that was used longest ago. Default: 100.
    pub max_sessions_per_user: u32,
    /// Whether one has to be a friend of somebody to open a direct room with them, or to add them to a group. Default: no.
    pub friends_only: bool,
    /// Logins tried for one account from one address. `None`: unlimited. Default: 10 a minute.
    ///
    /// Half of them (rounded down, at least one) under its username and half under its e-mail address, here and in `logins_by_strangers`. They
    /// are not counted as one, because then the answers would tell which address belongs to which username.
    ///
    /// An address is a network of 64 bits in IPv6, here and below.
    pub logins_per_account: Option<RateLimit>,
    /// Logins tried for one account from all addresses together that it has not been signed in from (as far as this node has seen). An address
    /// that it has been is not held up by what others guess. Default: 100 in 5 minutes.
    pub logins_by_strangers: Option<RateLimit>,
    /// Logins and refreshes tried from one address. Default: 60 a minute.
    pub logins_per_address: Option<RateLimit>,
    /// Registrations from one address. Default: 20 an hour.
    pub registrations_per_address: Option<RateLimit>,
    /// Changes of address that one user tries, each of which tells whether an address has an account. Default: 20 an hour.
    pub email_changes_per_user: Option<RateLimit>,
    /// Sockets that one user opens. `None`: unlimited. Default: 128 in a minute, which is 32 tabs that come back after each of four restarts.
    pub connects_per_user: Option<RateLimit>,
    /// Units of work of one user, over all REST calls and sockets together. `None`: unlimited. Default: 2000 in 20 s.
    ///
    /// A call costs 1 unit and 1 for each ten rows that it may read; a post or an edit 2 and 1 for each whole KiB; another change 2 to 4; a change
    /// of members 4 and 2 for each; a list of rooms or a resume 1 and 1 for each five rooms; a new password 20. Over the budget a call is answered as rate
    /// limited, and nothing of it is done.
    pub work_per_user: Option<RateLimit>,
    /// How long a store may take to answer a call; what takes longer is unavailable. Default: 10 s.
    pub store_deadline: Duration,
    /// How long a session, a membership or a block is trusted without asking the store. Default: 5 s.
    pub trust: Duration,
    /// How often what connected users rely on is compared with the store. Default: 2 s; must be below `trust`.
    pub reconcile_every: Duration,
    /// How often changes that another node left unfinished are looked for. Default: 30 s.
    pub sweep_every: Duration,
    /// Drafts that wait for the log at most; further senders wait. Default: 4096.
    pub append_queue: usize,
    /// Drafts of one user that wait for the log; further ones are refused as rate limited. Default: 1024.
    pub append_queue_per_user: usize,
    /// The cost of a batch, in units: one per draft, and one per whole KiB of its text. Default: 512.
    pub append_batch: usize,
    /// The cost of one user's drafts in a batch, in the same units: a user who writes much does not hold up the others for longer than it takes
    /// to write this. Default: 16.
    pub append_share: usize,
}

impl Settings {
    /// The defaults, with the one key that must be given.
    pub fn new(secret: AccessSecret) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            tokens: TokenSettings {
                keys: vec![SigningKey { id: "1".to_owned(), secret }],
                issuer: "chatcore".to_owned(),
                audience: "chatcore".to_owned(),
                access_ttl: 15 * minute,
                refresh_ttl: 30 * 24 * 60 * minute,
                refresh_grace: Duration::from_secs(30),
            },
            hashing: HashSettings {
                memory_kib: 19_456,
                iterations: 2,
                workers: std::thread::available_parallelism().map_or(2, usize::from),
            },
            hub: HubSettings::default(),
            max_members: 1000,
            max_reactions: 20,
            resume_events: 1000,
            max_sessions_per_user: 100,
            friends_only: false,
            logins_per_account: Some(RateLimit::new(10, minute)),
            logins_by_strangers: Some(RateLimit::new(100, 5 * minute)),
            logins_per_address: Some(RateLimit::new(60, minute)),
            registrations_per_address: Some(RateLimit::new(20, 60 * minute)),
            email_changes_per_user: Some(RateLimit::new(20, 60 * minute)),
            connects_per_user: Some(RateLimit::new(128, minute)),
            work_per_user: Some(RateLimit::new(2000, Duration::from_secs(20))),
            store_deadline: Duration::from_secs(10),
            trust: Duration::from_secs(5),
            reconcile_every: Duration::from_secs(2),
            sweep_every: Duration::from_secs(30),
            append_queue: 4096,
            append_queue_per_user: 1024,
            append_batch: 512,
            append_share: 16,
        }
    }
}
