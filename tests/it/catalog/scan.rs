//! Walking over analyses.

use futures_util::TryStreamExt;
use songkin::{
    catalog::{CatalogError, ExtractorId, Subject, TrackWindows},
    track::TrackId,
};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{House, analysis, extractor, local};

#[tokio::test]
async fn fields_of_the_index_come_with_the_genres_above() {
    let house = House::with_fma().await;
    let file = house.write("000/000020.mp3", "twenty");
    house.record(&file, &Subject::Fma(TrackId(20))).await;
    let tracks: Vec<_> = house
        .catalog
        .analysed_tracks(&extractor())
        .try_collect()
        .await
        .unwrap();
    let [track] = tracks.as_slice() else {
        panic!("{tracks:?}")
    };
    assert_eq!(
        (track.id, track.artist_id, track.album_id),
        (TrackId(20), Some(4), Some(4))
    );
    // Experimental Pop below Pop, Singer-Songwriter below Folk.
    assert_eq!(track.genre_ids, [10, 17, 76, 103]);
    assert_eq!(
        (track.year, track.duration_seconds),
        (Some(2008), Some(168.0))
    );
    assert_eq!(track.embedding, [1.0, 0.0, -1.0]);
    let licence = house
        .catalog
        .resolve_licence("CC-BY-NC-SA-3.0")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(track.licence, Some(licence.row));
}

#[tokio::test]
async fn a_scan_of_many_pages_yields_every_track_once_by_id() {
    let house = House::new().await;
    for n in 0..1_100 {
        let name = format!("{n}.mp3");
        let file = house.write(&name, &name);
        let subject = local(&name);
        let analysis = analysis(n as f32);
        house
            .catalog
            .record_analysed(&file, &subject, &extractor(), &analysis)
            .await
            .unwrap();
    }
    let tracks: Vec<_> = house
        .catalog
        .analysed_tracks(&extractor())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(tracks.len(), 1_100);
    for (n, track) in tracks.iter().enumerate() {
        assert_eq!(track.id, TrackId(TrackId::FIRST_LOCAL.0 + n as u32));
        assert_eq!(track.embedding[0], n as f32);
    }
    let landmarks: Vec<_> = house
        .catalog
        .landmarks(&extractor())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(landmarks.len(), 1_100);
    assert_eq!(landmarks[7].landmarks, [(7, 1), (u32::MAX, 2)]);
    let other = ExtractorId::new("sha256:other");
    let none: Vec<_> = house
        .catalog
        .analysed_tracks(&other)
        .try_collect()
        .await
        .unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn windows_come_back_to_the_bit() {
    let house = House::new().await;
    let id = house.add("one.mp3", "one").await;
    let windows: Vec<_> = house
        .catalog
        .windows(&extractor())
        .try_collect()
        .await
        .unwrap();
    let expected = TrackWindows {
        id,
        windows: analysis(1.0).windows,
    };
    assert_eq!(windows, [expected]);
    let other = ExtractorId::new("sha256:other");
    let none: Vec<_> = house.catalog.windows(&other).try_collect().await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn damaged_vectors_are_an_error_and_not_a_track() {
    let house = House::new().await;
    let id = house.add("one.mp3", "one").await;
    let options = SqliteConnectOptions::new().filename(house.database());
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(
        "UPDATE analyses SET embedding = x'0000', windows = x'00000000', landmarks = x'00'",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let damaged = |error: CatalogError, expected: &str| {
        assert!(
            matches!(error, CatalogError::Damaged { track, column } if track == id && column == expected),
            "{error:?}"
        );
    };
    damaged(
        house
            .catalog
            .analysed_page(&extractor(), None, 9)
            .await
            .unwrap_err(),
        "embedding",
    );
    damaged(
        house
            .catalog
            .windows_page(&extractor(), None, 9)
            .await
            .unwrap_err(),
        "window vectors",
    );
    damaged(
        house
            .catalog
            .landmarks_page(&extractor(), None, 9)
            .await
            .unwrap_err(),
        "landmarks",
    );
}
