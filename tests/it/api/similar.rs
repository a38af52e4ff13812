//! `GET /v1/tracks/{id}/similar`.

use std::collections::BTreeSet;

use super::{SUNRISE, Server, all_tracks, id, is_of_genre, run};

fn path(query: &str) -> String {
    format!("/v1/tracks/{SUNRISE}/similar{query}")
}

#[test]
fn all_tracks_but_itself_are_similar_more_or_less() {
    run(async {
        let server = Server::shared().await;
        let answer = server.get(&path("?k=100")).await;
        let ids: BTreeSet<u64> = answer.result_ids().into_iter().collect();
        let mut expected: BTreeSet<u64> = all_tracks().await.into_keys().collect();
        expected.remove(&SUNRISE.into());
        assert_eq!(ids, expected);

        let answer = answer.json();
        let similarities: Vec<f64> = answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["similarity"].as_f64().unwrap())
            .collect();
        assert!(similarities.is_sorted_by(|a, b| a >= b));
        assert_eq!(
            server.get(&path("")).await.result_ids().len(),
            10,
            "the default k"
        );
    });
}

#[test]
fn a_track_and_its_own_clip_have_the_same_neighbours() {
    run(async {
        let server = Server::shared().await;
        let by_clip = server
            .post("/v1/recommendations?k=11", super::demo_clip(SUNRISE))
            .await
            .result_ids();
        assert_eq!(by_clip[1..], server.get(&path("?k=10")).await.result_ids());
    });
}

#[test]
fn the_filters_are_those_of_recommendations() {
    run(async {
        let server = Server::shared().await;
        let tracks = all_tracks().await;
        let found =
            |query: &'static str| async move { server.get(&path(query)).await.result_ids() };

        let ids = found("?k=100&genre=Electronic&exclude_genre=42").await;
        let expected = tracks.values().filter(|track| {
            is_of_genre(track, 15) && !is_of_genre(track, 42) && id(track) != u64::from(SUNRISE)
        });
        assert_eq!(BTreeSet::from_iter(ids), expected.map(id).collect());

        let ids = found("?k=100&exclude_artist=Askyel&licence=CC-BY-SA-3.0&exclude_ids=2007").await;
        let expected = tracks.values().filter(|track| {
            track["artist"]["name"] != "Askyel"
                && track["licence"]["id"] == "CC-BY-SA-3.0"
                && id(track) != 2007
        });
        assert_eq!(BTreeSet::from_iter(ids), expected.map(id).collect());

        let ids = found("?k=100&max_per_artist=1").await;
        let artists: BTreeSet<i64> = ids
            .iter()
            .map(|id| tracks[id]["artist"]["id"].as_i64().unwrap())
            .collect();
        assert_eq!(artists.len(), ids.len());
    });
}

#[test]
fn what_is_wrong_is_told() {
    run(async {
        let server = Server::shared().await;
        for (query, faults) in [
            ("?k=0&colour=red", &["k", "colour"][..]),
            ("?genre=Zydeco", &["genre"]),
            // There is no upload to start in.
            ("?offset_seconds=1", &["offset_seconds"]),
        ] {
            assert_eq!(server.get(&path(query)).await.faults(), faults, "{query}");
        }
        let unknown = server.get("/v1/tracks/4711/similar").await;
        let problem = unknown.problem(404, "no-such-track");
        assert_eq!(problem["detail"], "there is no track 4711");
        for id in ["x", "-1", "4294967296", "1.5", "%FF", "%20"] {
            let answer = server.get(&format!("/v1/tracks/{id}/similar")).await;
            assert_eq!(answer.faults(), ["id"], "{id}");
        }
    });
}
