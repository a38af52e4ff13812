//! What tracks are called is in memory, and follows what other programs write.

use std::time::Duration;

use serde_json::Value;
use songkin::catalog::Catalog;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{SUNRISE, Server, demo_clip, house, id, run};

const ALL: &str = "/v1/tracks/22006/similar?k=100";
/// "Founders", by the same artist and under the same licence as [`SUNRISE`].
const FOUNDERS: u64 = 22_003;

/// A server on a copy of the house's catalogue, that catalogue, and a connection of another program to it.
async fn on_a_copy() -> (Server, Catalog, SqliteConnection) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("catalog.sqlite");
    let original = house().await.parts.catalog.database();
    original.snapshot(&path).await.unwrap();
    let catalog = Catalog::open(&path).await.unwrap();
    let server = Server::start_in(home, |parts| parts.catalog = catalog.clone()).await;
    server
        .until_counted("songkin_descriptions_tracks", 36.0)
        .await;
    let options = SqliteConnectOptions::new().filename(&path);
    let other = SqliteConnection::connect_with(&options).await.unwrap();
    (server, catalog, other)
}

/// A track of an answer; null where it is not in it.
fn track(answer: &Value, wanted: u64) -> Value {
    let results = answer["results"].as_array().unwrap();
    let mut tracks = results.iter().map(|result| &result["track"]);
    let found = tracks.find(|track| id(track) == wanted);
    found.cloned().unwrap_or_default()
}

#[test]
fn what_another_program_writes_is_in_the_answers_after_a_second() {
    run(async {
        let (server, _, mut other) = on_a_copy().await;
        let before = track(&server.get(ALL).await.json(), FOUNDERS);
        assert_eq!(before["title"], "Founders");
        let changes: [(&'static str, &str, Value); 7] = [
            (
                "UPDATE tracks SET title = 'Finders' WHERE id = 22003",
                "/title",
                "Finders".into(),
            ),
            (
                "UPDATE artists SET name = 'Alexander'
                 WHERE id = (SELECT artist_id FROM tracks WHERE id = 22003)",
                "/artist/name",
                "Alexander".into(),
            ),
            (
                "UPDATE licences SET name = 'Theirs'
                 WHERE id = (SELECT licence_id FROM tracks WHERE id = 22003)",
                "/licence/name",
                "Theirs".into(),
            ),
            (
                "UPDATE genres SET title = 'Noise'
                 WHERE id IN (SELECT genre_id FROM track_genres WHERE track_id = 22003)",
                "/genres/0/title",
                "Noise".into(),
            ),
            (
                "UPDATE files SET missing_since = 1 WHERE track_id = 22003",
                "/audio",
                Value::Null,
            ),
            (
                "UPDATE files SET missing_since = NULL WHERE track_id = 22003",
                "/audio",
                "/v1/tracks/22003/audio".into(),
            ),
            ("DELETE FROM tracks WHERE id = 22003", "", Value::Null),
        ];
        for (sql, pointer, expected) in changes {
            server.get(ALL).await.expect(200);
            sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let answer = server.get(ALL).await.json();
            let found = track(&answer, FOUNDERS);
            assert_eq!(found.pointer(pointer), Some(&expected), "{sql}");
        }
        let clip = server
            .post("/v1/recommendations?k=100", demo_clip(SUNRISE))
            .await
            .json();
        assert_eq!(track(&clip, FOUNDERS), Value::Null);
        let artist = track(&clip, u64::from(SUNRISE))["artist"]["name"].clone();
        assert_eq!(artist, "Alexander");
    });
}

#[test]
fn answers_ask_the_database_for_nothing() {
    run(async {
        let (server, _, _) = on_a_copy().await;
        let held = server.counted().await;
        assert!(held["songkin_descriptions_bytes"] > 36.0 * 100.0);
        for attempt in 0.. {
            let before = server.counted().await;
            server.get(ALL).await.expect(200);
            let after = server.counted().await;
            let grown = |name: &str| after[name] - before[name];
            let hits = grown("songkin_descriptions_hits_total");
            let misses = grown("songkin_descriptions_misses_total");
            assert_eq!(hits + misses, 35.0);
            if misses == 0.0 {
                break;
            }
            // On a machine that is too busy to follow for a second.
            assert!(attempt < 20, "{misses} are asked for");
        }
    });
}

#[test]
fn without_memory_the_database_is_asked() {
    run(async {
        let server = Server::start(|parts| parts.settings.cache.tracks_max_mib = 0).await;
        let first = server.get(ALL).await.json();
        assert_eq!(server.get(ALL).await.json(), first);
        let shared = Server::shared().await.get(ALL).await.json();
        assert_eq!(shared, first);
        let counted = server.counted().await;
        assert_eq!(counted["songkin_descriptions_hits_total"], 0.0);
        assert_eq!(counted["songkin_descriptions_misses_total"], 70.0);
        assert_eq!(counted["songkin_descriptions_bytes"], 0.0);
    });
}

#[test]
fn a_database_that_has_gone_is_told_after_a_second() {
    run(async {
        let (server, catalog, _other) = on_a_copy().await;
        server.get(ALL).await.expect(200);
        catalog.close().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.get(ALL).await.problem(500, "internal");
    });
}
