//! A run: epochs of batches through the learner, with checkpoints on the way.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use candle_core::{Device, Tensor};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    Curves, EpochPoint, Learner, LearnerState, StepPoint, TrainError, TrainingSettings, Validation,
    ViewBatch,
    checkpoint::{Checkpoint, Position},
    dataset::{self, Dataset, SameArtist, SplitTrack},
};
use crate::model::AstConfig;

/// Windows that mean and deviation of an encoder's embeddings are taken over, at least, where there are as many.
const STANDARDISED_BY: usize = 512;

/// Hears what happens in a run. The run knows nothing of tables and consoles.
pub trait Observe {
    /// Something happened.
    fn event(&mut self, event: &TrainEvent);
}

/// What happens in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TrainEvent {
    /// The run begins, or goes on from a checkpoint.
    Begun {
        /// Epochs that are done already.
        epoch: usize,
        /// Steps that are done already.
        step: usize,
        /// Steps of the whole run.
        steps: usize,
        /// Steps of an epoch.
        steps_per_epoch: usize,
        /// Weights that learn, the projection head's included.
        parameters: usize,
    },
    /// A step is done.
    Step {
        /// What it measured.
        #[serde(flatten)]
        point: StepPoint,
        /// Steps of the whole run.
        steps: usize,
        /// Time that the rest should take, seconds.
        remaining_seconds: f64,
    },
    /// An epoch is done.
    Epoch {
        /// What it measured.
        #[serde(flatten)]
        point: EpochPoint,
        /// Training tracks whose files could not be decoded.
        lost: usize,
    },
    /// The run's state is on disk.
    Checkpoint {
        /// Steps that are done.
        step: usize,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All epochs are done.
    Completed,
    /// The time was over.
    OutOfTime,
    /// Somebody wanted it to stop; the checkpoint says where to go on.
    Cancelled,
}

/// What a run works with.
pub struct Run<'a> {
    /// Its settings.
    pub settings: &'a TrainingSettings,
    /// The encoder's settings.
    pub config: &'a AstConfig,
    /// The encoder's weights to start from, by canonical names.
    pub start: &'a BTreeMap<String, Tensor>,
    /// Names the run, see [`TrainingSettings::run_name`]: a checkpoint of another one is refused.
    pub name: &'a str,
    /// The training tracks.
    pub dataset: &'a Dataset,
    /// The validation tracks.
    pub validation: &'a [SplitTrack],
    /// Where checkpoints lie; the directory exists.
    pub dir: &'a Path,
    /// Set by whoever wants the run to stop.
    pub cancel: &'a AtomicBool,
}

/// What came out of a run.
#[derive(Debug)]
pub struct Trained {
    /// The encoder's weights, by canonical names.
    pub weights: BTreeMap<String, Tensor>,
    /// What was measured.
    pub curves: Curves,
    /// How it ended.
    pub end: End,
    /// Wall time over all attempts, seconds.
    pub seconds: f64,
}

impl Run<'_> {
    /// Trains, from the newest checkpoint on where there is one. The same run, stopped anywhere
    /// and started again, gives the same weights on one device.
    ///
    /// # Errors
    ///
    /// [`TrainError`]; what the last checkpoint holds is kept.
    pub fn train(self, device: &Device, observer: &mut dyn Observe) -> Result<Trained, TrainError> {
        let per_epoch = self.dataset.steps_per_epoch();
        let steps = per_epoch * self.settings.epochs;
        let settings = self.settings.learner_for(steps);
        let (learner, position) = match Checkpoint::load(self.dir, self.name, device)? {
            Some(Checkpoint { tensors, position }) => {
                let state = LearnerState {
                    step: (position.epoch * per_epoch + position.step) as u64,
                    tensors,
                };
                let learner = Learner::restore(self.config, settings, &state, device)?;
                (learner, position)
            }
            None => {
                let learner = Learner::new(self.config, self.start.clone(), settings, device)?;
                let position = Position {
                    run: self.name.to_owned(),
                    ..Position::default()
                };
                (learner, position)
            }
        };
        let mut progress = InProgress {
            run: &self,
            learner,
            position,
            observer,
            per_epoch,
            steps,
            began: Instant::now(),
            saved: Instant::now(),
            pairs: None,
        };
        let end = progress.work()?;
        let seconds = progress.seconds();
        progress.save()?;
        Ok(Trained {
            weights: progress.trained_encoder(end)?,
            curves: progress.position.curves,
            end,
            seconds,
        })
    }
}

/// Tracks in an order of their own, always the same one: an artist's tracks, which otherwise lie side
/// by side, would fill whole batches.
fn mixed(tracks: &[SplitTrack]) -> Vec<SplitTrack> {
    let mut tracks = tracks.to_vec();
    tracks.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    tracks
}

struct InProgress<'a> {
    run: &'a Run<'a>,
    learner: Learner,
    position: Position,
    observer: &'a mut dyn Observe,
    per_epoch: usize,
    steps: usize,
    began: Instant,
    saved: Instant,
    /// The validation views: the same ones every time, so they are made once.
    pairs: Option<Vec<ViewBatch>>,
}

