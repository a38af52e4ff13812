//! Finding and describing tracks, resolving names.

use proptest::prelude::*;
use songkin::{
    catalog::{CatalogError, Source, Split, Subject},
    track::TrackId,
};

use super::{House, local};

/// The fixture's tracks with audio, and some of a folder.
async fn searched() -> House {
    let house = House::with_fma().await;
    for id in [2, 3, 5, 10, 20, 26] {
        let file = house.write(&format!("000/{id:06}.mp3"), &id.to_string());
        house.record(&file, &Subject::Fma(TrackId(id))).await;
    }
    for title in ["Love", "Love Story", "My Love", "Lovely", "Élan vital"] {
        house
            .add(&format!("Someone/Songs/{title}.mp3"), title)
            .await;
    }
    house
}

async fn titles(house: &House, query: &str) -> Vec<String> {
    let page = house.catalog.search_tracks(query, None, 100).await.unwrap();
    assert_eq!(page.next_cursor, None);
    page.tracks.into_iter().map(|track| track.title).collect()
}

#[tokio::test]
async fn words_are_found_in_title_artist_and_album() {
    let house = searched().await;
    for (query, expected) in [
        ("food", &["Food"][..]),
        ("kurt vile", &["Freeway"]),
        ("hitmaker free", &["Freeway"]),
        ("elan", &["Élan vital"]),
        ("ÉLAN VITAL", &["Élan vital"]),
        ("awol fo", &["Food"]),
        ("fo awol", &[]),
        ("world again", &["This \"World\", Again"]),
        // The query itself, what begins with it, the rest.
        (
            "love",
            &[
                "Love",
                "Love Story",
                "Lovely",
                "Where is your Love?",
                "My Love",
            ],
        ),
        ("nothing like it", &[]),
        ("???", &[]),
    ] {
        assert_eq!(titles(&house, query).await, expected, "{query}");
    }
    // Described but without audio: not found.
    assert!(titles(&house, "known bad clip").await.is_empty());
}

#[tokio::test]
async fn syntax_of_the_search_engine_is_only_words() {
    let house = searched().await;
    for query in [
        "\"",
        "\"\"\"",
        "food\"",
        "food OR freeway",
        "NOT food",
        "food AND",
        "title:food",
        "food*",
        "NEAR(food freeway)",
        "(food",
        "food)",
        "^food",
        "-food",
        "+food",
        "{title}: food",
        "food\0",
        "\0",
        "' OR 1=1 --",
        "'; DROP TABLE tracks; --",
        "%",
        "_",
        "\\",
        "\u{301}",
        "a\u{301}*",
    ] {
        titles(&house, query).await;
    }
    assert_eq!(titles(&house, "food\"").await, ["Food"]);
    assert_eq!(titles(&house, "\"food\"*").await, ["Food"]);
    assert!(titles(&house, "food OR freeway").await.is_empty());
    assert_eq!(titles(&house, "food\0nothing").await, [""; 0]);
    let many = "love ".repeat(5_000);
    assert!(titles(&house, &many).await.contains(&"Love".to_owned()));
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let house = searched().await;
    for query in ["love", ""] {
        let whole = house
            .catalog
            .search_tracks(query, None, 100)
            .await
            .unwrap()
            .tracks;
        let (mut paged, mut cursor) = (Vec::new(), None);
        loop {
            let page = house
                .catalog
                .search_tracks(query, cursor.as_deref(), 2)
                .await
                .unwrap();
            assert!(page.tracks.len() <= 2);
            // What is added meanwhile moves nothing.
            let title = format!("Love {}", paged.len() + 100);
            let file = house.write(&format!("{title}{query}.mp3"), &format!("{title}{query}"));
            house.record(&file, &local(&title)).await;
            paged.extend(page.tracks);
            if paged.len() >= whole.len() {
                break;
            }
            cursor = Some(page.next_cursor.expect("more to come"));
        }
        let ids =
            |tracks: &[songkin::catalog::Track]| tracks.iter().map(|t| t.id).collect::<Vec<_>>();
        if query.is_empty() {
            assert_eq!(ids(&paged), ids(&whole));
        }
        let mut unique = ids(&paged);
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), paged.len(), "{query:?}");
    }
}

#[tokio::test]
async fn a_foreign_cursor_is_an_error() {
    let house = searched().await;
    let page = house.catalog.search_tracks("love", None, 1).await.unwrap();
    let cursor = page.next_cursor.unwrap();
    for (query, cursor) in [
        ("lovely", cursor.as_str()),
        ("love", "0"),
        ("love", ""),
        ("love", "ü"),
    ] {
        let error = house
            .catalog
            .search_tracks(query, Some(cursor), 1)
            .await
            .unwrap_err();
        assert!(
            matches!(error, CatalogError::BadCursor),
            "{cursor}: {error:?}"
        );
    }
    assert!(
        house
            .catalog
            .search_tracks(" LOVE ", Some(&cursor), 1)
            .await
            .is_ok()
    );
}

#[test]
fn any_query_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let house = runtime.block_on(searched());
    proptest!(ProptestConfig::with_cases(300), |(query in any::<String>(), cursor in any::<String>())| {
        runtime.block_on(async {
            house.catalog.search_tracks(&query, None, 5).await.unwrap();
            let with_cursor = house.catalog.search_tracks(&query, Some(&cursor), 5).await;
            assert!(matches!(with_cursor, Err(CatalogError::BadCursor)));
        });
    });
}

