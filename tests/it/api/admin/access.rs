//! Who gets in, and the record of what they did.

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    process::Command,
    sync::{Arc, LazyLock, Mutex},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    super::{Server, contract::CONTRACT, run},
    Admin, JOBS, KEY, OTHER_KEY, TOKEN, admin_routes, created, hash, set_keys,
};

#[test]
fn only_an_admin_key_opens_an_admin_route() {
    run(async {
        let admin = Admin::start(|parts| {
            parts.settings.server.access_token = TOKEN.to_owned().into();
            set_keys(parts, &[OTHER_KEY, KEY]);
        })
        .await;
        let closed = Server::start(|parts| {
            parts.settings.server.access_token = TOKEN.to_owned().into();
        })
        .await;
        let wrong = [
            None,
            Some(String::new()),
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
            Some(format!("Bearer {TOKEN}")),
            Some(format!("Bearer {}", &KEY[..KEY.len() - 1])),
            Some(format!("Bearer {KEY}x")),
            Some(format!("Basic {KEY}")),
            Some(KEY.to_owned()),
            // The hash is no key.
            Some(format!("Bearer {}", hash(KEY))),
        ];
        for (method, path) in admin_routes() {
            // A job and a generation that are not there.
            let id = if path.contains("generations") {
                "0123456789abcdef"
            } else {
                "4711"
            };
            let path = path.replace("{id}", id);
            for value in &wrong {
                for (server, status, slug) in [
                    (&admin.server, 401, "admin-key-needed"),
                    (&closed, 403, "admin-closed"),
                ] {
                    let mut request = server.request(method.clone(), &path);
                    if let Some(value) = value {
                        request = request.header("authorization", value);
                    }
                    let answer = server.send(request).await;
                    let problem = answer.problem(status, slug);
                    if status == 403 {
                        let detail = problem["detail"].as_str().unwrap();
                        assert!(detail.contains("songkin-server admin-key"), "{detail}");
                    }
                }
            }
            for key in [KEY, OTHER_KEY] {
                let request = admin.server.request(method.clone(), &path);
                let request = request.header("authorization", format!("bearer {key}"));
                let answer = admin.server.send(request).await;
                assert!(![401, 403].contains(&answer.status), "{}", answer.call);
            }
        }
        // And it opens nothing else.
        let request = admin.request(Method::GET, "/v1/tracks");
        admin
            .server
            .send(request)
            .await
            .problem(401, "unauthorized");
    });
}

#[test]
fn the_document_wants_an_admin_key_below_admin_and_nowhere_else() {
    let needs = json!([{ "adminKey": [] }]);
    for operation in CONTRACT.operations() {
        let named = operation.value.get("security") == Some(&needs);
        assert_eq!(
            named,
            operation.path.starts_with("/v1/admin"),
            "{}",
            operation.path
        );
    }
}

/// What was logged under the target `audit` in this process.
static AUDIT: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
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
fn what_is_done_with_a_key_is_on_record_and_the_key_is_not() {
    let lines = Arc::clone(&AUDIT);
    run(async {
        const OWN: &str = "a key that no other test uses";
        let admin = Admin::start(|parts| set_keys(parts, &[OWN])).await;
        let send = async |method, path: &str, body: &'static str| {
            let request = admin.server.request(method, path).body(body);
            let request = request.header("authorization", format!("Bearer {OWN}"));
            admin.server.send(request).await
        };
        let job = created(&send(Method::POST, JOBS, r#"{"kind": "build"}"#).await);
        let location = format!("{JOBS}/{}", job["id"]);
        send(Method::GET, JOBS, "").await.expect(200);
        let cancel = format!("{location}/cancel");
        send(Method::POST, &cancel, "").await.expect(200);
        // Refused.
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
        let name = &hash(OWN)[..8];
        let own: Vec<_> = lines
            .iter()
            .map(|line| &line["fields"])
            .filter(|fields| fields["key"] == name)
            .collect();
        let paths: Vec<_> = own.iter().map(|fields| &fields["path"]).collect();
        assert_eq!(paths, [&json!(JOBS), &json!(cancel)]);
        assert_eq!(own[0]["made"], location);
        assert_eq!(
            (&own[0]["method"], &own[0]["status"]),
            (&json!("POST"), &json!(202))
        );
        let refused = lines
            .iter()
            .find(|line| line["fields"]["path"] == "/v1/admin/jobs/98765/cancel")
            .unwrap();
        assert_eq!(
            (&refused["level"], &refused["fields"]["message"]),
            (&json!("WARN"), &json!("refused"))
        );
    });
}

#[test]
fn the_server_makes_keys() {
    let server = Path::new(env!("CARGO_BIN_EXE_songkin-server"));
    let mut keys = BTreeSet::new();
    for _ in 0..2 {
        let output = Command::new(server).arg("admin-key").output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let key = text.lines().nth(1).unwrap();
        let setting = text
            .lines()
            .find_map(|line| line.strip_prefix("SONGKIN_SERVER_ADMIN_KEY_SHA256="));
        assert_eq!(key.len(), 64);
        assert_eq!(setting.unwrap(), hash(key));
        keys.insert(key.to_owned());
    }
    assert_eq!(keys.len(), 2);
}
