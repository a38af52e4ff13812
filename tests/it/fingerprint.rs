//! Landmarks and their index: is a clip the same recording as a track?

use std::sync::LazyLock;

use proptest::prelude::*;
use songkin::{
    audio::fingerprint::{FRAME_SECONDS, HASH_BITS, HOP, Landmark, landmarks, query_landmarks},
    index::landmarks::{FileFault, LandmarkError, LandmarkIndex, RecordingMatch},
    track::TrackId,
};

const RATE: usize = 16_000;

/// A small generator (xorshift), so that the music is the same everywhere.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.roll() >> 16) % end
    }

    /// In [-1, 1).
    fn noise(&mut self) -> f32 {
        (self.roll() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Adds a decaying note with harmonics.
fn note(clip: &mut [f32], start: usize, midi: u64, level: f32) {
    let pitch = 440.0 * 2.0_f64.powf((midi as f64 - 69.0) / 12.0);
    for (i, sample) in clip.iter_mut().skip(start).take(RATE / 2).enumerate() {
        let seconds = i as f64 / RATE as f64;
        let tone: f64 = (1..=5)
            .map(|h| (std::f64::consts::TAU * pitch * f64::from(h) * seconds).sin() / f64::from(h))
            .sum();
        let attack = (seconds / 0.01).min(1.0);
        *sample += level * (tone * attack * (-4.0 * seconds).exp()) as f32;
    }
}

/// Adds a burst of noise.
fn hit(clip: &mut [f32], start: usize, dice: &mut Dice, level: f32) {
    for (i, sample) in clip.iter_mut().skip(start).take(RATE / 8).enumerate() {
        *sample += level * dice.noise() * (-40.0 * i as f32 / RATE as f32).exp();
    }
}

/// Chords, a melody and percussion; another piece for every seed.
fn music(seed: u64, seconds: f64) -> Vec<f32> {
    let mut dice = Dice::new(seed);
    let mut clip = vec![0.0; (seconds * RATE as f64) as usize];
    let beat = 5_000 + dice.below(4_000) as usize;
    for start in (0..clip.len()).step_by(beat) {
        if dice.below(4) == 0 {
            let root = 45 + dice.below(12);
            for interval in [0, 3 + dice.below(2), 7] {
                note(&mut clip, start, root + interval, 0.08);
            }
        }
        note(&mut clip, start, 60 + dice.below(24), 0.12);
        note(&mut clip, start + beat / 2, 60 + dice.below(24), 0.08);
        hit(&mut clip, start, &mut dice, 0.15);
    }
    clip
}

fn cut(clip: &[f32], start: usize, seconds: f64) -> Vec<f32> {
    clip[start..start + (seconds * RATE as f64) as usize].to_vec()
}

fn index_of(tracks: &[(u32, &[f32])]) -> LandmarkIndex {
    LandmarkIndex::build(
        tracks
            .iter()
            .map(|&(id, clip)| (TrackId(id), landmarks(clip))),
    )
    .unwrap()
}

/// Twelve pieces with ids 0 to 11.
static CATALOGUE: LazyLock<(Vec<Vec<f32>>, LandmarkIndex)> = LazyLock::new(|| {
    let clips: Vec<_> = (0..12).map(|seed| music(seed, 20.0)).collect();
    let tracks: Vec<_> = (0..).zip(clips.iter().map(Vec::as_slice)).collect();
    let index = index_of(&tracks);
    (clips, index)
});

fn lookup(index: &LandmarkIndex, clip: &[f32]) -> Vec<RecordingMatch> {
    index.lookup(&query_landmarks(clip))
}

/// Every track is found by an excerpt that went through `change`, at its place, and no other is.
#[track_caller]
fn excerpts_are_found(change: impl Fn(&mut Vec<f32>)) {
    let (clips, index) = &*CATALOGUE;
    for (id, clip) in (0..).zip(clips) {
        let start = 20_011 + 13_007 * id as usize; // never a multiple of the hop
        let mut excerpt = cut(clip, start, 5.0);
        change(&mut excerpt);
        let found = lookup(index, &excerpt);
        let ids: Vec<_> = found.iter().map(|found| found.id).collect();
        assert_eq!(ids, [TrackId(id)]);
        let [found] = found.as_slice() else {
            unreachable!()
        };
        let offset = start as f64 / RATE as f64;
        assert!(
            (found.offset_seconds - offset).abs() < 2.0 * FRAME_SECONDS,
            "track {id}: {} s instead of {offset} s",
            found.offset_seconds
        );
        assert!(found.query_seconds.start < 1.5 && found.query_seconds.end > 3.5);
        assert!(found.query_seconds.end <= 5.0);
        assert!(found.confidence >= 0.3 && found.confidence <= 1.0);
    }
}

#[test]
fn an_excerpt_is_found_at_its_place() {
    excerpts_are_found(|_| ());
}

#[test]
fn gain_does_not_matter() {
    excerpts_are_found(|clip| clip.iter_mut().for_each(|sample| *sample *= 0.25));
    excerpts_are_found(|clip| clip.iter_mut().for_each(|sample| *sample *= 1.4));
}

#[test]
fn noise_20_db_below_the_music_does_not_matter() {
    excerpts_are_found(|clip| {
        let mut dice = Dice::new(99);
        let energy: f32 = clip.iter().map(|sample| sample * sample).sum();
        // Uniform noise in [-a, a] has the power a^2 / 3.
        let level = (3.0 * 0.01 * energy / clip.len() as f32).sqrt();
        clip.iter_mut()
            .for_each(|sample| *sample += level * dice.noise());
    });
}

#[test]
fn an_equaliser_does_not_matter() {
    // A first-order low-pass at 800 Hz takes 14 dB away at 4 kHz.
    excerpts_are_found(|clip| {
        let mut last = 0.0;
        for sample in clip {
            last += 0.27 * (*sample - last);
            *sample = last;
        }
    });
}

#[test]
fn coarse_quantisation_does_not_matter() {
    excerpts_are_found(|clip| {
        clip.iter_mut()
            .for_each(|sample| *sample = (*sample * 128.0).round() / 128.0);
    });
}

#[test]
fn every_start_within_a_hop_is_found() {
    let (clips, index) = &*CATALOGUE;
    for shift in (0..HOP).step_by(23) {
        let found = lookup(index, &cut(&clips[4], 64_000 + shift, 5.0));
        assert_eq!(found.len(), 1, "shift {shift}");
        assert_eq!(found[0].id, TrackId(4));
        let error = found[0].offset_seconds - (64_000 + shift) as f64 / RATE as f64;
        assert!(error.abs() < 2.0 * FRAME_SECONDS);
        assert!(found[0].confidence > 0.9, "{}", found[0].confidence);
    }
}

#[test]
fn music_that_is_not_in_the_catalogue_is_not_found() {
    let (_, index) = &*CATALOGUE;
    for seed in 100..140 {
        assert_eq!(lookup(index, &music(seed, 6.0)), []);
    }
}

#[test]
fn a_recording_under_two_ids_is_found_twice() {
    let mut clips = CATALOGUE.0.clone();
    let mut copy = clips[3][51_217..].to_vec(); // begins 3.2 s later
    copy.iter_mut().for_each(|sample| *sample *= 0.7);
    clips.push(copy);
    let tracks: Vec<_> = (0..).zip(clips.iter().map(Vec::as_slice)).collect();
    let index = index_of(&tracks);
    let mut found = lookup(&index, &cut(&clips[3], 100_100, 6.0));
    found.sort_by_key(|found| found.id);
    let ids: Vec<_> = found.iter().map(|found| found.id).collect();
    assert_eq!(ids, [TrackId(3), TrackId(12)]);
    let between = found[0].offset_seconds - found[1].offset_seconds;
    assert!((between - 51_217.0 / RATE as f64).abs() < 2.0 * FRAME_SECONDS);
}

#[test]
fn a_common_loop_is_not_the_same_recording() {
    // Two bars that recur, nearly as loud as the melody, which is another one each time.
    let bars = music(7, 2.0);
    let over_loop = |seed| -> Vec<f32> {
        let melody = music(seed, 10.0);
        let bars = bars.iter().cycle();
        melody.iter().zip(bars).map(|(a, b)| a + 0.85 * b).collect()
    };
    let (first, second) = (over_loop(200), over_loop(201));
    let index = index_of(&[(1, &first)]);
    assert_eq!(lookup(&index, &cut(&first, 30_000, 5.0)).len(), 1);
    assert_eq!(lookup(&index, &cut(&second, 30_000, 5.0)), []);
}

#[test]
fn a_common_jingle_is_not_the_same_recording() {
    let jingle = music(300, 2.0);
    let with_jingle = |seed| {
        let mut clip = music(seed, 12.0);
        clip[64_000..64_000 + jingle.len()].copy_from_slice(&jingle);
        clip
    };
    let index = index_of(&[(1, &with_jingle(301))]);
    assert_eq!(lookup(&index, &cut(&with_jingle(302), 64_000, 5.0)), []);
}

#[test]
fn an_overlap_at_the_end_of_a_track_counts_if_it_is_most_of_the_query() {
    let clip = music(400, 20.0);
    let index = index_of(&[(1, &clip[..10 * RATE]), (2, &music(401, 10.0))]);
    // 4 of 6 seconds lie within the track, then 2.5 of 6.
    let found = lookup(&index, &cut(&clip, 6 * RATE, 6.0));
    assert_eq!(found.len(), 1);
    assert!(found[0].query_seconds.end < 4.2);
    assert_eq!(lookup(&index, &cut(&clip, 15 * RATE / 2, 6.0)), []);
    // The query may also begin before the track.
    let index = index_of(&[(1, &clip[5 * RATE..])]);
    let found = lookup(&index, &cut(&clip, 3 * RATE, 6.0));
    assert!((found[0].offset_seconds + 2.0).abs() < 2.0 * FRAME_SECONDS);
}

#[test]
fn silence_has_no_landmarks() {
    for clip in [
        vec![],
        vec![0.0; 100],
        vec![0.0; 5 * RATE],
        vec![1e-6; RATE],
    ] {
        assert_eq!(landmarks(&clip), []);
        assert_eq!(query_landmarks(&clip), []);
    }
    let index = index_of(&[(1, &[]), (2, &music(1, 10.0)), (3, &vec![0.0; RATE])]);
    assert_eq!(index.tracks(), 3);
    assert_eq!(lookup(&index, &vec![0.0; 5 * RATE]), []);
    let found = lookup(&index, &cut(&music(1, 10.0), 20_000, 5.0));
    assert_eq!(found[0].id, TrackId(2));
}

#[test]
fn what_is_not_a_number_is_silence() {
    assert_eq!(landmarks(&[f32::NAN; RATE]), []);
    let mut clip = music(1, 5.0);
    let clean = landmarks(&clip).len();
    // No frame of 1,024 samples is without one.
    for (broken, value) in clip
        .iter_mut()
        .step_by(800)
        .zip([f32::NAN, f32::INFINITY].iter().cycle())
    {
        *broken = *value;
    }
    let found = landmarks(&clip);
    assert!(found.len() > clean / 2, "{} of {clean}", found.len());
    assert!(found.iter().all(|landmark| landmark.hash < 1 << HASH_BITS));
}

#[test]
fn no_sound_yields_more_landmarks_than_promised() {
    let seconds = 10;
    let samples = seconds * RATE;
    let mut dice = Dice::new(5);
    let noise: Vec<f32> = (0..samples).map(|_| dice.noise()).collect();
    let square = |period: usize| -> Vec<f32> {
        (0..samples)
            .map(|i| if i % period < period / 2 { 1.0 } else { -1.0 })
            .collect()
    };
    let clicks: Vec<f32> = (0..samples)
        .map(|i| if i % 300 == 0 { 1.0 } else { 0.0 })
        .collect();
    for clip in [
        noise,
        square(64),
        square(101),
        clicks,
        music(1, seconds as f64),
    ] {
        let found = landmarks(&clip);
        assert!(found.len() <= 100 * seconds, "{} landmarks", found.len());
        assert!(query_landmarks(&clip).len() <= 3_100 * seconds);
    }
}

#[test]
fn music_yields_about_twenty_landmarks_a_second() {
    let per_second = landmarks(&music(1, 30.0)).len() as f64 / 30.0;
    assert!((10.0..40.0).contains(&per_second), "{per_second}");
}

#[test]
fn halving_the_level_leaves_every_landmark() {
    let mut dice = Dice::new(8);
    // A little noise keeps every cell far above what counts as silence.
    let clip: Vec<f32> = music(2, 10.0)
        .iter()
        .map(|s| s + 0.01 * dice.noise())
        .collect();
    let soft: Vec<f32> = clip.iter().map(|sample| sample * 0.5).collect();
    assert!(landmarks(&clip).len() > 100);
    assert_eq!(landmarks(&clip), landmarks(&soft));
}

#[test]
fn a_track_cannot_be_given_twice() {
    let twice = [
        (TrackId(1), vec![]),
        (TrackId(2), vec![]),
        (TrackId(1), vec![]),
    ];
    let error = LandmarkIndex::build(twice).unwrap_err();
    assert!(matches!(error, LandmarkError::DuplicateTrack(TrackId(1))));
}

#[test]
fn more_than_32_bits_of_frames_are_refused() {
    let far = |id| {
        (
            TrackId(id),
            vec![Landmark {
                frame: u32::MAX / 2,
                hash: 1,
            }],
        )
    };
    assert!(LandmarkIndex::build([far(1)]).is_ok());
    let error = LandmarkIndex::build([far(1), far(2), far(3)]).unwrap_err();
    assert!(matches!(error, LandmarkError::TooLarge));
}

#[test]
fn a_landmark_takes_six_bytes_at_most() {
    // As many landmarks as 1,000 tracks of 30 s have.
    let mut dice = Dice::new(3);
    let tracks = (0..1_000).map(|id| {
        let landmark = |frame| Landmark {
            frame: 3 * frame,
            hash: dice.below(1 << HASH_BITS) as u32,
        };
        (TrackId(id), (0..620_u32).map(landmark).collect())
    });
    let index = LandmarkIndex::build(tracks).unwrap();
    assert_eq!(index.landmarks(), 620_000);
    assert!(index.memory_bytes() <= 6 * index.landmarks());
}

fn saved(index: &LandmarkIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.save(&mut bytes).unwrap();
    bytes
}

/// Three tracks of 4 seconds.
static SMALL_INDEX: LazyLock<LandmarkIndex> = LazyLock::new(|| {
    let clips: Vec<_> = (0..3).map(|seed| music(seed, 4.0)).collect();
    let tracks: Vec<_> = (0..).zip(clips.iter().map(Vec::as_slice)).collect();
    index_of(&tracks)
});

#[test]
fn what_was_saved_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("landmarks");
    for index in [&*SMALL_INDEX, &LandmarkIndex::build([]).unwrap()] {
        index.save(std::fs::File::create(&path).unwrap()).unwrap();
        assert_eq!(&LandmarkIndex::open(&path).unwrap(), index);
    }
    let (clips, index) = &*CATALOGUE;
    let query = query_landmarks(&cut(&clips[7], 33_333, 5.0));
    let opened = LandmarkIndex::from_bytes(&saved(index)).unwrap();
    assert_eq!(opened.lookup(&query), index.lookup(&query));
    assert_eq!(opened.lookup(&query)[0].id, TrackId(7));

    let missing = LandmarkIndex::open(&directory.path().join("none")).unwrap_err();
    assert!(matches!(missing, LandmarkError::Io(_)));
}

#[test]
fn a_file_of_another_kind_or_length_is_refused() {
    let fault = |bytes: &[u8]| match LandmarkIndex::from_bytes(bytes) {
        Err(LandmarkError::File(fault)) => fault,
        other => panic!("{other:?}"),
    };
    let bytes = saved(&SMALL_INDEX);
    assert_eq!(fault(b""), FileFault::Magic);
    assert_eq!(fault(&[b'x'; 1_000]), FileFault::Magic);
    for length in (28..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
        let fault = fault(&bytes[..length]);
        assert!(
            matches!(fault, FileFault::Length { .. }),
            "{length}: {fault}"
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(fault(&longer), FileFault::Length { .. }));

    let with_word = |at: usize, value: u32| {
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
        changed
    };
    assert_eq!(fault(&with_word(8, 2)), FileFault::Format(2));
    let other = LandmarkIndex::from_bytes(&with_word(12, 77)).unwrap_err();
    assert!(matches!(other, LandmarkError::Version { found: 77 }));
    // Track 1 starts after track 2; a track twice; a track that starts beyond the end.
    assert_eq!(fault(&with_word(28 + 12, u32::MAX)), FileFault::Tracks);
    assert_eq!(fault(&with_word(28 + 8, 0)), FileFault::Tracks);
    assert_eq!(fault(&with_word(28 + 20, u32::MAX)), FileFault::Tracks);
    // The first bucket starts late, a bucket reaches beyond the end, a posting lies beyond it.
    let buckets = 28 + 3 * 8;
    assert_eq!(fault(&with_word(buckets, 1)), FileFault::Buckets);
    assert_eq!(
        fault(&with_word(buckets + 400, u32::MAX)),
        FileFault::Buckets
    );
    let positions = buckets + 4 * 65_537;
    assert_eq!(fault(&with_word(positions, u32::MAX)), FileFault::Postings);

    // Two postings of one bucket change places.
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let starts: Vec<_> = (0..65_537)
        .map(|bucket| word(buckets + 4 * bucket))
        .collect();
    let shared = starts.windows(2).find(|bucket| bucket[1] - bucket[0] > 1);
    let first = shared.unwrap()[0] as usize;
    let mut swapped = bytes.clone();
    let tails = swapped.len() - starts[65_536] as usize;
    swapped.swap(tails + first, tails + first + 1);
    for byte in positions + 4 * first..positions + 4 * first + 4 {
        swapped.swap(byte, byte + 4);
    }
    assert_eq!(fault(&swapped), FileFault::Postings);
}

static SMALL_QUERY: LazyLock<Vec<Landmark>> = LazyLock::new(|| query_landmarks(&music(1, 4.0)));

fn any_landmarks() -> impl Strategy<Value = Vec<Landmark>> {
    let frame = prop_oneof![0..2_000_u32, any::<u32>()];
    // Few hashes, so that they meet; all bits, so that nothing relies on 24.
    let hash = prop_oneof![0..40_u32, any::<u32>()];
    prop::collection::vec(
        (frame, hash).prop_map(|(frame, hash)| Landmark { frame, hash }),
        0..200,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_samples_make_it_panic(bits in prop::collection::vec(any::<u32>(), 0..6_000)) {
        let clip: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for found in [landmarks(&clip), query_landmarks(&clip)] {
            prop_assert!(found.is_sorted());
            prop_assert!(found.iter().all(|landmark| landmark.hash < 1 << HASH_BITS));
        }
    }

    #[test]
    fn no_landmarks_make_it_panic(track in any_landmarks(), query in any_landmarks()) {
        let short = |landmark: &Landmark| landmark.frame < 2_000;
        let track: Vec<_> = track.into_iter().filter(short).collect();
        let index = LandmarkIndex::build([(TrackId(1), track.clone()), (TrackId(2), track)]).unwrap();
        for found in index.lookup(&query) {
            prop_assert!(found.confidence > 0.0 && found.confidence <= 1.0);
            prop_assert!(found.offset_seconds.is_finite());
        }
    }

    #[test]
    fn a_damaged_file_is_refused_or_harmless(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = saved(&SMALL_INDEX);
        // Half of the damage hits what is not the (mostly empty) directory.
        let head = 28 + 3 * 8;
        let tail = head + 4 * 65_537;
        for (at, value) in damage {
            let at = at.index(2 * bytes.len());
            let at = match at.checked_sub(bytes.len()) {
                None => at,
                Some(at) => (0..head).chain(tail..bytes.len()).nth(at % (head + bytes.len() - tail)).unwrap(),
            };
            bytes[at] = value;
        }
        if let Ok(damaged) = LandmarkIndex::from_bytes(&bytes) {
            damaged.lookup(&SMALL_QUERY);
        }
    }
}
