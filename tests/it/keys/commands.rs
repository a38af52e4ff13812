//! `songkin-server keys`, and what a server shows of keys.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use reqwest::Client;
use sha2::{Digest, Sha256};
use songkin::text::hex;

use crate::support::server;

fn keys(data: &Path, arguments: &[&str]) -> Output {
    let mut command = server();
    command.arg("keys").args(arguments);
    command.arg("--data-dir").arg(data).env("USER", "ann");
    command.output().unwrap()
}

/// What a command that goes well writes.
#[track_caller]
fn told(data: &Path, arguments: &[&str]) -> String {
    let output = keys(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The key, which is alone on standard output.
#[track_caller]
fn key(data: &Path, arguments: &[&str]) -> String {
    let told = told(data, arguments);
    let key = told.strip_suffix('\n').unwrap();
    assert!(key.starts_with("songkin_") && key.len() == 85, "{key}");
    key.to_owned()
}

fn id(key: &str) -> &str {
    &key[8..20]
}

#[test]
fn keys_are_made_rotated_revoked_and_listed_before_any_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let arguments = ["create", "the shop", "--scopes", "recommend,read"];
    let mut all = vec![key(&data, &arguments)];
    let quotas = ["--requests-per-minute", "60", "--expires-in", "90d"];
    all.push(key(&data, &[&arguments[..], &quotas].concat()));
    let (one, two) = (id(&all[0]).to_owned(), id(&all[1]).to_owned());
    all.push(key(&data, &["rotate", &one, "--overlap", "1h"]));
    assert_eq!(id(&all[2]), one);
    told(&data, &["revoke", &two]);

    let list = told(&data, &["list"]);
    let line = |id: &str| {
        let line = list.lines().find(|line| line.starts_with(id)).unwrap();
        line.split('\t').map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line(&one)[1..5], ["active", "read,recommend", "-", "-"]);
    assert_eq!(line(&one)[6..], ["never", "never", "the shop"]);
    assert_eq!(line(&two)[1..5], ["revoked", "read,recommend", "60", "-"]);

    let audit = told(&data, &["audit"]);
    let audit: Vec<Vec<&str>> = audit
        .lines()
        .skip(1)
        .map(|line| line.split('\t').skip(1).collect())
        .collect();
    let path = |id: &str| format!("/v1/admin/keys/{id}");
    for (entry, (action, id)) in audit.iter().zip([
        ("keys create", &one),
        ("keys create", &two),
        ("keys rotate", &one),
        ("keys revoke", &two),
    ]) {
        assert_eq!(entry[..], ["cli:ann", "done", "-", action, &path(id), "-"]);
    }
    assert_eq!(audit.len(), 4);
    // What was shown once is nowhere any more.
    for key in &all {
        let secret = &key[21..];
        assert!(!list.contains(secret));
        for file in fs::read_dir(&data).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found);
        }
    }
}

#[test]
fn what_cannot_be_done_is_told_and_failures_are_on_record() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (&["create", "x"][..], "--scopes"),
        (&["create", "x", "--scopes", "root"], "words with commas"),
        (&["rotate", "x"], "12 hexadecimal digits"),
        (
            &["create", "x", "--scopes", "read", "--expires-in", "90"],
            "a number and a unit",
        ),
    ] {
        let output = keys(dir.path(), arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(said), "{errors}");
    }
    for (arguments, said) in [
        (
            &["revoke", "0123456789ab"][..],
            "there is no key 0123456789ab",
        ),
        (&["create", "", "--scopes", "read"], "name has to be"),
    ] {
        let output = keys(dir.path(), arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains(said) && output.stdout.is_empty(),
            "{errors}"
        );
    }
    let audit = told(dir.path(), &["audit"]);
    assert_eq!(
        audit.matches("\tcli:ann\tfailed\t-\tkeys ").count(),
        2,
        "{audit}"
    );
}

#[test]
fn a_key_for_the_settings_is_made_with_its_hash_and_stored_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let output = keys(dir.path(), &["generate"]);
    let key = String::from_utf8(output.stdout).unwrap();
    let hash = hex(&Sha256::digest(key.trim_end()));
    let said = String::from_utf8(output.stderr).unwrap();
    let setting = format!("SONGKIN_SERVER_ADMIN_KEY_SHA256={hash}\n");
    assert!(said.ends_with(&setting), "{said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// A running server, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_server_that_logs_everything_logs_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let log = dir.path().join("log");
    let configured = "a key that was chosen by hand";
    // Free now, and nobody else asks for it in the next second.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut command = server();
    command
        .args(["--server-listen", &address, "--log-filter", "trace"])
        .args([
            "--server-admin-key-sha256",
            &hex(&Sha256::digest(configured)),
        ])
        .arg("--data-dir")
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap());
    let _server = Running(command.spawn().unwrap());
    let client = Client::new();
    let get = async |key: &str| {
        let request = client.get(format!("http://{address}/v1/admin/keys"));
        let answer = request.bearer_auth(key).send().await.ok()?;
        Some(answer.status().as_u16())
    };
    let began = Instant::now();
    while get(configured).await != Some(200) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it does not serve"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Made beside it while it runs, and known within two seconds.
    let made = key(&data, &["create", "x", "--scopes", "admin"]);
    let began = Instant::now();
    while get(&made).await != Some(200) {
        assert!(began.elapsed() < Duration::from_secs(2), "it stays unknown");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = client
        .post(format!("http://{address}/v1/admin/keys"))
        .bearer_auth(&made)
        .body(r#"{"name": "y", "scopes": ["read"]}"#);
    let answer: serde_json::Value = answer.send().await.unwrap().json().await.unwrap();
    let another = answer["key"].as_str().unwrap();
    let wrong = format!("{}{}", &made[..84], "g");
    assert_eq!(get(another).await, Some(403));
    assert_eq!(get(&wrong).await, Some(401));

    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("DEBUG") && text.contains("refused"), "{text}");
    for secret in [configured, &made[21..], &another[21..], &wrong[21..]] {
        assert!(!text.contains(secret), "a key is in the log");
    }
}
