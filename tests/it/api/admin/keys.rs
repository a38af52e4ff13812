//! Keys over HTTP: made, looked at, rotated, revoked.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use songkin::{database::Database, keys::KeyStore};

use super::{
    super::{Answer, run},
    Admin, JOBS,
};

const KEYS: &str = "/v1/admin/keys";

impl Admin {
    async fn make(&self, body: &Value) -> Value {
        let answer = self.post(KEYS, body.to_string()).await;
        answer.expect(201);
        assert_eq!(answer.header("cache-control"), "no-store");
        let made: Value = serde_json::from_slice(&answer.body).unwrap();
        let path = format!("{KEYS}/{}", made["id"].as_str().unwrap());
        assert_eq!(answer.header("location"), path);
        made
    }

    async fn change(&self, key: &Value, what: &str, body: &Value) -> Answer {
        let id = key["id"].as_str().unwrap();
        self.post(&format!("{KEYS}/{id}/{what}"), body.to_string())
            .await
    }

    /// What `GET /v1/info` is answered to a key.
    async fn info(&self, key: &Value) -> u16 {
        let key = key["key"].as_str().unwrap();
        let request = self.server.request_with(key, Method::GET, "/v1/info");
        self.server.send(request).await.status
    }
}

#[test]
fn a_key_is_told_once_and_opens_what_it_was_made_for() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let body = json!({"name": "web shop", "scopes": ["recommend", "read"],
            "expires_in_seconds": 3600, "requests_per_minute": 100, "audio_seconds_per_hour": null});
        let made = admin.make(&body).await;
        assert_eq!(made["scopes"], json!(["read", "recommend"]));
        assert_eq!(made["requests_per_minute"], 100);
        assert_eq!(made["state"], "active");
        // At once, and not after a second.
        assert_eq!(admin.info(&made).await, 200);
        let shown = admin
            .get(&format!("{KEYS}/{}", made["id"].as_str().unwrap()))
            .await;
        let mut without = made.clone();
        without.as_object_mut().unwrap().remove("key");
        assert_eq!(shown.json(), without);
        let listed = admin.get(KEYS).await;
        assert_eq!(listed.json()["keys"], json!([without]));
        let secret = made["key"].as_str().unwrap().rsplit('_').next().unwrap();
        assert!(!listed.text().contains(secret) && !shown.text().contains(secret));
    });
}

#[test]
fn everything_wrong_with_a_key_is_told_at_once() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        for (body, faults) in [
            (json!({}), vec!["name", "scopes"]),
            (
                json!({"name": 1, "scopes": "read", "colour": 1}),
                vec!["name", "scopes", "colour"],
            ),
            (
                json!({"name": "a\nb", "scopes": ["read", "root"]}),
                vec!["scopes", "name"],
            ),
            (
                json!({"name": "x", "scopes": ["read"], "expires_in_seconds": 0,
                    "requests_per_minute": 0, "audio_seconds_per_hour": -1}),
                vec![
                    "audio_seconds_per_hour",
                    "expires_in_seconds",
                    "requests_per_minute",
                ],
            ),
            (
                json!({"name": "x".repeat(101), "scopes": [], "expires_in_seconds": 315_360_001}),
                vec!["name", "scopes", "expires_in_seconds"],
            ),
        ] {
            let answer = admin.post(KEYS, body.to_string()).await;
            assert_eq!(answer.faults(), faults, "{body}");
        }
        assert_eq!(admin.get(KEYS).await.json()["keys"], json!([]));
        let key = admin.make(&json!({"name": "x", "scopes": ["read"]})).await;
        let body = json!({"overlap_seconds": 315_360_001, "expires_in_seconds": 0, "x": 1});
        assert_eq!(
            admin.change(&key, "rotate", &body).await.faults(),
            ["expires_in_seconds", "overlap_seconds", "x"]
        );
        for what in ["rotate", "revoke"] {
            let unknown = json!({"id": "0123456789ab"});
            let answer = admin.change(&unknown, what, &json!({})).await;
            answer.problem(404, "no-such-key");
            let none = json!({"id": "0123456789AB"});
            let answer = admin.change(&none, what, &json!({})).await;
            assert_eq!(answer.faults(), ["id"]);
        }
    });
}

