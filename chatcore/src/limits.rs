//! Fixed limits of the domain. Those that a host may change are in [`crate::Settings`].

/// Live refresh tokens a session: one a tab that refreshed with the same one within the grace.
pub const LIVE_TOKENS: usize = 4;

/// `unread` is counted up to here, where it means "this many or more".
pub const UNREAD_CAP: u32 = 1000;

/// Rows a page when nothing else is asked.
pub const PAGE_DEFAULT: u32 = 50;

/// Rows a page at most.
pub const PAGE_MAX: u32 = 100;

/// Members that a room's full view holds; the others are paged.
pub const ROOM_VIEW_MEMBERS: u32 = 50;
