//! What is played: operations over a few users, rooms, keys and times, so that they meet.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A user, a room, a time, a position, a text: each by a small number.
type N = u64;

/// One call of a store, or one list read page by page to its end.
#[derive(Debug, Clone)]
pub(super) enum Op {
    CreateUser { id: N, name: N, email: N, display: N },
    UpdateProfile { id: N, email: Option<N>, display: Option<N> },
    ReplacePassword { id: N, expected: N, new: N },
    TouchSeen { seen: Vec<(N, N)> },
    FindUser { id: N, name: N, email: N },
    Search { prefix: N, limit: N },

    CreateSession { user: N, token: N, at: N, again: Option<N> },
    Rotate { session: N, presented: N, next: N, at: N },
    EndSession { session: N, user: N },
    EndOthers { session: N, user: N },
    Purge { at: N },
    ReadSessions { user: N, at: N, limit: N },

    Request { from: N, to: N, at: N },
    Answer { row: N, by: N, accept: bool, at: N },
    EndFriendship { row: N, by: N },
    Block { by: N, user: N, at: N },
    Unblock { by: N, user: N },
    ReadFriends { user: N, other: N, limit: N },

    CreateGroup { members: Vec<(N, N)>, client_id: Option<N>, at: N },
    CreateDirect { one: N, other: N, at: N },
    CreateAgain { room: N },
    Add { room: N, by: N, members: Vec<(N, N)>, max: N, at: N },
    Remove { room: N, by: N, user: N, at: N },
    ChangeRole { room: N, by: N, user: N, role: N, at: N },
    Rename { room: N, by: N, name: N, at: N },
    MarkRead { markers: Vec<(N, N, N)> },
    Settle { room: N, first: N, count: N, seq: N },
    ReadRooms { room: N, user: N, other: N, limit: N, before: N },

    Append { batch: Vec<DraftOp>, max_reactions: N },
    ReadLog { room: N, position: N, limit: N },
    ReadMessages { room: N, viewer: N, position: N, limit: N },
    ReadDigests { viewer: N, marker: N, cap: N },
}

/// A draft; `actor` 0 is the host where it may be.
#[derive(Debug, Clone)]
pub(super) struct DraftOp {
    pub(super) room: N,
    pub(super) actor: N,
    pub(super) key: N,
    pub(super) kind: DraftKind,
    pub(super) at: N,
}

/// What a draft says.
#[derive(Debug, Clone)]
pub(super) enum DraftKind {
    Post { text: N, reply_to: Option<N> },
    Edit { target: N, text: N },
    Delete { target: N },
    React { target: N, emoji: N },
    Unreact { target: N, emoji: N },
    Rename { name: N },
}

/// How many different users, rooms with a log, and other things of which a few are enough.
pub(super) const USERS: N = 5;
pub(super) const LOGS: N = 2;
pub(super) const FEW: N = 3;

/// Times, in seconds: enough to pass a grace of three, and to expire after six.
const TIMES: N = 12;

/// Sequences of operations: over all five families together, or over one alone, where they meet more often.
pub(super) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let mixed = || prop_oneof![2 => users(), 2 => sessions(), 2 => friendships(), 3 => rooms(), 4 => messages()];
    prop_oneof![
        3 => vec(mixed(), 1..80),
        1 => vec(users(), 1..60),
        2 => vec(sessions(), 1..60),
        1 => vec(friendships(), 1..60),
        2 => vec(rooms(), 1..80),
        3 => vec(messages(), 1..50),
    ]
}

fn user() -> impl Strategy<Value = N> {
    0..USERS
}

fn at() -> impl Strategy<Value = N> {
    0..TIMES
}

fn limit() -> impl Strategy<Value = N> {
    1..6_u64
}

fn users() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (user(), 0..USERS, 0..USERS, 0..FEW)
            .prop_map(|(id, name, email, display)| Op::CreateUser { id, name, email, display }),
        2 => (user(), option::of(0..USERS), option::of(0..FEW))
            .prop_map(|(id, email, display)| Op::UpdateProfile { id, email, display }),
        2 => (user(), 0..FEW, 0..FEW).prop_map(|(id, expected, new)| Op::ReplacePassword { id, expected, new }),
        1 => vec((user(), at()), 0..4).prop_map(|seen| Op::TouchSeen { seen }),
        2 => (user(), 0..USERS, 0..USERS).prop_map(|(id, name, email)| Op::FindUser { id, name, email }),
        2 => (0..5_u64, limit()).prop_map(|(prefix, limit)| Op::Search { prefix, limit }),
    ]
}

