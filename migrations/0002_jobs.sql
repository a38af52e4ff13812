-- Work that is done apart from the server: what was asked for, who does it, how it went.
-- Times are Unix milliseconds.

CREATE TABLE jobs (
    -- AUTOINCREMENT: an id is never given twice, so a client's old link cannot lead to another job.
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    kind             TEXT NOT NULL CHECK (kind IN ('ingest', 'train', 'build', 'evaluate')),
    parameters       TEXT NOT NULL CHECK (json_valid(parameters)),
    idempotency_key  TEXT UNIQUE,
    state            TEXT NOT NULL DEFAULT 'queued'
                     CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    attempt          INTEGER NOT NULL DEFAULT 0,
    max_attempts     INTEGER NOT NULL CHECK (max_attempts > 0),
    -- A queued job is not claimed before this.
    not_before       INTEGER NOT NULL DEFAULT 0,
    -- Who has it, or had it last.
    worker           TEXT,
    device           TEXT,
    -- Whoever writes on behalf of a running job has to show this; it is another at every claim.
    lease_token      TEXT,
    lease_until      INTEGER,
    heartbeat_at     INTEGER,
    progress         REAL NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    progress_text    TEXT NOT NULL DEFAULT '',
    outcome          TEXT CHECK (json_valid(outcome)),
    error            TEXT CHECK (json_valid(error)),
    -- How many events the job has, which is also the last one's number.
    events           INTEGER NOT NULL DEFAULT 0,
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER,
    CHECK ((state = 'running') = (lease_token IS NOT NULL)),
    CHECK ((lease_token IS NULL) = (lease_until IS NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, id);
-- A device computes one job at a time.
CREATE UNIQUE INDEX one_running_job_a_device ON jobs (device) WHERE state = 'running';

-- What happened, append-only: 1, 2, 3 and so on for every job.
CREATE TABLE job_events (
    job_id INTEGER NOT NULL REFERENCES jobs (id),
    seq    INTEGER NOT NULL CHECK (seq > 0),
    at     INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    data   TEXT NOT NULL CHECK (json_valid(data)),
    PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;