#[test]
fn after_a_rotation_both_secrets_are_good_for_as_long_as_was_said() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let first = admin.make(&json!({"name": "x", "scopes": ["read"]})).await;
        let answer = admin
            .change(&first, "rotate", &json!({"overlap_seconds": 60}))
            .await;
        let second = answer.json();
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(
            (&second["id"], &second["name"]),
            (&first["id"], &json!("x"))
        );
        assert_ne!(second["key"], first["key"]);
        assert_eq!(
            (admin.info(&first).await, admin.info(&second).await),
            (200, 200)
        );
        // No overlap, and the one before is gone already.
        let third = admin
            .change(&second, "rotate", &json!({"overlap_seconds": 0}))
            .await
            .json();
        assert_eq!(third["former_until"], Value::Null);
        for (key, status) in [(&first, 401), (&second, 401), (&third, 200)] {
            assert_eq!(admin.info(key).await, status);
        }
        admin.change(&third, "revoke", &json!({})).await.expect(200);
        assert_eq!(admin.info(&third).await, 401);
        let again = admin.change(&third, "revoke", &json!({})).await.json();
        assert_eq!(again["state"], "revoked");
        let answer = admin.change(&third, "rotate", &json!({})).await;
        answer.problem(409, "key-revoked");
    });
}

#[test]
fn what_another_process_revokes_is_refused_within_two_seconds_and_its_streams_end() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let job = admin.create(&json!({"kind": "build"})).await;
        let made = admin
            .make(&json!({"name": "x", "scopes": ["ingest", "read"]}))
            .await;
        let key = made["key"].as_str().unwrap();
        let path = format!("{JOBS}/{}/events", job["id"]);
        let mut stream = admin
            .server
            .request_with(key, Method::GET, &path)
            .send()
            .await
            .unwrap();
        assert!(stream.chunk().await.unwrap().is_some());

        let database = Database::open(admin.catalog.path()).await.unwrap();
        let id = made["id"].as_str().unwrap().parse().unwrap();
        KeyStore::new(database.clone()).revoke(id).await.unwrap();
        let revoked = Instant::now();
        while admin.info(&made).await == 200 {
            assert!(revoked.elapsed() < Duration::from_secs(2), "still good");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rest = async { while stream.chunk().await.unwrap().is_some() {} };
        tokio::time::timeout(Duration::from_secs(3), rest)
            .await
            .expect("the stream goes on");
        database.close().await;
    });
}

#[test]
fn a_key_of_the_settings_opens_everything_and_stands_in_no_list() {
    run(async {
        let admin = Admin::start(|parts| {
            super::set_keys(parts, &[super::OTHER_KEY, super::KEY]);
        })
        .await;
        for key in [super::KEY, super::OTHER_KEY] {
            for path in [KEYS, "/v1/info"] {
                let request = admin.server.request_with(key, Method::GET, path);
                admin.server.send(request).await.expect(200);
            }
        }
        assert_eq!(admin.get(KEYS).await.json()["keys"], json!([]));
        // The hash is no key.
        let hash = super::hash(super::KEY);
        let request = admin.server.request_with(&hash, Method::GET, KEYS);
        admin
            .server
            .send(request)
            .await
            .problem(401, "unauthorized");
    });
}

/// Calls that make servers give every answer that is documented for keys.
pub(super) async fn every_answer(admin: &Admin, note: &mut impl FnMut(Answer)) {
    let body = json!({"name": "x", "scopes": ["read"]});
    let key = admin.make(&body).await;
    let revoked = admin.make(&body).await;
    note(admin.change(&revoked, "revoke", &json!({})).await);
    note(admin.change(&revoked, "rotate", &json!({})).await);
    note(admin.change(&key, "rotate", &json!({})).await);
    note(admin.post(KEYS, body.to_string()).await);
    note(admin.get(KEYS).await);
    for page in ["", "?limit=0", "?limit=1"] {
        note(admin.get(&format!("/v1/admin/audit{page}")).await);
    }
    for id in [key["id"].as_str().unwrap(), "0123456789ab", "none"] {
        note(admin.get(&format!("{KEYS}/{id}")).await);
        let key = json!({ "id": id });
        for body in ["{", r#"{"colour": 1}"#, &" ".repeat(70_000)] {
            let path = format!("{KEYS}/{id}/rotate");
            note(admin.post(&path, body.to_owned()).await);
            note(admin.post(KEYS, body.to_owned()).await);
        }
        note(admin.change(&key, "rotate", &json!({})).await);
        note(admin.change(&key, "revoke", &json!({})).await);
    }
}
