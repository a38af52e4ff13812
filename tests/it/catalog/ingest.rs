//! Which track a file is, through renames, copies, changes and disappearances.

use songkin::{
    catalog::{
        BadReason, Catalog, CatalogError, ExtractorId, FileState, Placement, Recorded, Subject,
    },
    track::TrackId,
};

use super::{House, analysis, extractor, local};

const FIRST: TrackId = TrackId::FIRST_LOCAL;

#[tokio::test]
async fn a_second_run_finds_everything_done() {
    let house = House::with_fma().await;
    let one = house.add("a/one.mp3", "one").await;
    let file = house.write("000/000002.mp3", "food");
    let food = house.record(&file, &Subject::Fma(TrackId(2))).await;
    assert_eq!((one, food), (FIRST, TrackId(2)));

    let known = house
        .catalog
        .known_files(house.library, &extractor())
        .await
        .unwrap();
    assert_eq!(known.len(), 2);
    assert_eq!(known[&file.path].stamp, file.stamp);
    assert_eq!(known[&file.path].state, FileState::Analysed(food));

    let other = ExtractorId::new("sha256:extractor-two");
    let known = house
        .catalog
        .known_files(house.library, &other)
        .await
        .unwrap();
    assert_eq!(known[&file.path].state, FileState::Pending(food));
}

#[tokio::test]
async fn a_moved_file_keeps_its_track_and_analysis() {
    let house = House::new().await;
    let id = house.add("one.mp3", "one").await;
    let moved = house.rename("one.mp3", "uno.mp3");
    let placed = house
        .catalog
        .place(&moved, None, &extractor())
        .await
        .unwrap();
    assert_eq!(placed, Placement::Done(id));
    let path = house.catalog.audio_path(id).await.unwrap().unwrap();
    assert_eq!(path, house.root().join("uno.mp3"));
    assert_eq!(house.catalog.statistics(None).await.unwrap().tracks, 1);

    // Moved and meant for another extractor: the same track, to be analysed.
    let moved = house.rename("uno.mp3", "eins.mp3");
    let other = ExtractorId::new("sha256:extractor-two");
    let placed = house.catalog.place(&moved, None, &other).await.unwrap();
    assert_eq!(placed, Placement::Analyse);
    let recorded = house
        .catalog
        .record_analysed(&moved, &local("eins"), &other, &analysis(2.0))
        .await
        .unwrap();
    assert_eq!(recorded, Recorded::Track(id));
}

#[tokio::test]
async fn a_copy_is_recorded_and_is_no_second_track() {
    let house = House::new().await;
    let id = house.add("one.mp3", "one").await;
    let copy = house.write("copy/one.mp3", "one");
    let placed = house
        .catalog
        .place(&copy, None, &extractor())
        .await
        .unwrap();
    assert_eq!(placed, Placement::Duplicate(id));
    // Two workers with the same content at once: the second finds out when it records.
    let third = house.write("third.mp3", "one");
    let recorded = house
        .catalog
        .record_analysed(&third, &local("third"), &extractor(), &analysis(1.0))
        .await
        .unwrap();
    assert_eq!(recorded, Recorded::Duplicate(id));

    let counts = house.catalog.statistics(None).await.unwrap();
    assert_eq!((counts.tracks, counts.duplicates), (1, 2));
    let listed = house.catalog.duplicates().await.unwrap();
    assert_eq!(listed[0].path, copy.path);
    assert_eq!((listed[0].of, listed[0].named), (id, None));
    let known = house
        .catalog
        .known_files(house.library, &extractor())
        .await
        .unwrap();
    assert_eq!(known[&copy.path].state, FileState::Duplicate(id));
}

