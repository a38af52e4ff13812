//! Songkin's side of `scripts/bench-peers`.
//!
//! ```text
//! cargo bench --bench peers -- DIRECTORY
//! ```
//!
//! The directory holds models as `transformers` writes them, a subdirectory each, and beside them
//! `io.safetensors`: `windows`, `[windows, frames, mel_bins]`, and for each model the pooled output that
//! `transformers` gives for them, `[windows, hidden]`. `search.safetensors` holds unit vectors: `vectors`,
//! `[points, dimension]`, `queries`, `[queries, dimension]`, and `truth`, `[queries, 10]`, the numbers of the vectors
//! nearest to each query. It takes these lines:
//!
//! - `forward MODEL BATCH`, `bf16 MODEL BATCH`, `int8 MODEL BATCH`: a forward pass of the first `BATCH` windows to their embeddings,
//!   in f32, bf16 or int8 (where the processor multiplies that); gives how far its output is off at most;
//! - `peak`: gives how many floating-point operations a second a core's fused multiply-adds make, without any memory;
//! - `front SECONDS FILE`: the first seconds of a file decoded, resampled and made into windows for the encoder; gives the mean
//!   of the first one;
//! - `build`: a graph over the vectors; gives the bytes that index and vectors take in memory;
//! - `graph EF` and `scan`: the 10 nearest to each query, one query after the other, by the graph and by the exact scan; gives
//!   recall@10, and the 99th percentile of a query's seconds.
//!
//! What is given is followed by wall seconds, processor seconds and peak memory in MiB.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "side.rs"]
mod side;

use std::{
    collections::HashMap,
    hint::black_box,
    path::{Path, PathBuf},
    time::Instant,
};

use candle_core::{Device, Tensor};
use pulp::{Arch, Simd, WithSimd};
use songkin::{
    audio::{DecodeLimits, Decoder, Excerpt, Fbank, FeatureConfig},
    index::{Effort, EmbeddedIndex, Item, Query, Settings, VectorRead},
    model::{Encoder, ModelDir, Precision, PrecisionChoice},
    track::TrackId,
};

fn main() {
    let Some(dir) = side::input("scripts/bench-peers") else {
        return;
    };
    let mut work = Work::new(PathBuf::from(dir));
    side::answer(|line| {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words[..] {
            ["forward" | "bf16" | "int8", name, batch] => {
                let choice = match words[0] {
                    "int8" => PrecisionChoice::Int8,
                    "bf16" => PrecisionChoice::Bf16,
                    _ => PrecisionChoice::F32,
                };
                let difference = work.forward(name, choice, batch.parse().unwrap());
                difference.to_string()
            }
            ["peak"] => Arch::new().dispatch(Peak).to_string(),
            ["front", seconds, file] => work
                .front(seconds.parse().unwrap(), Path::new(file))
                .to_string(),
            ["build"] => work.search.insert(Search::build(&work.dir)).bytes(),
            ["graph", ef] => {
                let ef_search = Some(ef.parse().unwrap());
                work.search(Effort::Planned { ef_search })
            }
            ["scan"] => work.search(Effort::Exact),
            _ => panic!("{line}"),
        }
    });
}

struct Work {
    dir: PathBuf,
    io: HashMap<String, Tensor>,
    encoders: HashMap<(String, Precision), Encoder>,
    decoder: Decoder,
    features: FeatureConfig,
    fbank: Fbank,
    search: Option<Search>,
}

impl Work {
    fn new(dir: PathBuf) -> Self {
        let features = FeatureConfig::default();
        Self {
            io: candle_core::safetensors::load(dir.join("io.safetensors"), &Device::Cpu)
                .unwrap_or_default(),
            encoders: HashMap::new(),
            decoder: Decoder::new(DecodeLimits::default(), None),
            fbank: Fbank::new(&features).unwrap(),
            features,
            search: None,
            dir,
        }
    }

    fn forward(&mut self, name: &str, choice: PrecisionChoice, batch: usize) -> f32 {
        let precision = choice.on(&Device::Cpu);
        let key = (name.to_owned(), precision);
        let encoder = self.encoders.entry(key).or_insert_with(|| {
            let model = ModelDir::load(&self.dir.join(name)).unwrap();
            model.encoder(&Device::Cpu, precision).unwrap()
        });
        let first = |what: &str| self.io[what].narrow(0, 0, batch).unwrap();
        let output = encoder.ast().embed(&first("windows")).unwrap();
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

    fn search(&self, effort: Effort) -> String {
        let search = self.search.as_ref().unwrap();
        let mut seconds = Vec::new();
        let mut found = 0;
        for (vector, truth) in search.queries.iter().zip(&search.truth) {
            let started = Instant::now();
            let query = Query {
                effort,
                ..Query::nearest(vector.clone(), truth.len())
            };
            let hits = search.index.search(&query).unwrap().hits;
            seconds.push(started.elapsed().as_secs_f64());
            found += hits.iter().filter(|hit| truth.contains(&hit.id.0)).count();
        }
        let wanted = search.truth.concat().len();
        seconds.sort_unstable_by(f64::total_cmp);
        let slow = seconds[(seconds.len() - 1) * 99 / 100];
        format!("{} {slow}", found as f64 / wanted as f64)
    }
}

/// Fused multiply-adds on so many registers that none waits for another.
struct Peak;

impl WithSimd for Peak {
    /// Floating-point operations a second.
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        const REGISTERS: usize = 12;
        const ROUNDS: usize = 10_000_000;
        let factor = simd.splat_f32s(black_box(0.999));
        let mut sums = [simd.splat_f32s(black_box(1.0)); REGISTERS];
        let started = Instant::now();
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(factor, *sum, factor);
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        for sum in sums {
            black_box(simd.reduce_sum_f32s(sum));
        }
        (2 * REGISTERS * ROUNDS * S::F32_LANES) as f64 / seconds
    }
}

struct Search {
    index: EmbeddedIndex,
    queries: Vec<Vec<f32>>,
    truth: Vec<Vec<u32>>,
}

impl Search {
    fn build(dir: &Path) -> Self {
        let path = dir.join("search.safetensors");
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let vectors: Vec<Vec<f32>> = tensors["vectors"].to_vec2().unwrap();
        let dimension = vectors[0].len();
        let items: Vec<Item> = (0..)
            .map(TrackId)
            .zip(vectors)
            .map(|(id, vector)| Item {
                id,
                vector,
                fields: Vec::new(),
            })
            .collect();
        let settings = Settings {
            exact_up_to: 0,
            look_cost: 0,
            ..Settings::default()
        };
        Self {
            index: EmbeddedIndex::build(&items, dimension, settings).unwrap(),
            queries: tensors["queries"].to_vec2().unwrap(),
            truth: tensors["truth"].to_vec2().unwrap(),
        }
    }

    fn bytes(&self) -> String {
        self.index.stats().unwrap().bytes.to_string()
    }
}
