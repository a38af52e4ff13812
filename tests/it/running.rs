//! The built programs at work on a data directory of their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::Value;
use sha2::{Digest, Sha256};
use songkin::{
    audio::FeatureConfig,
    catalog::Catalog,
    generation::Manifest,
    model::{ModelDir, untrained_weights},
    text::hex,
    track::{ExtractorId, TrackId},
};
use tempfile::TempDir;

use crate::support::{program, tiny_config};

pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_songkin-server");
pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_songkin-worker");
pub(crate) const KEY: &str = "an-admin-key-that-nobody-guesses";
/// Longer than anything takes here on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A child process that does not outlive its test.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// SIGKILL: no chance to clean up. Returns whether it was still running.
    pub(crate) fn kill(mut self) -> bool {
        let running = self.is_running();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        running
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that answers.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) address: String,
    /// From its start to its first answer.
    pub(crate) took: Duration,
}

/// An answer, headers aside.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        self.json()
    }
}

/// A directory for everything that a test needs, and how the programs are started on it.
pub(crate) struct Site {
    dir: TempDir,
    client: Client,
    extractor: ExtractorId,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = tiny_config();
        let weights = untrained_weights(&config, 0).unwrap();
        let model = ModelDir::new(config, FeatureConfig::default(), weights).unwrap();
        model.save(&dir.path().join("tiny")).unwrap();
        Self {
            dir,
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
            extractor: model.extractor,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// One of the programs on the data directory `data`.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, path: &str, data: &Path, args: &[S]) -> Command {
        let mut command = program(path);
        command
            .args(args)
            .arg("--data-dir")
            .arg(data)
            .arg("--model-dir")
            .arg(self.path("tiny"))
            .args([
                "--worker-lease-seconds",
                "1",
                "--server-reload-seconds",
                "1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Runs a program on the site's data directory to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, path: &str, args: &[S]) -> Output {
        self.output(&mut self.command(path, &self.data(), args))
    }

    pub(crate) fn output(&self, command: &mut Command) -> Output {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap()
    }

    #[track_caller]
    pub(crate) fn succeed<S: AsRef<OsStr>>(&self, path: &str, args: &[S]) -> String {
        let output = self.run(path, args);
        assert!(output.status.success(), "{}", told(&output));
        told(&output)
    }

    pub(crate) async fn serve(&self) -> Running {
        self.serve_data(&self.data(), &[]).await
    }

    /// A server on `data`, with variables of its own, once it answers whether it is ready.
    pub(crate) async fn serve_data(&self, data: &Path, variables: &[(&str, String)]) -> Running {
        // Free now, and nobody else asks for it in the next moment.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let hash = hex(&Sha256::digest(KEY));
        let args = [
            "--server-listen",
            &address,
            "--server-admin-key-sha256",
            &hash,
        ];
        let mut command = self.command(SERVER, data, &args);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let began = Instant::now();
        let mut process = Process::start(&mut command);
        loop {
            if self.try_get(&address, "/readyz").await.is_some() {
                break;
            }
            assert!(process.is_running(), "the server has ended");
            assert!(began.elapsed() < PATIENCE, "the server does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Running {
            process,
            address,
            took: began.elapsed(),
        }
    }

    pub(crate) fn request(
        &self,
        method: reqwest::Method,
        address: &str,
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("http://{address}{path}"))
            .bearer_auth(KEY)
    }

    /// An answer, or none where the server went away.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Option<Answer> {
        let answer = request.send().await.ok()?;
        Some(Answer {
            status: answer.status().as_u16(),
            body: answer.bytes().await.ok()?.to_vec(),
        })
    }

    pub(crate) async fn try_get(&self, address: &str, path: &str) -> Option<Answer> {
        self.send(self.request(reqwest::Method::GET, address, path))
            .await
    }

    pub(crate) async fn get(&self, address: &str, path: &str) -> Answer {
        self.try_get(address, path)
            .await
            .unwrap_or_else(|| panic!("no answer to {path}"))
    }

    /// Asks for a job under a key; none where the server went away.
    pub(crate) async fn ask(&self, address: &str, key: &str, wanted: &Value) -> Option<Answer> {
        let request = self
            .request(reqwest::Method::POST, address, "/v1/admin/jobs")
            .header("idempotency-key", key)
            .json(wanted);
        self.send(request).await
    }

    pub(crate) async fn recommend(&self, address: &str, clip: Vec<u8>) -> Option<Answer> {
        let request = self
            .request(reqwest::Method::POST, address, "/v1/recommendations?k=5")
            .header("content-type", "audio/mpeg")
            .body(clip);
        self.send(request).await
    }

    /// Waits until `wanted` finds something in a job.
    pub(crate) async fn until<T>(
        &self,
        address: &str,
        job: u64,
        wanted: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let began = Instant::now();
        loop {
            let found = self.get(address, &format!("/v1/admin/jobs/{job}")).await;
            let found = found.expect(200);
            if let Some(wanted) = wanted(&found) {
                return wanted;
            }
            assert!(began.elapsed() < PATIENCE, "{found}");
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// The tracks whose analysis is recorded; none while there is no catalogue to be read yet.
    pub(crate) async fn analysed(&self) -> BTreeSet<TrackId> {
        self.analysed_in(&self.data()).await
    }

    pub(crate) async fn analysed_in(&self, data: &Path) -> BTreeSet<TrackId> {
        let path = data.join("catalog.sqlite");
        let Ok(catalog) = Catalog::open_read_only(path).await else {
            return BTreeSet::new();
        };
        let page = catalog.analysed_page(&self.extractor, None, 100_000).await;
        catalog.close().await;
        page.unwrap().into_iter().map(|track| track.id).collect()
    }

    /// Generations that can be seen, each with all its hashes verified, and how many hidden
    /// directories there are.
    pub(crate) fn generations(&self) -> (BTreeSet<String>, usize) {
        let dir = self.data().join("generations");
        let (mut seen, mut hidden) = (BTreeSet::new(), 0);
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.') {
                hidden += 1;
                continue;
            }
            let manifest = Manifest::read(&entry.path()).unwrap();
            manifest.verify(&entry.path()).unwrap();
            assert_eq!(manifest.id, name);
            seen.insert(name);
        }
        (seen, hidden)
    }

    /// How much is in the spool beside the directory and the locks of a server that runs.
    pub(crate) fn spooled(&self) -> usize {
        let spool = walkdir::WalkDir::new(self.data().join("spool")).min_depth(1);
        let (mut files, mut directories) = (0, 0_usize);
        for entry in spool.into_iter().flatten() {
            directories += usize::from(entry.file_type().is_dir());
            files += usize::from(entry.file_type().is_file() && entry.file_name() != "lock");
        }
        files + directories.saturating_sub(1)
    }
}

/// What a program printed.
pub(crate) fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .concat()
}

/// The demo's MP3s.
pub(crate) fn demo_files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/fma_demo");
    walkdir::WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mp3"))
        .collect()
}

/// A folder of cut demo MP3s: as many as there are numbers, each with other content.
pub(crate) fn write_music(dir: &Path, numbers: impl IntoIterator<Item = usize>) {
    fs::create_dir_all(dir).unwrap();
    let files = demo_files();
    for number in numbers {
        let bytes = fs::read(&files[number % files.len()]).unwrap();
        let start = number / files.len() * 1_500 % (bytes.len() / 2);
        let clip = &bytes[start..(start + 100_000).min(bytes.len())];
        fs::write(dir.join(format!("{number:05}.mp3")), clip).unwrap();
    }
}

/// Every file below a directory with its content.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    walkdir::WalkDir::new(dir)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry.into_path();
            let content = fs::read(&path).unwrap();
            (path.strip_prefix(dir).unwrap().to_path_buf(), content)
        })
        .collect()
}
