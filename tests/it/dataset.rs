//! Tracks by split, and batches of views from files.

use std::{
    collections::{HashMap, HashSet},
    f64::consts::PI,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use songkin::{
    audio::{DecodeLimits, Decoder, Fbank, FeatureConfig, augment::AugmentSettings},
    catalog::{Split, TrainableTrack},
    track::TrackId,
    train::dataset::{
        Crop, Dataset, DatasetError, DatasetSettings, SameArtist, SplitLimits, SplitTrack, Splits,
        ViewBatch,
    },
};
use tempfile::TempDir;

/// A track of a catalogue, with an artist named `artist <n>`.
fn track(id: u32, artist: Option<i64>, split: Option<Split>) -> TrainableTrack {
    TrainableTrack {
        id: TrackId(id),
        path: PathBuf::from(format!("/music/{id}.mp3")),
        artist_id: artist,
        artist_key: artist.map(|artist| format!("artist {artist}")),
        album_id: None,
        top_genre_id: None,
        split,
        duration_seconds: Some(30.0),
    }
}

fn ids(tracks: &[SplitTrack]) -> Vec<u32> {
    tracks.iter().map(|track| track.id.0).collect()
}

#[test]
fn no_artist_is_on_two_sides_and_the_sides_are_of_the_right_size() {
    let tracks: Vec<_> = (0..20_000)
        .map(|id| track(id, Some(i64::from(id / 5)), None))
        .collect();
    let splits = Splits::of(&tracks, SplitLimits::NONE);
    let sides = [&splits.training, &splits.validation, &splits.test];
    let mut side_of = HashMap::new();
    for (side, tracks) in sides.iter().enumerate() {
        for track in tracks.iter() {
            let before = side_of.insert(track.artist, side);
            assert!(before.is_none_or(|before| before == side));
        }
    }
    let shares = sides.map(|tracks| tracks.len() as f64 / 20_000.0);
    for (share, expected) in shares.into_iter().zip([0.8, 0.1, 0.1]) {
        assert!((share - expected).abs() < 0.02, "{shares:?}");
    }
    assert_eq!(side_of.len(), 4_000);
}

#[test]
fn a_side_is_for_good() {
    // Recorded once: who changes the hash moves tracks that were trained on into the test.
    let tracks: Vec<_> = (0..40)
        .map(|id| track(id, Some(i64::from(id)), None))
        .collect();
    let splits = Splits::of(&tracks, SplitLimits::NONE);
    assert_eq!(ids(&splits.validation), RECORDED_VALIDATION);
    assert_eq!(ids(&splits.test), RECORDED_TEST);
    let fewer = Splits::of(&tracks[20..], SplitLimits::NONE);
    let kept: Vec<u32> = ids(&splits.test)
        .into_iter()
        .filter(|&id| id >= 20)
        .collect();
    assert_eq!(ids(&fewer.test), kept);
}

const RECORDED_VALIDATION: [u32; 4] = [15, 19, 23, 37];
const RECORDED_TEST: [u32; 5] = [2, 8, 9, 30, 35];

#[test]
fn the_datasets_split_holds_and_an_artists_other_tracks_follow_it() {
    let mut tracks = vec![];
    for artist in 0..30u32 {
        let id = 10 * artist;
        let split = [Split::Training, Split::Validation, Split::Test][artist as usize % 3];
        tracks.push(track(id, Some(i64::from(artist)), Some(split)));
        tracks.push(track(id + 1, Some(i64::from(artist)), None));
        // The same artist under another id, as tags and metadata give it.
        let mut twin = track(id + 2, Some(1_000 + i64::from(artist)), None);
        twin.artist_key = Some(format!("artist {artist}"));
        tracks.push(twin);
    }
    // Split by the dataset on two sides: the rest may only go where it has been heard already.
    tracks.push(track(900, Some(90), Some(Split::Test)));
    tracks.push(track(901, Some(90), Some(Split::Training)));
    tracks.push(track(902, Some(90), None));
    let splits = Splits::of(&tracks, SplitLimits::NONE);
    for (side, expected) in [
        (&splits.training, 0),
        (&splits.validation, 1),
        (&splits.test, 2),
    ] {
        let plain: Vec<u32> = ids(side).into_iter().filter(|&id| id < 900).collect();
        assert_eq!(plain.len(), 30);
        assert!(plain.iter().all(|id| id / 10 % 3 == expected));
    }
    assert!(ids(&splits.training).ends_with(&[901, 902]));
    assert!(ids(&splits.test).ends_with(&[900]));
    let artists: HashSet<i64> = splits.training.iter().map(|track| track.artist).collect();
    assert_eq!(artists.len(), 11, "a name is one artist, whatever its ids");
}

#[test]
fn without_an_artist_an_album_stays_together() {
    let tracks: Vec<_> = (0..300)
        .map(|id| TrainableTrack {
            album_id: Some(i64::from(id / 10)),
            ..track(id, None, None)
        })
        .chain((300..400).map(|id| track(id, None, None)))
        .collect();
    let splits = Splits::of(&tracks, SplitLimits::NONE);
    let side = |tracks: &[SplitTrack]| -> HashSet<Option<i64>> {
        tracks.iter().map(|track| track.album).collect()
    };
    let (training, test) = (side(&splits.training), side(&splits.test));
    assert!(training.intersection(&test).all(Option::is_none));
    assert!(test.len() > 1 && test.contains(&None));
    let all = splits
        .training
        .iter()
        .chain(&splits.validation)
        .chain(&splits.test);
    let artists: HashSet<i64> = all.map(|track| track.artist).collect();
    assert_eq!(artists.len(), 400);
    assert!(artists.iter().all(|&artist| artist < 0));
}

#[test]
fn a_limit_keeps_the_same_tracks_and_not_the_first_ones() {
    let tracks: Vec<_> = (0..500)
        .map(|id| track(id, Some(i64::from(id)), Some(Split::Training)))
        .collect();
    let limited = |tracks: &[TrainableTrack], training| {
        let limits = SplitLimits {
            training,
            ..SplitLimits::STUDY
        };
        ids(&Splits::of(tracks, limits).training)
    };
    let hundred = limited(&tracks, 100);
    assert_eq!(hundred.len(), 100);
    assert!(hundred.is_sorted());
    assert!(
        hundred.iter().sum::<u32>().abs_diff(25_000) < 5_000,
        "no even sample"
    );
    let fifty: HashSet<u32> = limited(&tracks, 50).into_iter().collect();
    assert!(fifty.is_subset(&hundred.iter().copied().collect()));
    let reversed: Vec<_> = tracks.iter().rev().cloned().collect();
    assert_eq!(limited(&reversed, 100), hundred);
}

/// A directory of WAV files at 16 kHz.
struct Music {
    dir: TempDir,
    tracks: Vec<SplitTrack>,
}

impl Music {
    /// A file of `seconds` for each artist in `artists`.
    fn new(artists: impl IntoIterator<Item = i64>, seconds: f64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tracks = artists
            .into_iter()
            .zip(0u32..)
            .map(|(artist, id)| {
                let path = dir.path().join(format!("{id}.wav"));
                write_wav(&path, &song(f64::from(id), seconds));
                SplitTrack {
                    id: TrackId(id),
                    path,
                    artist,
                    album: None,
                    genre: None,
                }
            })
            .collect();
        Self { dir, tracks }
    }

    fn dataset(&self, settings: DatasetSettings) -> Result<Dataset, DatasetError> {
        let decoder = Decoder::new(DecodeLimits::default(), None);
        Dataset::new(self.tracks.clone(), decoder, &features(), settings)
    }

    fn path(&self, track: u32) -> PathBuf {
        self.dir.path().join(format!("{track}.wav"))
    }
}

/// A tone that rises from 200 Hz by 300 Hz a second, with a tone of its own: every moment of every song is
/// different.
fn song(own: f64, seconds: f64) -> Vec<i16> {
    let sample = |i: usize| {
        let t = i as f64 / 16_000.0;
        let rising = (2.0 * PI * (200.0 + 150.0 * t) * t).sin();
        let tone = (2.0 * PI * (3_000.0 + 40.0 * own) * t).sin();
        (8_000.0 * rising + 3_000.0 * tone) as i16
    };
    (0..(seconds * 16_000.0) as usize).map(sample).collect()
}

fn write_wav(path: &Path, samples: &[i16]) {
    let bytes = 2 * samples.len() as u32;
    let mut wav = Vec::with_capacity(44 + 2 * samples.len());
    wav.extend(b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]);
    wav.extend(16_000u32.to_le_bytes());
    wav.extend(32_000u32.to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(bytes.to_le_bytes());
    wav.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    fs::write(path, wav).unwrap();
}

/// Small windows keep the tests quick.
fn features() -> FeatureConfig {
    FeatureConfig {
        num_mel_bins: 64,
        max_length: 98,
        ..FeatureConfig::default()
    }
}

fn settings() -> DatasetSettings {
    DatasetSettings {
        seed: 12,
        batch: 4,
        crop: Crop::Random { seconds: 1.0 },
        ..DatasetSettings::default()
    }
}

fn plain(crop: Crop) -> DatasetSettings {
    DatasetSettings {
        crop,
        augment: AugmentSettings::none(),
        ..settings()
    }
}

fn epoch(dataset: &Dataset, epoch: u64, from_step: usize) -> Vec<ViewBatch> {
    let batches = dataset.batches(epoch, from_step).unwrap();
    batches.map(Result::unwrap).collect()
}

#[test]
fn batches_follow_from_their_numbers_alone() {
    let music = Music::new((0..14).map(|id| id / 2), 3.0);
    let one = music.dataset(settings()).unwrap();
    assert_eq!(one.steps_per_epoch(), 3);
    let whole = epoch(&one, 2, 0);
    assert_eq!(whole.len(), 3);

    for threads in [2, 5] {
        let many = DatasetSettings {
            threads,
            cache_mib: 0,
            ..settings()
        };
        let many = music.dataset(many).unwrap();
        assert_eq!(epoch(&many, 2, 0), whole, "{threads} threads");
        assert_eq!(epoch(&many, 2, 1), whole[1..], "from the middle");
    }
    assert!(epoch(&one, 2, 3).is_empty());
    assert!(epoch(&one, 2, 99).is_empty());
    assert_ne!(epoch(&one, 3, 0), whole);
    let other = DatasetSettings {
        seed: 13,
        ..settings()
    };
    assert_ne!(epoch(&music.dataset(other).unwrap(), 2, 0), whole);
}

#[test]
fn a_batch_has_two_different_views_of_each_track_and_no_artist_twice() {
    let music = Music::new((0..14).map(|id| id / 2), 3.0);
    let dataset = music.dataset(settings()).unwrap();
    let mut heard = HashSet::new();
    for batch in epoch(&dataset, 0, 0) {
        assert_eq!((batch.frames, batch.tracks.len()), (98, 4));
        assert_eq!(batch.views.len(), 2);
        for views in &batch.views {
            assert_eq!(views.len(), 4);
            assert!(views.iter().all(|view| view.len() == 98 * 64));
            assert!(views.iter().flatten().all(|value| value.is_finite()));
        }
        for (one, other) in batch.views[0].iter().zip(&batch.views[1]) {
            assert_ne!(one, other);
        }
        let artists: HashSet<i64> = batch.artists.iter().copied().collect();
        assert_eq!(artists.len(), 4);
        for (track, &artist) in batch.tracks.iter().zip(&batch.artists) {
            assert_eq!(i64::from(track.0 / 2), artist);
            assert!(heard.insert(*track), "{track} came twice in an epoch");
        }
    }
    assert_eq!(heard.len(), 12);
    assert_eq!(dataset.lost(), 0);
}

#[test]
fn the_first_crop_is_what_serving_hears() {
    let music = Music::new(0..4, 3.0);
    let dataset = music.dataset(plain(Crop::First { seconds: 1.5 })).unwrap();
    let fbank = Fbank::new(&features()).unwrap();
    let batch = epoch(&dataset, 0, 0).remove(0);
    for (place, track) in batch.tracks.iter().enumerate() {
        let clip: Vec<f32> = song(f64::from(track.0), 1.5)
            .into_iter()
            .map(|sample| f32::from(sample) / 32_768.0)
            .collect();
        let expected = fbank.spectrogram(&clip).unwrap().window(0, 98);
        // Up to the 16 bits in which clips are kept.
        let distances = batch.views[0][place].iter().zip(&expected);
        let mean = distances.map(|(a, b)| (a - b).abs()).sum::<f32>() / expected.len() as f32;
        assert!(mean < 1e-2, "{mean}");
        assert_eq!(batch.views[0][place], batch.views[1][place]);
    }
}

/// Seconds from a song's start to a view's start, from the rising tone in its first frame: the mel bin
/// with the most energy below 2800 Hz.
fn first_bin(view: &[f32]) -> usize {
    (0..42)
        .max_by(|&a, &b| view[a].total_cmp(&view[b]))
        .unwrap()
}

#[test]
fn random_crops_come_from_everywhere_in_a_track() {
    let music = Music::new(0..4, 8.5);
    let dataset = music.dataset(plain(Crop::Random { seconds: 1.0 })).unwrap();
    let mut bins = HashSet::new();
    let mut equal = 0;
    for number in 0..30 {
        for batch in epoch(&dataset, number, 0) {
            bins.extend(batch.views.iter().flatten().map(|view| first_bin(view)));
            let pairs = batch.views[0].iter().zip(&batch.views[1]);
            equal += pairs
                .filter(|(one, other)| first_bin(one) == first_bin(other))
                .count();
        }
    }
    // The tone rises from 200 to 2,450 Hz where a crop may start: mel bins 6 to 38 or so.
    assert!(bins.len() > 25, "{bins:?}");
    assert!(equal < 20, "{equal} of 120 pairs start at one place");
}

#[test]
fn what_is_shorter_than_a_window_is_repeated() {
    // A crop of a second has 98 frames; a file of 0.6 s has 58, however long the crop may be.
    let (crop, first) = (Crop::Random { seconds: 1.0 }, Crop::First { seconds: 1.0 });
    for (seconds, crop, frames) in [(3.0, crop, 98), (0.6, crop, 58), (0.6, first, 58)] {
        let music = Music::new(0..4, seconds);
        let mut wide = features();
        wide.max_length = 150;
        let decoder = Decoder::new(DecodeLimits::default(), None);
        let dataset = Dataset::new(music.tracks.clone(), decoder, &wide, plain(crop)).unwrap();
        for batch in epoch(&dataset, 0, 0) {
            for view in batch.views.iter().flatten() {
                let again = &view[frames * 64..];
                assert_eq!(again, &view[..again.len()]);
                assert_ne!(view[..64], view[64..128]);
            }
        }
    }
}

#[test]
fn a_shifted_window_of_a_short_file_is_full_too() {
    let music = Music::new(0..4, 0.6);
    let mut settings = settings();
    settings.augment.tempo.probability = 1.0;
    settings.augment.semitones.probability = 1.0;
    let dataset = music.dataset(settings).unwrap();
    for number in 0..5 {
        for view in epoch(&dataset, number, 0)[0].views.iter().flatten() {
            assert_eq!(view.len(), 98 * 64);
        }
    }
}

#[test]
fn lost_files_are_replaced_until_too_few_are_left() {
    let music = Music::new(0..8, 2.0);
    fs::remove_file(music.path(3)).unwrap();
    fs::write(music.path(5), "this is no music").unwrap();
    write_wav(&music.path(6), &song(6.0, 0.2));
    let dataset = music.dataset(settings()).unwrap();
    assert_eq!(dataset.steps_per_epoch(), 2);
    let batches = epoch(&dataset, 0, 0);
    for batch in &batches {
        let distinct: HashSet<TrackId> = batch.tracks.iter().copied().collect();
        assert_eq!(distinct.len(), 4);
        assert!(
            [3, 5, 6]
                .iter()
                .all(|&lost| !distinct.contains(&TrackId(lost)))
        );
    }
    assert_eq!(dataset.lost(), 3);
    let threads = DatasetSettings {
        threads: 3,
        ..settings()
    };
    assert_eq!(epoch(&music.dataset(threads).unwrap(), 0, 0), batches);

    fs::remove_file(music.path(0)).unwrap();
    fs::remove_file(music.path(1)).unwrap();
    let dataset = music.dataset(settings()).unwrap();
    let items: Vec<_> = dataset.batches(0, 0).unwrap().collect();
    let last = items.last().unwrap().as_ref().unwrap_err();
    assert!(
        matches!(
            last,
            DatasetError::TooFewTracks {
                tracks: 3,
                batch: 4
            }
        ),
        "{last:?}"
    );
    assert_eq!(dataset.lost(), 5);
}

#[test]
fn a_file_may_vanish_while_training_goes_on() {
    let music = Music::new(0..9, 2.0);
    let forgetful = DatasetSettings {
        cache_mib: 0,
        ahead: 1,
        ..settings()
    };
    let dataset = music.dataset(forgetful).unwrap();
    let before = epoch(&dataset, 0, 0);
    let gone = before[1].tracks[2];
    fs::remove_file(music.path(gone.0)).unwrap();
    let after = epoch(&dataset, 0, 0);
    assert_eq!(dataset.lost(), 1);
    assert_eq!(before[0], after[0]);
    assert!(!after[1].tracks.contains(&gone));
    // The others keep their places and their views.
    for place in [0, 1, 3] {
        assert_eq!(after[1].tracks[place], before[1].tracks[place]);
        assert_eq!(after[1].views[0][place], before[1].views[0][place]);
    }
    // What is kept needs no file.
    let dataset = music.dataset(settings()).unwrap();
    let before = epoch(&dataset, 0, 0);
    music.tracks.iter().for_each(|track| {
        let _ = fs::remove_file(&track.path);
    });
    let kept = before[0].clone();
    assert_eq!(
        dataset.batches(0, 0).unwrap().next().unwrap().unwrap(),
        kept
    );
}

#[test]
fn validation_pairs_are_always_the_same() {
    let music = Music::new(0..6, 3.0);
    let dataset = music.dataset(settings()).unwrap();
    fs::remove_file(music.path(4)).unwrap();
    let pairs = |dataset: &Dataset| -> Vec<ViewBatch> {
        let batches = dataset.validation_pairs(&music.tracks).unwrap();
        batches.map(Result::unwrap).collect()
    };
    let once = pairs(&dataset);
    let sizes: Vec<usize> = once.iter().map(|batch| batch.tracks.len()).collect();
    assert_eq!(sizes, [4, 1]);
    assert_eq!(once[1].tracks, [TrackId(5)]);
    assert_ne!(once[0].views[0], once[0].views[1]);
    assert_eq!(pairs(&dataset), once);
    let threads = DatasetSettings {
        threads: 2,
        batch: 5,
        ..settings()
    };
    let other = pairs(&music.dataset(threads).unwrap());
    assert_eq!(other[0].views[1][..4], once[0].views[1]);
}

#[test]
fn a_loader_that_is_dropped_stops() {
    let music = Music::new(0..40, 2.0);
    let settings = DatasetSettings {
        threads: 3,
        ahead: 2,
        ..settings()
    };
    let dataset = music.dataset(settings).unwrap();
    let start = Instant::now();
    let mut batches = dataset.batches(0, 0).unwrap();
    batches.next().unwrap().unwrap();
    drop(batches);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn few_artists_train_or_are_refused_as_the_settings_say() {
    let music = Music::new([1, 1, 1, 1, 1, 2, -7, -8], 1.5);
    let dataset = music.dataset(settings()).unwrap();
    let batches = epoch(&dataset, 0, 0);
    assert_eq!(batches.len(), 2);
    assert!(batches.iter().all(|batch| batch.artists.contains(&1)));
    let exclude = DatasetSettings {
        same_artist: SameArtist::Exclude,
        ..settings()
    };
    let dataset = music.dataset(exclude.clone()).unwrap();
    assert_eq!(dataset.steps_per_epoch(), 1);
    let five = DatasetSettings {
        batch: 5,
        ..exclude
    };
    let refused = music.dataset(five).unwrap_err();
    assert!(matches!(
        refused,
        DatasetError::TooFewArtists {
            artists: 4,
            batch: 5
        }
    ));
    let nine = DatasetSettings {
        batch: 9,
        ..settings()
    };
    let refused = music.dataset(nine).unwrap_err();
    assert!(matches!(
        refused,
        DatasetError::TooFewTracks {
            tracks: 8,
            batch: 9
        }
    ));
}

#[test]
fn faulty_settings_are_all_told() {
    let music = Music::new(0..2, 1.0);
    let mut settings = DatasetSettings {
        batch: 1,
        threads: 0,
        crop: Crop::First { seconds: f64::NAN },
        ..settings()
    };
    settings.augment.tempo.probability = -1.0;
    let DatasetError::Settings(faults) = music.dataset(settings).unwrap_err() else {
        panic!("another error")
    };
    let keys: Vec<&str> = faults.0.iter().map(|fault| &*fault.key).collect();
    assert_eq!(
        keys,
        [
            "batch",
            "threads",
            "crop.seconds",
            "augment.tempo.probability"
        ]
    );
    let text = toml::to_string(&DatasetSettings::paper()).unwrap();
    let read: DatasetSettings = toml::from_str(&text).unwrap();
    assert_eq!(read, DatasetSettings::paper());
    toml::from_str::<DatasetSettings>("bach = 8").unwrap_err();
}
