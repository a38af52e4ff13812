//! What the README's performance table says, one line a figure.
//!
//! ```text
//! cargo bench --bench figures              everything (the graph over 100,000 vectors takes minutes)
//! cargo bench --bench figures -- decode    the figures whose name contains "decode"
//! ```
//!
//! Each figure is the median of many runs on one machine, told with its fastest and slowest run.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use songkin::{
    audio::{DecodeLimits, Decoder, Excerpt, Fbank, FeatureConfig, fingerprint, resample},
    index::{Effort, EmbeddedIndex, Item, OracleIndex, Query, Settings, VectorRead, VectorWrite},
    model::{AstConfig, EncodeWindows, ModelDir, Precision, Preset, untrained_weights},
    program::Parts,
    track::TrackId,
};
use stock::StockEncoder;
use tokio::sync::Notify;

/// Takes figures whose name the command line asks for.
struct Figures {
    wanted: Vec<String>,
}

impl Figures {
    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| name.contains(part.as_str()))
    }

    /// Runs for about two seconds, at least five times, after one run that is not counted.
    fn time(&self, name: &str, mut run: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        run();
        let mut times = Vec::new();
        let started = Instant::now();
        while times.len() < 5 || (started.elapsed() < Duration::from_secs(2) && times.len() < 2000)
        {
            let run_started = Instant::now();
            run();
            times.push(run_started.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
        println!(
            "{name}: {median:.3} ms ({least:.3} to {most:.3}, {} runs)",
            times.len()
        );
    }
}

#[path = "../tests/it/stock.rs"]
mod stock;

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let figures = Figures { wanted };
    audio(&figures);
    forward(&figures);
    search(&figures);
    request(&figures);
}

fn mp3() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/fma_demo/022/022003.mp3")
}

fn clip() -> Vec<f32> {
    let all = Excerpt {
        offset_seconds: 0.0,
        max_seconds: 30.0,
    };
    Decoder::new(DecodeLimits::default(), None)
        .decode_file(&mp3(), all)
        .unwrap()
        .clip
}

fn audio(figures: &Figures) {
    let decoder = Decoder::new(DecodeLimits::default(), None);
    let decode = |seconds: f64| {
        let excerpt = Excerpt {
            offset_seconds: 0.0,
            max_seconds: seconds,
        };
        black_box(decoder.decode_file(&mp3(), excerpt).unwrap());
    };
    let clip = clip();
    let seconds = clip.len() / 16_000;
    figures.time("decode and resample, first 10 s of an MP3", || {
        decode(10.24);
    });
    figures.time(
        &format!("decode and resample, {seconds} s of an MP3"),
        || decode(30.0),
    );

    let stereo_rate: Vec<f32> = (0..44_100 * 30)
        .map(|i| (i as f32 * 0.05).sin() * 0.5)
        .collect();
    figures.time("resample, 30 s from 44.1 to 16 kHz", || {
        black_box(resample(&stereo_rate, 44_100));
    });

    let fbank = Fbank::new(&FeatureConfig::default()).unwrap();
    figures.time("fbank, 10 s", || {
        black_box(fbank.spectrogram(&clip[..160_000]).unwrap());
    });
    figures.time(&format!("fbank, {seconds} s"), || {
        black_box(fbank.spectrogram(&clip).unwrap());
    });
    figures.time("landmarks, 10 s", || {
        black_box(fingerprint::landmarks(&clip[..160_000]));
    });
    figures.time(&format!("landmarks of a query, {seconds} s"), || {
        black_box(fingerprint::query_landmarks(&clip));
    });
}

fn forward(figures: &Figures) {
    for preset in [Preset::Small, Preset::Paper] {
        let names = [1, 8].map(|batch| format!("forward, {}, batch {batch}", preset.name()));
        encode(figures, &preset.config(), &names);
    }
    // What the preset `small` was chosen from, see docs/MODEL.md.
    for width in [192, 256, 384] {
        let config = AstConfig {
            hidden_size: width,
            num_attention_heads: width / 64,
            intermediate_size: 4 * width,
            ..Preset::Small.config()
        };
        encode(
            figures,
            &config,
            &[format!("forward, 6 layers {width} wide, batch 1")],
        );
    }
}

/// Times batches of 1 and 8, as many as there are names.
fn encode(figures: &Figures, config: &AstConfig, names: &[String]) {
    if !names.iter().any(|name| figures.wants(name)) {
        return;
    }
    let weights = untrained_weights(config, 0).unwrap();
    let model = ModelDir::new(config.clone(), FeatureConfig::default(), weights).unwrap();
    let encoder = model.encoder(&Device::Cpu, Precision::F32).unwrap();
    let window: Vec<f32> = (0..encoder.window_len())
        .map(|i| (i % 101) as f32 / 50.0 - 1.0)
        .collect();
    let stock = StockEncoder::new(&model).unwrap();
    for (name, batch) in names.iter().zip([1, 8]) {
        let windows = vec![window.as_slice(); batch];
        figures.time(name, || {
            black_box(encoder.encode(&windows).unwrap());
        });
        let shape = (batch, config.max_length, config.num_mel_bins);
        let windows = Tensor::from_vec(windows.concat(), shape, &Device::Cpu).unwrap();
        figures.time(&format!("{name}, stock candle"), || {
            black_box(stock.forward(&windows).unwrap());
        });
    }
}

const COUNT: u32 = 100_000;
const DIMENSION: usize = 512;

