//! Evaluation from clips to the report's files, and the gate.

mod gate;
mod mfcc;
mod report;

use std::{cell::RefCell, collections::BTreeMap};

use songkin::{
    track::TrackId,
    train::evaluate::{
        BoxError, Embed, EvaluateError, EvaluationSettings, Hooks, Labels, Measure, Progress,
        Report, Stage, Task, Tracks, evaluate,
    },
};

/// Length of every clip: room for two excerpts of [`quick`] and all offsets.
const SECONDS: usize = 4;

/// An embedder made of a function of one clip.
struct By<F>(&'static str, F);

impl<F: Fn(&[f32]) -> Vec<f32>> Embed for By<F> {
    fn name(&self) -> &str {
        self.0
    }

    fn embed(&self, clips: &[&[f32]]) -> Result<Vec<Vec<f32>>, EvaluateError> {
        Ok(clips.iter().map(|clip| (self.1)(clip)).collect())
    }
}

/// The pitch of a track, in radians a sample. Tracks of one album lie close together.
fn pitch(track: usize) -> f64 {
    let (album, number) = (track / 4, track % 4);
    0.02 + 0.03 * album as f64 + 0.002 * number as f64
}

/// A clip that is one sine.
fn clip(track: usize) -> Vec<f32> {
    let sample = |i: usize| 0.3 * (i as f64 * pitch(track)).sin();
    (0..SECONDS * 16_000).map(|i| sample(i) as f32).collect()
}

/// A point on a circle for each pitch: equal for every part of a track, and under gain. White noise moves it.
fn ear(clip: &[f32]) -> Vec<f32> {
    let energy: f32 = clip.iter().map(|s| s * s).sum();
    let steps: f32 = clip
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).powi(2))
        .sum();
    let pitch = (steps / energy.max(f32::MIN_POSITIVE)).sqrt();
    vec![(2.0 * pitch).cos(), (2.0 * pitch).sin()]
}

/// Four tracks an album, two albums an artist, genres by turns.
fn labels(count: usize) -> Vec<Labels> {
    let of = |track: usize| Labels {
        id: TrackId(100 + track as u32),
        artist: Some((track / 8) as i64),
        album: Some((track / 4) as i64),
        genre: Some((track / 8 % 2) as i64),
        genre_title: Some(["Rock & Roll", "Folk|Pop"][track / 8 % 2].to_owned()),
    };
    (0..count).map(of).collect()
}

fn load(id: TrackId) -> Result<Vec<f32>, BoxError> {
    Ok(clip(id.0 as usize - 100))
}

/// Settings that need no ffmpeg and little time: excerpts have 1 s.
fn quick() -> EvaluationSettings {
    EvaluationSettings {
        ffmpeg: "/no/such/ffmpeg".into(),
        excerpt_seconds: 1.0,
        resamples: 300,
        ..EvaluationSettings::default()
    }
}

fn run(labels: &[Labels], embedders: &[&dyn Embed], settings: &EvaluationSettings) -> Report {
    let tracks = Tracks {
        labels,
        clip: &load,
    };
    evaluate(&tracks, embedders, settings, &Hooks::none()).unwrap()
}

fn value(report: &Report, task: Task, measure: Measure, name: &str) -> f64 {
    report.value(task, measure, name).unwrap().value
}

#[test]
fn what_hears_pitch_finds_albums_and_chance_does_not() {
    let report = run(&labels(32), &[&By("ear", ear)], &quick());
    let names: Vec<&str> = report.representations.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["ear", "mfcc", "random"]);
    let of = |task, measure| value(&report, task, measure, "ear");
    assert_eq!(of(Task::SameAlbum, Measure::MeanAveragePrecision), 1.0);
    assert_eq!(of(Task::SameAlbum, Measure::PrecisionAt10), 0.3);
    assert_eq!(of(Task::CropToTrack, Measure::RecallAt1), 1.0);
    assert_eq!(of(Task::Gain, Measure::RecallAt1), 1.0);
    assert!(of(Task::Noise20, Measure::MeanCosine) < 1.0);
    assert!(of(Task::SameArtistOtherAlbums, Measure::MeanAveragePrecision) > 0.2);

    let random = report.value(Task::SameAlbum, Measure::MeanAveragePrecision, "random");
    assert!(random.unwrap().high < 0.4, "{random:?}");
    let crop = report.value(Task::CropToTrack, Measure::RecallAt1, "random");
    assert!(crop.unwrap().value < 0.2, "{crop:?}");
    let mfcc = report.value(Task::SameAlbum, Measure::MeanAveragePrecision, "mfcc");
    assert!(mfcc.unwrap().low > random.unwrap().high, "{mfcc:?}");

    let difference = |task, measure, one, other| report.difference(task, measure, one, other);
    let (task, measure) = (Task::SameAlbum, Measure::MeanAveragePrecision);
    let ahead = difference(task, measure, "ear", "random").unwrap();
    assert!(ahead.low > 0.0 && ahead.by_album.unwrap().low > 0.0);
    let behind = difference(task, measure, "random", "ear").unwrap();
    assert_eq!((behind.value, behind.low), (-ahead.value, -ahead.high));
    assert_eq!(difference(task, measure, "mfcc", "random"), None);
}

