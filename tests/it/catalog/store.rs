//! Opening, reopening, refusing, and readers beside a writer.

use std::time::Duration;

use songkin::{
    catalog::{Catalog, CatalogError, ExtractorId, FileState, Subject},
    database::DatabaseError,
    track::TrackId,
};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{House, analysis, extractor, fixture, local};

async fn raw(house: &House) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(house.database());
    SqliteConnection::connect_with(&options).await.unwrap()
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let house = House::with_fma().await;
    let id = house.add("a/b/one.mp3", "one").await;
    let before = house.catalog.track(id).await.unwrap().unwrap();
    house.catalog.close().await;

    for catalog in [
        Catalog::open(house.database()).await.unwrap(),
        Catalog::open_read_only(house.database()).await.unwrap(),
    ] {
        assert_eq!(catalog.track(id).await.unwrap().unwrap(), before);
        assert_eq!(catalog.statistics(None).await.unwrap().analysed, 1);
        catalog.close().await;
    }
}

#[tokio::test]
async fn the_file_is_in_wal_mode_with_references_enforced() {
    let house = House::new().await;
    let mut connection = raw(&house).await;
    let mode: String = sqlx::query("PRAGMA journal_mode")
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get(0);
    assert_eq!(mode, "wal");
    let unknown = house
        .catalog
        .record_duplicate(&house.write("x.mp3", "x"), TrackId(5), None)
        .await;
    assert!(
        matches!(unknown, Err(CatalogError::UnknownTrack(TrackId(5)))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let house = House::new().await;
    house.catalog.close().await;
    let mut connection = raw(&house).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();

    for error in [
        Catalog::open(house.database()).await.unwrap_err(),
        Catalog::open_read_only(house.database()).await.unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                CatalogError::Database(DatabaseError::NewerSchema { found: 9999, .. })
            ),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("use the newer program"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn reading_only_neither_creates_nor_updates_nor_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalogue.db");
    let error = Catalog::open_read_only(&path).await.unwrap_err();
    assert!(
        matches!(error, CatalogError::Database(DatabaseError::Open { .. })),
        "{error:?}"
    );
    assert!(!path.exists());

    std::fs::write(&path, "").unwrap();
    let error = Catalog::open_read_only(&path).await.unwrap_err();
    assert!(
        matches!(
            error,
            CatalogError::Database(DatabaseError::OlderSchema { found: 0, .. })
        ),
        "{error:?}"
    );

    let house = House::new().await;
    let reader = Catalog::open_read_only(house.database()).await.unwrap();
    let error = reader
        .upsert_metadata(&fixture(), |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(error, CatalogError::Database(DatabaseError::ReadOnly)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalogue.db");
    std::fs::write(
        &path,
        "not a database at all, but long enough to be looked into\n".repeat(40),
    )
    .unwrap();
    assert!(Catalog::open(&path).await.is_err());
    assert!(Catalog::open_read_only(&path).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_may_open_a_new_catalogue_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalogue.db");
    let opening: Vec<_> = (0..6)
        .map(|_| tokio::spawn(Catalog::open(path.clone())))
        .collect();
    for catalog in opening {
        catalog.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_do_not_wait_for_a_writer() {
    let house = House::new().await;
    let id = house.add("one.mp3", "one").await;
    let mut writer = raw(&house).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut writer)
        .await
        .unwrap();
    sqlx::query("UPDATE tracks SET title = 'half done'")
        .execute(&mut writer)
        .await
        .unwrap();

    let read = tokio::time::timeout(Duration::from_secs(5), house.catalog.track(id)).await;
    assert_eq!(
        read.expect("the reader waited").unwrap().unwrap().title,
        "one"
    );

    // Another writer waits instead of failing.
    let catalog = house.catalog.clone();
    let second = house.write("two.mp3", "two");
    let waiting = tokio::spawn(async move {
        catalog
            .record_analysed(&second, &local("two.mp3"), &extractor(), &analysis(2.0))
            .await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    sqlx::query("ROLLBACK").execute(&mut writer).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(house.catalog.statistics(None).await.unwrap().analysed, 2);
}

/// A record that fails at its last step, as one that is killed there, leaves nothing behind.
#[tokio::test]
async fn a_record_is_done_whole_or_not_at_all() {
    let house = House::new().await;
    let file = house.write("a/b/one.mp3", "one");
    let bad = house.found(&["a/b/one.mp3"]);
    house
        .catalog
        .record_bad(
            house.library,
            &bad[0],
            songkin::catalog::BadReason::Corrupt,
            "noise",
        )
        .await
        .unwrap();
    let mut connection = raw(&house).await;
    sqlx::query(
        "CREATE TRIGGER power_cut BEFORE INSERT ON analyses
         BEGIN SELECT RAISE (ABORT, 'power cut'); END",
    )
    .execute(&mut connection)
    .await
    .unwrap();

    let cut = house
        .catalog
        .record_analysed(&file, &local("one"), &extractor(), &analysis(1.0))
        .await;
    assert!(matches!(cut, Err(CatalogError::Database(_))), "{cut:?}");
    let counts = house.catalog.statistics(None).await.unwrap();
    assert_eq!((counts.tracks, counts.available, counts.bad), (0, 0, 1));
    assert_eq!(leftovers(&mut connection).await, 0);

    sqlx::query("DROP TRIGGER power_cut")
        .execute(&mut connection)
        .await
        .unwrap();
    let id = house.record(&file, &local("one")).await;
    assert_eq!(id, TrackId::FIRST_LOCAL);
    let counts = house.catalog.statistics(None).await.unwrap();
    assert_eq!((counts.tracks, counts.analysed, counts.bad), (1, 1, 0));
}

/// Rows that a cut-off record could have left in tables without a count of their own.
async fn leftovers(connection: &mut SqliteConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM local_ids) + (SELECT count(*) FROM extractors)
              + (SELECT count(*) FROM track_search) + (SELECT count(*) FROM artists)",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// The caller going away in the middle of a record is the same as a kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_caller_goes_away_leaves_a_whole_catalogue() {
    let house = House::new().await;
    for turn in 0..40_u64 {
        let name = format!("{turn}.mp3");
        let file = house.write(&name, &name);
        let catalog = house.catalog.clone();
        let task = tokio::spawn(async move {
            catalog
                .record_analysed(&file, &local(&name), &extractor(), &analysis(1.0))
                .await
        });
        tokio::time::sleep(Duration::from_micros(turn * 40)).await;
        task.abort();
        let _ = task.await;
    }
    // Whatever was recorded is complete, and the writer still works.
    house.add("last.mp3", "last").await;
    let counts = house.catalog.statistics(Some(&extractor())).await.unwrap();
    assert_eq!(counts.tracks, counts.analysed);
    let known = house
        .catalog
        .known_files(house.library, &extractor())
        .await
        .unwrap();
    assert_eq!(known.len() as u64, counts.analysed);
    assert!(
        known
            .values()
            .all(|file| matches!(file.state, FileState::Analysed(_)))
    );
}

#[tokio::test]
async fn metadata_is_stored_idempotently_with_progress() {
    let house = House::new().await;
    let metadata = fixture();
    let mut reports = Vec::new();
    house
        .catalog
        .upsert_metadata(&metadata, |progress| reports.push(progress))
        .await
        .unwrap();
    let total = metadata.artists.len()
        + metadata.albums.len()
        + metadata.genres.len()
        + metadata.tracks.len();
    assert!(
        reports.windows(2).all(|pair| pair[0].done < pair[1].done),
        "{reports:?}"
    );
    assert_eq!(
        reports.last().map(|last| (last.done, last.total)),
        Some((total, total))
    );

    let ids: Vec<_> = metadata.tracks.iter().map(|track| track.id).collect();
    let first = house.catalog.tracks_by_ids(&ids).await.unwrap();
    house
        .catalog
        .upsert_metadata(&metadata, |_| {})
        .await
        .unwrap();
    assert_eq!(house.catalog.tracks_by_ids(&ids).await.unwrap(), first);
    assert_eq!(first.found.len(), ids.len());

    let mut renamed = metadata;
    renamed.tracks[0].title = "Another title".to_owned();
    renamed.tracks[0].genre_ids.clear();
    house
        .catalog
        .upsert_metadata(&renamed, |_| {})
        .await
        .unwrap();
    let track = house.catalog.track(ids[0]).await.unwrap().unwrap();
    assert_eq!(
        (track.title.as_str(), track.genres.len()),
        ("Another title", 0)
    );

    // The search follows what a track and its artist are called.
    let file = house.write("000/000002.mp3", "food");
    house.record(&file, &Subject::Fma(ids[0])).await;
    let found = async |query| {
        let page = house.catalog.search_tracks(query, None, 9).await.unwrap();
        page.tracks.len()
    };
    assert_eq!((found("another title").await, found("food").await), (1, 0));
    renamed.artists[0].name = "Somebody else".to_owned();
    house
        .catalog
        .upsert_metadata(&renamed, |_| {})
        .await
        .unwrap();
    assert_eq!(
        (found("somebody").await, found("awol another").await),
        (1, 1)
    );
    renamed.albums[0].title = "Untitled".to_owned();
    house
        .catalog
        .upsert_metadata(&renamed, |_| {})
        .await
        .unwrap();
    assert_eq!(found("awol").await, 0);
}

#[tokio::test]
async fn references_to_nothing_are_stored_as_none() {
    let house = House::new().await;
    let mut metadata = fixture();
    metadata.artists.clear();
    metadata.albums.clear();
    metadata.genres.retain(|genre| genre.id != 21);
    house
        .catalog
        .upsert_metadata(&metadata, |_| {})
        .await
        .unwrap();
    let track = house.catalog.track(TrackId(2)).await.unwrap().unwrap();
    assert_eq!(
        (track.artist, track.album, track.genres.len()),
        (None, None, 0)
    );
}

#[tokio::test]
async fn an_impossible_analysis_is_refused() {
    let house = House::new().await;
    let file = house.write("one.mp3", "one");
    let record = async |analysis| {
        house
            .catalog
            .record_analysed(&file, &local("one"), &extractor(), &analysis)
            .await
            .unwrap_err()
    };
    let mut nan = analysis(1.0);
    nan.embedding[0] = f32::NAN;
    assert!(matches!(record(nan).await, CatalogError::NotFinite(_)));
    let mut short = analysis(1.0);
    short.windows.vectors.pop();
    assert!(matches!(
        record(short).await,
        CatalogError::Dimension {
            expected: 6,
            found: 5
        }
    ));
    let mut empty = analysis(1.0);
    empty.embedding.clear();
    assert!(matches!(
        record(empty).await,
        CatalogError::Dimension { .. }
    ));

    house.record(&file, &local("one")).await;
    let mut wider = analysis(1.0);
    wider.embedding.push(0.0);
    wider.windows.vectors.extend([0.0, 0.0]);
    assert!(matches!(
        record(wider.clone()).await,
        CatalogError::Dimension {
            expected: 3,
            found: 4
        }
    ));
    let other = ExtractorId::new("sha256:wider");
    house
        .catalog
        .record_analysed(&file, &local("one"), &other, &wider)
        .await
        .unwrap();
}
