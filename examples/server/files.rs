//! The number of files that the process may have open, of which every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files left for databases, logs and the like.
const OTHERS: u64 = 256;

/// Raises the limit as far as the system lets an ordinary process, and answers how many connections it has room for.
pub(crate) fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the limit on open files (RLIMIT_NOFILE) could not be raised");
    }
    let after = getrlimit(Resource::Nofile).current;
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    tracing::info!(before = shown(current), now = shown(after), "limit on open files (RLIMIT_NOFILE)");
    room(after)
}

/// The connections that such a limit has room for, half of it at least.
fn room(limit: Option<u64>) -> usize {
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(OTHERS).max(limit / 2));
    usize::try_from(room).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_left_for_others() {
        assert_eq!(room(Some(1024)), 768);
        assert_eq!(room(Some(100)), 50);
        assert_eq!(room(None), usize::MAX);
    }

    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        let room_now = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(room_now, room(current));
    }
}
