//! Settings: compiled-in defaults, then a file, then the environment, then flags.

mod keys;
mod layers;
mod origins;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

pub use keys::AdminKeys;
pub use layers::{Faults, SettingFlags, load, render};
pub use origins::{NoOrigin, Origins};

use crate::model::{DeviceChoice, PrecisionChoice, Preset};

/// Every setting of both programs. [`HELP`] says what each is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "HELP documents every key, and a test holds it complete"
)]
pub struct Settings {
    pub data: Data,
    pub server: Server,
    pub log: Log,
    pub model: Model,
    pub batch: Batch,
    pub cache: Cache,
    pub audio: Audio,
    pub search: Search,
    pub ingest: Ingest,
    pub worker: Worker,
}

macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($key:ident: $type:ty = $default:expr,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(missing_docs, reason = "HELP documents every key, and a test holds it complete")]
        pub struct $name { $(pub $key: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }
    };
}

section! {
    /// Where everything is kept.
    Data {
        dir: PathBuf = PathBuf::from("data"),
    }
}

section! {
    /// The HTTP server.
    Server {
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
        anonymous: bool = false,
        admin_key_sha256: AdminKeys = AdminKeys::default(),
        tls_certificate: PathBuf = PathBuf::new(),
        tls_key: PathBuf = PathBuf::new(),
        cors_origins: Origins = Origins::default(),
        max_connections: usize = 512,
        max_requests: usize = 256,
        max_body_mib: u64 = 64,
        max_spool_mib: u64 = 1024,
        min_free_mib: u64 = 64,
        request_seconds: u64 = 30,
        max_decodes: usize = 0,
        max_wait_seconds: f64 = 5.0,
        max_waiting: usize = 64,
        shutdown_seconds: u64 = 20,
        reload_seconds: u64 = 2,
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

section! {
    /// The log.
    Log {
        format: LogFormat = LogFormat::Text,
        filter: String = "info,symphonia=error".to_owned(),
        otlp_endpoint: String = String::new(),
    }
}

/// Which untrained weights new generations are built with, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresetChoice {
    /// None where there is a better model.
    #[default]
    Auto,
    /// The preset for CPUs.
    Small,
    /// The published study's.
    Paper,
}

impl PresetChoice {
    /// The preset that was asked for by name.
    #[must_use]
    pub fn untrained(self) -> Option<Preset> {
        match self {
            Self::Auto => None,
            Self::Small => Some(Preset::Small),
            Self::Paper => Some(Preset::Paper),
        }
    }
}

section! {
    /// The encoder that new generations are built with.
    Model {
        dir: PathBuf = PathBuf::new(),
        preset: PresetChoice = PresetChoice::Auto,
        seed: u64 = 0,
        device: DeviceChoice = DeviceChoice::Auto,
        precision: PrecisionChoice = PrecisionChoice::Auto,
        max_device_mib: u64 = 0,
    }
}

section! {
    /// The device's queue.
    Batch {
        max_batch: usize = 8,
        max_queue: usize = 256,
    }
}

section! {
    /// What is held in memory: analyses of clips that may come again, descriptions of tracks.
    Cache {
        max_mib: u64 = 64,
        tracks_max_mib: u64 = 64,
    }
}

section! {
    /// Decoding.
    Audio {
        max_query_seconds: f64 = 30.0,
        max_track_seconds: f64 = 1200.0,
        decode_seconds: u64 = 20,
    }
}

section! {
    /// Search and ranking.
    Search {
        default_k: usize = 10,
        max_k: usize = 100,
        exact_below: usize = 40_000,
        ef_search: usize = 128,
    }
}

section! {
    /// Ingest.
    Ingest {
        threads: usize = 0,
        min_seconds: f64 = 3.0,
        keep_generations: usize = 3,
    }
}

section! {
    /// A worker at the job table.
    Worker {
        lease_seconds: f64 = 30.0,
        checkpoint_seconds: f64 = 30.0,
    }
}

/// What each setting is for, in the order of the README's table.
pub const HELP: &[(&str, &str)] = &[
    (
        "data.dir",
        "directory of the catalogue, the generations and the upload spool",
    ),
    ("server.listen", "address and port to listen on"),
    (
        "server.anonymous",
        "answer callers without a key, but only those on this machine and only what changes nothing; `demo` sets it",
    ),
    (
        "server.admin_key_sha256",
        "SHA-256 of an admin key beside those of `songkin-server keys`, or several with commas; `songkin-server keys generate` makes one",
    ),
    (
        "server.tls_certificate",
        "certificate chain in PEM; if set, the server speaks TLS alone, and takes a new one up without a restart",
    ),
    ("server.tls_key", "the certificate's key in PEM"),
    (
        "server.cors_origins",
        "web origins whose pages may call the API, with commas, or `*` for all; empty for none",
    ),
    (
        "server.max_connections",
        "connections open at once, half of them at most from one address; more are answered 503",
    ),
    (
        "server.max_requests",
        "reads answered at once, and a quarter as many requests for /v1/admin; more are answered 503",
    ),
    ("server.max_body_mib", "largest upload, MiB"),
    (
        "server.max_spool_mib",
        "disk that uploads on their way may take together, MiB; more are answered 503",
    ),
    (
        "server.min_free_mib",
        "free disk below which /readyz says that the server is not ready, MiB; 0 never",
    ),
    (
        "server.request_seconds",
        "time that a request may take, its upload included, seconds",
    ),
    (
        "server.max_decodes",
        "threads that decode clips, one each or together one; 0 is one a core",
    ),
    (
        "server.max_wait_seconds",
        "how long a clip may wait for decoder and device, seconds; one that would wait longer is answered 503 at once",
    ),
    (
        "server.max_waiting",
        "clips that may be on their way in or wait, whatever the wait; more are answered 503",
    ),
    (
        "server.shutdown_seconds",
        "time that open requests get when the server stops, seconds",
    ),
    (
        "server.reload_seconds",
        "how often the server looks for a newly activated generation, seconds",
    ),
    ("log.format", "`text` or `json`"),
    ("log.filter", "what is logged, as `tracing` directives"),
    (
        "log.otlp_endpoint",
        "OpenTelemetry collector that traces go to, such as `http://127.0.0.1:4318`; needs the feature `otel`; empty for none",
    ),
    (
        "model.dir",
        "model directory for new generations; empty leaves it to `model.preset`",
    ),
    (
        "model.preset",
        "untrained weights, `small` or `paper`; `auto` takes the active generation's model, else `models/songkin-small`, else `small`",
    ),
    ("model.seed", "seed of the untrained preset's weights"),
    ("model.device", "`auto`, `cpu` or `cuda`"),
    (
        "model.precision",
        "`f32`, `bf16`, `f16`, `int8`, or `auto`: the fastest that the device multiplies; on a CPU int8 (AVX512_VNNI), bf16 (AVX512_BF16) or f32, on CUDA bf16 or f16",
    ),
    (
        "model.max_device_mib",
        "card memory that an encoder and its batch may take, MiB, see docs/CUDA.md; 0 is no bound",
    ),
    ("batch.max_batch", "windows in one forward pass"),
    (
        "batch.max_queue",
        "windows that may wait for the device; more are answered 503",
    ),
    (
        "cache.max_mib",
        "memory for the analyses of clips that come again, MiB; 0 keeps none",
    ),
    (
        "cache.tracks_max_mib",
        "memory for the descriptions of tracks, MiB; 0 has the database asked for each answer",
    ),
    (
        "audio.max_query_seconds",
        "how much of an uploaded clip is decoded and compared, seconds",
    ),
    (
        "audio.max_track_seconds",
        "how much of a catalogue track is analysed, seconds",
    ),
    (
        "audio.decode_seconds",
        "time that decoding one file may take, seconds",
    ),
    (
        "search.default_k",
        "results when a request does not say how many",
    ),
    ("search.max_k", "most results that a request may ask for"),
    (
        "search.exact_below",
        "up to this many allowed tracks the scan is exact; above, the graph is searched",
    ),
    (
        "search.ef_search",
        "candidates that the graph search keeps; more is slower and finds more",
    ),
    ("ingest.threads", "files decoded at once; 0 is one a core"),
    (
        "ingest.min_seconds",
        "shorter tracks are recorded as bad, seconds",
    ),
    (
        "ingest.keep_generations",
        "generations kept on disk, the active one included",
    ),
    (
        "worker.lease_seconds",
        "after this time without a word from its worker a job goes to another one, seconds",
    ),
    (
        "worker.checkpoint_seconds",
        "how often a training writes its state to disk, seconds",
    ),
];

impl Settings {
    /// What is wrong with values that are fine each by its type; empty when nothing is.
    fn inconsistencies(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, key: &str, fault: &str| {
            if !holds {
                faults.push(format!("{key}: {fault}"));
            }
        };
        check(
            !self.server.anonymous || self.server.listen.ip().is_loopback(),
            "server.anonymous",
            "needs a server.listen on the loopback, 127.0.0.1 or [::1]; for others `songkin-server keys create` makes keys",
        );
        check(
            (1..=4096).contains(&self.server.max_body_mib),
            "server.max_body_mib",
            "has to be in 1..=4096",
        );
        check(
            self.server.max_spool_mib >= self.server.max_body_mib,
            "server.max_spool_mib",
            "has to be at least server.max_body_mib",
        );
        check(
            self.server.max_spool_mib <= 1 << 24,
            "server.max_spool_mib",
            "has to be at most 16777216",
        );
        check(
            self.server.tls_certificate.as_os_str().is_empty()
                == self.server.tls_key.as_os_str().is_empty(),
            "server.tls_key",
            "has to be set together with server.tls_certificate",
        );
        check(
            (2..=1 << 20).contains(&self.server.max_connections),
            "server.max_connections",
            "has to be in 2..=1048576",
        );
        check(
            (1..=1 << 20).contains(&self.server.max_requests),
            "server.max_requests",
            "has to be in 1..=1048576",
        );
        check(
            cfg!(feature = "otel") || self.log.otlp_endpoint.is_empty(),
            "log.otlp_endpoint",
            "needs a program that was built with `--features otel`",
        );
        check(
            self.server.request_seconds > 0,
            "server.request_seconds",
            "has to be positive",
        );
        check(
            self.server.reload_seconds > 0,
            "server.reload_seconds",
            "has to be positive",
        );
        let wait = self.server.max_wait_seconds;
        check(
            wait > 0.0 && wait <= self.server.request_seconds as f64,
            "server.max_wait_seconds",
            "has to be positive and at most server.request_seconds",
        );
        for (mib, name) in [
            (self.cache.max_mib, "cache.max_mib"),
            (self.cache.tracks_max_mib, "cache.tracks_max_mib"),
        ] {
            check(mib <= 1 << 20, name, "has to be in 0..=1048576");
        }
        check(
            self.server.max_waiting > 0,
            "server.max_waiting",
            "has to be positive",
        );
        check(
            !self.data.dir.as_os_str().is_empty(),
            "data.dir",
            "has to be a directory",
        );
        check(
            self.model.max_device_mib <= 1 << 24,
            "model.max_device_mib",
            "has to be at most 16777216",
        );
        check(
            (1..=1024).contains(&self.batch.max_batch),
            "batch.max_batch",
            "has to be in 1..=1024",
        );
        check(
            self.batch.max_queue >= self.batch.max_batch,
            "batch.max_queue",
            "has to be at least batch.max_batch",
        );
        let seconds = |value: f64| value.is_finite() && (1.0..=36_000.0).contains(&value);
        check(
            seconds(self.audio.max_query_seconds),
            "audio.max_query_seconds",
            "has to be in 1..=36000",
        );
        check(
            seconds(self.audio.max_track_seconds),
            "audio.max_track_seconds",
            "has to be in 1..=36000",
        );
        check(
            self.audio.max_query_seconds / 10.24 + 1.0 <= self.batch.max_queue as f64,
            "batch.max_queue",
            "has to hold all windows of audio.max_query_seconds, one for 10 s",
        );
        check(
            self.audio.decode_seconds > 0,
            "audio.decode_seconds",
            "has to be positive",
        );
        check(
            (1..=10_000).contains(&self.search.max_k),
            "search.max_k",
            "has to be in 1..=10000",
        );
        check(
            (1..=self.search.max_k).contains(&self.search.default_k),
            "search.default_k",
            "has to be in 1..=search.max_k",
        );
        check(
            self.search.ef_search > 0,
            "search.ef_search",
            "has to be positive",
        );
        let min = self.ingest.min_seconds;
        check(
            min.is_finite() && min >= 0.0 && min < self.audio.max_track_seconds,
            "ingest.min_seconds",
            "has to be between 0 and audio.max_track_seconds",
        );
        check(
            self.ingest.keep_generations >= 1,
            "ingest.keep_generations",
            "has to be at least 1",
        );
        let lease = self.worker.lease_seconds;
        check(
            (1.0..=3600.0).contains(&lease),
            "worker.lease_seconds",
            "has to be in 1..=3600",
        );
        let checkpoint = self.worker.checkpoint_seconds;
        check(
            (0.0..=86_400.0).contains(&checkpoint),
            "worker.checkpoint_seconds",
            "has to be in 0..=86400",
        );
        faults
    }
}
