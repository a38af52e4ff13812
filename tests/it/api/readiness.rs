//! `GET /readyz`: which part is not ready.

use std::fs;

use serde_json::{Value, json};

use super::{Answer, Server, run};

/// The answer of a server that is not ready.
#[track_caller]
fn unready(answer: &Answer) -> Value {
    answer.expect(503);
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(told["ready"], false);
    told
}

/// The names of the parts that are not ready.
fn at_fault(told: &Value) -> Vec<&str> {
    let parts = told["parts"].as_object().unwrap();
    let faulty = parts.iter().filter(|(_, part)| part["ready"] != true);
    faulty.map(|(name, _)| name.as_str()).collect()
}

#[test]
fn a_server_that_is_well_says_so_of_every_part() {
    run(async {
        let told = Server::shared().await.get("/readyz").await.json();
        assert_eq!(told["ready"], true);
        assert_eq!(at_fault(&told), Vec::<&str>::new());
        assert_eq!(
            told["parts"]["device"],
            json!({"ready": true, "detail": "cpu"})
        );
        assert!(told["generation"].is_string());
    });
}

#[test]
fn the_part_that_is_at_fault_is_named() {
    run(async {
        let empty = Server::empty().await;
        let told = unready(&empty.get("/readyz").await);
        assert_eq!(at_fault(&told), ["generation"]);
        assert_eq!(told["generation"], Value::Null);
        let detail = &told["parts"]["generation"]["detail"];
        assert_eq!(detail, "no generation is loaded, ingest some music first");

        let broken = Server::broken().await;
        let told = unready(&broken.get("/readyz").await);
        assert_eq!(at_fault(&told), ["database"]);

        let full = Server::start(|parts| parts.settings.server.min_free_mib = 1 << 40).await;
        let told = unready(&full.get("/readyz").await);
        assert_eq!(at_fault(&told), ["disk"]);
        let detail = told["parts"]["disk"]["detail"].as_str().unwrap();
        assert!(detail.contains("server.min_free_mib"), "{detail}");
        // It can answer all the same.
        full.get("/v1/tracks/22006/similar").await.expect(200);
        let counted = full.counted().await;
        assert_eq!(counted["songkin_ready{part=\"disk\"}"], 0.0);
        assert_eq!(counted["songkin_ready{part=\"database\"}"], 1.0);
        assert!(counted["songkin_disk_free_bytes"] > 0.0);
    });
}

#[test]
fn a_spool_of_a_killed_server_is_cleared_at_the_start() {
    run(async {
        let home = tempfile::tempdir().unwrap();
        let left = home.path().join("spool/server-killed");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("lock"), "").unwrap();
        fs::write(left.join("upload"), "left").unwrap();
        let server = Server::start_in(home, |_| {}).await;
        server.get("/readyz").await.expect(200);
        assert!(!left.exists());
        assert_eq!(server.spooled(), 0);
    });
}
