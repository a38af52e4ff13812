//! Training steps for `scripts/bench-step`, one line each on standard output.
//!
//! ```text
//! cargo bench --bench step -- INPUT.safetensors
//! ```
//!
//! The file holds an encoder's weights `encoder.*` and a head's `head.*`, both with the names of
//! [`songkin::train::LearnerState`], and `windows`, `[2, tracks, frames, mel_bins]`. After a line
//! `ready`, every line on standard input is answered by one step's loss, wall seconds, processor
//! seconds and the process's peak memory in MiB.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "side.rs"]
mod side;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use songkin::{
    model::Preset,
    train::{AdamSettings, Learner, LearnerSettings, LearnerState, LossSettings, ViewBatch},
};

fn main() {
    let Some(input) = side::input("scripts/bench-step") else {
        return;
    };
    let mut tensors: BTreeMap<String, Tensor> = candle_core::safetensors::load(input, &Device::Cpu)
        .unwrap()
        .into_iter()
        .collect();
    let windows = tensors.remove("windows").unwrap();
    for (name, weight) in tensors.clone() {
        tensors.insert(format!("m.{name}"), weight.zeros_like().unwrap());
        tensors.insert(format!("v.{name}"), weight.zeros_like().unwrap());
    }
    let settings = LearnerSettings {
        loss: LossSettings {
            temperature: 0.1,
            decoupled: false,
        },
        optimiser: AdamSettings {
            learning_rate: 1e-4,
            ..AdamSettings::default()
        },
        ..LearnerSettings::default()
    };
    let state = LearnerState { step: 0, tensors };
    let mut learner =
        Learner::restore(&Preset::Small.config(), settings, &state, &Device::Cpu).unwrap();
    drop(state);
    let (views, tracks, frames, _) = windows.dims4().unwrap();
    let window = |view, track| {
        let window = windows.get(view).unwrap().get(track).unwrap();
        window.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let batch = ViewBatch {
        frames,
        views: (0..views)
            .map(|view| (0..tracks).map(|track| window(view, track)).collect())
            .collect(),
        artists: None,
    };
    side::answer(|_| learner.step(&batch).unwrap().loss);
}
