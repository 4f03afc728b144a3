-- Ids are 16 bytes, times are microseconds since the Unix epoch, text is compared by bytes.
-- Users, sessions, friendships, rooms and logs may each live in another database, so foreign keys stay within a family.

CREATE TABLE chat_users (
    id           BLOB NOT NULL PRIMARY KEY,
    username     TEXT NOT NULL UNIQUE,
    email        TEXT NOT NULL,
    email_key    TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    display_key  TEXT NOT NULL,
    password     TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    last_seen    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_users_by_display_key ON chat_users (display_key, id);

CREATE TABLE chat_sessions (
    id           BLOB NOT NULL PRIMARY KEY,
    user_id      BLOB NOT NULL,
    device       TEXT,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    live         BLOB NOT NULL,  -- hashes of the live refresh tokens, 32 bytes each, oldest first
    used         BLOB,           -- hash of the one used last
    used_at      INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_sessions_by_user ON chat_sessions (user_id, created_at, id);
CREATE INDEX chat_sessions_by_end ON chat_sessions (expires_at);

CREATE TABLE chat_friendships (
    id         BLOB NOT NULL PRIMARY KEY,
    low        BLOB NOT NULL,    -- the smaller id of the pair
    high       BLOB NOT NULL,
    status     INTEGER NOT NULL, -- 0 pending, 1 accepted, 2 rejected
    requester  BLOB NOT NULL,
    addressee  BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (low, high)
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_friendships_by_requester ON chat_friendships (requester, status, updated_at, id);
CREATE INDEX chat_friendships_by_addressee ON chat_friendships (addressee, status, updated_at, id);

CREATE TABLE chat_blocks (
    blocker    BLOB NOT NULL,
    blocked    BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (blocker, blocked)
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_blocks_by_age ON chat_blocks (blocker, created_at, blocked);
CREATE INDEX chat_blocks_by_blocked ON chat_blocks (blocked, blocker);

CREATE TABLE chat_rooms (
    id           BLOB NOT NULL PRIMARY KEY,
    kind         INTEGER NOT NULL, -- 0 direct, 1 group
    name         TEXT,
    created_by   BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    member_count INTEGER NOT NULL,
    client_id    TEXT,
    pair         BLOB UNIQUE,      -- of a direct room: both ids, the smaller first
    UNIQUE (created_by, client_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE chat_members (
    room_id    BLOB NOT NULL REFERENCES chat_rooms (id) ON DELETE CASCADE,
    user_id    BLOB NOT NULL,
    role       INTEGER NOT NULL,   -- 0 member, 1 admin, 2 owner
    joined_at  INTEGER NOT NULL,
    joined_by  BLOB NOT NULL,      -- the intent of the coming
    joined_seq INTEGER,
    read_seq   INTEGER,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_members_by_user ON chat_members (user_id, room_id);
CREATE INDEX chat_members_by_age ON chat_members (room_id, joined_at, user_id);
CREATE INDEX chat_members_by_role ON chat_members (room_id, role);

CREATE TABLE chat_intents (
    ordinal    INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB NOT NULL UNIQUE,
    room_id    BLOB NOT NULL REFERENCES chat_rooms (id) ON DELETE CASCADE,
    actor      BLOB,
    created_at INTEGER NOT NULL,
    kind       INTEGER NOT NULL,   -- as in chat_events
    subject    BLOB,
    detail     INTEGER,
    body       TEXT
) STRICT;
CREATE INDEX chat_intents_by_room ON chat_intents (room_id, ordinal);
CREATE INDEX chat_intents_by_age ON chat_intents (created_at, room_id);

-- Where each log ends. Whoever appends to a log locks its row.
CREATE TABLE chat_heads (
    room_id  BLOB NOT NULL PRIMARY KEY,
    head     INTEGER NOT NULL,
    post_seq INTEGER,
    post_at  INTEGER
) STRICT, WITHOUT ROWID;

-- What makes an append repeatable: every event has a key.
CREATE TABLE chat_keys (
    room_id BLOB NOT NULL,
    owner   BLOB NOT NULL,          -- the actor, or 16 zero bytes for the host
    dedup   TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (room_id, owner, dedup)
) STRICT, WITHOUT ROWID;

-- A log is the messages and the events of a room by their numbers. A message is the event that posted it and its present state in one row.
CREATE TABLE chat_messages (
    room_id    BLOB NOT NULL,
    seq        INTEGER NOT NULL,
    rev        INTEGER NOT NULL,
    sender     BLOB,
    kind       INTEGER NOT NULL,    -- 0 text, 1 system
    body       TEXT,                -- as it is now
    first_body TEXT,                -- as it was posted, once it has been edited
    client_id  TEXT,
    reply_to   INTEGER,
    created_at INTEGER NOT NULL,
    edited_at  INTEGER,
    deleted    INTEGER NOT NULL,
    countable  INTEGER NOT NULL,    -- may be unread: text, and not deleted
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_messages_countable ON chat_messages (room_id, countable, seq);

-- Every event but the posts.
CREATE TABLE chat_events (
    room_id    BLOB NOT NULL,
    seq        INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    actor      BLOB,
    kind       INTEGER NOT NULL,    -- 2 edited, 3 deleted, 4 reaction added, 5 removed, 6 joined, 7 left, 8 role, 9 renamed
    target     INTEGER,             -- the message
    subject    BLOB,                -- the member
    detail     INTEGER,             -- role, reason
    body       TEXT,                -- body, emoji, name
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;

-- Which events edited a message: a deletion takes the bodies out of them.
CREATE TABLE chat_edits (
    room_id BLOB NOT NULL,
    target  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (room_id, target, seq)
) STRICT, WITHOUT ROWID;

-- Each sender's last message, which counts as read by its sender.
CREATE TABLE chat_last_posts (
    room_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE chat_reactions (
    room_id BLOB NOT NULL,
    seq     INTEGER NOT NULL,
    emoji   TEXT NOT NULL,
    user_id BLOB NOT NULL,
    given   INTEGER NOT NULL,      -- the event that gave it
    PRIMARY KEY (room_id, seq, emoji, user_id),
    FOREIGN KEY (room_id, seq) REFERENCES chat_messages (room_id, seq) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX chat_reactions_by_age ON chat_reactions (room_id, seq, emoji, given);
