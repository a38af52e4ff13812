//! Songkin's side of `scripts/bench-peers`.
//!
//! ```text
//! cargo bench --bench peers -- DIRECTORY
//! ```
//!
//! The directory holds models as `transformers` writes them, a subdirectory each, and beside them
//! `io.safetensors`: `windows`, `[windows, frames, mel_bins]`, and for each model the pooled output that
//! `transformers` gives for them, `[windows, hidden]`. It takes two kinds of lines:
//!
//! - `forward MODEL BATCH`: a forward pass of the first `BATCH` windows; gives how far its output is off at most;
//! - `front SECONDS FILE`: the first seconds of a file decoded, resampled and made into windows for the encoder; gives the mean
//!   of the first one.
//!
//! What is given is followed by wall seconds, processor seconds and peak memory in MiB.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "side.rs"]
mod side;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use songkin::{
    audio::{DecodeLimits, Decoder, Excerpt, Fbank, FeatureConfig},
    model::{Encoder, ModelDir, Precision},
};

fn main() {
    let Some(dir) = side::input("scripts/bench-peers") else {
        return;
    };
    let mut work = Work::new(PathBuf::from(dir));
    side::answer(|line| {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words[..] {
            ["forward", name, batch] => work.forward(name, batch.parse().unwrap()),
            ["front", seconds, file] => work.front(seconds.parse().unwrap(), Path::new(file)),
            _ => panic!("{line}"),
        }
    });
}

struct Work {
    dir: PathBuf,
    io: HashMap<String, Tensor>,
    encoders: HashMap<String, Encoder>,
    decoder: Decoder,
    features: FeatureConfig,
    fbank: Fbank,
}

impl Work {
    fn new(dir: PathBuf) -> Self {
        let features = FeatureConfig::default();
        Self {
            io: candle_core::safetensors::load(dir.join("io.safetensors"), &Device::Cpu).unwrap(),
            encoders: HashMap::new(),
            decoder: Decoder::new(DecodeLimits::default(), None),
            fbank: Fbank::new(&features).unwrap(),
            features,
            dir,
        }
    }

    fn forward(&mut self, name: &str, batch: usize) -> f32 {
        let encoder = self.encoders.entry(name.to_owned()).or_insert_with(|| {
            let model = ModelDir::load(&self.dir.join(name)).unwrap();
            model.encoder(&Device::Cpu, Precision::F32).unwrap()
        });
        let first = |what: &str| self.io[what].narrow(0, 0, batch).unwrap();
        let output = encoder.ast().forward(&first("windows")).unwrap().embedding;
        let difference = (output - first(name)).unwrap().abs().unwrap();
        let difference = difference.flatten_all().unwrap().max(0).unwrap();
        difference.to_scalar().unwrap()
    }

    fn front(&self, seconds: f64, file: &Path) -> f32 {
        let excerpt = Excerpt {
            offset_seconds: 0.0,
            max_seconds: seconds,
        };
        let clip = self.decoder.decode_file(file, excerpt).unwrap().clip;
        let spectrogram = self.fbank.spectrogram(&clip).unwrap();
        let frames = self.features.max_length;
        let windows: Vec<Vec<f32>> = spectrogram
            .windows(frames)
            .iter()
            .map(|at| spectrogram.window(at.start_frame, frames))
            .collect();
        windows[0].iter().sum::<f32>() / windows[0].len() as f32
    }
}
