//! Asking for work, looking at it, cancelling it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use songkin::{
    database::Database,
    jobs::{Claimed, JobStore, Worker},
};

use super::{super::run, Admin, JOBS, created};

impl Admin {
    /// The table as a worker sees it: through connections of its own.
    pub(super) async fn table(&self) -> JobStore {
        JobStore::new(Database::open(self.catalog.path()).await.unwrap())
    }
}

pub(super) fn worker() -> Worker {
    Worker {
        name: "w".to_owned(),
        device: "cpu".to_owned(),
        lease: Duration::from_secs(60),
    }
}

#[test]
fn a_key_of_ones_own_makes_a_request_repeatable() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let ask = async |key: &str, body: &str| {
            let request = admin.request(Method::POST, JOBS);
            let request = request.header("idempotency-key", key).body(body.to_owned());
            admin.server.send(request).await
        };
        let first = created(&ask("a", r#"{"kind": "train"}"#).await);
        // The same in other words.
        let body = r#"{"parameters": {"activate": true, "preset": "small"}, "kind": "train"}"#;
        assert_eq!(created(&ask("a", body).await), first);
        for body in [
            r#"{"kind": "build"}"#,
            r#"{"kind": "train", "parameters": {"epochs": 3}}"#,
        ] {
            ask("a", body).await.problem(422, "idempotency-key-reused");
        }
        let second = created(&ask("b", r#"{"kind": "train"}"#).await);
        assert_ne!(second["id"], first["id"]);
        let faults = ask(&"x".repeat(256), r#"{"kind": "train"}"#).await.faults();
        assert_eq!(faults, ["Idempotency-Key"]);
        let jobs = admin.get(JOBS).await.json();
        assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2);
    });
}

#[test]
fn everything_wrong_with_a_job_is_told_at_once() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let body = json!({
            "kind": "train", "urgent": true,
            "parameters": {"epochs": 0, "temperature": 0, "limits": {"test": 1}},
        });
        let faults = admin.post(JOBS, body.to_string()).await.faults();
        assert_eq!(
            faults,
            [
                "urgent",
                "parameters.epochs",
                "parameters.temperature",
                "parameters.limits.test"
            ]
        );
        for body in ["", "{}", r#"{"kind": "dance"}"#, r#"{"kind": null}"#] {
            assert_eq!(admin.post(JOBS, body).await.faults(), ["kind"], "{body}");
        }
        for body in ["[]", "null", "{", "\u{1}", r#"{"kind": "train"} {}"#] {
            admin
                .post(JOBS, body)
                .await
                .problem(400, "malformed-request");
        }
        let ingest = json!({"kind": "ingest", "parameters": {"dir": "music"}});
        assert_eq!(
            admin.post(JOBS, ingest.to_string()).await.faults(),
            ["parameters.dir"]
        );
        let large = json!({"kind": "train", "parameters": {"name": "x".repeat(70_000)}});
        admin
            .post(JOBS, large.to_string())
            .await
            .problem(413, "body-too-large");
        assert_eq!(
            admin.get(JOBS).await.json(),
            json!({"jobs": [], "next_before": null})
        );
    });
}

#[test]
fn jobs_are_cancelled_once() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let job = admin.create(&json!({"kind": "evaluate"})).await;
        let cancelled = admin.cancel(&job).await;
        assert_eq!(cancelled["state"], "cancelled");
        assert_eq!(admin.cancel(&job).await, cancelled);

        let job = admin.create(&json!({"kind": "evaluate"})).await;
        let table = admin.table().await;
        let Claimed { lease, .. } = table.claim(&worker()).await.unwrap().unwrap();
        let asked = admin.cancel(&job).await;
        assert_eq!(
            (&asked["state"], &asked["cancel_requested"]),
            (&json!("running"), &json!(true))
        );
        assert!(table.control(&lease).await.unwrap().cancel_requested);
        assert_eq!(admin.cancel(&job).await, asked);
    });
}

#[test]
fn jobs_are_listed_in_pages() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let mut ids = Vec::new();
        for kind in ["build", "evaluate", "build", "evaluate", "build"] {
            ids.insert(
                0,
                admin.create(&json!({ "kind": kind })).await["id"].clone(),
            );
        }
        admin.cancel(&json!({ "id": ids[0] })).await;
        let list = async |query: &str| {
            let page = admin.get(&format!("{JOBS}?{query}")).await.json();
            let jobs = page["jobs"].as_array().unwrap();
            let ids: Vec<Value> = jobs.iter().map(|job| job["id"].clone()).collect();
            (ids, page["next_before"].clone())
        };
        assert_eq!(list("").await, (ids.clone(), Value::Null));
        assert_eq!(list("limit=5").await, (ids.clone(), Value::Null));
        assert_eq!(list("limit=2").await, (ids[..2].to_vec(), ids[1].clone()));
        let next = format!("limit=3&before={}", ids[1]);
        assert_eq!(list(&next).await, (ids[2..].to_vec(), Value::Null));
        assert_eq!(list("state=cancelled").await.0, ids[..1]);
        assert_eq!(
            list("kind=evaluate&state=queued").await.0,
            [ids[1].clone(), ids[3].clone()]
        );
        let query = "state=done&kind=dance&before=0&limit=101&colour=red";
        let faults = admin.get(&format!("{JOBS}?{query}")).await.faults();
        assert_eq!(faults, ["state", "kind", "before", "limit", "colour"]);
        for id in ["0", "-1", "x", "99999999999999999999"] {
            assert_eq!(admin.get(&format!("{JOBS}/{id}")).await.faults(), ["id"]);
        }
        admin
            .get(&format!("{JOBS}/4711"))
            .await
            .problem(404, "no-such-job");
    });
}

#[test]
fn what_was_measured_can_be_read() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let told = async |job: &Value| {
            let answer = admin.get(&format!("{JOBS}/{}/report", job["id"])).await;
            let problem = answer.problem(404, "no-report");
            problem["detail"].as_str().unwrap().to_owned()
        };
        let measured = admin
            .create(&json!({"kind": "evaluate", "parameters": {"split": "validation"}}))
            .await;
        assert!(told(&measured).await.contains("is queued"));
        let report = json!({"format": 1, "figures": []});
        admin.write_report(&measured, &report);
        let answer = admin
            .get(&format!("{JOBS}/{}/report", measured["id"]))
            .await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.json(), report);

        let train = admin.create(&json!({"kind": "train"})).await;
        assert!(told(&train).await.contains("the generation in its outcome"));
        let build = admin.create(&json!({"kind": "build"})).await;
        assert!(told(&build).await.contains("`build` write no report"));
        let unknown = admin.get(&format!("{JOBS}/4711/report")).await;
        unknown.problem(404, "no-such-job");
    });
}