#[test]
fn an_evaluation_repeats_bit_for_bit() {
    let (all, settings) = (labels(24), quick());
    let first = run(&all, &[&By("ear", ear)], &settings);
    assert_eq!(run(&all, &[&By("ear", ear)], &settings), first);
    let reseeded = EvaluationSettings {
        seed: 1,
        ..settings
    };
    assert_ne!(
        run(&all, &[&By("ear", ear)], &reseeded).figures,
        first.figures
    );
}

#[test]
fn no_tracks_and_no_labels_give_reasons_and_no_numbers() {
    let unlabelled: Vec<Labels> = labels(3)
        .into_iter()
        .map(|it| Labels {
            artist: None,
            album: None,
            genre: None,
            genre_title: None,
            ..it
        })
        .collect();
    for all in [&[][..], &unlabelled] {
        let report = run(all, &[&By("ear", ear)], &quick());
        assert_eq!(report.dataset.tracks, all.len());
        for figure in &report.figures {
            let measured = figure.values.iter().all(|value| value.estimate.is_some());
            let missing = figure.values.iter().all(|value| value.estimate.is_none());
            assert!(measured != missing && missing == figure.reason.is_some());
            assert_eq!(figure.queries == 0, missing);
        }
        let reason = |task, measure| report.figure(task, measure).unwrap().reason.as_deref();
        let album = reason(Task::SameAlbum, Measure::PrecisionAt1);
        assert_eq!(album, Some("no two tracks have the same album"));
        let mp3 = reason(Task::Mp3, Measure::RecallAt1);
        assert_eq!(mp3, Some("ffmpeg is not installed"));
        let crop = reason(Task::CropToTrack, Measure::RecallAt1);
        assert_eq!(crop.is_none(), all.len() == 3);
    }
}

#[test]
fn an_album_of_all_tracks_is_always_found() {
    let mut all = labels(5);
    all.iter_mut().for_each(|it| it.album = Some(1));
    let report = run(&all, &[], &quick());
    let map = report.value(Task::SameAlbum, Measure::MeanAveragePrecision, "random");
    let map = map.unwrap();
    assert_eq!((map.value, map.low, map.high), (1.0, 1.0, 1.0));
    assert_eq!(map.by_album, None);
    assert!(report.map.is_none());
}

#[test]
fn a_short_clip_is_left_out_of_what_it_is_too_short_for() {
    let all = labels(8);
    let load = |id: TrackId| -> Result<Vec<f32>, BoxError> {
        let seconds = [4, 4, 4, 4, 3, 2, 1, 0][id.0 as usize - 100];
        Ok(clip(id.0 as usize - 100)[..seconds * 16_000].to_vec())
    };
    let tracks = Tracks {
        labels: &all,
        clip: &load,
    };
    let report = evaluate(&tracks, &[], &quick(), &Hooks::none()).unwrap();
    let queries = |task, measure| report.figure(task, measure).unwrap().queries;
    assert_eq!(report.dataset.tracks, 7);
    assert_eq!(report.dataset.skipped[0].track, TrackId(107));
    assert_eq!(report.dataset.skipped[0].reason, "the clip has 0.0 s");
    assert_eq!(queries(Task::SameAlbum, Measure::PrecisionAt1), 7);
    assert_eq!(queries(Task::CropToTrack, Measure::RecallAt1), 6);
    assert_eq!(queries(Task::Gain, Measure::RecallAt1), 4);
}

