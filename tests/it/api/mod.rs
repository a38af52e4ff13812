//! The HTTP interface: a real server on the demo catalogue, and every answer that any of these tests
//! gets is held against `openapi.yaml`.

mod access;
mod admin;
mod anonymous;
mod browsers;
mod connections;
mod contract;
mod descriptions;
mod docs;
mod documented;
mod embeddings;
mod excerpts;
mod metrics;
mod overload;
mod quotas;
mod readiness;
mod recommendations;
mod refusals;
mod secrets;
mod shutdown;
mod similar;
mod tls;
mod tracks;
mod uploads;

use std::{
    collections::BTreeMap,
    fs,
    future::{Future, pending},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::Value;
use songkin::{
    audio::{DecodeLimits, Decoder, FeatureConfig, IsolatedCommand},
    catalog::Catalog,
    config::Settings,
    generation::GenerationStore,
    keys::{KeyStore, NewKey, Quotas, Scope},
    model::{ModelDir, untrained_weights},
    program::{Parts, prepare_demo},
    track::TrackId,
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{OnceCell, oneshot},
};

use contract::{CONTRACT, Given};

use crate::support::tiny_config;

/// What most tests send and ask about: "Sunrise" by Alexander Zhelanov and Stian Grenborgen.
const SUNRISE: u32 = 22006;
/// The track whose file is removed after the ingest.
const REMOVED: u32 = 2038;

/// One runtime for all tests: the servers that they share live on it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
});

fn run<T>(test: impl Future<Output = T>) -> T {
    RUNTIME.block_on(test)
}

fn demo_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo")
}

/// A demo track's file.
fn demo_path(id: u32) -> PathBuf {
    demo_dir()
        .join("fma_demo")
        .join(songkin::catalog::fma::audio_path(TrackId(id)))
}

fn demo_clip(id: u32) -> Vec<u8> {
    fs::read(demo_path(id)).unwrap()
}

/// The demo catalogue, ingested with a model so small that decoding is most of the work.
struct House {
    dir: TempDir,
    parts: Parts,
}

impl House {
    fn catalog_path(&self) -> PathBuf {
        self.dir.path().join("data/catalog.sqlite")
    }
}

async fn house() -> &'static House {
    static HOUSE: OnceCell<House> = OnceCell::const_new();
    HOUSE.get_or_init(build_house).await
}

async fn build_house() -> House {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    clear_former_houses(place);
    let dir = tempfile::Builder::new()
        .prefix("api-")
        .tempdir_in(place)
        .unwrap();
    let music = dir.path().join("demo");
    copy_tree(&demo_dir(), &music);
    let config = tiny_config();
    let weights = untrained_weights(&config, 0).unwrap();
    let model = ModelDir::new(config, FeatureConfig::default(), weights).unwrap();
    model.save(&dir.path().join("tiny")).unwrap();

    let mut settings = Settings::default();
    // Most tests ask for nothing that needs a key, and those that do bring one.
    settings.server.anonymous = true;
    settings.data.dir = dir.path().join("data");
    settings.model.dir = dir.path().join("tiny");
    let parts = Parts::open(settings, || panic!("the device thread died"))
        .await
        .unwrap();
    prepare_demo(&parts, &music).await.unwrap();
    let removed = songkin::catalog::fma::audio_path(TrackId(REMOVED));
    fs::remove_file(music.join("fma_demo").join(removed)).unwrap();
    House { dir, parts }
}