#[tokio::test]
async fn a_copy_takes_over_when_the_original_vanishes() {
    let house = House::new().await;
    let id = house.add("one.mp3", "one").await;
    let copy = house.write("copy.mp3", "one");
    house
        .catalog
        .place(&copy, None, &extractor())
        .await
        .unwrap();
    std::fs::remove_file(house.root().join("one.mp3")).unwrap();

    let changed = house
        .catalog
        .reconcile(house.library, &house.found(&["copy.mp3"]))
        .await
        .unwrap();
    assert_eq!(
        (changed.vanished, changed.returned, changed.forgotten),
        (1, 0, 0)
    );
    let known = house
        .catalog
        .known_files(house.library, &extractor())
        .await
        .unwrap();
    assert!(known.is_empty(), "{known:?}");
    let placed = house
        .catalog
        .place(&copy, None, &extractor())
        .await
        .unwrap();
    assert_eq!(placed, Placement::Done(id));
    let counts = house.catalog.statistics(None).await.unwrap();
    assert_eq!(
        (counts.available, counts.missing, counts.duplicates),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn a_vanished_file_is_marked_and_comes_back() {
    let house = House::new().await;
    let id = house.add("one.mp3", "one").await;
    let two = house.add("two.mp3", "two").await;
    let changed = house
        .catalog
        .reconcile(house.library, &house.found(&["two.mp3"]))
        .await
        .unwrap();
    assert_eq!((changed.vanished, changed.returned), (1, 0));
    assert!(!house.catalog.track(id).await.unwrap().unwrap().available);
    assert_eq!(house.catalog.audio_path(id).await.unwrap(), None);
    assert!(house.catalog.audio_path(two).await.unwrap().is_some());
    let page = house
        .catalog
        .analysed_page(&extractor(), None, 10)
        .await
        .unwrap();
    assert_eq!(page.iter().map(|track| track.id).collect::<Vec<_>>(), [two]);

    let both = house.found(&["one.mp3", "two.mp3"]);
    let changed = house.catalog.reconcile(house.library, &both).await.unwrap();
    assert_eq!((changed.vanished, changed.returned), (0, 1));
    assert!(house.catalog.track(id).await.unwrap().unwrap().available);
    let changed = house.catalog.reconcile(house.library, &both).await.unwrap();
    assert_eq!(changed, Default::default());
}

#[tokio::test]
async fn a_file_changed_in_place_is_the_same_track_analysed_anew() {
    let house = House::new().await;
    let id = house.add("one.mp3", "one").await;
    let changed = house.write("one.mp3", "one with new tags");
    assert_eq!(
        house
            .catalog
            .place(&changed, None, &extractor())
            .await
            .unwrap(),
        Placement::Analyse
    );
    let recorded = house
        .catalog
        .record_analysed(&changed, &local("renamed"), &extractor(), &analysis(9.0))
        .await
        .unwrap();
    assert_eq!(recorded, Recorded::Track(id));
    let track = house.catalog.track(id).await.unwrap().unwrap();
    assert_eq!(track.title, "renamed");
    let page = house
        .catalog
        .analysed_page(&extractor(), None, 10)
        .await
        .unwrap();
    assert_eq!(page[0].embedding, [9.0, 0.0, -9.0]);
    // The former content elsewhere is now another track.
    assert_eq!(house.add("old.mp3", "one").await, TrackId(FIRST.0 + 1));
}

#[tokio::test]
async fn two_files_that_swap_names_keep_their_tracks() {
    let house = House::new().await;
    let long = house.add("a.mp3", "a long one").await;
    let short = house.add("b.mp3", "short").await;
    house.rename("a.mp3", "c.mp3");
    let a = house.rename("b.mp3", "a.mp3");
    let b = house.rename("c.mp3", "b.mp3");
    assert_eq!(
        house.catalog.place(&a, None, &extractor()).await.unwrap(),
        Placement::Done(short)
    );
    assert_eq!(
        house.catalog.place(&b, None, &extractor()).await.unwrap(),
        Placement::Done(long)
    );
    let paths = [
        house.catalog.audio_path(short),
        house.catalog.audio_path(long),
    ];
    let [short_path, long_path] = paths;
    assert_eq!(
        short_path.await.unwrap().unwrap(),
        house.root().join("a.mp3")
    );
    assert_eq!(
        long_path.await.unwrap().unwrap(),
        house.root().join("b.mp3")
    );
}

#[tokio::test]
async fn an_id_is_never_given_twice_and_comes_back_with_its_content() {
    let house = House::new().await;
    let one = house.add("one.mp3", "one").await;
    let changed = house.write("one.mp3", "x");
    house
        .catalog
        .record_bad(
            house.library,
            &house.found(&["one.mp3"])[0],
            BadReason::TooShort,
            "0.1 s",
        )
        .await
        .unwrap();
    assert_ne!(changed.hash, house.write("tmp", "one").hash);
    // The track has lost its file; its id stays its own.
    assert_eq!(house.add("two.mp3", "two").await, TrackId(FIRST.0 + 1));
    let again = house.write("elsewhere/one again.mp3", "one");
    assert_eq!(
        house
            .catalog
            .place(&again, None, &extractor())
            .await
            .unwrap(),
        Placement::Done(one)
    );
}

#[tokio::test]
async fn fma_tracks_keep_their_ids_whatever_their_content() {
    let house = House::with_fma().await;
    let food = house.write("000/000002.mp3", "food");
    house.record(&food, &Subject::Fma(TrackId(2))).await;
    // The same recording under two ids, which the dataset has.
    let twin = house.write("000/000003.mp3", "food");
    let placed = house
        .catalog
        .place(&twin, Some(TrackId(3)), &extractor())
        .await
        .unwrap();
    assert_eq!(placed, Placement::Duplicate(TrackId(2)));
    assert_eq!(
        house.catalog.original_of(TrackId(3)).await.unwrap(),
        Some(TrackId(2))
    );
    assert_eq!(house.catalog.original_of(TrackId(2)).await.unwrap(), None);

    // With the original gone the name decides, not the content.
    std::fs::remove_file(house.root().join("000/000002.mp3")).unwrap();
    let placed = house
        .catalog
        .place(&twin, Some(TrackId(3)), &extractor())
        .await
        .unwrap();
    assert_eq!(placed, Placement::Analyse);
    assert_eq!(
        house.record(&twin, &Subject::Fma(TrackId(3))).await,
        TrackId(3)
    );
    assert_eq!(house.catalog.audio_path(TrackId(2)).await.unwrap(), None);
    assert_eq!(house.catalog.original_of(TrackId(3)).await.unwrap(), None);

    let stranger = house.write("000/000999.mp3", "nobody");
    let error = house
        .catalog
        .record_analysed(
            &stranger,
            &Subject::Fma(TrackId(999)),
            &extractor(),
            &analysis(1.0),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error, CatalogError::UnknownTrack(TrackId(999))),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_fma_track_moved_into_a_plain_folder_keeps_its_description() {
    let house = House::with_fma().await;
    let food = house.write("000/000002.mp3", "food");
    house.record(&food, &Subject::Fma(TrackId(2))).await;
    std::fs::create_dir(house.root().join("mine")).unwrap();
    let moved = house.rename("000/000002.mp3", "mine/track 2.mp3");
    let other = ExtractorId::new("sha256:extractor-two");
    let recorded = house
        .catalog
        .record_analysed(&moved, &local("track 2"), &other, &analysis(1.0))
        .await
        .unwrap();
    assert_eq!(recorded, Recorded::Track(TrackId(2)));
    assert_eq!(
        house
            .catalog
            .track(TrackId(2))
            .await
            .unwrap()
            .unwrap()
            .title,
        "Food"
    );
}

#[tokio::test]
async fn the_ledger_holds_bad_files_until_they_are_good_or_gone() {
    let house = House::new().await;
    for (path, reason) in [
        ("a.mp3", BadReason::Corrupt),
        ("b.opus", BadReason::Unsupported),
    ] {
        house.write(path, path);
        let found = house.found(&[path]);
        house
            .catalog
            .record_bad(house.library, &found[0], reason, "why it failed")
            .await
            .unwrap();
        // Twice is once.
        house
            .catalog
            .record_bad(house.library, &found[0], reason, "why it failed")
            .await
            .unwrap();
    }
    let ledger = house.catalog.bad_files().await.unwrap();
    assert_eq!(ledger.len(), 2);
    assert_eq!(
        (ledger[0].path.as_str(), ledger[0].reason),
        ("a.mp3", BadReason::Corrupt)
    );
    assert_eq!(ledger[1].message, "why it failed");
    assert_eq!(ledger[1].root, house.root());
    let known = house
        .catalog
        .known_files(house.library, &extractor())
        .await
        .unwrap();
    assert_eq!(known[&ledger[0].path].state, FileState::Bad);
    assert_eq!(known[&ledger[0].path].stamp, ledger[0].stamp);

    house.add("a.mp3", "repaired").await;
    assert_eq!(house.catalog.statistics(None).await.unwrap().bad, 1);
    let changed = house
        .catalog
        .reconcile(house.library, &house.found(&["a.mp3"]))
        .await
        .unwrap();
    assert_eq!(changed.forgotten, 1);
    assert_eq!(house.catalog.statistics(None).await.unwrap().bad, 0);
    assert_eq!(house.catalog.clear_ledger(house.library).await.unwrap(), 0);
}

#[tokio::test]
async fn an_analysed_file_that_fails_with_another_extractor_stays_analysed() {
    let house = House::new().await;
    let id = house.add("one.mp3", "one").await;
    let found = house.found(&["one.mp3"]);
    house
        .catalog
        .record_bad(house.library, &found[0], BadReason::Limit, "too long")
        .await
        .unwrap();
    let known = house
        .catalog
        .known_files(house.library, &extractor())
        .await
        .unwrap();
    assert_eq!(known[&found[0].path].state, FileState::Analysed(id));
    let other = ExtractorId::new("sha256:extractor-two");
    let known = house
        .catalog
        .known_files(house.library, &other)
        .await
        .unwrap();
    assert_eq!(known[&found[0].path].state, FileState::Bad);
}

#[tokio::test]
async fn libraries_do_not_mix() {
    let house = House::new().await;
    house.add("one.mp3", "one").await;
    let other = house
        .catalog
        .library(&house.root().join("..").join("other"))
        .await
        .unwrap();
    assert_ne!(other, house.library);
    assert_eq!(
        house.catalog.library(&house.root()).await.unwrap(),
        house.library
    );
    assert!(
        house
            .catalog
            .known_files(other, &extractor())
            .await
            .unwrap()
            .is_empty()
    );
    let changed = house.catalog.reconcile(other, &[]).await.unwrap();
    assert_eq!(changed, Default::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_ingest_side_by_side() {
    let house = House::new().await;
    let second = Catalog::open(house.database()).await.unwrap();
    let files: Vec<_> = (0..40)
        .map(|n| {
            let name = format!("{n}.mp3");
            // Every content twice.
            (
                house.write(&name, &format!("content {}", n / 2)),
                local(&name),
            )
        })
        .collect();
    let record = |catalog: Catalog, odd: usize| {
        let mine: Vec<_> = files.iter().skip(odd).step_by(2).cloned().collect();
        tokio::spawn(async move {
            for (file, subject) in mine {
                catalog
                    .record_analysed(&file, &subject, &extractor(), &analysis(1.0))
                    .await
                    .unwrap();
            }
        })
    };
    let (left, right) = (record(house.catalog.clone(), 0), record(second, 1));
    left.await.unwrap();
    right.await.unwrap();
    let counts = house.catalog.statistics(None).await.unwrap();
    assert_eq!(
        (counts.analysed, counts.tracks, counts.duplicates),
        (20, 20, 20)
    );
}