#[test]
fn a_vanished_file_is_left_out_and_many_end_the_evaluation() {
    let all = labels(20);
    let vanished = |count: u32| {
        let load = move |id: TrackId| match id.0 < 100 + count {
            true => Err(std::io::Error::from(std::io::ErrorKind::NotFound).into()),
            false => load(id),
        };
        let tracks = Tracks {
            labels: &all,
            clip: &load,
        };
        evaluate(&tracks, &[], &quick(), &Hooks::none())
    };
    let report = vanished(2).unwrap();
    assert_eq!(
        (report.dataset.tracks, report.dataset.skipped.len()),
        (18, 2)
    );
    let error = vanished(3).unwrap_err();
    let EvaluateError::Unreadable {
        unreadable, tracks, ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((unreadable, tracks), (3, 20));
}

#[test]
fn embedders_that_misbehave_are_named() {
    let all = labels(3);
    let tracks = Tracks {
        labels: &all,
        clip: &load,
    };
    let error = |embedder: &dyn Embed| {
        evaluate(&tracks, &[embedder], &quick(), &Hooks::none()).unwrap_err()
    };
    let nan = error(&By("nan", |_: &[f32]| vec![1.0, f32::NAN]));
    assert!(
        matches!(&nan, EvaluateError::Degenerate { name, .. } if name == "nan"),
        "{nan:?}"
    );
    let zero = error(&By("zero", |_: &[f32]| vec![0.0; 3]));
    assert!(matches!(zero, EvaluateError::Degenerate { .. }), "{zero:?}");
    let growing = error(&By("growing", |clip: &[f32]| {
        vec![1.0; clip.len() / 16_000]
    }));
    let shape = matches!(
        growing,
        EvaluateError::Shape {
            expected: 4,
            found: 3,
            ..
        }
    );
    assert!(shape, "{growing:?}");

    struct Silent;
    impl Embed for Silent {
        fn name(&self) -> &str {
            "silent"
        }
        fn embed(&self, _: &[&[f32]]) -> Result<Vec<Vec<f32>>, EvaluateError> {
            Ok(Vec::new())
        }
    }
    assert!(matches!(
        error(&Silent),
        EvaluateError::Shape { found: 0, .. }
    ));

    let taken = error(&By("mfcc", ear));
    assert!(
        matches!(taken, EvaluateError::RepeatedName { .. }),
        "{taken:?}"
    );
}

#[test]
fn a_track_may_be_there_only_once() {
    let mut all = labels(3);
    all[2].id = all[0].id;
    let tracks = Tracks {
        labels: &all,
        clip: &load,
    };
    let error = evaluate(&tracks, &[], &quick(), &Hooks::none()).unwrap_err();
    assert!(
        matches!(error, EvaluateError::RepeatedTrack { .. }),
        "{error:?}"
    );
}

#[test]
fn progress_is_told_and_every_stage_can_be_cancelled() {
    let all = labels(12);
    let tracks = Tracks {
        labels: &all,
        clip: &load,
    };
    let seen = RefCell::new(Vec::<Progress>::new());
    let run = |cancel_at: Option<Stage>| {
        seen.borrow_mut().clear();
        let progress = |progress| seen.borrow_mut().push(progress);
        let cancelled = || {
            let last = seen.borrow().last().copied();
            last.is_some_and(|last| Some(last.stage) == cancel_at)
        };
        let hooks = Hooks {
            progress: &progress,
            cancelled: &cancelled,
        };
        evaluate(&tracks, &[&By("ear", ear)], &quick(), &hooks)
    };
    assert!(run(None).is_ok());
    let mut steps: BTreeMap<usize, usize> = BTreeMap::new();
    for progress in seen.borrow().iter() {
        assert!(
            (1..=progress.total).contains(&progress.done),
            "{progress:?}"
        );
        *steps.entry(progress.stage as usize).or_default() += 1;
    }
    assert_eq!(steps.into_values().collect::<Vec<_>>(), [12, 3, 33, 1]);

    for stage in [
        Stage::Embedding,
        Stage::Measuring,
        Stage::Resampling,
        Stage::Mapping,
    ] {
        let result = run(Some(stage));
        assert!(matches!(result, Err(EvaluateError::Cancelled)), "{stage:?}");
        assert_eq!(seen.borrow().last().map(|last| last.done), Some(1));
    }
}

#[test]
fn mp3_is_measured_where_ffmpeg_is_installed() {
    let settings = EvaluationSettings {
        ffmpeg: "ffmpeg".into(),
        robustness_tracks: 3,
        ..quick()
    };
    let report = run(&labels(6), &[&By("ear", ear)], &settings);
    let figure = report.figure(Task::Mp3, Measure::RecallAt1).unwrap();
    assert_eq!((figure.queries, figure.reason.as_deref()), (3, None));
    assert_eq!(value(&report, Task::Mp3, Measure::RecallAt1, "ear"), 1.0);
    assert!(value(&report, Task::Mp3, Measure::MeanCosine, "ear") > 0.99);
}
