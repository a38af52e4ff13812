//! One POST to a better model: a server and workers as processes, one of them killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use candle_core::Tensor;
use futures_util::StreamExt;
use reqwest::Client;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use songkin::{
    audio::FeatureConfig,
    model::{AstConfig, ModelDir, Preset, untrained_weights},
    text::hex,
};
use tempfile::TempDir;

use crate::support::{server, tiny_config, worker};

const KEY: &str = "an-admin-key-that-nobody-guesses";
const PATIENCE: Duration = Duration::from_secs(120);

/// A child process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site {
    dir: TempDir,
    address: String,
    client: Client,
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo")
}

/// The demo's clips with a split of their own: most are for the test, so that the gate has enough
/// queries to decide.
fn write_music(dir: &Path) {
    let metadata = dir.join("fma_metadata");
    fs::create_dir_all(&metadata).unwrap();
    fs::copy(
        demo().join("fma_metadata/genres.csv"),
        metadata.join("genres.csv"),
    )
    .unwrap();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_path(demo().join("fma_metadata/tracks.csv"))
        .unwrap();
    let mut writer = csv::Writer::from_path(metadata.join("tracks.csv")).unwrap();
    let mut column = None;
    for (number, row) in reader.records().enumerate() {
        let row = row.unwrap();
        if number == 1 {
            column = row.iter().position(|name| name == "split");
        }
        let split = match number % 36 {
            _ if number < 3 => None,
            0..8 => Some("training"),
            8..12 => Some("validation"),
            _ => Some("test"),
        };
        let fields = row.iter().enumerate().map(|(at, field)| match split {
            Some(split) if Some(at) == column => split,
            _ => field,
        });
        writer.write_record(fields).unwrap();
    }
    writer.flush().unwrap();
    for entry in walkdir::WalkDir::new(demo().join("fma_demo")) {
        let path = entry.unwrap().into_path();
        let target = dir.join(path.strip_prefix(demo()).unwrap());
        if path.is_dir() {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

fn tiny() -> (AstConfig, BTreeMap<String, Tensor>) {
    let config = AstConfig {
        frequency_stride: 16,
        ..tiny_config()
    };
    let weights = untrained_weights(&config, 0).unwrap();
    (config, weights)
}

fn save(config: AstConfig, weights: BTreeMap<String, Tensor>, dir: &Path) {
    let model = ModelDir::new(config, FeatureConfig::default(), weights).unwrap();
    model.save(dir).unwrap();
}

/// A model that hears next to nothing: everything sounds alike to it.
fn deaf() -> (AstConfig, BTreeMap<String, Tensor>) {
    let (config, mut weights) = tiny();
    let name = "embeddings.patch_embeddings.projection.weight";
    let quiet = (&weights[name] * 1e-12).unwrap();
    weights.insert(name.to_owned(), quiet);
    (config, weights)
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_music(&dir.path().join("music"));
        let (config, weights) = tiny();
        save(config, weights, &dir.path().join("tiny"));
        let (config, weights) = deaf();
        save(config, weights, &dir.path().join("deaf"));
        // Free now, and nobody else asks for it in the next second.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        Self {
            dir,
            address,
            client: Client::new(),
        }
    }

    fn configured(&self, mut command: Command) -> Command {
        command
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(["--worker-lease-seconds", "2"])
            .args(["--worker-checkpoint-seconds", "0.2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a worker's command to its end.
    fn finish(&self, arguments: &[&str], model: &str) -> String {
        let mut command = self.configured(worker());
        command
            .args(arguments)
            .arg("--model-dir")
            .arg(self.dir.path().join(model));
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn start_worker(&self, model: Option<&str>) -> Process {
        let mut command = self.configured(worker());
        if let Some(model) = model {
            command.arg("--model-dir").arg(self.dir.path().join(model));
        }
        command
            .arg("run")
            .stderr(Stdio::null())
            .stdout(Stdio::null());
        Process(command.spawn().unwrap())
    }

    async fn start_server(&self) -> Process {
        let hash = hex(&Sha256::digest(KEY));
        let mut command = self.configured(server());
        command
            .args(["--server-listen", &self.address])
            .args(["--server-reload-seconds", "1"])
            .args(["--server-admin-key-sha256", &hash])
            .stderr(Stdio::null())
            .stdout(Stdio::null());
        let server = Process(command.spawn().unwrap());
        let began = Instant::now();
        while self
            .get("/readyz")
            .await
            .is_none_or(|(status, _)| status != 200)
        {
            assert!(began.elapsed() < PATIENCE, "the server does not get ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let answer = self.client.get(self.url(path)).bearer_auth(KEY).send();
        let answer = answer.await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or_default()))
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(self.url(path)).bearer_auth(KEY).json(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// Asks for a job; gives its path.
    async fn ask(&self, wanted: &Value) -> String {
        let (status, job) = self.post("/v1/admin/jobs", wanted).await;
        assert_eq!(status, 202, "{job}");
        format!("/v1/admin/jobs/{}", job["id"])
    }

    /// Waits until a job is as wanted, and gives it.
    async fn until(&self, job: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let (_, found) = self.get(job).await.unwrap();
            if wanted(&found) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{found}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Names in the directory of generations.
    fn on_disk(&self) -> BTreeSet<String> {
        let dir = self.dir.path().join("data/generations");
        fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Which generation answers.
    async fn answering(&self) -> String {
        let (status, answer) = self.get("/v1/tracks/1687/similar").await.unwrap();
        assert_eq!(status, 200, "{answer}");
        answer["generation"].as_str().unwrap().to_owned()
    }

    async fn until_answering(&self, id: &str) {
        let began = Instant::now();
        while self.answering().await != id {
            assert!(began.elapsed() < PATIENCE, "{id} does not get into service");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Events of a job after number `after`, until `enough` of them says so or the stream ends.
    async fn events(
        &self,
        job: &str,
        after: u64,
        mut enough: impl FnMut(&[Event]) -> bool,
    ) -> Vec<Event> {
        let answer = self
            .client
            .get(self.url(&format!("{job}/events")))
            .bearer_auth(KEY)
            .header("last-event-id", after.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let mut stream = answer.bytes_stream();
        let (mut text, mut events) = (String::new(), Vec::new());
        let reading = async {
            while let Some(piece) = stream.next().await {
                text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
                while let Some(end) = text.find("\n\n") {
                    let block: String = text.drain(..end + 2).collect();
                    events.extend(Event::parse(&block));
                }
                if enough(&events) {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap();
        events
    }
}

#[derive(Debug)]
struct Event {
    seq: u64,
    kind: String,
    data: Value,
}

impl Event {
    /// A block of the stream; none for a comment that keeps the connection alive.
    fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        Some(Self {
            seq: field("id")?.parse().unwrap(),
            kind: field("event")?.to_owned(),
            data: serde_json::from_str(field("data")?).unwrap(),
        })
    }
}

fn losses(events: &[Event]) -> Vec<f64> {
    let steps = events.iter().filter(|event| event.kind == "step");
    steps
        .map(|event| payload(event)["loss"].as_f64().unwrap())
        .collect()
}

/// What the work reported.
fn payload(event: &Event) -> &Value {
    event.data.get("data").unwrap_or(&event.data)
}

fn count(events: &[Event], kind: &str) -> usize {
    events.iter().filter(|event| event.kind == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_post_trains_through_a_kill_into_service_and_one_call_leads_back() {
    let site = Site::new();
    let music = site.dir.path().join("music");
    site.finish(&["ingest", music.to_str().unwrap()], "tiny");
    let built: Value = serde_json::from_str(&site.finish(&["build"], "deaf")).unwrap();
    let poor = built["generation"]["id"].as_str().unwrap().to_owned();

    let _server = site.start_server().await;
    assert_eq!(site.answering().await, poor);
    let (_, generations) = site.get("/v1/admin/generations").await.unwrap();
    let start = generations["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|generation| generation["id"].as_str().unwrap())
        .find(|id| *id != poor)
        .unwrap();

    let wanted = json!({
        "kind": "train",
        "parameters": {
            "start_from": start, "name": "tiny-trained", "epochs": 40, "batch": 4,
            "learning_rate": 0.002, "seed": 1,
        },
    });
    let job = site.ask(&wanted).await;

    // Somebody asks for music all the time; nobody is to notice what goes on.
    let (done, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (until, counter) = (Arc::clone(&done), Arc::clone(&asked));
    let (client, url) = (site.client.clone(), site.url("/v1/tracks/1687/similar"));
    let listener = tokio::spawn(async move {
        while !until.load(Ordering::SeqCst) {
            let answer = client.get(&url).bearer_auth(KEY).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });

    let first_worker = site.start_worker(None);
    let before = site
        .events(&job, 0, |events| {
            count(events, "checkpoint") >= 2 && losses(events).len() >= 2
        })
        .await;
    drop(first_worker);
    let _second_worker = site.start_worker(None);
    let last = before.last().unwrap().seq;
    let after = site.events(&job, last, |_| false).await;

    let (_, ended) = site.get(&job).await.unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert_eq!(ended["attempt"], 2);
    let outcome = &ended["outcome"];
    assert_eq!(outcome["gate"]["passed"], true, "{outcome}");
    assert_eq!(outcome["activated"], true);
    let all: Vec<u64> = before.iter().chain(&after).map(|event| event.seq).collect();
    assert!(
        all.is_sorted_by(|a, b| a + 1 == *b),
        "no event twice, none lost"
    );
    let resumed = after.iter().find(|event| event.kind == "training").unwrap();
    assert!(
        payload(resumed)["step"].as_u64().unwrap() > 0,
        "{resumed:?}"
    );
    assert_eq!(count(&after, "succeeded"), 1);

    // The loss has fallen over both workers' steps, of which none is missing.
    let trained = outcome["generation"]["id"].as_str().unwrap();
    let report = site
        .dir
        .path()
        .join("data/generations")
        .join(trained)
        .join("report");
    let curves: Value =
        serde_json::from_slice(&fs::read(report.join("curves.json")).unwrap()).unwrap();
    let steps = curves["steps"].as_array().unwrap();
    let numbers: Vec<u64> = steps
        .iter()
        .map(|step| step["step"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=steps.len() as u64).collect::<Vec<_>>());
    let mean = |steps: &[Value]| {
        let losses = steps.iter().map(|step| step["loss"].as_f64().unwrap());
        losses.sum::<f64>() / steps.len() as f64
    };
    let (first, last) = (mean(&steps[..10]), mean(&steps[steps.len() - 10..]));
    assert!(last < 0.9 * first, "loss {first} -> {last}");
    for file in [
        "report.json",
        "report.md",
        "training.json",
        "README.md",
        "loss.svg",
    ] {
        assert!(report.join(file).is_file(), "{file}");
    }

    site.until_answering(trained).await;
    let back = format!("/v1/admin/generations/{poor}/activate");
    let (status, answer) = site.post(&back, &json!({ "expected": trained })).await;
    assert_eq!(status, 200, "{answer}");
    site.until_answering(&poor).await;

    done.store(true, Ordering::SeqCst);
    listener.await.unwrap();
    assert!(asked.load(Ordering::SeqCst) > 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_cancelled_changes_nothing_and_loses_nothing() {
    let site = Site::new();
    let music = site.dir.path().join("music");
    site.finish(&["ingest", music.to_str().unwrap()], "tiny");
    // Large enough to be at work for seconds.
    let config = Preset::Small.config();
    let weights = untrained_weights(&config, 0).unwrap();
    save(config, weights, &site.dir.path().join("small"));
    let _server = site.start_server().await;
    let before = (site.answering().await, site.on_disk());
    let _worker = site.start_worker(Some("small"));

    let job = site.ask(&json!({"kind": "build"})).await;
    let analysing = |job: &Value| {
        let text = job["progress"]["text"].as_str().unwrap();
        text.starts_with("analysing") && job["progress"]["fraction"].as_f64().unwrap() > 0.05
    };
    site.until(&job, analysing).await;
    let (status, answer) = site.post(&format!("{job}/cancel"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let ended = site.until(&job, |job| !job["finished_at"].is_null()).await;
    assert_eq!(ended["state"], "cancelled", "{ended}");
    assert_eq!(ended["outcome"], Value::Null);
    assert_eq!((site.answering().await, site.on_disk()), before);

    // What was analysed is not analysed again.
    let job = site.ask(&json!({"kind": "build"})).await;
    let ended = site.until(&job, |job| !job["finished_at"].is_null()).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let ingest = &ended["outcome"]["ingest"];
    let [unchanged, analysed] = ["unchanged", "analysed"].map(|key| ingest[key].as_u64().unwrap());
    assert_eq!(unchanged + analysed, 36, "{ingest}");
    assert!(unchanged > 0 && analysed > 0, "{ingest}");
    let built = ended["outcome"]["generation"]["id"].as_str().unwrap();
    site.until_answering(built).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_was_interrupted_goes_on_with_the_same_command() {
    let site = Site::new();
    let music = site.dir.path().join("music");
    site.finish(&["ingest", music.to_str().unwrap()], "tiny");
    let generation = site.on_disk().pop_first().unwrap();
    let start = || {
        let mut command = site.configured(worker());
        command
            .args(["train", "--epochs", "40", "--batch", "4", "--no-activate"])
            .args(["--start-from", &generation]);
        command
    };

    let mut child = start().spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let mut child = Process(child);
    assert!(lines.any(|line| line.starts_with("checkpoint")));
    let interrupt = Command::new("kill")
        .args(["-INT", &child.0.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.0.wait().unwrap().code(), Some(130), "{rest:?}");
    let mut told = String::new();
    let stdout = child.0.stdout.as_mut().unwrap();
    stdout.read_to_string(&mut told).unwrap();
    assert!(told.contains("goes on from its last checkpoint"), "{told}");

    let output = start().output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let begun = told
        .lines()
        .find_map(|line| line.strip_prefix("training: {"))
        .unwrap();
    let begun: Value = serde_json::from_str(&format!("{{{begun}")).unwrap();
    assert!(begun["step"].as_u64().unwrap() > 0, "{begun}");
}
