//! The dataset's metadata files and layout.

use std::{fs, path::Path};

use proptest::prelude::*;
use songkin::{
    catalog::{
        CatalogError, Split, Subset, TrackRecord,
        fma::{FaultReason, Layout, LayoutFault, Parsed, audio_path, read_metadata},
    },
    track::TrackId,
};

use super::fixture_directory;

fn parsed(subset: Subset) -> Parsed {
    read_metadata(&fixture_directory(), subset).unwrap()
}

fn ids(parsed: &Parsed) -> Vec<u32> {
    parsed
        .metadata
        .tracks
        .iter()
        .map(|track| track.id.0)
        .collect()
}

fn track(parsed: &Parsed, id: u32) -> &TrackRecord {
    parsed
        .metadata
        .tracks
        .iter()
        .find(|track| track.id == TrackId(id))
        .unwrap()
}

/// Copies the fixture with `change` applied to `tracks.csv`.
fn changed(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["genres.csv", "raw_tracks.csv", "tracks.csv"] {
        fs::copy(fixture_directory().join(file), dir.path().join(file)).unwrap();
    }
    let path = dir.path().join("tracks.csv");
    let content = change(fs::read(&path).unwrap());
    fs::write(path, content).unwrap();
    dir
}

fn replace(content: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

#[test]
fn tracks_are_read_through_three_header_rows_and_multi_line_fields() {
    let parsed = parsed(Subset::Full);
    let food = track(&parsed, 2);
    assert_eq!(food.title, "Food");
    assert_eq!((food.artist_id, food.album_id), (Some(1), Some(1)));
    assert_eq!(
        (food.genre_ids.as_slice(), food.top_genre_id),
        (&[21][..], Some(21))
    );
    assert_eq!(food.released_on.as_deref(), Some("2009-01-05"));
    assert_eq!(
        (food.year, food.duration_seconds),
        (Some(2009), Some(168.0))
    );
    assert_eq!(
        (food.split, food.subset),
        (Some(Split::Training), Some(Subset::Small))
    );
    assert_eq!(food.bit_rate, Some(256_000));
    assert_eq!(track(&parsed, 5).title, "This \"World\", Again");
    assert_eq!(track(&parsed, 20).genre_ids, [76, 103]);
    assert_eq!(
        track(&parsed, 20).released_on.as_deref(),
        Some("2008-01-01")
    );
    assert_eq!(track(&parsed, 34).album_id, None);
    assert_eq!(track(&parsed, 34).artist_id, Some(1));
    assert_eq!(track(&parsed, 36).title, "Track 36");
    assert_eq!(track(&parsed, 36).licence, None);
    let artists: Vec<_> = parsed
        .metadata
        .artists
        .iter()
        .map(|a| (a.id, a.name.as_str()))
        .collect();
    assert_eq!(artists, [(1, "AWOL"), (4, "Nicky Cook"), (6, "Kurt Vile")]);
    assert_eq!(parsed.metadata.albums.len(), 3);
}

#[test]
fn the_genre_tree_is_read() {
    let genres = parsed(Subset::Full).metadata.genres;
    let parent = |id| {
        genres
            .iter()
            .find(|genre| genre.id == id)
            .unwrap()
            .parent_id
    };
    assert_eq!(genres.len(), 10);
    assert_eq!(
        (parent(12), parent(58), parent(101), parent(900)),
        (None, Some(12), Some(58), None)
    );
}

#[test]
fn raw_tracks_give_the_exact_licence_and_the_link() {
    let parsed = parsed(Subset::Full);
    let licence = |id| track(&parsed, id).licence.clone().unwrap();
    assert_eq!(licence(2).id, "CC-BY-NC-SA-3.0");
    assert!(licence(2).port_url.unwrap().ends_with("/by-nc-sa/3.0/us/"));
    assert!(
        track(&parsed, 2)
            .attribution_url
            .as_deref()
            .unwrap()
            .ends_with("/Food")
    );
    assert_eq!(licence(10).id, "LicenseRef-FMA-Limited-Download-Only");
    assert_eq!(track(&parsed, 10).attribution_url, None);
    assert_eq!(licence(3).id, "CC-BY-NC-SA-3.0");

    let dir = changed(|content| content);
    fs::remove_file(dir.path().join("raw_tracks.csv")).unwrap();
    let without = read_metadata(dir.path(), Subset::Full).unwrap();
    assert_eq!(
        track(&without, 10).licence.as_ref().unwrap().id,
        "CC-BY-NC-ND-3.0"
    );
    assert_eq!(track(&without, 2).attribution_url, None);
}

#[test]
fn a_subset_holds_the_smaller_ones() {
    let small = ids(&parsed(Subset::Small));
    assert!(small.contains(&2) && small.contains(&98_565));
    assert!([3, 20, 26].iter().all(|id| !small.contains(id)));
    let medium = ids(&parsed(Subset::Medium));
    assert!(medium.contains(&2) && medium.contains(&3) && !medium.contains(&20));
    let large = ids(&parsed(Subset::Large));
    assert!(large.contains(&3) && large.contains(&20) && !large.contains(&26));
    let full = ids(&parsed(Subset::Full));
    assert_eq!(
        full,
        [2, 3, 5, 10, 20, 26, 98_565, 30, 31, 32, 33, 34, 35, 36]
    );
}

#[test]
fn faults_are_collected_with_line_and_column_and_the_rest_is_read() {
    let parsed = parsed(Subset::Full);
    let said: Vec<_> = parsed
        .faults
        .kept()
        .iter()
        .map(ToString::to_string)
        .collect();
    for expected in [
        "column genre_id: \"x\" is no id: row skipped",
        "genres.csv line 12, column genre_id: id 21 comes a second time: row skipped",
        "genres.csv line 13, column parent: genre 901 is not in genres.csv: left out",
        "column track_id: \"abc\" is no id: row skipped",
        "column track_id: id 2 comes a second time: row skipped",
        "the row has 3 fields, the header 53: row skipped",
        "column track.title: not UTF-8: the bytes in question are replaced",
        "column track.genres: \"[21, oops]\" is no list of ids: taken as empty",
        "column track.genres: genre 99999 is not in genres.csv: left out",
        "column track.genre_top: genre Skweee is not in genres.csv: left out",
        "column track.duration: \"long\" is no number: taken as empty",
        "column track.bit_rate: \"high\" is no number: taken as empty",
        "column set.split: \"holdout\" is none of the words that are known here: taken as empty",
        "column album.date_released: \"26/11/2008\" is no date: taken as empty",
        "column track_id: \"4000000000\" is no id: row skipped",
    ] {
        let times = said.iter().filter(|fault| fault.contains(expected)).count();
        assert_eq!(times, 1, "{expected}\nin {said:#?}");
    }
    assert_eq!(parsed.faults.total(), 15, "{said:#?}");
    assert_eq!(track(&parsed, 30).title, "Caf\u{fffd} del Mar");
    assert_eq!(track(&parsed, 31).genre_ids, [0_i64; 0]);
    assert_eq!(track(&parsed, 32).genre_ids, [21]);

    // The line is that on which the row begins, multi-line fields above it counted.
    let fixture = fs::read(fixture_directory().join("tracks.csv")).unwrap();
    let abc = fixture
        .windows(5)
        .position(|window| window == b"\nabc,")
        .unwrap();
    let line = fixture[..=abc].iter().filter(|b| **b == b'\n').count() as u64 + 1;
    let fault = parsed
        .faults
        .kept()
        .iter()
        .find(|f| f.reason == FaultReason::BadId("abc".to_owned()));
    assert_eq!(fault.unwrap().line, line);
}

#[test]
fn line_ends_and_byte_order_mark_change_nothing() {
    let dir = changed(|content| {
        let mut crlf = b"\xef\xbb\xbf".to_vec();
        let unix = replace(&content, b"\r\n", b"\n");
        crlf.extend(replace(&unix, b"\n", b"\r\n"));
        crlf
    });
    assert_eq!(
        read_metadata(dir.path(), Subset::Full).unwrap().metadata,
        parsed(Subset::Full).metadata
    );
}

#[test]
fn columns_are_found_by_name() {
    // The last column first, and outer names only above the first of their group.
    let dir = tempfile::tempdir().unwrap();
    let genres = "title,extra,parent,genre_id
Pop,,0,10
Rock,,0,12
";
    fs::write(dir.path().join("genres.csv"), genres).unwrap();
    fs::write(
        dir.path().join("tracks.csv"),
        ",track,,artist,,set\n,title,genres,name,id,subset\ntrack_id,,,,,\n7,T,\"[10, 12]\",A,3,small\n",
    )
    .unwrap();
    let parsed = read_metadata(dir.path(), Subset::Small).unwrap();
    assert_eq!(parsed.faults.total(), 0, "{:?}", parsed.faults);
    let seven = track(&parsed, 7);
    assert_eq!((seven.title.as_str(), seven.artist_id), ("T", Some(3)));
    assert_eq!(seven.genre_ids, [10, 12]);
    assert_eq!((seven.split, seven.duration_seconds), (None, None));
}

#[test]
fn a_missing_column_or_file_is_a_clear_error() {
    let dir = changed(|content| replace(&content, b",genres,", b",styles,"));
    let error = read_metadata(dir.path(), Subset::Full).unwrap_err();
    assert!(
        matches!(&error, CatalogError::MissingColumn { column, .. } if column == "track.genres"),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .ends_with("tracks.csv has no column track.genres"),
        "{error}"
    );
    let dir = changed(|_| Vec::new());
    let error = read_metadata(dir.path(), Subset::Full).unwrap_err();
    assert!(
        matches!(error, CatalogError::MissingHeader { rows: 3, .. }),
        "{error:?}"
    );
    fs::remove_file(dir.path().join("genres.csv")).unwrap();
    let error = read_metadata(dir.path(), Subset::Full).unwrap_err();
    assert!(matches!(error, CatalogError::Io { .. }), "{error:?}");
}

#[test]
fn a_huge_field_is_read_over() {
    let dir = changed(|content| {
        let bio = format!("<p>{}</p>", "x, \"\"y\"\"\n".repeat(600_000));
        replace(&content, b"<p>A Way Of Life,", format!("{bio},").as_bytes())
    });
    assert!(dir.path().join("tracks.csv").metadata().unwrap().len() > 5_000_000);
    assert_eq!(
        ids(&read_metadata(dir.path(), Subset::Full).unwrap()),
        ids(&parsed(Subset::Full))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Bytes overwritten anywhere below the header, cut anywhere: an answer or an error.
    #[test]
    fn damaged_metadata_never_panics(
        damage in proptest::collection::vec((0..9_000_usize, any::<u8>()), 0..30),
        cut in 0..9_000_usize,
    ) {
        let dir = changed(|mut content| {
            for (at, byte) in damage {
                if let Some(place) = content.get_mut(at) {
                    *place = byte;
                }
            }
            content.truncate(cut.max(100));
            content
        });
        if let Ok(parsed) = read_metadata(dir.path(), Subset::Full) {
            prop_assert!(parsed.metadata.tracks.iter().all(|t| t.id < TrackId::FIRST_LOCAL));
        }
    }
}

fn touch(path: impl AsRef<Path>) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[test]
fn the_layout_is_found_from_above_inside_and_beside() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    touch(base.join("fma_metadata/tracks.csv"));
    touch(base.join("fma_medium/012/012345.mp3"));
    touch(base.join("notes/readme.txt"));
    let expected = Layout {
        metadata: base.join("fma_metadata"),
        audio: base.join("fma_medium"),
    };
    for given in ["", "fma_metadata", "fma_medium", "notes/.."] {
        assert_eq!(
            Layout::detect(&base.join(given), Subset::Small).unwrap(),
            expected,
            "{given}"
        );
    }

    touch(base.join("fma_small/000/000002.mp3"));
    touch(base.join("fma_full/000/000002.mp3"));
    let audio = |subset| Layout::detect(&base, subset).unwrap().audio;
    assert_eq!(audio(Subset::Small), base.join("fma_small"));
    assert_eq!(audio(Subset::Medium), base.join("fma_medium"));
    assert_eq!(audio(Subset::Large), base.join("fma_full"));

    // All in one directory.
    let flat = tempfile::tempdir().unwrap();
    let flat = flat.path().canonicalize().unwrap();
    touch(flat.join("tracks.csv"));
    touch(flat.join("000/000002.mp3"));
    let layout = Layout::detect(&flat, Subset::Full).unwrap();
    assert_eq!((layout.metadata, layout.audio), (flat.clone(), flat));
}

#[test]
fn a_layout_that_is_not_there_says_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    touch(base.join("Artist/Album/01.mp3"));
    let fault = |subset| match Layout::detect(&base, subset).unwrap_err() {
        CatalogError::Layout { fault, .. } => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(Subset::Full), LayoutFault::NoMetadata);
    touch(base.join("fma_metadata/tracks.csv"));
    assert!(matches!(fault(Subset::Full), LayoutFault::NoAudio { .. }));
    // A plain folder beside the dataset is none of its parts.
    let plain = Layout::detect(&base.join("Artist"), Subset::Full).unwrap_err();
    assert!(matches!(
        plain,
        CatalogError::Layout {
            fault: LayoutFault::NoMetadata,
            ..
        }
    ));
    touch(base.join("mine/000/000002.mp3"));
    touch(base.join("yours/000/000002.mp3"));
    let ambiguous = fault(Subset::Full);
    assert_eq!(
        ambiguous.to_string(),
        "mine, yours hold audio: name one of them"
    );
    let nowhere = Layout::detect(&base.join("nowhere"), Subset::Full).unwrap_err();
    assert!(matches!(nowhere, CatalogError::Io { .. }));
}