fn sessions() -> impl Strategy<Value = Op> {
    let session = || 0..3_u64;
    let token = || 0..8_u64;
    prop_oneof![
        3 => (user(), token(), at(), option::weighted(0.2, session()))
            .prop_map(|(user, token, at, again)| Op::CreateSession { user, token, at, again }),
        12 => (session(), token(), token(), at())
            .prop_map(|(session, presented, next, at)| Op::Rotate { session, presented, next, at }),
        1 => (session(), user()).prop_map(|(session, user)| Op::EndSession { session, user }),
        1 => (session(), user()).prop_map(|(session, user)| Op::EndOthers { session, user }),
        1 => at().prop_map(|at| Op::Purge { at }),
        3 => (user(), at(), limit()).prop_map(|(user, at, limit)| Op::ReadSessions { user, at, limit }),
    ]
}

fn friendships() -> impl Strategy<Value = Op> {
    let row = || 0..4_u64;
    let user = || 0..3_u64;
    prop_oneof![
        6 => (user(), user(), at()).prop_map(|(from, to, at)| Op::Request { from, to, at }),
        4 => (row(), user(), any::<bool>(), at())
            .prop_map(|(row, by, accept, at)| Op::Answer { row, by, accept, at }),
        2 => (row(), user()).prop_map(|(row, by)| Op::EndFriendship { row, by }),
        1 => (user(), user(), at()).prop_map(|(by, user, at)| Op::Block { by, user, at }),
        2 => (user(), user()).prop_map(|(by, user)| Op::Unblock { by, user }),
        3 => (user(), user(), limit()).prop_map(|(user, other, limit)| Op::ReadFriends { user, other, limit }),
    ]
}

fn rooms() -> impl Strategy<Value = Op> {
    let room = || 0..3_u64;
    let members = || vec((user(), 0..FEW), 1..4);
    prop_oneof![
        2 => (members(), option::of(0..FEW), at())
            .prop_map(|(members, client_id, at)| Op::CreateGroup { members, client_id, at }),
        1 => (user(), user(), at()).prop_map(|(one, other, at)| Op::CreateDirect { one, other, at }),
        1 => room().prop_map(|room| Op::CreateAgain { room }),
        4 => (room(), user(), members(), 2..6_u64, at())
            .prop_map(|(room, by, members, max, at)| Op::Add { room, by, members, max, at }),
        4 => (room(), user(), user(), at()).prop_map(|(room, by, user, at)| Op::Remove { room, by, user, at }),
        3 => (room(), user(), user(), 0..FEW, at())
            .prop_map(|(room, by, user, role, at)| Op::ChangeRole { room, by, user, role, at }),
        1 => (room(), user(), 0..FEW, at()).prop_map(|(room, by, name, at)| Op::Rename { room, by, name, at }),
        2 => vec((room(), user(), 1..9_u64), 0..5).prop_map(|markers| Op::MarkRead { markers }),
        3 => (room(), 0..4_u64, 0..4_u64, 1..9_u64)
            .prop_map(|(room, first, count, seq)| Op::Settle { room, first, count, seq }),
        3 => (room(), user(), user(), limit(), at())
            .prop_map(|(room, user, other, limit, before)| Op::ReadRooms { room, user, other, limit, before }),
    ]
}

fn draft() -> impl Strategy<Value = DraftOp> {
    let target = || 1..8_u64;
    let kind = prop_oneof![
        5 => (0..FEW, option::weighted(0.3, target()))
            .prop_map(|(text, reply_to)| DraftKind::Post { text, reply_to }),
        3 => (target(), 0..FEW).prop_map(|(target, text)| DraftKind::Edit { target, text }),
        1 => target().prop_map(|target| DraftKind::Delete { target }),
        4 => (target(), 0..FEW).prop_map(|(target, emoji)| DraftKind::React { target, emoji }),
        2 => (target(), 0..FEW).prop_map(|(target, emoji)| DraftKind::Unreact { target, emoji }),
        1 => (0..FEW).prop_map(|name| DraftKind::Rename { name }),
    ];
    // Few keys, so that about every fifth draft is a repeat.
    (0..LOGS, user(), 0..24_u64, kind, at()).prop_map(|(room, actor, key, kind, at)| DraftOp {
        room,
        actor,
        key,
        kind,
        at,
    })
}

fn messages() -> impl Strategy<Value = Op> {
    let position = || 0..16_u64;
    prop_oneof![
        6 => (vec(draft(), 0..8), 1..4_u64)
            .prop_map(|(batch, max_reactions)| Op::Append { batch, max_reactions }),
        2 => (0..LOGS, position(), limit())
            .prop_map(|(room, position, limit)| Op::ReadLog { room, position, limit }),
        3 => (0..LOGS, user(), position(), limit())
            .prop_map(|(room, viewer, position, limit)| Op::ReadMessages { room, viewer, position, limit }),
        2 => (user(), position(), 1..6_u64)
            .prop_map(|(viewer, marker, cap)| Op::ReadDigests { viewer, marker, cap }),
    ]
}
