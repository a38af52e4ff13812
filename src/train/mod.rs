//! A catalogue's own model: learned from its audio, without labels.

pub mod checkpoint;
mod curves;
pub mod dataset;
mod error;
pub mod evaluate;
mod gradients;
pub mod health;
mod learner;
mod loss;
mod optimiser;
mod run;
mod schedule;
mod settings;

pub use curves::{Curves, EpochPoint, StepPoint};
pub use error::TrainError;
pub use gradients::Gradients;
pub use learner::{
    Learner, LearnerSettings, LearnerState, Objective, Patchout, Placement, StepReport, Validation,
    ViewBatch,
};
pub use loss::{LossSettings, contrastive_loss};
pub use optimiser::{AdamSettings, Optimiser};
pub use run::{End, Observe, Run, TrainEvent, Trained};
pub use schedule::Schedule;
pub use settings::TrainingSettings;