#[test]
fn every_file_of_the_layout_is_its_track_once() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    for path in [
        "fma_metadata/tracks.csv",
        "a/012/012345.mp3",
        "a/012/012346.flac",
        "a/012/012345.wav",
        "a/012/013000.mp3",
        "a/012/cover.mp3",
        "a/012/readme.txt",
        "a/012/.012347.mp3",
        "a/x/012348.mp3",
        "a/1234/1234567.mp3",
        "a/012/0012349.mp3",
        "a/000/000000.mp3",
    ] {
        touch(base.join(path));
    }
    let listing = Layout::detect(&base, Subset::Full).unwrap().list().unwrap();
    let files: Vec<_> = listing
        .files
        .iter()
        .map(|(id, file)| (id.0, file.path.as_str()))
        .collect();
    assert_eq!(
        files,
        [
            (0, "000/000000.mp3"),
            (12_345, "012/012345.mp3"),
            (12_346, "012/012346.flac"),
            (1_234_567, "1234/1234567.mp3"),
        ]
    );
    let strangers: Vec<_> = listing.strangers.iter().map(|path| path.as_str()).collect();
    assert_eq!(
        strangers,
        [
            "012/0012349.mp3",
            "012/012345.wav",
            "012/013000.mp3",
            "012/cover.mp3"
        ]
    );
    assert_eq!(audio_path(TrackId(2)), "000/000002.mp3");
    assert_eq!(audio_path(TrackId(155_320)), "155/155320.mp3");
}
