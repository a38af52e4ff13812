//! What there is to learn from.

use songkin::{
    catalog::{Split, Subject},
    track::TrackId,
};

use super::{House, local};

#[tokio::test]
async fn tracks_with_a_file_come_with_what_decides_on_their_side() {
    let house = House::with_fma().await;
    assert!(house.catalog.trainable_tracks().await.unwrap().is_empty());
    let file = house.write("000/000020.mp3", "twenty");
    house.record(&file, &Subject::Fma(TrackId(20))).await;
    house.add("one.mp3", "one").await;
    let gone = house.write("gone.mp3", "gone");
    house.record(&gone, &local("gone.mp3")).await;
    std::fs::remove_file(house.root().join("gone.mp3")).unwrap();
    let there = house.found(&["000/000020.mp3", "one.mp3"]);
    house
        .catalog
        .reconcile(house.library, &there)
        .await
        .unwrap();

    let tracks = house.catalog.trainable_tracks().await.unwrap();
    let [fma, plain] = tracks.as_slice() else {
        panic!("{tracks:?}")
    };
    assert_eq!(
        (fma.id, fma.artist_id, fma.album_id),
        (TrackId(20), Some(4), Some(4))
    );
    assert_eq!(fma.path, house.root().join("000/000020.mp3"));
    let described = house.catalog.track(TrackId(20)).await.unwrap().unwrap();
    let name = described.artist.unwrap().name;
    assert_eq!(fma.artist_key.as_deref(), Some(&*name.to_lowercase()));
    assert_eq!(fma.split, Some(Split::Test));
    assert_eq!(fma.duration_seconds, Some(168.0));
    assert_eq!(plain.id, TrackId::FIRST_LOCAL);
    assert_eq!(
        (plain.artist_id, plain.artist_key.as_deref(), plain.split),
        (None, None, None)
    );
}
