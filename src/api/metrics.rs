//! `GET /metrics`, in the OpenMetrics text format.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{App, Problem};
use crate::index::VectorRead;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GenerationLabels {
    generation: String,
    model: String,
}

/// Upper bounds of the latency buckets, seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// All counters of the server.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RequestLabels, Histogram>,
    batches: Gauge,
    windows: Gauge,
    busy_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    waiting: Gauge,
    abandoned: Gauge,
    refused: Gauge,
    clips: Gauge,
    expected_wait: Gauge<f64, std::sync::atomic::AtomicU64>,
    turned_away: Gauge,
    late: Gauge,
    cache_hits: Gauge,
    cache_misses: Gauge,
    cache_bytes: Gauge,
    tracks: Gauge,
    generation: Family<GenerationLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("songkin"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            batches: Gauge::default(),
            windows: Gauge::default(),
            busy_seconds: Gauge::default(),
            waiting: Gauge::default(),
            abandoned: Gauge::default(),
            refused: Gauge::default(),
            clips: Gauge::default(),
            expected_wait: Gauge::default(),
            turned_away: Gauge::default(),
            late: Gauge::default(),
            cache_hits: Gauge::default(),
            cache_misses: Gauge::default(),
            cache_bytes: Gauge::default(),
            tracks: Gauge::default(),
            generation: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "http_requests",
            "Requests answered",
            metrics.requests.clone(),
        );
        registry.register(
            "http_request_seconds",
            "Time to the answer's head",
            metrics.seconds.clone(),
        );
        registry.register(
            "device_batches",
            "Forward passes since the start",
            metrics.batches.clone(),
        );
        registry.register(
            "device_windows",
            "Windows computed since the start",
            metrics.windows.clone(),
        );
        registry.register(
            "device_busy_seconds",
            "Time in forward passes since the start",
            metrics.busy_seconds.clone(),
        );
        registry.register(
            "device_waiting_windows",
            "Windows that wait for the device",
            metrics.waiting.clone(),
        );
        registry.register(
            "device_abandoned",
            "Requests dropped because their caller had gone",
            metrics.abandoned.clone(),
        );
        registry.register(
            "device_refused",
            "Requests refused because the queue was full",
            metrics.refused.clone(),
        );
        registry.register(
            "clips_inside",
            "Clips that are uploaded, wait or are analysed",
            metrics.clips.clone(),
        );
        registry.register(
            "clips_expected_wait_seconds",
            "How long the next clip would wait",
            metrics.expected_wait.clone(),
        );
        registry.register(
            "clips_refused",
            "Clips refused before their upload since the start",
            metrics.turned_away.clone(),
        );
        registry.register(
            "clips_late",
            "Clips that were let in and then waited too long, since the start",
            metrics.late.clone(),
        );
        registry.register(
            "cache_hits",
            "Clips whose analysis was kept, since the start",
            metrics.cache_hits.clone(),
        );
        registry.register(
            "cache_misses",
            "Clips that were analysed, since the start",
            metrics.cache_misses.clone(),
        );
        registry.register(
            "cache_bytes",
            "Memory that kept analyses take",
            metrics.cache_bytes.clone(),
        );
        registry.register(
            "index_tracks",
            "Tracks that can be found",
            metrics.tracks.clone(),
        );
        registry.register(
            "generation_info",
            "The loaded generation",
            metrics.generation.clone(),
        );
        metrics
    }
}

/// Counts a request.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().as_str().to_owned();
    // Unmatched paths share one label: a label a path would let anyone grow the server's memory.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let response = next.run(request).await;
    let labels = RequestLabels {
        method: known_method(&method),
        route,
        status: response.status().as_u16(),
    };
    app.metrics.requests.get_or_create(&labels).inc();
    app.metrics
        .seconds
        .get_or_create(&labels)
        .observe(started.elapsed().as_secs_f64());
    response
}

/// Methods are free text in HTTP: those that no route knows share one label.
fn known_method(method: &str) -> String {
    let known = ["GET", "HEAD", "POST", "OPTIONS"].contains(&method);
    if known {
        method.to_owned()
    } else {
        "other".to_owned()
    }
}

pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let metrics = &app.metrics;
    let stats = app.recommender.batcher().stats();
    let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    set(&metrics.batches, stats.batches);
    set(&metrics.windows, stats.windows);
    set(&metrics.waiting, stats.waiting as u64);
    set(&metrics.abandoned, stats.abandoned);
    set(&metrics.refused, stats.refused);
    metrics
        .busy_seconds
        .set(Duration::from_micros(stats.busy_micros).as_secs_f64());
    let admission = app.recommender.admission_stats();
    set(&metrics.clips, admission.inside as u64);
    metrics
        .expected_wait
        .set(admission.expected_wait.as_secs_f64());
    set(&metrics.turned_away, admission.refused);
    set(&metrics.late, admission.late);
    let cache = app.recommender.cache_stats();
    set(&metrics.cache_hits, cache.hits);
    set(&metrics.cache_misses, cache.misses);
    set(&metrics.cache_bytes, cache.bytes);
    metrics.generation.clear();
    if let Ok(generation) = app.recommender.generation() {
        let tracks = generation
            .index
            .stats()
            .map_err(|error| Problem::internal(&error))?
            .tracks;
        set(&metrics.tracks, tracks as u64);
        let labels = GenerationLabels {
            generation: generation.manifest.id.clone(),
            model: generation.manifest.model.name.clone(),
        };
        metrics.generation.get_or_create(&labels).set(1);
    }
    let mut text = String::new();
    encode(&mut text, &metrics.registry).map_err(|error| Problem::internal(&error))?;
    let media =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, media)], text).into_response())
}
