//! The record of what was done.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{super::run, Admin, JOBS, KEY, created, hash, set_keys};

const AUDIT: &str = "/v1/admin/audit";

#[test]
fn what_changes_something_is_on_record_with_its_outcome_and_nothing_else_is() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let job = admin.create(&json!({"kind": "build"})).await;
        admin.get(JOBS).await.expect(200);
        let request = admin.request(Method::POST, "/v1/admin/jobs/4711/cancel");
        let request = request.header("x-request-id", "mine-1");
        let cancel = admin.server.send(request).await;
        cancel.problem(404, "no-such-job");
        let body = json!({"name": "secret santa", "scopes": ["ingest"]}).to_string();
        let made: Value =
            serde_json::from_slice(&admin.post("/v1/admin/keys", body).await.body).unwrap();
        let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
        let request = admin.server.request_with(key, Method::POST, JOBS);
        admin.server.send(request.body("{")).await.expect(400);
        // Not let in, so not in the table.
        let request = admin
            .server
            .request_with(key, Method::POST, "/v1/admin/keys");
        admin.server.send(request).await.expect(403);
        admin.server.post(JOBS, "{}").await.expect(401);

        let answer = admin.get(AUDIT).await;
        let page = answer.json();
        let settings = format!("settings:{}", &hash(KEY)[..8]);
        let told: Vec<[&Value; 5]> = page["actions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| ["who", "action", "target", "outcome", "status"].map(|name| &entry[name]))
            .collect();
        let entry = |who: &str, action: &str, target: &str, outcome: &str, status: u16| {
            [
                json!(who),
                json!(action),
                json!(target),
                json!(outcome),
                json!(status),
            ]
        };
        let cancel_path = "/v1/admin/jobs/4711/cancel";
        let wanted = [
            entry(id, "POST /v1/admin/jobs", JOBS, "refused", 400),
            entry(
                &settings,
                "POST /v1/admin/keys",
                &format!("/v1/admin/keys/{id}"),
                "done",
                201,
            ),
            entry(
                &settings,
                "POST /v1/admin/jobs/{id}/cancel",
                cancel_path,
                "refused",
                404,
            ),
            entry(
                &settings,
                "POST /v1/admin/jobs",
                &format!("{JOBS}/{}", job["id"]),
                "done",
                202,
            ),
        ];
        assert_eq!(told, wanted.each_ref().map(|entry| entry.each_ref()));
        assert_eq!(page["actions"][2]["request_id"], "mine-1");
        assert!(!answer.text().contains(key) && !answer.text().contains("santa"));
        // In pages.
        let first = admin.get(&format!("{AUDIT}?limit=3")).await.json();
        assert_eq!(first["next_before"], first["actions"][2]["id"]);
        let rest = format!("{AUDIT}?limit=3&before={}", first["next_before"]);
        let rest = admin.get(&rest).await.json();
        assert_eq!(rest["actions"][0], page["actions"][3]);
        assert_eq!(rest["next_before"], Value::Null);
        let faults = admin.get(&format!("{AUDIT}?before=x&limit=501")).await;
        assert_eq!(faults.faults(), ["before", "limit"]);
    });
}

/// What cannot be put on record is not done.
#[test]
fn without_the_record_nothing_is_done() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        admin.server.get("/livez").await.expect(204);
        let mut tx = admin.catalog.database().write().await.unwrap();
        sqlx::query("ALTER TABLE admin_actions RENAME TO elsewhere")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let answer = admin.post(JOBS, r#"{"kind": "build"}"#).await;
        answer.problem(500, "internal");
        assert_eq!(admin.get(JOBS).await.json()["jobs"], json!([]));
    });
}

/// What was logged under the target `audit` in this process.
static LOGGED: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
    let sink = Arc::clone(&lines);
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter("off,audit=info")
        .with_writer(move || Sink(Arc::clone(&sink)))
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    lines
});

struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_has_it_too_and_those_who_were_not_let_in() {
    let lines = Arc::clone(&LOGGED);
    run(async {
        const OWN: &str = "a key that no other test uses";
        let admin = Admin::start(|parts| set_keys(parts, &[OWN])).await;
        let send = async |method, path: &str, body: &'static str| {
            let request = admin.server.request_with(OWN, method, path).body(body);
            admin.server.send(request).await
        };
        let job = created(&send(Method::POST, JOBS, r#"{"kind": "build"}"#).await);
        let location = format!("{JOBS}/{}", job["id"]);
        send(Method::GET, JOBS, "").await.expect(200);
        let cancel = format!("{location}/cancel");
        send(Method::POST, &cancel, "").await.expect(200);
        admin
            .post("/v1/admin/jobs/98765/cancel", "")
            .await
            .expect(401);

        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        assert!(!text.contains(OWN) && !text.contains(KEY));
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let name = format!("settings:{}", &hash(OWN)[..8]);
        let own: Vec<_> = lines
            .iter()
            .map(|line| &line["fields"])
            .filter(|fields| fields["who"] == name)
            .collect();
        let targets: Vec<_> = own.iter().map(|fields| &fields["target"]).collect();
        assert_eq!(targets, [&json!(JOBS), &json!(cancel)]);
        assert_eq!(own[0]["made"], location);
        assert_eq!(
            (&own[0]["action"], &own[0]["status"]),
            (&json!("POST /v1/admin/jobs"), &json!(202))
        );
        let refused = lines
            .iter()
            .find(|line| line["fields"]["target"] == "/v1/admin/jobs/98765/cancel")
            .unwrap();
        assert_eq!(
            (&refused["level"], &refused["fields"]["message"]),
            (&json!("WARN"), &json!("refused"))
        );
    });
}
