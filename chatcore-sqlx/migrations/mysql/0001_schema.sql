-- Ids are 16 bytes, times are microseconds since the Unix epoch, text is compared by bytes.
-- Every statement can be repeated, because DDL is not transactional: a migration that was cut short is run again.
-- Users, sessions, friendships, rooms and logs may each live in another database, so foreign keys stay within a family.

CREATE TABLE IF NOT EXISTS chat_users (
    id           BINARY(16) NOT NULL PRIMARY KEY,
    username     VARCHAR(32) NOT NULL UNIQUE,
    email        VARCHAR(254) NOT NULL,
    email_key    VARCHAR(512) NOT NULL UNIQUE,
    display_name VARCHAR(64) NOT NULL,
    display_key  VARCHAR(512) NOT NULL,
    password     VARCHAR(512) NOT NULL,
    created_at   BIGINT NOT NULL,
    last_seen    BIGINT,
    KEY chat_users_by_display_key (display_key, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

CREATE TABLE IF NOT EXISTS chat_sessions (
    id           BINARY(16) NOT NULL PRIMARY KEY,
    user_id      BINARY(16) NOT NULL,
    device       VARCHAR(255),
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    live         VARBINARY(256) NOT NULL,  -- hashes of the live refresh tokens, 32 bytes each, oldest first
    used         BINARY(32),           -- hash of the one used last
    used_at      BIGINT,
    KEY chat_sessions_by_user (user_id, created_at, id),
    KEY chat_sessions_by_end (expires_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

CREATE TABLE IF NOT EXISTS chat_friendships (
    id         BINARY(16) NOT NULL PRIMARY KEY,
    low        BINARY(16) NOT NULL,    -- the smaller id of the pair
    high       BINARY(16) NOT NULL,
    status     TINYINT NOT NULL, -- 0 pending, 1 accepted, 2 rejected
    requester  BINARY(16) NOT NULL,
    addressee  BINARY(16) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (low, high),
    KEY chat_friendships_by_requester (requester, status, updated_at, id),
    KEY chat_friendships_by_addressee (addressee, status, updated_at, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

CREATE TABLE IF NOT EXISTS chat_blocks (
    blocker    BINARY(16) NOT NULL,
    blocked    BINARY(16) NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (blocker, blocked),
    KEY chat_blocks_by_age (blocker, created_at, blocked),
    KEY chat_blocks_by_blocked (blocked, blocker)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

CREATE TABLE IF NOT EXISTS chat_rooms (
    id           BINARY(16) NOT NULL PRIMARY KEY,
    kind         TINYINT NOT NULL, -- 0 direct, 1 group
    name         VARCHAR(80),
    created_by   BINARY(16) NOT NULL,
    created_at   BIGINT NOT NULL,
    member_count BIGINT NOT NULL,
    client_id    VARCHAR(64),
    pair         BINARY(32) UNIQUE,      -- of a direct room: both ids, the smaller first
    UNIQUE (created_by, client_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

CREATE TABLE IF NOT EXISTS chat_members (
    room_id    BINARY(16) NOT NULL,
    user_id    BINARY(16) NOT NULL,
    role       TINYINT NOT NULL,   -- 0 member, 1 admin, 2 owner
    joined_at  BIGINT NOT NULL,
    joined_by  BINARY(16) NOT NULL,      -- the intent of the coming
    joined_seq BIGINT,
    read_seq   BIGINT,
    PRIMARY KEY (room_id, user_id),
    FOREIGN KEY (room_id) REFERENCES chat_rooms (id) ON DELETE CASCADE,
    KEY chat_members_by_user (user_id, room_id),
    KEY chat_members_by_age (room_id, joined_at, user_id),
    KEY chat_members_by_role (room_id, role)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

CREATE TABLE IF NOT EXISTS chat_intents (
    ordinal    BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id         BINARY(16) NOT NULL UNIQUE,
    room_id    BINARY(16) NOT NULL,
    actor      BINARY(16),
    created_at BIGINT NOT NULL,
    kind       TINYINT NOT NULL,   -- as in chat_events
    subject    BINARY(16),
    detail     TINYINT,
    body       TEXT,
    FOREIGN KEY (room_id) REFERENCES chat_rooms (id) ON DELETE CASCADE,
    KEY chat_intents_by_room (room_id, ordinal),
    KEY chat_intents_by_age (created_at, room_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

-- Where each log ends. Whoever appends to a log locks its row.
CREATE TABLE IF NOT EXISTS chat_heads (
    room_id  BINARY(16) NOT NULL PRIMARY KEY,
    head     BIGINT NOT NULL,
    post_seq BIGINT,
    post_at  BIGINT
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

-- What makes an append repeatable: every event has a key.
CREATE TABLE IF NOT EXISTS chat_keys (
    room_id BINARY(16) NOT NULL,
    owner   BINARY(16) NOT NULL,    -- the actor, or 16 zero bytes for the host
    dedup   VARCHAR(80) NOT NULL,
    seq     BIGINT NOT NULL,
    PRIMARY KEY (room_id, owner, dedup)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

-- A log is the messages and the events of a room by their numbers. A message is the event that posted it and its present state in one row.
CREATE TABLE IF NOT EXISTS chat_messages (
    room_id    BINARY(16) NOT NULL,
    seq        BIGINT NOT NULL,
    rev        BIGINT NOT NULL,
    sender     BINARY(16),
    kind       TINYINT NOT NULL,    -- 0 text, 1 system
    body       TEXT,                -- as it is now
    first_body TEXT,                -- as it was posted, once it has been edited
    client_id  VARCHAR(64),
    reply_to   BIGINT,
    created_at BIGINT NOT NULL,
    edited_at  BIGINT,
    deleted    TINYINT NOT NULL,
    countable  TINYINT NOT NULL,    -- may be unread: text, and not deleted
    PRIMARY KEY (room_id, seq),
    KEY chat_messages_countable (countable, room_id, seq) -- not the room first, or it is taken for the order of a log
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

-- Every event but the posts.
CREATE TABLE IF NOT EXISTS chat_events (
    room_id    BINARY(16) NOT NULL,
    seq        BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    actor      BINARY(16),
    kind       TINYINT NOT NULL,    -- 2 edited, 3 deleted, 4 reaction added, 5 removed, 6 joined, 7 left, 8 role, 9 renamed
    target     BIGINT,              -- the message
    subject    BINARY(16),          -- the member
    detail     TINYINT,             -- role, reason
    body       TEXT,                -- body, emoji, name
    PRIMARY KEY (room_id, seq)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

-- Which events edited a message: a deletion takes the bodies out of them.
CREATE TABLE IF NOT EXISTS chat_edits (
    room_id BINARY(16) NOT NULL,
    target  BIGINT NOT NULL,
    seq     BIGINT NOT NULL,
    PRIMARY KEY (room_id, target, seq)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

-- Each sender's last message, which counts as read by its sender.
CREATE TABLE IF NOT EXISTS chat_last_posts (
    room_id BINARY(16) NOT NULL,
    user_id BINARY(16) NOT NULL,
    seq     BIGINT NOT NULL,
    PRIMARY KEY (room_id, user_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};

CREATE TABLE IF NOT EXISTS chat_reactions (
    room_id BINARY(16) NOT NULL,
    seq     BIGINT NOT NULL,
    emoji   VARCHAR(32) NOT NULL,
    user_id BINARY(16) NOT NULL,
    given   BIGINT NOT NULL,      -- the event that gave it
    PRIMARY KEY (room_id, seq, emoji, user_id),
    FOREIGN KEY (room_id, seq) REFERENCES chat_messages (room_id, seq) ON DELETE CASCADE,
    KEY chat_reactions_by_age (room_id, seq, emoji, given)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = {collation};