impl InProgress<'_> {
    fn work(&mut self) -> Result<End, TrainError> {
        self.observer.event(&TrainEvent::Begun {
            epoch: self.position.epoch,
            step: self.done(),
            steps: self.steps,
            steps_per_epoch: self.per_epoch,
            parameters: self.learner.parameters(),
        });
        if self.position.curves.epochs.is_empty() {
            let validation = self.validate()?;
            self.end_epoch(validation)?;
        }
        while self.position.epoch < self.run.settings.epochs {
            if let Some(end) = self.epoch()? {
                return Ok(end);
            }
            let validation = self.validate()?;
            self.position.epoch += 1;
            self.position.step = 0;
            self.end_epoch(validation)?;
        }
        Ok(End::Completed)
    }

    /// The steps of an epoch that are left.
    fn epoch(&mut self) -> Result<Option<End>, TrainError> {
        let (epoch, from) = (self.position.epoch as u64, self.position.step);
        let mut batches = self.run.dataset.batches(epoch, from)?;
        loop {
            if self.run.cancel.load(Ordering::SeqCst) {
                return Ok(Some(End::Cancelled));
            }
            let limit = self.run.settings.max_minutes;
            if limit.is_some_and(|minutes| self.seconds() >= minutes * 60.0) {
                return Ok(Some(End::OutOfTime));
            }
            let asked = Instant::now();
            let Some(batch) = batches.next() else {
                return Ok(None);
            };
            let batch = self.to_learn(batch?);
            let waited = asked.elapsed().as_secs_f64();
            let report = self.learner.step(&batch)?;
            self.position.step += 1;
            let point = StepPoint {
                step: self.done(),
                loss: report.loss,
                learning_rate: report.learning_rate,
                grad_norm: report.grad_norm,
                seconds: report.seconds,
                waited,
            };
            self.position.curves.steps.push(point);
            self.tell_step(point);
            if self.saved.elapsed().as_secs_f64() >= self.run.settings.checkpoint_seconds {
                self.save()?;
            }
        }
    }

    fn tell_step(&mut self, point: StepPoint) {
        let recent = self.position.curves.steps.iter().rev().take(20);
        let (count, time) = recent.fold((0, 0.0), |(count, time), point| {
            (count + 1, time + point.seconds + point.waited)
        });
        self.observer.event(&TrainEvent::Step {
            point,
            steps: self.steps,
            remaining_seconds: time / f64::from(count) * (self.steps - point.step) as f64,
        });
    }

    fn validate(&mut self) -> Result<Option<Validation>, TrainError> {
        if self.run.validation.is_empty() {
            return Ok(None);
        }
        let pairs = match self.pairs.take() {
            Some(pairs) => pairs,
            None => self
                .run
                .dataset
                .validation_pairs(&mixed(self.run.validation))?
                // A track alone has nothing to be told apart from.
                .filter(|batch| batch.as_ref().map_or(true, |batch| batch.tracks.len() > 1))
                .map(|batch| batch.map(|batch| self.to_learn(batch)))
                .collect::<Result<Vec<_>, _>>()?,
        };
        let validation = match pairs.is_empty() {
            true => None,
            false => Some(self.learner.validate(&pairs)?),
        };
        self.pairs = Some(pairs);
        Ok(validation)
    }

    /// The encoder as it is served. What it is standardised by are views that the run has not
    /// learned from: those of the epoch after the last one.
    fn trained_encoder(&self, end: End) -> Result<BTreeMap<String, Tensor>, TrainError> {
        if end == End::Cancelled {
            // Nobody serves it, and whoever cancelled does not want to wait.
            return self.learner.encoder_weights();
        }
        let next = self.run.settings.epochs as u64;
        let mut windows = 0;
        let mut sample = Vec::new();
        if self.run.settings.learner.objective.standardises() {
            for batch in self.run.dataset.batches(next, 0)? {
                let batch = self.to_learn(batch?);
                windows += batch.windows();
                sample.push(batch);
                if windows >= STANDARDISED_BY {
                    break;
                }
            }
        }
        self.learner.trained_encoder(&sample)
    }

    /// A batch as the learner takes it. Where artists may share a batch they are told, so that
    /// their tracks are not pushed apart.
    fn to_learn(&self, batch: dataset::ViewBatch) -> ViewBatch {
        let masked = self.run.settings.dataset.same_artist == SameArtist::MaskNegatives;
        ViewBatch {
            frames: batch.frames,
            views: batch.views,
            artists: masked.then_some(batch.artists),
        }
    }

    /// Notes what the epoch measured. A model that gives every track nearly the same embedding has
    /// collapsed: more epochs do not bring it back.
    fn end_epoch(&mut self, validation: Option<Validation>) -> Result<(), TrainError> {
        let epoch = self.position.epoch;
        let collapse = validation
            .as_ref()
            .and_then(|found| found.health.collapse(&self.run.settings.collapse));
        let point = EpochPoint {
            epoch,
            step: self.done(),
            loss: (epoch > 0)
                .then(|| self.position.curves.recent_loss(self.per_epoch))
                .flatten(),
            validation,
        };
        self.position.curves.epochs.push(point.clone());
        self.observer.event(&TrainEvent::Epoch {
            point,
            lost: self.run.dataset.lost(),
        });
        match collapse {
            // Untrained weights may look collapsed; training is what changes that.
            Some(source) if epoch > 0 => Err(TrainError::Collapsed { epoch, source }),
            _ => Ok(()),
        }
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let mut position = self.position.clone();
        position.seconds = self.seconds();
        Checkpoint {
            tensors: self.learner.state()?.tensors,
            position,
        }
        .save(self.run.dir)?;
        self.saved = Instant::now();
        let step = self.done();
        self.observer.event(&TrainEvent::Checkpoint { step });
        Ok(())
    }

    /// Steps that are done, of the whole run.
    fn done(&self) -> usize {
        self.position.epoch * self.per_epoch + self.position.step
    }

    fn seconds(&self) -> f64 {
        self.position.seconds + self.began.elapsed().as_secs_f64()
    }
}
