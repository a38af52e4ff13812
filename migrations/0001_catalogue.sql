-- The catalogue: what the tracks are, where their files lie, and what analysis made of them.
-- Times are Unix seconds, file times Unix nanoseconds, hashes raw SHA-256, vectors little-endian f32.

CREATE TABLE artists (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    -- `name` folded for look-ups: lower case, single spaces.
    key  TEXT NOT NULL
) STRICT;
CREATE INDEX artists_by_key ON artists (key);

CREATE TABLE albums (
    id        INTEGER PRIMARY KEY,
    title     TEXT NOT NULL,
    key       TEXT NOT NULL,
    artist_id INTEGER REFERENCES artists (id)
) STRICT;
CREATE INDEX albums_by_key ON albums (key, artist_id);

CREATE TABLE genres (
    id        INTEGER PRIMARY KEY,
    title     TEXT NOT NULL,
    key       TEXT NOT NULL,
    parent_id INTEGER REFERENCES genres (id)
) STRICT;
CREATE INDEX genres_by_key ON genres (key);

CREATE TABLE licences (
    id   INTEGER PRIMARY KEY,
    spdx TEXT NOT NULL UNIQUE COLLATE NOCASE,
    name TEXT NOT NULL,
    url  TEXT
) STRICT;

CREATE TABLE tracks (
    id               INTEGER PRIMARY KEY,
    source           TEXT NOT NULL CHECK (source IN ('fma', 'folder')),
    title            TEXT NOT NULL,
    -- `title` folded, for ordering search results.
    key              TEXT NOT NULL,
    artist_id        INTEGER REFERENCES artists (id),
    album_id         INTEGER REFERENCES albums (id),
    top_genre_id     INTEGER REFERENCES genres (id),
    licence_id       INTEGER REFERENCES licences (id),
    -- The deed that the track itself names, where it is more exact than the licence's own URL
    -- (a jurisdiction port of a Creative Commons licence).
    licence_url      TEXT,
    attribution_url  TEXT,
    duration_seconds REAL,
    year             INTEGER,
    released_on      TEXT,
    split            TEXT CHECK (split IN ('training', 'validation', 'test')),
    subset           TEXT CHECK (subset IN ('small', 'medium', 'large', 'full')),
    bit_rate         INTEGER
) STRICT;
CREATE INDEX tracks_by_artist ON tracks (artist_id);
CREATE INDEX tracks_by_album ON tracks (album_id);

CREATE TABLE track_genres (
    track_id INTEGER NOT NULL REFERENCES tracks (id) ON DELETE CASCADE,
    genre_id INTEGER NOT NULL REFERENCES genres (id),
    -- The order in which the source names them.
    position INTEGER NOT NULL,
    PRIMARY KEY (track_id, genre_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX track_genres_by_genre ON track_genres (genre_id);

-- rowid = tracks.id. The prefix indexes serve the last, half-typed word of a query.
CREATE VIRTUAL TABLE track_search USING fts5 (
    title, artist, album,
    tokenize = 'unicode61 remove_diacritics 2',
    prefix = '2 3'
);

CREATE TABLE libraries (
    id   INTEGER PRIMARY KEY,
    root TEXT NOT NULL UNIQUE
) STRICT;

-- One file per track and one track per content: a second path with the same content goes to
-- `duplicates`.
CREATE TABLE files (
    library_id    INTEGER NOT NULL REFERENCES libraries (id),
    path          TEXT NOT NULL,
    size          INTEGER NOT NULL,
    mtime_ns      INTEGER NOT NULL,
    sha256        BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    track_id      INTEGER NOT NULL UNIQUE REFERENCES tracks (id) ON DELETE CASCADE,
    -- Set while the file is not where it was; the track keeps its id and its analysis.
    missing_since INTEGER,
    PRIMARY KEY (library_id, path)
) STRICT;

CREATE TABLE duplicates (
    library_id INTEGER NOT NULL REFERENCES libraries (id),
    path       TEXT NOT NULL,
    size       INTEGER NOT NULL,
    mtime_ns   INTEGER NOT NULL,
    sha256     BLOB NOT NULL CHECK (length(sha256) = 32),
    -- The track whose file has the same content.
    track_id   INTEGER NOT NULL REFERENCES tracks (id) ON DELETE CASCADE,
    -- The track that this file would have been, where its name says so.
    named_id   INTEGER,
    noticed_at INTEGER NOT NULL,
    PRIMARY KEY (library_id, path)
) STRICT;
CREATE INDEX duplicates_by_track ON duplicates (track_id);
CREATE INDEX duplicates_by_named ON duplicates (named_id) WHERE named_id IS NOT NULL;

-- The ledger of files that could not be analysed.
CREATE TABLE bad_files (
    library_id INTEGER NOT NULL REFERENCES libraries (id),
    path       TEXT NOT NULL,
    size       INTEGER NOT NULL,
    mtime_ns   INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    message    TEXT NOT NULL,
    noticed_at INTEGER NOT NULL,
    PRIMARY KEY (library_id, path)
) STRICT;

-- Ids of tracks that have no FMA id. A row is never deleted, so that the same content is the
-- same track again whatever happened to its file in between.
CREATE TABLE local_ids (
    sha256   BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    track_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX local_ids_by_track ON local_ids (track_id);

-- An extractor is weights plus front-end settings, named by their hash.
CREATE TABLE extractors (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    dim  INTEGER NOT NULL CHECK (dim > 0)
) STRICT;

-- An analysis counts while its content is that of the track's file; the small columns and the
-- embedding come first so that a scan over them does not read the overflow pages behind.
CREATE TABLE analyses (
    extractor_id  INTEGER NOT NULL REFERENCES extractors (id),
    track_id      INTEGER NOT NULL REFERENCES tracks (id) ON DELETE CASCADE,
    sha256        BLOB NOT NULL CHECK (length(sha256) = 32),
    analysed_at   INTEGER NOT NULL,
    clip_seconds  REAL NOT NULL,
    embedding     BLOB NOT NULL,
    window_starts BLOB NOT NULL,
    landmarks     BLOB NOT NULL,
    windows       BLOB NOT NULL,
    PRIMARY KEY (extractor_id, track_id)
) STRICT;
CREATE INDEX analyses_by_track ON analyses (track_id);

CREATE TABLE generations (
    id         TEXT PRIMARY KEY,
    directory  TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('building', 'ready', 'failed', 'retired')),
    created_at INTEGER NOT NULL
) STRICT;

-- Exactly one row: which generation answers are made from.
CREATE TABLE active_generation (
    slot          INTEGER PRIMARY KEY CHECK (slot = 1),
    generation_id TEXT REFERENCES generations (id),
    activated_at  INTEGER
) STRICT;
INSERT INTO active_generation (slot) VALUES (1);
