//! Tracks, artists, albums, genres, licences and the state of their analysis, in SQLite.
