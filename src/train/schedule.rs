//! How the learning rate goes over a run.

use serde::{Deserialize, Serialize};

/// The learning rate's course, as a factor on its peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The peak throughout.
    #[default]
    Constant,
    /// A linear rise, then half a cosine down (Loshchilov, Hutter 2017, "SGDR", arXiv:1608.03983,
    /// equation 5, without restarts).
    WarmupCosine {
        /// Steps of the rise; the last of them is the first at the peak.
        warmup_steps: u64,
        /// Steps of the run. Beyond them the floor holds.
        total_steps: u64,
        /// Where the descent ends, as a part of the peak.
        floor: f64,
    },
}

impl Schedule {
    /// The factor for a step, counted from 0.
    #[must_use]
    pub fn factor(&self, step: u64) -> f64 {
        match *self {
            Self::Constant => 1.0,
            Self::WarmupCosine { warmup_steps, .. } if step < warmup_steps => {
                (step + 1) as f64 / warmup_steps as f64
            }
            Self::WarmupCosine {
                warmup_steps,
                total_steps,
                floor,
            } => {
                let descent = total_steps.saturating_sub(warmup_steps).max(1);
                let progress = ((step - warmup_steps) as f64 / descent as f64).min(1.0);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                floor + (1.0 - floor) * cosine
            }
        }
    }
}
