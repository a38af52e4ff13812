//! Every figure on a few tracks, by hand.

use super::*;
use crate::{
    track::TrackId,
    train::evaluate::{
        compare::{Comparison, Kind},
        views::Space,
    },
};

/// Tracks at these places on a line.
fn line(places: &[f32]) -> Rows {
    Rows {
        tracks: (0..places.len()).collect(),
        vectors: places.iter().map(|&place| vec![place]).collect(),
    }
}

fn measured(labels: &[Labels], space: Space) -> Vec<Sample> {
    let plan = Plan {
        labels,
        probe: Err(Unavailable::NotWanted),
        mp3_missing: Some(Unavailable::FfmpegMissing),
    };
    plan.measure(&Representation::new(
        "it",
        Kind::Encoder,
        Comparison::Euclidean,
        space,
    ))
}

fn outcome(samples: &[Sample], task: Task, measure: Measure) -> Result<&[f64], Unavailable> {
    let sample = samples
        .iter()
        .find(|sample| sample.task == task && sample.measure == measure)
        .unwrap();
    match &sample.outcome {
        Ok(values) => Ok(&values.values),
        Err(reason) => Err(*reason),
    }
}

fn labels(artist: i64, album: i64, genre: i64) -> Labels {
    let known = |id: i64| (id > 0).then_some(id);
    Labels {
        id: TrackId(0),
        artist: known(artist),
        album: known(album),
        genre: known(genre),
        genre_title: None,
    }
}

#[test]
fn rankings_by_hand() {
    // On a line: a0 at 0, b0 at 1, a1 at 3, b1 at 7, and c at 20, alone on its album.
    let all = [
        labels(1, 1, 1),
        labels(1, 2, 1),
        labels(2, 1, 1),
        labels(2, 2, 2),
        labels(3, 3, 2),
    ];
    let space = Space {
        whole: line(&[0.0, 1.0, 3.0, 7.0, 20.0]),
        ..Space::default()
    };
    let samples = measured(&all, space);
    let of = |task, measure| outcome(&samples, task, measure).unwrap();
    // Album: 0 sees 1, 2: rank 2. 1 sees 0, 2, 3: rank 3. 2 sees 1, 0: rank 2. 3 sees 2, 1: rank 2.
    let ap = of(Task::SameAlbum, Measure::MeanAveragePrecision);
    assert_eq!(ap, [1.0 / 2.0, 1.0 / 3.0, 1.0 / 2.0, 1.0 / 2.0]);
    assert_eq!(of(Task::SameAlbum, Measure::PrecisionAt1), [0.0; 4]);
    assert_eq!(of(Task::SameAlbum, Measure::PrecisionAt10), [0.25; 4]);
    let ndcg = of(Task::SameAlbum, Measure::NdcgAt10);
    assert!((ndcg[0] - 1.0 / 3f64.log2()).abs() < 1e-12 && (ndcg[1] - 0.5).abs() < 1e-12);
    // Artist: 0 and 1 see each other first; 2 sees 1, 0, 3: rank 3; 3 sees 2 first.
    let ap = of(Task::SameArtist, Measure::MeanAveragePrecision);
    assert_eq!(ap, [1.0, 1.0, 1.0 / 3.0, 1.0]);
    // Own album left out: 2 no longer sees 0.
    let ap = of(Task::SameArtistOtherAlbums, Measure::MeanAveragePrecision);
    assert_eq!(ap, [1.0, 1.0, 1.0 / 2.0, 1.0]);
    // Genre: two of the four others for 0, 1, 2; one of four for 3 and 4.
    let purity = of(Task::Genre, Measure::PrecisionAt10);
    assert_eq!(purity, [0.5, 0.5, 0.5, 0.25, 0.25]);
    // Other artists and albums: 0 may find 3 and 4 only, of another genre, and asks nothing. 1 may find 2
    // and 4, 2 may find 1 and 4, 3 may find 0 and 4, and 4 all others.
    let purity = of(Task::GenreOtherArtists, Measure::PrecisionAt10);
    assert_eq!(purity, [0.5, 0.5, 0.5, 0.25]);
}

#[test]
fn crops_by_hand() {
    let space = Space {
        rest: line(&[0.0, 10.0, 20.0]),
        last: line(&[1.0, 14.0, 4.0]),
        ..Space::default()
    };
    let samples = measured(&[], space);
    let of = |measure| outcome(&samples, Task::CropToTrack, measure).unwrap();
    assert_eq!(of(Measure::MeanReciprocalRank), [1.0, 1.0, 1.0 / 3.0]);
    assert_eq!(of(Measure::RecallAt1), [1.0, 1.0, 0.0]);
    assert_eq!(of(Measure::RecallAt10), [1.0, 1.0, 1.0]);
}

