//! Deliberate defects: the proof that the history checker finds what it looks for.
//!
//! Without the feature `defects` there are none, and the branches that ask are compiled to nothing. With it, at most one is in force in a
//! process, and none until [`enable`] is called. Never for a server that anybody uses.

#[cfg(feature = "defects")]
use std::sync::atomic::{AtomicU8, Ordering};

/// Which promise is broken, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Defect {
    /// Listeners get events under the numbers that they are likely to get, a moment before the store is asked.
    PublishBeforeCommit = 1,
    /// Senders are answered with the numbers that their posts are likely to get, a moment before the store is asked.
    AckBeforeCommit,
    /// A socket that resumes begins one event too late.
    ResumeOffByOne,
    /// A post is stored under a key of its own, whatever `client_id` says.
    DedupForgotten,
    /// A cursor reads on after its listener's leaving.
    EvictionLate,
    /// What this node believes of a member outlives the removal until it lapses.
    RemovalForgotten,
    /// A reader for whom the tail is too short gets what is left of it.
    TailTrimmed,
    /// The sockets of a session live on when it ends.
    SessionSurvives,
    /// Read markers are acknowledged and not stored.
    MarkerLost,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::PublishBeforeCommit,
        Self::AckBeforeCommit,
        Self::ResumeOffByOne,
        Self::DedupForgotten,
        Self::EvictionLate,
        Self::RemovalForgotten,
        Self::TailTrimmed,
        Self::SessionSurvives,
        Self::MarkerLost,
    ];

    /// Its name, such as `publish-before-commit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PublishBeforeCommit => "publish-before-commit",
            Self::AckBeforeCommit => "ack-before-commit",
            Self::ResumeOffByOne => "resume-off-by-one",
            Self::DedupForgotten => "dedup-forgotten",
            Self::EvictionLate => "eviction-late",
            Self::RemovalForgotten => "removal-forgotten",
            Self::TailTrimmed => "tail-trimmed",
            Self::SessionSurvives => "session-survives",
            Self::MarkerLost => "marker-lost",
        }
    }
}

#[cfg(feature = "defects")]
static ENABLED: AtomicU8 = AtomicU8::new(0);

/// Puts a defect in force, for good.
#[cfg(feature = "defects")]
pub fn enable(defect: Defect) {
    ENABLED.store(defect as u8, Ordering::Relaxed);
}

/// Whether that defect is in force.
#[cfg(feature = "defects")]
pub(crate) fn has(defect: Defect) -> bool {
    ENABLED.load(Ordering::Relaxed) == defect as u8
}

/// Whether that defect is in force: never.
#[cfg(not(feature = "defects"))]
pub(crate) const fn has(_: Defect) -> bool {
    false
}
