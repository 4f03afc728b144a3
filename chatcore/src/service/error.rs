//! Why a use case was not carried out.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{FieldCode, FieldError, ParseError};
use crate::policy::{friendship, room};
use crate::store::{StoreError, StoreErrorKind};

/// What a use case answers.
pub type Result<T> = std::result::Result<T, Error>;

/// The families that errors come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// There is no such thing.
    NotFound,
    /// A rule of the domain says no, or a concurrent change won.
    BusinessRule,
    /// Unknown caller, or one who may not.
    Authorisation,
    /// A field breaks a rule.
    Validation,
    /// Not the caller's fault.
    Fault,
}

/// Why a use case was not carried out. Nothing has been changed then, except where [`Error::Unavailable`] says that the
/// outcome may be unknown.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such thing.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// A business rule says no.
    #[error("{0}")]
    Rule(Rule),
    /// A value that must be unique is somebody else's, or a concurrent change won.
    #[error("conflicts with what is there")]
    Conflict(Vec<FieldError>),
    /// The caller is not known.
    #[error("{0}")]
    Unauthenticated(AuthFailure),
    /// The caller is known and may not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Fields break rules: all of them.
    #[error("{} invalid", if .0.len() == 1 { "1 field is".to_owned() } else { format!("{} fields are", .0.len()) })]
    Invalid(Vec<FieldError>),
    /// A budget is spent; not before this long.
    #[error("too many {0}")]
    RateLimited(Budget, Duration),
    /// The storage is away; the outcome may be unknown. Trying again is safe where the call is idempotent.
    #[error("the storage is not available")]
    Unavailable(#[source] Arc<StoreError>),
    /// A defect, here or in the stored data.
    #[error("internal error")]
    Internal(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

/// A business rule that said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// Not with oneself.
    #[error("cannot be done with oneself")]
    Itself,
    /// The asker cannot answer.
    #[error("one's own request is for the other to answer")]
    OwnRequest,
    /// They are friends.
    #[error("they are friends already")]
    AlreadyFriends,
    /// The request was answered otherwise.
    #[error("the request is no longer pending")]
    NotPending,
    /// They are not friends.
    #[error("they are not friends")]
    NotFriends,
    /// No owner would be left.
    #[error("the last owner has to name another one first")]
    LastOwner,
    /// A direct room's two members never change.
    #[error("not in a direct room")]
    DirectRoom,
    /// The room would have too many members.
    #[error("the room is full")]
    Full,
    /// The message is a tombstone.
    #[error("the message is deleted")]
    Deleted,
    /// Too many different reactions.
    #[error("the message has as many different reactions as it may have")]
    TooManyReactions,
}

impl Rule {
    /// The code as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Itself => "self",
            Self::OwnRequest => "own_request",
            Self::AlreadyFriends => "already_friends",
            Self::NotPending => "not_pending",
            Self::NotFriends => "not_friends",
            Self::LastOwner => "last_owner",
            Self::DirectRoom => "direct_room",
            Self::Full => "full",
            Self::Deleted => "deleted",
            Self::TooManyReactions => "too_many_reactions",
        }
    }
}

/// A budget that attempts and costs are counted against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Budget {
    /// The units of work of one user: see [`Settings::work_per_user`](super::Settings::work_per_user).
    #[error("calls at once, or too large ones")]
    Work,
    /// Calls and handshakes without a good token, per address.
    #[error("calls without a good token")]
    Anonymous,
    /// Logins and refreshes, per account and per address. Which of the two is not told.
    #[error("logins")]
    Logins,
    /// Registrations per address.
    #[error("registrations")]
    Registrations,
    /// Password changes per user.
    #[error("password changes")]
    PasswordChanges,
    /// E-mail changes per user.
    #[error("e-mail changes")]
    EmailChanges,
    /// Handshakes of one user.
    #[error("sockets opened")]
    Handshakes,
    /// Open sockets of one user.
    #[error("open sockets")]
    Sockets,
    /// Connections of one user.
    #[error("busy connections")]
    Connections,
    /// Drafts of one user that wait for the log.
    #[error("changes that wait to be stored")]
    Drafts,
    /// Answers that one client has not read yet.
    #[error("answers that wait to be read")]
    Unsent,
}

