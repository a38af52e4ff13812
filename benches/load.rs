//! The load generator of `scripts/bench-load`: says `ready`, then answers every line on standard input with numbers.
//!
//! ```text
//! post URL CLIENTS REQUESTS      each client sends its next clip when the former is answered
//! flood URL RATE SECONDS         clips at a fixed rate, whether answers come or not
//! similar URL RATE SECONDS IDS   GET URL/v1/tracks/ID/similar at a fixed rate, IDs from the file IDS
//! ```
//!
//! The answer: requests answered 200, 503, 503 without `Retry-After`, and otherwise; then the median, 99th percentile and
//! longest time of those answered 200 and the longest of the others, in milliseconds, seconds that all took, and what
//! `side::answer` adds. At a fixed rate a time starts when the request is due, not when it is sent.
//!
//! Started as `load DIR TRACKS MODEL`, it fills a catalogue with synthetic tracks instead.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "catalogue.rs"]
mod catalogue;
#[path = "side.rs"]
mod side;

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, StatusCode, header};
use tokio::{runtime::Runtime, sync::mpsc};

/// Clips held in memory at most; then they come again.
const CLIPS: usize = 256;

fn main() {
    let Some(dir) = side::input("scripts/bench-load") else {
        return;
    };
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [_, tracks, model] = &words[..] {
        let filling = catalogue::fill(Path::new(&dir), tracks.parse().unwrap(), Path::new(model));
        return Runtime::new().unwrap().block_on(filling);
    }
    let load = Arc::new(Load::new(Path::new(&dir)));
    // The generator shares the cores with what it measures: one thread sends, this one keeps time.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    side::answer(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<f64>().unwrap();
        match words[0] {
            "post" => closed(
                &runtime,
                &load,
                words[1],
                number(2) as usize,
                number(3) as usize,
            ),
            "flood" => {
                let (load, url) = (Arc::clone(&load), words[1].to_owned());
                open(&runtime, number(2), number(3), move |_| load.post(&url))
            }
            "similar" => {
                let (load, url) = (Arc::clone(&load), words[1].to_owned());
                let text = std::fs::read_to_string(words[4]).unwrap();
                let ids: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
                open(&runtime, number(2), number(3), move |request| {
                    // A stride that no catalogue's size divides: far apart, and none twice in a round.
                    let id = ids[request * 7919 % ids.len()];
                    load.client.get(format!("{url}/v1/tracks/{id}/similar"))
                })
            }
            _ => panic!("{line}"),
        }
    });
}

struct Load {
    client: Client,
    clips: Vec<Bytes>,
    next: AtomicUsize,
}

impl Load {
    fn new(dir: &Path) -> Self {
        let mut files: Vec<_> = walkdir::WalkDir::new(dir)
            .into_iter()
            .filter_map(Result::ok)
            .map(walkdir::DirEntry::into_path)
            .filter(|path| path.extension().is_some_and(|extension| extension == "mp3"))
            .collect();
        files.sort();
        let read = |path| Bytes::from(std::fs::read(path).unwrap());
        Self {
            client: Client::builder()
                .timeout(Duration::from_secs(120))
                .build()
                .unwrap(),
            clips: files.iter().take(CLIPS).map(read).collect(),
            next: AtomicUsize::new(0),
        }
    }

    fn post(&self, url: &str) -> RequestBuilder {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.clips.len();
        self.client
            .post(format!("{url}/v1/recommendations"))
            .header(header::CONTENT_TYPE, "audio/mpeg")
            .body(self.clips[next].clone())
    }
}

/// What became of one request.
struct Outcome {
    status: Option<StatusCode>,
    retry_after: bool,
    elapsed: Duration,
}

async fn send(request: RequestBuilder, due: Instant) -> Outcome {
    let answer = request.send().await;
    let mut outcome = Outcome {
        status: None,
        retry_after: false,
        elapsed: Duration::ZERO,
    };
    if let Ok(answer) = answer {
        outcome.retry_after = answer.headers().contains_key(header::RETRY_AFTER);
        let status = answer.status();
        outcome.status = answer.bytes().await.is_ok().then_some(status);
    }
    outcome.elapsed = due.elapsed();
    outcome
}

fn closed(
    runtime: &Runtime,
    load: &Arc<Load>,
    url: &str,
    clients: usize,
    requests: usize,
) -> Summary {
    let started = Instant::now();
    let left = Arc::new(AtomicUsize::new(requests));
    let (outcomes, mut received) = mpsc::unbounded_channel();
    for _ in 0..clients {
        let (load, left, outcomes) = (Arc::clone(load), Arc::clone(&left), outcomes.clone());
        let url = url.to_owned();
        runtime.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                let outcome = send(load.post(&url), Instant::now()).await;
                outcomes.send(outcome).unwrap();
            }
        });
    }
    drop(outcomes);
    Summary::of(started, std::iter::from_fn(|| received.blocking_recv()))
}

fn open(
    runtime: &Runtime,
    rate: f64,
    seconds: f64,
    request: impl Fn(usize) -> RequestBuilder,
) -> Summary {
    let started = Instant::now();
    let (outcomes, mut received) = mpsc::unbounded_channel();
    for number in 0..(rate * seconds) as usize {
        let due = started + Duration::from_secs_f64(number as f64 / rate);
        // The system's timer is finer than the runtime's.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (request, outcomes) = (request(number), outcomes.clone());
        runtime.spawn(async move { outcomes.send(send(request, due).await).unwrap() });
    }
    drop(outcomes);
    Summary::of(started, std::iter::from_fn(|| received.blocking_recv()))
}

struct Summary {
    answered: Vec<Duration>,
    refused: usize,
    unexplained: usize,
    failed: usize,
    slowest_other: Duration,
    seconds: f64,
}

impl Summary {
    fn of(started: Instant, outcomes: impl Iterator<Item = Outcome>) -> Self {
        let mut summary = Self {
            answered: Vec::new(),
            refused: 0,
            unexplained: 0,
            failed: 0,
            slowest_other: Duration::ZERO,
            seconds: 0.0,
        };
        for outcome in outcomes {
            if outcome.status == Some(StatusCode::OK) {
                summary.answered.push(outcome.elapsed);
                continue;
            }
            summary.slowest_other = summary.slowest_other.max(outcome.elapsed);
            if outcome.status == Some(StatusCode::SERVICE_UNAVAILABLE) {
                summary.refused += 1;
                summary.unexplained += usize::from(!outcome.retry_after);
            } else {
                summary.failed += 1;
            }
        }
        summary.seconds = started.elapsed().as_secs_f64();
        summary.answered.sort();
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.answered.len().saturating_sub(1);
        let quantile = |part: f64| {
            let at = (part * last as f64).round() as usize;
            self.answered
                .get(at)
                .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        write!(
            out,
            "{} {} {} {} {} {} {} {} {}",
            self.answered.len(),
            self.refused,
            self.unexplained,
            self.failed,
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
            self.slowest_other.as_secs_f64() * 1e3,
            self.seconds,
        )
    }
}
