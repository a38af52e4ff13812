//! `GET /metrics`, in the OpenMetrics text format.
//!
//! What happens is counted as it happens; what is the case is looked up when somebody asks.

mod now;

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
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tokio::sync::Mutex;

use super::{App, Problem, serve::Full};
use crate::recommend::Recommender;
use now::{Counts, Now};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

/// Counters that differ in one word.
type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// Upper bounds of the latency buckets, seconds.
const BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];
const PREFIX: &str = "songkin";
/// How long figures of the database are good: whoever asks all the time shall not make it work all the time.
const COUNTS_KEPT: Duration = Duration::from_secs(1);

/// Why a connection ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A head or a handshake came too slowly.
    Timeout,
    /// What came was no HTTP.
    Malformed,
    /// The client went, or took nothing of its answer.
    Broken,
    /// The handshake failed.
    Tls,
}

/// All counters of the server.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RequestLabels, Histogram>,
    open: Gauge,
    pub(super) connections: Gauge,
    refused: Labelled,
    faulty: Labelled,
    generation_loads: Labelled,
    tls_loads: Labelled,
    counts: Mutex<Option<(Instant, Counts)>>,
}

impl Metrics {
    /// Counters of a server, and with them what its recommender measures.
    #[must_use]
    pub fn new(recommender: &Recommender) -> Self {
        let metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            open: Gauge::default(),
            connections: Gauge::default(),
            refused: Family::default(),
            faulty: Family::default(),
            generation_loads: Family::default(),
            tls_loads: Family::default(),
            counts: Mutex::default(),
        };
        // A rate of failures has to be there, and 0, before the first one.
        for (family, label, words) in [
            (&metrics.refused, "reason", &["total", "address"][..]),
            (
                &metrics.faulty,
                "fault",
                &["timeout", "malformed", "broken", "tls"],
            ),
            (&metrics.generation_loads, "outcome", &["loaded", "refused"]),
            (&metrics.tls_loads, "outcome", &["loaded", "refused"]),
        ] {
            for &word in words {
                drop(family.get_or_create(&[(label, word)]));
            }
        }
        metrics.registered(recommender)
    }

    fn registered(mut self, recommender: &Recommender) -> Self {
        let measured = recommender.measured();
        let batch = recommender.batcher().histograms();
        let registry = &mut self.registry;
        macro_rules! register {
            ($($name:literal, $help:literal, $metric:expr;)+) => {
                $(registry.register($name, $help, $metric.clone());)+
            };
        }
        register! {
            "http_requests", "Requests answered", self.requests;
            "http_request_seconds", "Time to the answer's head", self.seconds;
            "http_requests_open", "Requests whose answer has not begun", self.open;
            "http_connections_open", "Connections", self.connections;
            "http_connections_refused", "Connections for which there was no place", self.refused;
            "http_connections_faulty", "Connections that ended early", self.faulty;
            "generation_loads", "Generations that were to be served", self.generation_loads;
            "tls_loads", "Certificates that were to be used", self.tls_loads;
            "decode_seconds", "Time of decoding a clip and cutting it into windows", measured.decode;
            "search_seconds", "Time of searching and ranking", measured.search;
            "queue_seconds", "Time that a clip's windows waited for the device", batch.wait;
            "batch_windows", "Windows of a batch", batch.windows;
            "batch_seconds", "Time of computing a batch", batch.seconds;
        }
        self
    }

    /// Counts a generation that was to be served.
    pub fn generation_load(&self, well: bool) {
        self.generation_loads.get_or_create(&outcome(well)).inc();
    }

    /// Counts a certificate that was to be used.
    pub fn tls_load(&self, well: bool) {
        self.tls_loads.get_or_create(&outcome(well)).inc();
    }

    pub(super) fn turn_away(&self, full: Full) {
        let reason = match full {
            Full::Total => "total",
            Full::Address => "address",
        };
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    pub(super) fn fault(&self, fault: Fault) {
        let fault = match fault {
            Fault::Timeout => "timeout",
            Fault::Malformed => "malformed",
            Fault::Broken => "broken",
            Fault::Tls => "tls",
        };
        self.faulty.get_or_create(&[("fault", fault)]).inc();
    }
}

fn outcome(well: bool) -> [(&'static str, &'static str); 1] {
    [("outcome", if well { "loaded" } else { "refused" })]
}

/// Counts one more while it lives, whatever becomes of the request.
struct Open<'a>(&'a Gauge);

impl<'a> Open<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
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
    let open = Open::new(&app.metrics.open);
    let response = next.run(request).await;
    drop(open);
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
    let known = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"].contains(&method);
    if known {
        method.to_owned()
    } else {
        "other".to_owned()
    }
}

pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let now = Now::of(&app).await?;
    let mut looked_up = Registry::with_prefix(PREFIX);
    looked_up.register_collector(Box::new(now));
    let mut text = String::new();
    encode_registry(&mut text, &app.metrics.registry)
        .and_then(|()| encode_registry(&mut text, &looked_up))
        .and_then(|()| encode_eof(&mut text))
        .map_err(|error| Problem::internal(&error))?;
    let media =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, media)], text).into_response())
}
