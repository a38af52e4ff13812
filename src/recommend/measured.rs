//! How long the parts of requests take.

use std::time::Duration;

use prometheus_client::metrics::{
    family::Family,
    histogram::{Histogram, exponential_buckets},
};

use crate::index::Engine;

/// Times in seconds, by what was done. Clones count together.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Decoding a clip and cutting it into windows, by `outcome`: `ok` or `failed`.
    pub decode: Family<[(&'static str, &'static str); 1], Histogram>,
    /// Searching and ranking, by `engine`: `exact` or `graph`.
    pub search: Family<[(&'static str, &'static str); 1], Histogram>,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            // 2 ms to 33 s: a short clip takes some, and the limits end what takes longer.
            decode: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.002, 2.0, 15))
            }),
            // 0.1 ms to 1.6 s: a hundred tracks to some ten millions.
            search: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_1, 2.0, 15))
            }),
        }
    }
}

impl Measured {
    pub(super) fn decoded(&self, took: Duration, well: bool) {
        let outcome = if well { "ok" } else { "failed" };
        self.decode
            .get_or_create(&[("outcome", outcome)])
            .observe(took.as_secs_f64());
    }

    pub(super) fn searched(&self, took: Duration, engine: Engine) {
        let engine = match engine {
            Engine::Exact => "exact",
            Engine::Graph => "graph",
        };
        self.search
            .get_or_create(&[("engine", engine)])
            .observe(took.as_secs_f64());
    }
}
