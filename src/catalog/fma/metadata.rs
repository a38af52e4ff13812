//! `tracks.csv`, `genres.csv` and `raw_tracks.csv`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use super::{
    fault::{Fault, FaultReason, Faults},
    python,
    table::{Column, Row, Table},
};
use crate::{
    catalog::{
        AlbumRecord, Artist, CatalogError, GenreRecord, Metadata, Split, Subset, TrackRecord,
        licence,
    },
    track::TrackId,
};

/// What the dataset's files say, and what is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The descriptions.
    pub metadata: Metadata,
    /// Faults in single rows.
    pub faults: Faults,
}

/// Reads the metadata directory: `tracks.csv`, `genres.csv`, and `raw_tracks.csv` where it is
/// there, which alone knows the links to a track's page and to its licence.
///
/// Of the tracks those of `subset` and of the smaller ones inside it are kept; the artists and
/// albums are those that they name, the genres all there are.
///
/// # Errors
/// [`CatalogError::Io`] for a file that cannot be opened, [`CatalogError::MissingColumn`] and
/// [`CatalogError::MissingHeader`] for one without the columns that matter.
pub fn read_metadata(directory: &Path, subset: Subset) -> Result<Parsed, CatalogError> {
    let mut faults = Faults::default();
    let genres = read_genres(&directory.join("genres.csv"), &mut faults)?;
    let mut metadata = read_tracks(&directory.join("tracks.csv"), &genres, subset, &mut faults)?;
    metadata.genres = genres;
    let raw = directory.join("raw_tracks.csv");
    if raw.exists() {
        add_links(&raw, &mut metadata.tracks, &mut faults)?;
    }
    Ok(Parsed { metadata, faults })
}

fn read_genres(path: &Path, faults: &mut Faults) -> Result<Vec<GenreRecord>, CatalogError> {
    let mut table = Table::open(path, "genres.csv")?;
    let id_column = table.require(["", "genre_id"])?;
    let title = table.require(["", "title"])?;
    let parent = table.require(["", "parent"])?;
    let mut genres = BTreeMap::new();
    while let Some(mut row) = table.next(faults) {
        let Some(id) = row.id(id_column) else {
            continue;
        };
        if genres.contains_key(&id) {
            row.fault(id_column, FaultReason::RepeatedId(id));
            continue;
        }
        let title = row
            .text(Some(title))
            .unwrap_or_else(|| format!("Genre {id}"));
        // Top-level genres have the parent 0.
        let parent_id = row.integer(Some(parent)).filter(|parent| *parent > 0);
        genres.insert(
            id,
            (
                row.line(),
                GenreRecord {
                    id,
                    title,
                    parent_id,
                },
            ),
        );
    }
    // Only now is it known which parents there are.
    let known: HashSet<i64> = genres.keys().copied().collect();
    for (line, genre) in genres.values_mut() {
        if let Some(id) = genre.parent_id.take_if(|parent| !known.contains(parent)) {
            faults.push(Fault {
                file: "genres.csv",
                line: *line,
                column: Some("parent".to_owned()),
                reason: FaultReason::UnknownGenre(id.to_string()),
            });
        }
    }
    Ok(genres.into_values().map(|(_, genre)| genre).collect())
}

/// The columns of `tracks.csv` that are read.
struct TrackColumns {
    title: Column,
    artist_id: Column,
    artist_name: Column,
    genres: Column,
    album_id: Option<Column>,
    album_title: Option<Column>,
    released: Option<Column>,
    recorded: Option<Column>,
    split: Option<Column>,
    subset: Option<Column>,
    genre_top: Option<Column>,
    licence: Option<Column>,
    duration: Option<Column>,
    bit_rate: Option<Column>,
}