#[test]
fn a_query_that_is_as_near_to_another_track_has_not_found_its_own() {
    let space = Space {
        rest: line(&[0.0, 2.0]),
        last: line(&[1.0, 1.0]),
        ..Space::default()
    };
    let samples = measured(&[], space);
    let recall = outcome(&samples, Task::CropToTrack, Measure::RecallAt1);
    assert_eq!(recall, Ok([0.0, 0.0].as_slice()));
}

#[test]
fn robustness_by_hand() {
    let mut space = Space {
        first: line(&[1.0, -2.0, 5.0]),
        ..Space::default()
    };
    space.changed[Perturbation::Gain as usize] = line(&[1.2, 4.0, 5.0]);
    space.changed[Perturbation::Mp3 as usize] = line(&[1.0]);
    let samples = measured(&[], space);
    let recall = outcome(&samples, Task::Gain, Measure::RecallAt1);
    assert_eq!(recall, Ok([1.0, 0.0, 1.0].as_slice()));
    let cosine = outcome(&samples, Task::Gain, Measure::MeanCosine);
    assert_eq!(cosine, Ok([1.0, -1.0, 1.0].as_slice()));
    let noise = outcome(&samples, Task::Noise10, Measure::RecallAt1);
    assert_eq!(noise, Err(Unavailable::Excerpts));
    // What was encoded before ffmpeg failed is not a figure.
    let mp3 = outcome(&samples, Task::Mp3, Measure::RecallAt1);
    assert_eq!(mp3, Err(Unavailable::FfmpegMissing));
}

#[test]
fn hubs_are_counted_over_all_tracks() {
    // Ever farther apart: the last ones are nobody's neighbours.
    let places: Vec<f32> = (0..25).map(|i| (i * i) as f32).collect();
    let all = vec![labels(0, 0, 0); 25];
    let space = Space {
        whole: line(&places),
        ..Space::default()
    };
    let samples = measured(&all, space);
    let counts = outcome(&samples, Task::Hubness, Measure::Skewness).unwrap();
    assert_eq!(counts.iter().sum::<f64>(), 250.0);
    // The last place, 576, is 47 from the one before; nobody has it among its 10 nearest but the 10th
    // before it would need fewer neighbours below.
    let anti = outcome(&samples, Task::Hubness, Measure::AntiHubs).unwrap();
    let expected: Vec<f64> = counts
        .iter()
        .map(|&c| f64::from(u8::from(c == 0.0)))
        .collect();
    assert_eq!(anti, expected);
}

#[test]
fn without_labels_or_tracks_there_are_reasons_and_no_numbers() {
    for all in [Vec::new(), vec![labels(0, 0, 0); 3]] {
        let places: Vec<f32> = (0..all.len()).map(|i| i as f32).collect();
        let space = Space {
            whole: line(&places),
            ..Space::default()
        };
        let samples = measured(&all, space);
        assert_eq!(samples.len(), 4 * 3 + 2 + 2 + 3 + 6 * 2 + 2);
        assert!(samples.iter().all(|sample| sample.outcome.is_err()));
        let reason = |task, measure| outcome(&samples, task, measure).unwrap_err();
        let album = reason(Task::SameAlbum, Measure::PrecisionAt1);
        assert_eq!(album, Unavailable::Albums);
        let hubs = reason(Task::Hubness, Measure::Skewness);
        assert_eq!(hubs, Unavailable::FewTracks);
    }
}

#[test]
fn one_album_of_all_tracks_is_found_whatever_comes_first() {
    let all = vec![labels(1, 1, 1); 3];
    let space = Space {
        whole: line(&[0.0, 5.0, 6.0]),
        ..Space::default()
    };
    let samples = measured(&all, space);
    let ap = outcome(&samples, Task::SameAlbum, Measure::MeanAveragePrecision);
    assert_eq!(ap, Ok([1.0; 3].as_slice()));
    let other = outcome(&samples, Task::SameArtistOtherAlbums, Measure::PrecisionAt1);
    assert_eq!(other, Err(Unavailable::ArtistsOnTwoAlbums));
    let genre = outcome(&samples, Task::GenreOtherArtists, Measure::PrecisionAt10);
    assert_eq!(genre, Err(Unavailable::GenresOfOtherArtists));
}
