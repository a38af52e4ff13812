//! Runs: stopped and taken up again, on a full disk, with files that vanish, diverged, collapsed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use candle_core::{Device, Tensor};
use songkin::{
    audio::{DecodeLimits, Decoder, FeatureConfig, augment::AugmentSettings},
    model::{Preset, untrained_weights},
    track::TrackId,
    train::{
        End, LearnerSettings, Observe, Run, TrainError, TrainEvent, Trained, TrainingSettings,
        checkpoint::CheckpointError,
        dataset::{Crop, Dataset, DatasetSettings, SameArtist, SplitLimits, SplitTrack, Splits},
        health::CollapseLimits,
    },
};
use tempfile::TempDir;

use crate::support::tiny_config;

/// Epochs of a run, of two steps each.
const EPOCHS: usize = 4;

struct Site {
    music: TempDir,
    state: TempDir,
    start: BTreeMap<String, Tensor>,
    settings: TrainingSettings,
    cancel: AtomicBool,
}

impl Site {
    /// Eight tracks: six to learn from, two to validate with.
    fn new() -> Self {
        let music = tempfile::tempdir().unwrap();
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/fma_demo");
        let files = walkdir::WalkDir::new(demo)
            .sort_by_file_name()
            .into_iter()
            .map(|entry| entry.unwrap().into_path())
            .filter(|path| path.is_file());
        for (number, file) in files.take(8).enumerate() {
            fs::copy(file, music.path().join(format!("{number}.mp3"))).unwrap();
        }
        let mut settings = TrainingSettings::preset(Preset::Small);
        settings.epochs = EPOCHS;
        settings.limits = SplitLimits::NONE;
        settings.checkpoint_seconds = 0.0;
        settings.dataset = DatasetSettings {
            batch: 3,
            crop: Crop::Random { seconds: 5.0 },
            same_artist: SameArtist::MaskNegatives,
            augment: AugmentSettings::none(),
            // Every view is decoded anew.
            cache_mib: 0,
            ..DatasetSettings::default()
        };
        settings.learner = LearnerSettings::default();
        settings.learner.optimiser.learning_rate = 1e-3;
        Self {
            music,
            state: tempfile::tempdir().unwrap(),
            start: untrained_weights(&tiny_config(), 0).unwrap(),
            settings,
            cancel: AtomicBool::new(false),
        }
    }

    fn file(&self, number: usize) -> PathBuf {
        self.music.path().join(format!("{number}.mp3"))
    }

    fn tracks(&self, numbers: std::ops::Range<usize>) -> Vec<SplitTrack> {
        numbers
            .map(|number| SplitTrack {
                id: TrackId(number as u32),
                path: self.file(number),
                artist: number as i64,
                album: None,
                genre: None,
            })
            .collect()
    }

    fn train(&self, mut observe: impl FnMut(&TrainEvent)) -> Result<Trained, TrainError> {
        struct Observer<'a>(&'a mut dyn FnMut(&TrainEvent));
        impl Observe for Observer<'_> {
            fn event(&mut self, event: &TrainEvent) {
                (self.0)(event);
            }
        }
        let decoder = Decoder::new(DecodeLimits::default(), None);
        let features = FeatureConfig::default();
        let dataset = self.settings.dataset.clone();
        let dataset = Dataset::new(self.tracks(0..6), decoder, &features, dataset)?;
        let splits = Splits {
            training: self.tracks(0..6),
            validation: self.tracks(6..8),
            test: Vec::new(),
        };
        let run = Run {
            settings: &self.settings,
            config: &tiny_config(),
            start: &self.start,
            name: &self.settings.run_name("untrained", &splits),
            dataset: &dataset,
            validation: &splits.validation,
            dir: self.state.path(),
            cancel: &self.cancel,
        };
        run.train(&Device::Cpu, &mut Observer(&mut observe))
    }
}

fn bits(trained: &Trained) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: &Tensor| {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    let weights = trained.weights.iter();
    weights
        .map(|(name, tensor)| (name.clone(), bits(tensor)))
        .collect()
}

fn losses(trained: &Trained) -> Vec<f64> {
    trained
        .curves
        .steps
        .iter()
        .map(|point| point.loss)
        .collect()
}

