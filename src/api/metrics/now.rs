//! What is the case at this moment, as metrics.

use std::{fmt, fs, time::Instant};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::COUNTS_KEPT;
use crate::{
    api::{App, Problem, health::Readiness},
    batch::BatchStats,
    catalog::{DescriptionStats, FileCounts},
    index::{Stats, VectorRead},
    jobs::JobCount,
    recommend::{AdmissionStats, CacheStats, LiveStats},
    text::Chain,
};

/// What the database counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    jobs: Vec<JobCount>,
    files: Option<FileCounts>,
}

/// Everything that is looked up and not counted.
#[derive(Debug)]
pub(super) struct Now {
    readiness: Readiness,
    batch: BatchStats,
    admission: AdmissionStats,
    cache: CacheStats,
    descriptions: DescriptionStats,
    live: LiveStats,
    /// Bytes in the spool, and uploads that it had no room for.
    spool: (u64, u64),
    /// The generation's id, its model's name and its index.
    loaded: Option<(String, String, Stats)>,
    counts: Counts,
    resident: Option<u64>,
}

impl Now {
    pub(super) async fn of(app: &App) -> Result<Self, Problem> {
        let recommender = &app.recommender;
        let loaded = match recommender.generation() {
            Ok(generation) => {
                let stats = generation.index.stats();
                let stats = stats.map_err(|error| Problem::internal(&error))?;
                let manifest = &generation.manifest;
                Some((manifest.id.clone(), manifest.model.name.clone(), stats))
            }
            Err(_) => None,
        };
        let readiness = Readiness::of(app).await;
        let counts = if readiness.parts.database.ready {
            Counts::of(app).await
        } else {
            Counts::default()
        };
        Ok(Self {
            readiness,
            batch: recommender.batcher().stats(),
            admission: recommender.admission_stats(),
            cache: recommender.cache_stats(),
            descriptions: recommender.descriptions().stats(),
            live: recommender.live_stats(),
            spool: (app.spool.bytes(), app.spool.refused()),
            loaded,
            counts,
            resident: resident_bytes(),
        })
    }
}

impl Counts {
    async fn of(app: &App) -> Self {
        let mut kept = app.metrics.counts.lock().await;
        if let Some((at, counts)) = &*kept
            && at.elapsed() < COUNTS_KEPT
        {
            return counts.clone();
        }
        let files = app.recommender.catalog().file_counts().await;
        let jobs = app.jobs.counts().await;
        let counts = Self {
            files: files.map_err(|error| untold(&error)).ok(),
            jobs: jobs.map_err(|error| untold(&error)).unwrap_or_default(),
        };
        *kept = Some((Instant::now(), counts.clone()));
        counts
    }
}

fn untold(error: &dyn std::error::Error) {
    tracing::warn!(error = %Chain(error), "cannot count for /metrics");
}

/// Memory that the process has in use; none where the system does not tell it as Linux does.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
}

/// Writes metrics one after the other.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// A gauge with several values, told apart by labels.
    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'l str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Now {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut Writer(encoder);
        self.write_work(to)?;
        self.write_answers(to)?;
        self.write_holdings(to)?;
        self.write_server(to)
    }
}