impl TrackColumns {
    fn find(table: &Table) -> Result<Self, CatalogError> {
        Ok(Self {
            title: table.require(["track", "title"])?,
            artist_id: table.require(["artist", "id"])?,
            artist_name: table.require(["artist", "name"])?,
            genres: table.require(["track", "genres"])?,
            album_id: table.column(["album", "id"]),
            album_title: table.column(["album", "title"]),
            released: table.column(["album", "date_released"]),
            recorded: table.column(["track", "date_recorded"]),
            split: table.column(["set", "split"]),
            subset: table.column(["set", "subset"]),
            genre_top: table.column(["track", "genre_top"]),
            licence: table.column(["track", "license"]),
            duration: table.column(["track", "duration"]),
            bit_rate: table.column(["track", "bit_rate"]),
        })
    }
}

fn read_tracks(
    path: &Path,
    genres: &[GenreRecord],
    subset: Subset,
    faults: &mut Faults,
) -> Result<Metadata, CatalogError> {
    let mut table = Table::open_two_level(path, "tracks.csv")?;
    let columns = TrackColumns::find(&table)?;
    let genre_ids: HashSet<i64> = genres.iter().map(|genre| genre.id).collect();
    let genre_titles: HashMap<&str, i64> = genres
        .iter()
        .rev()
        .map(|genre| (genre.title.as_str(), genre.id))
        .collect();

    let mut seen = HashSet::new();
    let mut artists = BTreeMap::new();
    let mut albums = BTreeMap::new();
    let mut tracks = Vec::new();
    while let Some(mut row) = table.next(faults) {
        let index = Table::index("track_id");
        let Some(id) = row.id(index) else { continue };
        // Ids from FIRST_LOCAL on are the catalogue's own.
        let Some(track_id) = u32::try_from(id)
            .ok()
            .map(TrackId)
            .filter(|id| *id < TrackId::FIRST_LOCAL)
        else {
            row.fault(index, FaultReason::BadId(id.to_string()));
            continue;
        };
        if !seen.insert(id) {
            row.fault(index, FaultReason::RepeatedId(id));
            continue;
        }
        // The dataset names the smallest subset that holds a track; without a name only the full
        // one does.
        let smallest = row.parse(columns.subset, Subset::from_name, FaultReason::UnknownWord);
        if smallest.unwrap_or(Subset::Full) > subset {
            continue;
        }
        let artist_id = row.integer(Some(columns.artist_id)).filter(|id| *id >= 0);
        if let Some((id, name)) = artist_id.zip(row.text(Some(columns.artist_name))) {
            artists.entry(id).or_insert(Artist { id, name });
        }
        // Tracks outside any album have the album -1.
        let album_id = row.integer(columns.album_id).filter(|id| *id >= 0);
        if let Some((id, title)) = album_id.zip(row.text(columns.album_title)) {
            albums.entry(id).or_insert(AlbumRecord {
                id,
                title,
                artist_id,
            });
        }
        let released_on =
            date(&mut row, columns.released).or_else(|| date(&mut row, columns.recorded));
        let licence_text = row.text(columns.licence);
        tracks.push(TrackRecord {
            id: track_id,
            title: row
                .text(Some(columns.title))
                .unwrap_or_else(|| format!("Track {id}")),
            artist_id,
            album_id,
            genre_ids: genres_of(&mut row, columns.genres, &genre_ids),
            top_genre_id: top_genre(&mut row, columns.genre_top, &genre_titles),
            licence: licence::normalise(licence_text.as_deref(), None),
            attribution_url: None,
            duration_seconds: row.parse(columns.duration, seconds, FaultReason::NotANumber),
            year: released_on
                .as_deref()
                .and_then(|date| date.get(..4)?.parse().ok()),
            released_on,
            split: row.parse(columns.split, Split::from_name, FaultReason::UnknownWord),
            subset: smallest,
            bit_rate: row
                .integer(columns.bit_rate)
                .and_then(|rate| u32::try_from(rate).ok()),
        });
    }
    Ok(Metadata {
        artists: artists.into_values().collect(),
        albums: albums.into_values().collect(),
        genres: Vec::new(),
        tracks,
    })
}