/// Nothing runs when a test process ends, so a later one removes what the former ones have left.
fn clear_former_houses(place: &Path) {
    for entry in fs::read_dir(place).unwrap().flatten() {
        let age = entry
            .metadata()
            .and_then(|data| data.modified())
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if entry.file_name().to_string_lossy().starts_with("api-")
            && age > Some(Duration::from_secs(3600))
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A running server.
struct Server {
    address: SocketAddr,
    /// Its own data directory, for the spool; the rest is the house's unless `change` changes that.
    home: TempDir,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Starts one on the house's catalogue, with what `change` makes of its parts.
    async fn start(change: impl FnOnce(&mut Parts)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    async fn start_in(home: TempDir, change: impl FnOnce(&mut Parts)) -> Self {
        let house = &house().await.parts;
        let mut settings = house.settings.clone();
        settings.data.dir = home.path().to_path_buf();
        let mut parts = Parts {
            settings,
            catalog: house.catalog.clone(),
            store: house.store.clone(),
            batcher: Arc::clone(&house.batcher),
            decoder: house.decoder.clone(),
        };
        change(&mut parts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(async move {
            let shutdown = async {
                if stopped.await.is_err() {
                    pending::<()>().await;
                }
            };
            parts.serve(listener, shutdown).await
        });
        Self {
            address,
            home,
            stop: Some(stop),
            ended,
        }
    }

    /// The one that most tests share: the default settings.
    async fn shared() -> &'static Self {
        static SHARED: OnceCell<Server> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start(|_| {})).await
    }

    /// One that knows keys alone, on a database of its own without a generation, and what makes keys
    /// there.
    async fn guarded(change: impl FnOnce(&mut Parts)) -> (Self, KeyStore) {
        let home = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(home.path().join("catalog.sqlite"))
            .await
            .unwrap();
        let store = GenerationStore::open(home.path().join("generations")).unwrap();
        let keys = KeyStore::new(catalog.database().clone());
        let server = Self::start_in(home, |parts| {
            parts.settings.server.anonymous = false;
            parts.catalog = catalog;
            parts.store = store;
            change(parts);
        })
        .await;
        (server, keys)
    }

    /// One whose catalogue holds nothing.
    async fn empty() -> Self {
        let home = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(home.path().join("catalog.sqlite"))
            .await
            .unwrap();
        let store = GenerationStore::open(home.path().join("generations")).unwrap();
        Self::start_in(home, |parts| {
            parts.catalog = catalog;
            parts.store = store;
        })
        .await
    }

    /// One whose catalogue fails, and whose M4A decoder cannot be started.
    async fn broken() -> Self {
        let catalog = Catalog::open(house().await.catalog_path()).await.unwrap();
        let server = Self::start(|parts| {
            parts.catalog = catalog.clone();
            parts.decoder = decoder_with("/nowhere/songkin", &[]);
        })
        .await;
        server.get("/readyz").await.expect(200);
        catalog.close().await;
        server
    }

    /// [`Server::busy_with`] room for one more that waits.
    async fn busy() -> Self {
        Self::busy_with(|settings| settings.max_waiting = 1).await
    }

    /// One that decodes one clip at a time, with what `change` makes of its settings; an M4A takes
    /// a second and fails.
    async fn busy_with(change: impl FnOnce(&mut songkin::config::Server)) -> Self {
        Self::start(|parts| {
            parts.settings.server.max_decodes = 1;
            change(&mut parts.settings.server);
            parts.decoder = decoder_with("/bin/sh", &["-c", "sleep 1"]);
        })
        .await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        CLIENT.request(method, format!("http://{}{path}", self.address))
    }

    /// Sends a request and holds the answer against the document.
    async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let method = request.method().clone();
        let path = request.url().path().to_owned();
        let query = request.url().query().unwrap_or_default();
        let call = format!("{method} {path}?{query}");
        let response = CLIENT
            .execute(request)
            .await
            .unwrap_or_else(|error| panic!("{call}: {error:?}"));
        let mut answer = Answer {
            call,
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap(),
            given: None,
        };
        answer.given = CONTRACT.check(&method, &path, &answer);
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// The same with a key.
    fn request_with(&self, key: &str, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(key)
    }

    /// Waits until a key that another process has made is known here: it is taken, or refused for
    /// what became of it.
    async fn until_known(&self, key: &str) {
        let began = Instant::now();
        loop {
            let request = self.request_with(key, Method::GET, "/v1/admin/audit");
            let answer = self.send(request).await;
            let unknown = answer.status == 401 && answer.text().contains("no such key");
            if !unknown {
                return;
            }
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "it stays unknown"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Posts a clip as the raw body.
    async fn post(&self, path: &str, clip: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path);
        self.send(request.header("content-type", "audio/mpeg").body(clip))
            .await
    }

    /// Posts a form.
    async fn post_form(&self, path: &str, form: reqwest::multipart::Form) -> Answer {
        self.send(self.request(Method::POST, path).multipart(form))
            .await
    }

    /// What the server counts, by name and labels.
    async fn counted(&self) -> BTreeMap<String, f64> {
        metrics::parse(self.get("/metrics").await.expect(200).text())
    }

    /// Waits until the server counts as many.
    async fn until_counted(&self, name: &str, value: f64) {
        for _ in 0..1000 {
            if self.counted().await[name] == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} is never {value}");
    }

    /// How many uploads lie in the spool.
    fn spooled(&self) -> usize {
        walkdir::WalkDir::new(self.home.path().join("spool"))
            .into_iter()
            // A file may go while the walk comes to it.
            .flatten()
            .filter(|entry| entry.file_type().is_file() && entry.file_name() != "lock")
            .count()
    }
}

fn decoder_with(program: &str, args: &[&str]) -> Decoder {
    let command = IsolatedCommand {
        program: program.into(),
        args: args.iter().map(Into::into).collect(),
    };
    Decoder::new(DecodeLimits::default(), Some(command))
}

/// A key that holds for ever, with these scopes and quotas.
fn new_key(scopes: impl IntoIterator<Item = Scope>, quotas: Quotas) -> NewKey {
    NewKey {
        name: "a test's".to_owned(),
        scopes: scopes.into_iter().collect(),
        lifetime: None,
        quotas,
    }
}

/// Makes a key, and gives its text once a server that runs on the table takes it.
async fn key_for(server: &Server, keys: &KeyStore, new: &NewKey) -> String {
    let text = keys.create(new).await.unwrap().1.expose().to_owned();
    server.until_known(&text).await;
    text
}

/// A path of a route with something in its braces; nothing there is.
fn concrete(path: &str) -> String {
    let id = match path.split('/').nth(3) {
        Some("jobs") => "4711",
        Some("generations") => "0123456789abcdef",
        Some("keys") => "0123456789ab",
        _ => "22006",
    };
    path.replace("{id}", id)
        .replace("{*file}", "swagger-ui.css")
}

/// A form with a clip in it.
fn form(clip: Vec<u8>) -> reqwest::multipart::Form {
    let part = reqwest::multipart::Part::bytes(clip).file_name("clip.mp3");
    reqwest::multipart::Form::new().part("file", part)
}

/// An answer that the document allows.
struct Answer {
    /// The request in a few words, for messages.
    call: String,
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    /// Which documented answer it is.
    given: Option<Given>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    fn expect(&self, status: u16) -> &Self {
        let body: String = String::from_utf8_lossy(&self.body)
            .chars()
            .take(500)
            .collect();
        assert_eq!(self.status, status, "{}: {body}", self.call);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        self.expect(200);
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem, which has to be this one.
    #[track_caller]
    fn problem(&self, status: u16, slug: &str) -> Value {
        self.expect(status);
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        let kind = format!("urn:songkin:problem:{slug}");
        assert_eq!(problem["type"], kind, "{}: {problem}", self.call);
        problem
    }

    /// The parameters that an `invalid-parameter` problem names.
    #[track_caller]
    fn faults(&self) -> Vec<String> {
        let problem = self.problem(400, "invalid-parameter");
        let faults = problem["faults"].as_array().unwrap();
        let name = |fault: &Value| fault["parameter"].as_str().unwrap().to_owned();
        faults.iter().map(name).collect()
    }

    /// The ids of a search's results, in their order.
    #[track_caller]
    fn result_ids(&self) -> Vec<u64> {
        let answer = self.json();
        let results = answer["results"].as_array().unwrap();
        results.iter().map(|result| id(&result["track"])).collect()
    }
}

/// The status of an answer of the shared server, which is one that the document allows.
pub(crate) fn get_status(path: &str) -> u16 {
    run(async { Server::shared().await.get(path).await.status })
}

fn id(track: &Value) -> u64 {
    track["id"].as_u64().unwrap()
}

/// Every track of the demo by id, as the server describes it.
async fn all_tracks() -> BTreeMap<u64, Value> {
    let page = Server::shared().await.get("/v1/tracks?limit=100").await;
    let tracks: BTreeMap<u64, Value> = page.json()["tracks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|track| (id(track), track.clone()))
        .collect();
    assert_eq!(tracks.len(), 36);
    tracks
}

/// The parent of every genre of the demo that has one.
const GENRE_PARENTS: [(u64, u64); 4] = [(18, 1235), (107, 1235), (31, 12), (42, 15)];

/// Whether a track is of a genre or of one below it.
fn is_of_genre(track: &Value, wanted: u64) -> bool {
    let genres = track["genres"].as_array().unwrap();
    genres.iter().map(id).any(|genre| {
        genre == wanted
            || GENRE_PARENTS
                .iter()
                .any(|&(child, parent)| child == genre && parent == wanted)
    })
}
