-- Which descriptions of tracks have changed, so that a server can hold descriptions in memory and follow. Triggers write
-- it: whatever program changes a row, also one that is older than this log.
--
-- Only tracks with a row in `files` are held in memory. So nothing is written while a track is new or has no file yet:
-- not for an import of metadata, nor for a file that comes to its track.

CREATE TABLE catalogue_changes (
    -- AUTOINCREMENT: no number comes twice, whatever is deleted.
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    -- NULL: any track may be described otherwise now.
    track_id INTEGER
) STRICT;
-- The newest row always stays, so that a reader that knows it sees whether it has missed any.
INSERT INTO catalogue_changes (track_id) VALUES (NULL);

-- The last 10,000 to 11,000 rows stay.
CREATE TRIGGER catalogue_changes_bounded AFTER INSERT ON catalogue_changes
WHEN NEW.revision % 1000 = 0
BEGIN
    DELETE FROM catalogue_changes WHERE revision <= NEW.revision - 10000;
END;

-- An import writes every column of every track again, so the values are compared.
CREATE TRIGGER tracks_changed
AFTER UPDATE OF id, source, title, artist_id, album_id, licence_id, licence_url, attribution_url, duration_seconds, year,
                released_on, split ON tracks
WHEN (OLD.id, OLD.source, OLD.title, OLD.artist_id, OLD.album_id, OLD.licence_id, OLD.licence_url, OLD.attribution_url,
      OLD.duration_seconds, OLD.year, OLD.released_on, OLD.split)
     IS NOT
     (NEW.id, NEW.source, NEW.title, NEW.artist_id, NEW.album_id, NEW.licence_id, NEW.licence_url, NEW.attribution_url,
      NEW.duration_seconds, NEW.year, NEW.released_on, NEW.split)
     AND EXISTS (SELECT 1 FROM files WHERE track_id = OLD.id)
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (OLD.id);
END;

CREATE TRIGGER tracks_deleted AFTER DELETE ON tracks
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (OLD.id);
END;

CREATE TRIGGER track_genres_inserted AFTER INSERT ON track_genres
WHEN EXISTS (SELECT 1 FROM files WHERE track_id = NEW.track_id)
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (NEW.track_id);
END;

CREATE TRIGGER track_genres_changed AFTER UPDATE ON track_genres
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (OLD.track_id), (NEW.track_id);
END;

CREATE TRIGGER track_genres_deleted AFTER DELETE ON track_genres
WHEN EXISTS (SELECT 1 FROM files WHERE track_id = OLD.track_id)
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (OLD.track_id);
END;

-- Another place, size or time of a file is no part of a description.
CREATE TRIGGER files_changed AFTER UPDATE OF track_id, missing_since ON files
WHEN OLD.track_id IS NOT NEW.track_id OR (OLD.missing_since IS NULL) IS NOT (NEW.missing_since IS NULL)
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (OLD.track_id);
END;

CREATE TRIGGER files_deleted AFTER DELETE ON files
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (OLD.track_id);
END;

-- How many tracks are described with one of these nobody looks up: it changes seldom.
CREATE TRIGGER artists_changed AFTER UPDATE OF id, name ON artists
WHEN (OLD.id, OLD.name) IS NOT (NEW.id, NEW.name)
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (NULL);
END;

CREATE TRIGGER artists_deleted AFTER DELETE ON artists
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (NULL);
END;

CREATE TRIGGER albums_changed AFTER UPDATE OF id, title ON albums
WHEN (OLD.id, OLD.title) IS NOT (NEW.id, NEW.title)
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (NULL);
END;

CREATE TRIGGER albums_deleted AFTER DELETE ON albums
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (NULL);
END;

CREATE TRIGGER genres_changed AFTER UPDATE OF id, title ON genres
WHEN (OLD.id, OLD.title) IS NOT (NEW.id, NEW.title)
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (NULL);
END;

CREATE TRIGGER genres_deleted AFTER DELETE ON genres
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (NULL);
END;

-- `spdx` compares without case, and its case is part of the description.
CREATE TRIGGER licences_changed AFTER UPDATE OF id, spdx, name, url ON licences
WHEN (OLD.id, OLD.name, OLD.url) IS NOT (NEW.id, NEW.name, NEW.url) OR OLD.spdx <> NEW.spdx COLLATE BINARY
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (NULL);
END;

CREATE TRIGGER licences_deleted AFTER DELETE ON licences
BEGIN
    INSERT INTO catalogue_changes (track_id) VALUES (NULL);
END;