fn genres_of(row: &mut Row<'_>, column: Column, known: &HashSet<i64>) -> Vec<i64> {
    let ids = row
        .parse(Some(column), python::ids, FaultReason::NotAList)
        .unwrap_or_default();
    let (ids, unknown): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| known.contains(id));
    for id in unknown {
        row.fault(column, FaultReason::UnknownGenre(id.to_string()));
    }
    ids
}

fn top_genre(
    row: &mut Row<'_>,
    column: Option<Column>,
    titles: &HashMap<&str, i64>,
) -> Option<i64> {
    row.parse(
        column,
        |title| titles.get(title).copied(),
        FaultReason::UnknownGenre,
    )
}

fn date(row: &mut Row<'_>, column: Option<Column>) -> Option<String> {
    row.parse(column, day, FaultReason::NotADate)
}

/// The day of `2008-11-26` or `2008-11-26 01:48:12`.
fn day(text: &str) -> Option<String> {
    let day = text.get(..10)?;
    let rest = text.get(10..)?;
    if !rest.is_empty() && !rest.starts_with([' ', 'T']) {
        return None;
    }
    let digits = |range| {
        day.get(range)
            .filter(|d: &&str| d.bytes().all(|b| b.is_ascii_digit()))
    };
    let (year, month, date) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let dashes = day.as_bytes()[4] == b'-' && day.as_bytes()[7] == b'-';
    let month: u8 = month.parse().ok()?;
    let date: u8 = date.parse().ok()?;
    let plausible = year != "0000" && (1..=12).contains(&month) && (1..=31).contains(&date);
    (dashes && plausible).then(|| day.to_owned())
}

/// Seconds as a number (`tracks.csv`) or as `02:48`, `1:02:48`.
fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    for part in text.split(':') {
        total = total * 60.0 + part.parse::<f64>().ok()?;
    }
    (total.is_finite() && total >= 0.0).then_some(total)
}

/// Adds what only `raw_tracks.csv` knows: the track's page, and its licence's deed.
fn add_links(
    path: &Path,
    tracks: &mut [TrackRecord],
    faults: &mut Faults,
) -> Result<(), CatalogError> {
    let mut table = Table::open(path, "raw_tracks.csv")?;
    let id_column = table.require(["", "track_id"])?;
    let page = table.column(["", "track_url"]);
    let licence_url = table.column(["", "license_url"]);
    let licence_title = table.column(["", "license_title"]);
    let mut by_id: HashMap<i64, &mut TrackRecord> = tracks
        .iter_mut()
        .map(|track| (i64::from(track.id.0), track))
        .collect();
    while let Some(mut row) = table.next(faults) {
        let Some(id) = row.id(id_column) else {
            continue;
        };
        let Some(track) = by_id.remove(&id) else {
            continue;
        };
        track.attribution_url = row.text(page).filter(|url| is_web_address(url));
        let (title, url) = (row.text(licence_title), row.text(licence_url));
        let title = title
            .as_deref()
            .or(track.licence.as_ref().map(|l| l.name.as_str()));
        if let Some(exact) = url.and_then(|url| licence::normalise(title, Some(&url))) {
            track.licence = Some(exact);
        }
    }
    Ok(())
}

fn is_web_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_are_checked() {
        assert_eq!(day("2008-11-26 01:48:12").unwrap(), "2008-11-26");
        assert_eq!(day("1999-01-01").unwrap(), "1999-01-01");
        for bad in [
            "",
            "1999",
            "1999-13-01",
            "1999-00-10",
            "0000-01-01",
            "1999/01/01",
            "1999-01-32",
            "1999-01-01x",
            "+999-01-01",
            "11/26/2008 01:48:12 AM",
            "日本日本日本日本",
        ] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }

    #[test]
    fn seconds_come_in_two_forms() {
        assert_eq!(seconds("168"), Some(168.0));
        assert_eq!(seconds("02:48"), Some(168.0));
        assert_eq!(seconds("1:00:01.5"), Some(3601.5));
        for bad in ["", ":", "-3", "inf", "nan", "1:x"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn fields_never_panic(text in any::<String>()) {
            let _ = day(&text);
            let _ = seconds(&text);
        }
    }
}
