//! What a caller brings to prove who it is reaches no log, however much is logged.

use std::{
    fs::{self, File},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use songkin::text::hex;

use super::{CLIENT, run};
use crate::support::program;

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn sensitive_headers_are_never_logged() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let hash = hex(&Sha256::digest("the secret of the house"));
        let mut command = program(env!("CARGO_BIN_EXE_songkin-server"));
        command
            .args(["--server-listen", "127.0.0.1:0", "--log-filter", "trace"])
            .args(["--log-format", "json", "--data-dir"])
            .arg(dir.path().join("data"))
            .args(["--server-admin-key-sha256", &hash])
            .stderr(Stdio::from(File::create(&log).unwrap()))
            .stdout(Stdio::null());
        let _server = Running(command.spawn().unwrap());
        let read = || fs::read_to_string(&log).unwrap();
        let started = Instant::now();
        let address = loop {
            if let Some(rest) = read().split("\"address\":\"").nth(1) {
                break rest.split('"').next().unwrap().to_owned();
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{}", read());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        for (header, value) in [
            ("authorization", "Bearer a-wrong-token"),
            ("authorization", "Bearer the secret of the house"),
            ("cookie", "session=crumbs-of-a-cookie"),
            ("proxy-authorization", "Basic for-a-proxy"),
        ] {
            let url = format!("http://{address}/v1/info?query=private-words");
            let answer = CLIENT.get(url).header(header, value).send().await.unwrap();
            let wanted = if value.contains("house") { 200 } else { 401 };
            assert_eq!(answer.status(), wanted, "{header}");
        }
        let log = read();
        assert!(log.contains("/v1/info"), "nothing is logged: {log}");
        for secret in [
            "a-wrong-token",
            "the secret of the house",
            "crumbs-of-a-cookie",
            "for-a-proxy",
            "private-words",
        ] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    });
}
