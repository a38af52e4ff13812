-- API keys, and what was done with those that change something. Times are Unix milliseconds.

CREATE TABLE api_keys (
    -- The public part of the key, also of those that follow it by rotation.
    id                     TEXT PRIMARY KEY CHECK (length(id) = 12),
    name                   TEXT NOT NULL,
    -- Words with commas between them.
    scopes                 TEXT NOT NULL,
    -- SHA-256 of the whole key. The key itself is nowhere.
    sha256                 BLOB NOT NULL CHECK (length(sha256) = 32),
    -- The one before the last rotation, and until when it is taken.
    former_sha256          BLOB CHECK (length(former_sha256) = 32),
    former_until           INTEGER,
    requests_per_minute    INTEGER CHECK (requests_per_minute > 0),
    audio_seconds_per_hour INTEGER CHECK (audio_seconds_per_hour > 0),
    created_at             INTEGER NOT NULL,
    expires_at             INTEGER,
    rotated_at             INTEGER,
    revoked_at             INTEGER,
    -- To the minute or so.
    last_used_at           INTEGER,
    -- The greatest one tells servers whether anything but last_used_at has changed since they looked.
    revision               INTEGER NOT NULL UNIQUE,
    CHECK ((former_sha256 IS NULL) = (former_until IS NULL))
) STRICT;

-- A row is written before the action, and gets its outcome after it.
CREATE TABLE admin_actions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    -- A key's id, `settings:` and the beginning of a hash, or `cli:` and a user.
    who        TEXT NOT NULL,
    action     TEXT NOT NULL,
    target     TEXT NOT NULL,
    request_id TEXT,
    -- NULL: under way, or cut off.
    outcome    TEXT CHECK (outcome IN ('done', 'refused', 'failed')),
    status     INTEGER
) STRICT;