#[tokio::test]
async fn a_track_is_described_in_full() {
    let house = searched().await;
    let track = house.catalog.track(TrackId(2)).await.unwrap().unwrap();
    assert_eq!(
        (track.id, track.source, track.title.as_str()),
        (TrackId(2), Source::Fma, "Food")
    );
    assert_eq!(track.artist.unwrap().name, "AWOL");
    assert_eq!(track.album.unwrap().title, "AWOL - A Way Of Life");
    assert_eq!(
        (track.genres[0].id, track.genres[0].title.as_str()),
        (21, "Hip-Hop")
    );
    let licence = track.licence.unwrap();
    assert_eq!(licence.id, "CC-BY-NC-SA-3.0");
    assert_eq!(
        licence.name,
        "Creative Commons Attribution-NonCommercial-ShareAlike 3.0"
    );
    assert_eq!(
        licence.url.unwrap(),
        "https://creativecommons.org/licenses/by-nc-sa/3.0/us/"
    );
    assert_eq!(
        track.attribution_url.unwrap(),
        "http://freemusicarchive.org/music/AWOL/AWOL_-_A_Way_Of_Life/Food"
    );
    assert_eq!(
        (track.year, track.duration_seconds),
        (Some(2009), Some(168.0))
    );
    assert_eq!(
        (track.split, track.available),
        (Some(Split::Training), true)
    );

    let local = house
        .catalog
        .search_tracks("elan vital", None, 1)
        .await
        .unwrap()
        .tracks
        .remove(0);
    assert_eq!(
        (local.source, local.id >= TrackId::FIRST_LOCAL),
        (Source::Folder, true)
    );
    assert_eq!(local.artist.unwrap().name, "Someone");
    assert_eq!(local.album.unwrap().title, "Songs");
}

#[tokio::test]
async fn tracks_come_in_the_order_asked_for_and_missing_ones_are_named() {
    let house = searched().await;
    let ids = [10, 424_242, 2, 10, 3].map(TrackId);
    let tracks = house.catalog.tracks_by_ids(&ids).await.unwrap();
    let found: Vec<_> = tracks.found.iter().map(|track| track.id.0).collect();
    assert_eq!(found, [10, 2, 10, 3]);
    assert_eq!(tracks.missing, [TrackId(424_242)]);
    assert_eq!(
        house.catalog.tracks_by_ids(&[]).await.unwrap(),
        Default::default()
    );
    let many: Vec<_> = (0..50_000).map(TrackId).collect();
    assert_eq!(
        house
            .catalog
            .tracks_by_ids(&many)
            .await
            .unwrap()
            .found
            .len(),
        13
    );
}

#[tokio::test]
async fn names_and_ids_are_resolved_for_filters() {
    let house = searched().await;
    let genre = async |name| {
        house
            .catalog
            .resolve_genre(name)
            .await
            .unwrap()
            .map(|genre| genre.id)
    };
    assert_eq!(genre("Rock").await, Some(12));
    assert_eq!(genre("  loud-ROCK ").await, Some(45));
    assert_eq!(genre("103").await, Some(103));
    assert_eq!(genre("Polka").await, None);
    let artists = house.catalog.resolve_artists("kurt  vile").await.unwrap();
    assert_eq!(
        artists.iter().map(|artist| artist.id).collect::<Vec<_>>(),
        [6]
    );
    assert_eq!(house.catalog.resolve_artists("6").await.unwrap(), artists);
    let licence = async |name| {
        house
            .catalog
            .resolve_licence(name)
            .await
            .unwrap()
            .map(|licence| licence.id)
    };
    assert_eq!(
        licence("cc-by-nc-sa-3.0").await.as_deref(),
        Some("CC-BY-NC-SA-3.0")
    );
    assert_eq!(
        licence("CC BY-NC-SA 3.0").await.as_deref(),
        Some("CC-BY-NC-SA-3.0")
    );
    assert_eq!(
        licence("licenseref-fma-limited-download-only")
            .await
            .as_deref(),
        Some("LicenseRef-FMA-Limited-Download-Only")
    );
    assert_eq!(licence("CC-BY-4.0").await, None);
    let all = house.catalog.licences().await.unwrap();
    assert!(
        all.iter()
            .any(|row| row.id == "CC-BY-NC-SA-3.0" && row.row > 0)
    );
    assert_eq!(house.catalog.genres().await.unwrap()[0].title, "Pop");
}

#[tokio::test]
async fn tags_of_one_name_share_artist_album_and_genre() {
    let house = House::with_fma().await;
    let tagged = |title: &str, artist: &str| {
        let Subject::Local(mut track) = local(title) else {
            unreachable!()
        };
        track.tags.artist = Some(artist.to_owned());
        track.tags.album = Some("Hits".to_owned());
        track.tags.genres = vec!["hip-hop".to_owned(), "Chiptune".to_owned()];
        track.tags.licence = Some("CC BY 4.0".to_owned());
        Subject::Local(track)
    };
    let mut tracks = Vec::new();
    for (name, artist) in [
        ("a", "Anamanaguchi"),
        ("b", "ANAMANAGUCHI"),
        ("c", "Kurt Vile"),
    ] {
        let file = house.write(name, name);
        let id = house.record(&file, &tagged(name, artist)).await;
        tracks.push(house.catalog.track(id).await.unwrap().unwrap());
    }
    assert_eq!(tracks[0].artist, tracks[1].artist);
    assert_eq!(tracks[0].album, tracks[1].album);
    assert_ne!(tracks[0].album, tracks[2].album);
    assert_eq!(tracks[2].artist.as_ref().unwrap().id, 6);
    assert_eq!(tracks[0].genres[0].id, 21);
    assert!(tracks[0].genres[1].id >= songkin::catalog::FIRST_LOCAL_ID);
    assert_eq!(tracks[0].genres, tracks[2].genres);
    assert_eq!(tracks[0].licence.as_ref().unwrap().id, "CC-BY-4.0");
}
