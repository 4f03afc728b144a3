//! Deliberate defects: the proof that the history checker finds what it looks for.
//!
//! Code that can be broken on purpose says so in one line, `defect!(Name, broken, right)`. Without the feature `defects` that is
//! `right` and nothing else is compiled. With it, at most one defect is in force in a process, and none until [`enable`] is
//! called. Never use it for a server that anybody relies on.
//!
//! A new defect is a line in the list below, a line where it breaks the code, and a line in the checker's test that says which rule
//! catches it.

#[cfg(feature = "defects")]
use std::sync::atomic::{AtomicU8, Ordering};

macro_rules! list {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A promise that is broken on purpose, and how.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Defect {
            $($(#[$doc])* $variant,)*
        }

        impl Defect {
            /// All defects.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name on a command line, such as `publish-before-commit`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

list! {
    /// Listeners get events under the numbers that they are likely to get, a moment before the store is asked.
    PublishBeforeCommit = "publish-before-commit";
    /// Senders are answered with the numbers that their posts are likely to get, a moment before the store is asked.
    AckBeforeCommit = "ack-before-commit";
    /// A socket that resumes begins one event too late.
    ResumeOffByOne = "resume-off-by-one";
    /// A post is stored under a key of its own, whatever `client_id` says.
    DedupForgotten = "dedup-forgotten";
    /// A cursor reads on after its listener's leaving.
    EvictionLate = "eviction-late";
    /// What this node believes of a member outlives the removal until it lapses.
    RemovalForgotten = "removal-forgotten";
    /// A reader for whom the tail is too short gets what is left of it.
    TailTrimmed = "tail-trimmed";
    /// The sockets of a session live on when it ends.
    SessionSurvives = "session-survives";
    /// Read markers are acknowledged and not stored.
    MarkerLost = "marker-lost";
    /// A draft whose author has to be looked up again, as happens to one in four, is put behind those that were sent after it.
    StaleOvertaken = "stale-overtaken";
    /// A login that was verified with a password which has been replaced since gets its session.
    LoginUnchecked = "login-unchecked";
    /// A room that a handshake was registered for when it was given up keeps the listener.
    RegistrationLeaks = "registration-leaks";
    /// A tail goes on to give out the bodies of deleted messages.
    TailKeepsDeleted = "tail-keeps-deleted";
}

/// Evaluates to `broken` while that defect is in force, else to `right`.
#[cfg(feature = "defects")]
macro_rules! defect {
    ($name:ident, $broken:expr, $right:expr) => {
        if $crate::defect::has($crate::defect::Defect::$name) { $broken } else { $right }
    };
}

/// Evaluates to `right`.
#[cfg(not(feature = "defects"))]
macro_rules! defect {
    ($name:ident, $broken:expr, $right:expr) => {
        $right
    };
}

pub(crate) use defect;

/// The defect in force, counted from 1; 0: none.
#[cfg(feature = "defects")]
static ENABLED: AtomicU8 = AtomicU8::new(0);

/// Puts a defect in force, for the rest of the process.
#[cfg(feature = "defects")]
pub fn enable(defect: Defect) {
    ENABLED.store(defect as u8 + 1, Ordering::Relaxed);
}

/// Returns `true` once in so many calls.
#[cfg(feature = "defects")]
pub(crate) fn once_in(calls: u8) -> bool {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(calls)
}

/// Returns whether that defect is in force.
#[cfg(feature = "defects")]
pub(crate) fn has(defect: Defect) -> bool {
    ENABLED.load(Ordering::Relaxed) == defect as u8 + 1
}