#[test]
fn a_run_that_was_stopped_in_an_epoch_goes_on_to_the_same_weights() {
    let whole = Site::new().train(|_| {}).unwrap();
    assert_eq!(whole.end, End::Completed);
    assert_eq!(whole.curves.steps.len(), 2 * EPOCHS);
    assert_eq!(
        whole.curves.epochs.len(),
        EPOCHS + 1,
        "and one before the first"
    );
    assert!(
        whole
            .curves
            .epochs
            .iter()
            .all(|epoch| epoch.validation.is_some())
    );

    let site = Site::new();
    // In the middle of the second epoch.
    let stopped = site
        .train(|event| {
            if matches!(event, TrainEvent::Step { point, .. } if point.step == 3) {
                site.cancel.store(true, Ordering::SeqCst);
            }
        })
        .unwrap();
    assert_eq!(
        (stopped.end, stopped.curves.steps.len()),
        (End::Cancelled, 3)
    );
    site.cancel.store(false, Ordering::SeqCst);
    let mut begun = None;
    let resumed = site
        .train(|event| {
            if let TrainEvent::Begun { epoch, step, .. } = event {
                begun = Some((*epoch, *step));
            }
        })
        .unwrap();
    assert_eq!(begun, Some((1, 3)));
    assert_eq!(resumed.end, End::Completed);
    assert_eq!(losses(&resumed), losses(&whole));
    let validations = |trained: &Trained| -> Vec<f64> {
        let epochs = trained.curves.epochs.iter();
        epochs
            .map(|epoch| epoch.validation.as_ref().unwrap().loss)
            .collect()
    };
    assert_eq!(validations(&resumed), validations(&whole));
    assert!(bits(&resumed) == bits(&whole), "weights differ");
}

#[test]
fn a_run_that_is_out_of_time_keeps_what_it_has() {
    let mut site = Site::new();
    site.settings.max_minutes = Some(1e-9);
    let trained = site.train(|_| {}).unwrap();
    assert_eq!(
        (trained.end, trained.curves.steps.len()),
        (End::OutOfTime, 0)
    );
    // More time is no other run.
    site.settings.max_minutes = None;
    assert_eq!(site.train(|_| {}).unwrap().end, End::Completed);
}

#[test]
fn other_settings_are_another_run() {
    let mut site = Site::new();
    site.train(|_| {}).unwrap();
    site.settings = site.settings.clone().with_seed(1);
    let error = site.train(|_| {}).unwrap_err();
    let other = matches!(
        error,
        TrainError::Checkpoint(CheckpointError::OtherRun { .. })
    );
    assert!(other, "{error}");
}

#[test]
fn a_loss_that_is_not_a_number_ends_the_run_by_name() {
    let mut site = Site::new();
    let name = "layernorm.bias";
    let weight = &site.start[name];
    let broken = (weight.zeros_like().unwrap() + f64::NAN).unwrap();
    site.start.insert(name.to_owned(), broken);
    let error = site.train(|_| {}).unwrap_err();
    let named = matches!(
        error,
        TrainError::NotFinite {
            what: "loss",
            step: 0
        }
    );
    assert!(named, "{error}");
}

#[test]
fn a_model_that_has_collapsed_ends_the_run() {
    let mut site = Site::new();
    site.settings.collapse = CollapseLimits {
        effective_rank: 1000.0,
        ..CollapseLimits::default()
    };
    let error = site.train(|_| {}).unwrap_err();
    let told = matches!(error, TrainError::Collapsed { epoch: 1, .. });
    assert!(told, "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_run_and_the_next_one_goes_on() {
    let site = Site::new();
    let partial = site.state.path().join("checkpoint.partial");
    // Every write to /dev/full fails as on a full disk.
    let error = site
        .train(|event| {
            if matches!(event, TrainEvent::Step { point, .. } if point.step == 3) {
                std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
            }
        })
        .unwrap_err();
    let TrainError::Checkpoint(CheckpointError::Io { source, .. }) = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    let mut begun = None;
    let trained = site
        .train(|event| {
            if let TrainEvent::Begun { step, .. } = event {
                begun = Some(*step);
            }
        })
        .unwrap();
    assert_eq!(begun, Some(2), "from the last checkpoint that was written");
    assert_eq!(trained.end, End::Completed);
}

#[test]
fn a_file_that_vanishes_is_left_out_and_counted() {
    let site = Site::new();
    let mut lost = Vec::new();
    let trained = site
        .train(|event| match event {
            TrainEvent::Step { point, .. } if point.step == 1 => {
                fs::remove_file(site.file(0)).unwrap();
            }
            TrainEvent::Epoch { lost: now, .. } => lost.push(*now),
            _ => {}
        })
        .unwrap();
    assert_eq!(trained.end, End::Completed);
    assert_eq!(trained.curves.steps.len(), 2 * EPOCHS);
    assert_eq!((lost.first(), lost.last()), (Some(&0), Some(&1)));
}
