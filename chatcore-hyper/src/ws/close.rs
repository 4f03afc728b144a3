//! How a socket ends: the close codes of the protocol, and the `bye` before each.

use chatcore::hub::CloseReason;
use tokio_tungstenite::tungstenite::error::Error as WsError;

use super::meter::TooManyParts;
use crate::problem::Problem;

/// Why the server closes a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bye {
    Restart,
    Expired,
    Revoked,
    Removed,
    NotFound,
    Malformed,
    Binary,
    NotUtf8,
    TooLarge,
    Protocol,
    Heartbeat,
    Rate,
}

impl Bye {
    /// The close code.
    pub(crate) const fn close_code(self) -> u16 {
        match self {
            Self::Restart => 1012,
            Self::Expired | Self::Revoked => 4401,
            Self::Removed => 4403,
            Self::NotFound => 4404,
            Self::Malformed => 4400,
            Self::Binary => 1003,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::Protocol => 1002,
            Self::Heartbeat => 4408,
            Self::Rate => 4429,
        }
    }

    /// The code of the `bye` frame.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Removed => "removed",
            Self::NotFound => "not_found",
            Self::Malformed | Self::Binary | Self::NotUtf8 | Self::TooLarge | Self::Protocol => "protocol",
            Self::Heartbeat => "heartbeat",
            Self::Rate => "rate",
        }
    }

    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::Restart => "the server restarts",
            Self::Expired => "the access token has expired",
            Self::Revoked => "the session has ended",
            Self::Removed => "not a member of the room",
            Self::NotFound => "no such room",
            Self::Malformed => "too many malformed frames in a row",
            Self::Binary => "frames have to be text",
            Self::NotUtf8 => "text has to be UTF-8",
            Self::TooLarge => "the frame is too large",
            Self::Protocol => "not a WebSocket frame",
            Self::Heartbeat => "nothing was heard for two intervals",
            Self::Rate => "too many frames",
        }
    }

    /// Whether connecting again, perhaps with a fresh token, can help.
    pub(crate) const fn reconnect(self) -> bool {
        matches!(self, Self::Restart | Self::Expired | Self::Heartbeat | Self::Rate)
    }

    /// What a handshake that was refused becomes where only a socket can say so.
    pub(crate) fn of_refusal(problem: &Problem) -> Self {
        match problem.code() {
            "unauthenticated" if problem.detail().contains("expired") => Self::Expired,
            "unauthenticated" => Self::Revoked,
            "forbidden" => Self::Removed,
            "not_found" => Self::NotFound,
            "rate_limited" => Self::Rate,
            "malformed" | "invalid" => Self::Malformed,
            _ => Self::Restart,
        }
    }

    /// What a failed read means; `None` when the connection is gone anyhow.
    pub(crate) fn of_error(error: &WsError) -> Option<Self> {
        match error {
            WsError::Capacity(_) => Some(Self::TooLarge),
            WsError::Utf8(_) => Some(Self::NotUtf8),
            WsError::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<TooManyParts>()) => Some(Self::Rate),
            WsError::Protocol(inner) => {
                use tokio_tungstenite::tungstenite::error::ProtocolError;
                match inner {
                    ProtocolError::ResetWithoutClosingHandshake => None,
                    _ => Some(Self::Protocol),
                }
            }
            _ => None,
        }
    }
}

impl From<CloseReason> for Bye {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Revoked => Self::Revoked,
            CloseReason::Removed => Self::Removed,
            _ => Self::Restart,
        }
    }
}