impl Budget {
    /// The code as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Anonymous => "anonymous",
            Self::Logins => "logins",
            Self::Registrations => "registrations",
            Self::PasswordChanges => "password_changes",
            Self::EmailChanges => "email_changes",
            Self::Handshakes => "handshakes",
            Self::Sockets => "sockets",
            Self::Connections => "connections",
            Self::Drafts => "drafts",
            Self::Unsent => "unsent",
        }
    }
}

/// Why the caller is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFailure {
    /// No token.
    #[error("an access token is needed")]
    Missing,
    /// Not a token of ours, or a damaged one.
    #[error("the token is not valid")]
    Invalid,
    /// Past its time.
    #[error("the token has expired")]
    Expired,
    /// Its session has ended.
    #[error("the session has ended")]
    Ended,
    /// Unknown login or wrong password; which of the two is not told.
    #[error("login or password is wrong")]
    Credentials,
}

impl Error {
    /// The family that it belongs to.
    pub const fn family(&self) -> Family {
        match self {
            Self::NotFound(_) => Family::NotFound,
            Self::Rule(_) | Self::Conflict(_) => Family::BusinessRule,
            Self::Unauthenticated(_) | Self::Forbidden(_) => Family::Authorisation,
            Self::Invalid(_) => Family::Validation,
            Self::RateLimited(..) | Self::Unavailable(_) | Self::Internal(_) => Family::Fault,
        }
    }

    pub(crate) fn field(field: &'static str, code: FieldCode, message: &'static str) -> Self {
        Self::Invalid(vec![FieldError::new(field, code, message)])
    }

    pub(crate) fn from_shared(error: Arc<StoreError>) -> Self {
        match error.kind() {
            StoreErrorKind::Unavailable => Self::Unavailable(error),
            _ => Self::Internal(error),
        }
    }

    pub(crate) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Arc::new(error))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::from_shared(Arc::new(error))
    }
}

impl From<Rule> for Error {
    fn from(rule: Rule) -> Self {
        Self::Rule(rule)
    }
}

impl From<AuthFailure> for Error {
    fn from(failure: AuthFailure) -> Self {
        Self::Unauthenticated(failure)
    }
}

impl From<friendship::Refusal> for Error {
    fn from(refusal: friendship::Refusal) -> Self {
        use friendship::Refusal;
        match refusal {
            Refusal::Blocked => Self::Forbidden("one of the two has blocked the other"),
            Refusal::NotParty => Self::Forbidden("this friendship is between others"),
            Refusal::AlreadyFriends => Rule::AlreadyFriends.into(),
            Refusal::OwnRequest => Rule::OwnRequest.into(),
            Refusal::NotPending => Rule::NotPending.into(),
            Refusal::NotFriends => Rule::NotFriends.into(),
        }
    }
}

impl From<room::Refusal> for Error {
    fn from(refusal: room::Refusal) -> Self {
        use room::Refusal;
        match refusal {
            Refusal::NoRoom => Self::NotFound("room"),
            Refusal::TargetNotMember => Self::NotFound("member"),
            Refusal::NotMember => Self::Forbidden("not a member of the room"),
            Refusal::RoleTooLow => Self::Forbidden("the role does not allow it"),
            Refusal::DirectRoom => Rule::DirectRoom.into(),
            Refusal::LastOwner => Rule::LastOwner.into(),
            Refusal::Full => Rule::Full.into(),
        }
    }
}

/// Parses several fields and keeps every error, so that the caller hears of all of them at once.
#[derive(Default)]
pub(crate) struct Fields {
    errors: Vec<FieldError>,
}

impl Fields {
    /// Takes a parsed field; `None` when it is wrong.
    pub(crate) fn parse<T>(&mut self, field: &'static str, parsed: std::result::Result<T, ParseError>) -> Option<T> {
        parsed.map_err(|error| self.errors.push(error.at(field))).ok()
    }

    /// Takes a parsed field that may be left out.
    pub(crate) fn parse_optional<T>(
        &mut self,
        field: &'static str,
        input: Option<&str>,
        parse: impl FnOnce(&str) -> std::result::Result<T, ParseError>,
    ) -> Option<T> {
        input.and_then(|input| self.parse(field, parse(input)))
    }

    pub(crate) fn push(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    pub(crate) fn done(self) -> Result<()> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::Invalid(self.errors)) }
    }

    /// Ends with the values, all of which are there exactly when there was no error.
    pub(crate) fn finish<T>(self, values: Option<T>) -> Result<T> {
        match values {
            Some(values) if self.errors.is_empty() => Ok(values),
            _ => Err(Error::Invalid(self.errors)),
        }
    }
}