/// Unit vectors around a thousand centres: music clusters by artist and album too.
fn vectors(rng: &mut ChaCha8Rng, centres: &[Vec<f32>], count: u32) -> Vec<Vec<f32>> {
    (0..count)
        .map(|_| {
            let centre = &centres[rng.random_range(0..centres.len())];
            unit(
                centre
                    .iter()
                    .map(|value| value + rng.random_range(-0.06..0.06))
                    .collect(),
            )
        })
        .collect()
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    songkin::model::normalise(&mut vector).unwrap();
    vector
}

fn search(figures: &Figures) {
    let names = [
        "search, exact, 100k x 512",
        "search, graph, 100k x 512",
        "search, graph build, 100k x 512",
    ];
    if !names.iter().any(|name| figures.wants(name)) {
        return;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let centres: Vec<Vec<f32>> = (0..1000)
        .map(|_| {
            unit(
                (0..DIMENSION)
                    .map(|_| rng.random_range(-1.0..1.0))
                    .collect(),
            )
        })
        .collect();
    let items: Vec<Item> = vectors(&mut rng, &centres, COUNT)
        .into_iter()
        .zip(0..)
        .map(|(vector, id)| Item {
            id: TrackId(id),
            vector,
            fields: Vec::new(),
        })
        .collect();
    let queries = vectors(&mut rng, &centres, 200);

    let exact = EmbeddedIndex::build(
        &items,
        DIMENSION,
        Settings {
            exact_up_to: COUNT as usize,
            ..Settings::default()
        },
    )
    .unwrap();
    let mut next = 0;
    figures.time(names[0], || {
        next = (next + 1) % queries.len();
        black_box(
            exact
                .search(&Query::nearest(queries[next].clone(), 10))
                .unwrap(),
        );
    });
    if !figures.wants(names[1]) && !figures.wants(names[2]) {
        return;
    }
    let settings = Settings {
        exact_up_to: 0,
        ..Settings::default()
    };
    let started = Instant::now();
    let graph = EmbeddedIndex::build(&items, DIMENSION, settings).unwrap();
    println!(
        "{}: {:.1} s (one run, all cores)",
        names[2],
        started.elapsed().as_secs_f64()
    );

    let oracle = OracleIndex::new(DIMENSION);
    oracle.upsert(&items).unwrap();
    let truth: Vec<Vec<TrackId>> = queries
        .iter()
        .map(|query| ids(&oracle, query, Effort::Exact))
        .collect();
    for ef_search in [32, 64, 128, 256] {
        let effort = Effort::Planned {
            ef_search: Some(ef_search),
        };
        let found = queries.iter().zip(&truth).map(|(query, truth)| {
            ids(&graph, query, effort)
                .iter()
                .filter(|id| truth.contains(id))
                .count()
        });
        let recall = found.sum::<usize>() as f64 / (10 * queries.len()) as f64;
        let name = format!("{}, ef {ef_search}, recall@10 {recall:.3}", names[1]);
        let mut next = 0;
        figures.time(&name, || {
            next = (next + 1) % queries.len();
            let query = Query {
                effort,
                ..Query::nearest(queries[next].clone(), 10)
            };
            black_box(graph.search(&query).unwrap());
        });
    }
}

fn ids(index: &dyn VectorRead, query: &[f32], effort: Effort) -> Vec<TrackId> {
    let query = Query {
        effort,
        ..Query::nearest(query.to_vec(), 10)
    };
    index
        .search(&query)
        .unwrap()
        .hits
        .into_iter()
        .map(|hit| hit.id)
        .collect()
}

/// Whole requests over a real connection: upload, decode, front end, encoder, search, description.
fn request(figures: &Figures) {
    let names = [
        "request, POST of a 26 s MP3",
        "request, POST of its first 5 s",
        "request, GET similar",
    ];
    if !names.iter().any(|name| figures.wants(name)) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (address, stop) = runtime.block_on(start(dir.path()));
    let client = reqwest::Client::new();
    let all = std::fs::read(mp3()).unwrap();
    let bytes_a_second = all.len() / 26;
    let post = |body: &[u8]| {
        let request = client
            .post(format!("http://{address}/v1/recommendations"))
            .header("content-type", "audio/mpeg")
            .body(body.to_vec());
        runtime.block_on(async {
            request
                .send()
                .await
                .unwrap()
                .error_for_status()
                .unwrap()
                .bytes()
                .await
                .unwrap()
        })
    };
    figures.time(names[0], || {
        black_box(post(&all));
    });
    figures.time(names[1], || {
        black_box(post(&all[..5 * bytes_a_second]));
    });
    figures.time(names[2], || {
        let request = client.get(format!("http://{address}/v1/tracks/22003/similar"));
        black_box(runtime.block_on(async {
            request
                .send()
                .await
                .unwrap()
                .error_for_status()
                .unwrap()
                .bytes()
                .await
                .unwrap()
        }));
    });
    stop.notify_one();
}

/// Serves the demo catalogue from a fresh data directory.
async fn start(data: &Path) -> (std::net::SocketAddr, Arc<Notify>) {
    let mut settings = songkin::config::Settings::default();
    settings.data.dir = data.to_path_buf();
    settings.server.anonymous = true;
    // The same clip comes again and again, and is to be analysed each time.
    settings.cache.max_mib = 0;
    let parts = Parts::open(settings, || ()).await.unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    songkin::program::prepare_demo(&parts, &demo).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    tokio::spawn(async move {
        parts
            .serve(listener, async move { stopped.notified().await })
            .await
            .unwrap();
    });
    let client = reqwest::Client::new();
    while !client
        .get(format!("http://{address}/readyz"))
        .send()
        .await
        .is_ok_and(|answer| answer.status().is_success())
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (address, stop)
}
