//! The words of the domain: what a user, a room, a message is. No I/O, no clock.
//!
//! Text that people type becomes a newtype here, once, and is valid ever after. Unicode is normalised here (NFKC for
//! names, NFC for bodies) and case is folded here, so that no database collation decides anything.

mod event;
mod field;
mod friendship;
mod message;
mod names;
mod page;
mod room;
mod secret;
mod seq;
mod session;
mod text;
mod user;

pub use event::{Draft, DraftKey, Event, EventKind, LeaveReason, MessageKind, Posted, RoomChange};
pub use field::{FieldCode, FieldError, ParseError};
pub use friendship::{Friendship, FriendshipStatus, Relation};
pub use message::{Message, MessagePage, MessageRange, Reaction};
pub use names::{DisplayName, Email, RoomName, SearchKey, Username};
pub use page::{LogPage, LogRange, PageKey};
pub use room::{Intent, Member, Membership, Role, Room, RoomKind, Standing};
pub use secret::{AccessSecret, Password, PasswordHash, TokenHash};
pub use seq::Seq;
pub use session::{DeviceName, Session};
pub use text::{Body, ClientId, Emoji};
pub use user::{Account, User};