impl Now {
    /// Clips on their way through decoder and device.
    fn write_work(&self, to: &mut Writer<'_>) -> fmt::Result {
        let (batch, admission) = (&self.batch, &self.admission);
        to.counter("device_batches", "Forward passes", batch.batches)?;
        to.counter("device_windows", "Windows computed", batch.windows)?;
        let busy = batch.busy_micros as f64 / 1e6;
        let encoder = to.0.encode_descriptor(
            "device_busy_seconds",
            "Time in forward passes",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(busy).encode(encoder)?;
        let waiting = batch.waiting as f64;
        to.gauge(
            "device_waiting_windows",
            "Windows that wait for the device",
            waiting,
        )?;
        to.counter(
            "device_abandoned",
            "Requests dropped because their caller had gone",
            batch.abandoned,
        )?;
        to.counter(
            "device_refused",
            "Requests refused because the queue was full",
            batch.refused,
        )?;
        let up = f64::from(u8::from(self.readiness.parts.device.ready));
        to.gauge("device_up", "Whether the device thread runs", up)?;
        let inside = admission.inside as f64;
        to.gauge(
            "clips_inside",
            "Clips that are uploaded, wait or are analysed",
            inside,
        )?;
        let wait = admission.expected_wait.as_secs_f64();
        to.gauge(
            "clips_expected_wait_seconds",
            "How long the next clip would wait",
            wait,
        )?;
        to.counter(
            "clips_refused",
            "Clips refused before their upload",
            admission.refused,
        )?;
        to.counter(
            "clips_late",
            "Clips that were let in and then waited too long",
            admission.late,
        )?;
        to.gauge(
            "spool_bytes",
            "Disk that uploads on their way take",
            self.spool.0 as f64,
        )?;
        to.counter(
            "spool_refused",
            "Uploads refused for want of disk",
            self.spool.1,
        )?;
        to.counter(
            "cache_hits",
            "Clips whose analysis was kept",
            self.cache.hits,
        )?;
        to.counter(
            "cache_misses",
            "Clips that were analysed",
            self.cache.misses,
        )?;
        to.gauge(
            "cache_bytes",
            "Memory that kept analyses take",
            self.cache.bytes as f64,
        )
    }

    /// How good answers are.
    fn write_answers(&self, to: &mut Writer<'_>) -> fmt::Result {
        let live = &self.live;
        to.counter(
            "live_recall_samples",
            "Searches done again beside their answer",
            live.samples,
        )?;
        let descriptions = &self.descriptions;
        to.counter(
            "descriptions_hits",
            "Tracks of answers whose description was in memory",
            descriptions.hits,
        )?;
        to.counter(
            "descriptions_misses",
            "Tracks of answers that the database was asked for",
            descriptions.misses,
        )?;
        to.gauge(
            "descriptions_tracks",
            "Tracks whose description is in memory",
            descriptions.tracks as f64,
        )?;
        to.gauge(
            "descriptions_bytes",
            "Memory that descriptions of tracks take",
            descriptions.bytes as f64,
        )?;
        let figures = [
            (
                "live_recall",
                "Share of the true nearest tracks that the latest sampled searches found",
                live.recall,
            ),
            (
                "live_hubness",
                "Skewness of the number of sampled answers that a track is in",
                live.hubness,
            ),
            (
                "live_hub_share",
                "Share of sampled answers that the commonest track is in",
                live.hub_share,
            ),
        ];
        for (name, help, value) in figures {
            if let Some(value) = value {
                to.gauge(name, help, value)?;
            }
        }
        Ok(())
    }

    /// What there is to be found, and what is still to be done.
    fn write_holdings(&self, to: &mut Writer<'_>) -> fmt::Result {
        if let Some((generation, model, index)) = &self.loaded {
            let labels = [
                ("generation", generation.as_str()),
                ("model", model.as_str()),
            ];
            to.gauges("generation_info", "The loaded generation", [(labels, 1.0)])?;
            to.gauge(
                "index_tracks",
                "Tracks that can be found",
                index.tracks as f64,
            )?;
            to.gauge("index_vectors", "Distinct vectors", index.points as f64)?;
            to.gauge("index_links", "Links of the graph", index.links as f64)?;
            to.gauge(
                "index_bytes",
                "Bytes of the large arrays",
                index.bytes as f64,
            )?;
        }
        if let Some(files) = self.counts.files {
            let counts = [
                ("available", files.available),
                ("missing", files.missing),
                ("bad", files.bad),
                ("duplicate", files.duplicates),
            ];
            let values = counts.map(|(state, count)| ([("state", state)], count as f64));
            to.gauges(
                "catalogue_files",
                "Files of the catalogue; the bad ones are in the ledger",
                values,
            )?;
        }
        let jobs = self.counts.jobs.iter().map(|count| {
            let labels = [
                ("kind", count.kind.as_str()),
                ("state", count.state.as_str()),
            ];
            (labels, count.jobs as f64)
        });
        let queued = self
            .counts
            .jobs
            .iter()
            .filter(|count| count.state == "queued");
        let queued: u64 = queued.map(|count| count.jobs).sum();
        to.gauges("jobs", "Jobs in the table", jobs)?;
        // Always there, so that something can be scaled by it.
        to.gauge("jobs_queued", "Jobs that wait for a worker", queued as f64)
    }

    fn write_server(&self, to: &mut Writer<'_>) -> fmt::Result {
        let parts = self.readiness.parts.all();
        let ready = parts.map(|(name, part)| ([("part", name)], f64::from(u8::from(part.ready))));
        to.gauges("ready", "Whether a part of the server is ready", ready)?;
        if let Some(free) = self.readiness.free_bytes {
            to.gauge(
                "disk_free_bytes",
                "Free space where the data lies",
                free as f64,
            )?;
        }
        if let Some(resident) = self.resident {
            to.gauge("process_resident_bytes", "Memory in use", resident as f64)?;
        }
        let version = [([("version", env!("CARGO_PKG_VERSION"))], 1.0)];
        to.gauges("build_info", "The program", version)
    }
}
