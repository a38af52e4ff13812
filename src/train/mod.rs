//! A catalogue's own model: learned from its audio, without labels.

pub mod dataset;
mod error;
pub mod evaluate;
mod gradients;
pub mod health;
mod learner;
mod loss;
mod optimiser;
mod schedule;

pub use error::TrainError;
pub use gradients::Gradients;
pub use learner::{
    Learner, LearnerSettings, LearnerState, Patchout, Placement, Pooling, StepReport, Validation,
    ViewBatch,
};
pub use loss::{LossSettings, contrastive_loss};
pub use optimiser::{AdamSettings, Optimiser};
pub use schedule::Schedule;
