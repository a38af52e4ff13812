//! `/v1/admin`: jobs from the request to their last event, generations and the way back, keys, and the
//! record of it all.

mod audit;
mod events;
mod generations;
mod jobs;
mod keys;

use std::{
    fs,
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use songkin::{
    api::ROUTES, catalog::Catalog, generation::GenerationStore, program::Parts, text::hex,
};

use super::{Answer, Server, concrete, house};

const KEY: &str = "an admin key for tests";
const OTHER_KEY: &str = "another key, for when the first is changed";
const JOBS: &str = "/v1/admin/jobs";
const GENERATIONS: &str = "/v1/admin/generations";

fn hash(key: &str) -> String {
    hex(&Sha256::digest(key))
}

/// Configures admin keys, as the environment would.
fn set_keys(parts: &mut Parts, keys: &[&str]) {
    let hashes: Vec<String> = keys.iter().map(|key| hash(key)).collect();
    parts.settings.server.admin_key_sha256 =
        serde_json::from_value(json!(hashes.join(","))).unwrap();
}

/// A server with an admin key in its settings, a database of its own and no generation.
struct Admin {
    server: Server,
    catalog: Catalog,
    store: GenerationStore,
}

impl Admin {
    async fn start(change: impl FnOnce(&mut Parts)) -> Self {
        let mut own = None;
        let (server, _) = Server::guarded(|parts| {
            own = Some((parts.catalog.clone(), parts.store.clone()));
            set_keys(parts, &[KEY]);
            change(parts);
        })
        .await;
        let (catalog, store) = own.unwrap();
        Self {
            server,
            catalog,
            store,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.server.request_with(KEY, method, path)
    }

    async fn get(&self, path: &str) -> Answer {
        self.server.send(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).body(body);
        self.server.send(request).await
    }

    async fn create(&self, body: &Value) -> Value {
        created(&self.post(JOBS, body.to_string()).await)
    }

    async fn show(&self, job: &Value) -> Value {
        self.get(&format!("{JOBS}/{}", job["id"])).await.json()
    }

    async fn cancel(&self, job: &Value) -> Value {
        let path = format!("{JOBS}/{}/cancel", job["id"]);
        self.post(&path, "").await.json()
    }

    /// Does what the work of a job of kind `evaluate` ends with.
    fn write_report(&self, job: &Value, report: &Value) {
        let home = self.catalog.path().parent().unwrap();
        let dir = home.join("reports").join(job["id"].to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("report.json"), report.to_string()).unwrap();
    }
}

/// The job that was answered with 202.
#[track_caller]
fn created(answer: &Answer) -> Value {
    answer.expect(202);
    let job: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer.header("location"), format!("{JOBS}/{}", job["id"]));
    job
}

async fn wait_until_ready(server: &Server) {
    let started = Instant::now();
    while server.get("/readyz").await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(30), "no generation");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Every route below `/v1/admin`, with the number of a job that there is.
fn admin_routes() -> Vec<(Method, String)> {
    let routes: Vec<_> = ROUTES
        .iter()
        .filter(|route| route.path.starts_with("/v1/admin"))
        .map(|route| {
            let path = concrete(route.path).replace("4711", "1");
            (route.method.to_uppercase().parse().unwrap(), path)
        })
        .collect();
    assert!(routes.len() >= 15, "{routes:?}");
    routes
}

/// Calls that make servers give every answer that is documented for `/v1/admin`.
pub(super) async fn every_answer(note: &mut impl FnMut(Answer)) {
    let admin = Admin::start(|_| {}).await;
    let job = admin.create(&json!({"kind": "build"})).await;
    let (good, bad) = (
        admin.add_generation("a").await,
        admin.add_generation("b").await,
    );
    fs::write(admin.store.path(&bad).join("landmarks.bin"), "no").unwrap();
    let report = admin.store.path(&good).join("report");
    fs::create_dir_all(&report).unwrap();
    fs::write(report.join("report.json"), r#"{"figures": []}"#).unwrap();
    let unknown = "0123456789abcdef";

    for path in [JOBS, GENERATIONS, "/v1/admin/jobs?limit=0"] {
        note(admin.get(path).await);
    }
    for id in [job["id"].to_string().as_str(), "4711", "none"] {
        note(admin.get(&format!("{JOBS}/{id}")).await);
        note(admin.post(&format!("{JOBS}/{id}/cancel"), "").await);
        note(admin.get(&format!("{JOBS}/{id}/events")).await);
        note(admin.get(&format!("{JOBS}/{id}/report")).await);
    }
    admin.write_report(&job, &json!({"figures": []}));
    note(admin.get(&format!("{JOBS}/{}/report", job["id"])).await);
    let events = admin.request(Method::GET, &format!("{JOBS}/{}/events", job["id"]));
    note(admin.server.send(events.header("last-event-id", "9")).await);
    let keyed = async |body: &'static str| {
        let request = admin.request(Method::POST, JOBS);
        let request = request.header("idempotency-key", "k").body(body);
        admin.server.send(request).await
    };
    note(keyed(r#"{"kind": "build"}"#).await);
    note(keyed(r#"{"kind": "evaluate"}"#).await);
    for body in ["{", r#"{"kind": "dance"}"#, &" ".repeat(70_000)] {
        note(admin.post(JOBS, body.to_owned()).await);
        let path = format!("{GENERATIONS}/{good}/activate");
        note(admin.post(&path, body.to_owned()).await);
    }
    for id in [good.as_str(), &bad, unknown, "none"] {
        note(admin.get(&format!("{GENERATIONS}/{id}/report")).await);
        note(admin.activate(id, &json!({})).await);
    }
    note(admin.activate(&bad, &json!({"expected": unknown})).await);

    keys::every_answer(&admin, note).await;

    // Where the database fails.
    let catalog = Catalog::open(house().await.catalog_path()).await.unwrap();
    let broken = Server::start(|parts| {
        set_keys(parts, &[KEY]);
        parts.catalog = catalog.clone();
    })
    .await;
    broken.get("/livez").await.expect(204);
    catalog.close().await;
    for (method, path) in admin_routes() {
        let request = broken.request_with(KEY, method, &path);
        note(broken.send(request.body(r#"{"kind": "build"}"#)).await);
    }
}
