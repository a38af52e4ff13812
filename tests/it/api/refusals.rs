//! What a server refuses for its own sake: callers that are slow, too many, too early.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use reqwest::Body;
use serde_json::json;

use super::{SUNRISE, Server, demo_clip, form, run, uploads};

const PATH: &str = "/v1/recommendations";

#[test]
fn an_upload_that_does_not_come_ends_in_time() {
    run(async {
        let server = Server::start(|parts| parts.settings.server.request_seconds = 1).await;
        server.get("/livez").await.expect(204);
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from(demo_clip(SUNRISE)))]);
        let started = Instant::now();
        let answer = server
            .post(PATH, Body::wrap_stream(first.chain(stream::pending())))
            .await;
        let problem = answer.problem(408, "request-timeout");
        assert_eq!(problem["detail"], "a request gets 1 s, its upload included");
        let took = started.elapsed();
        assert!(
            (Duration::from_millis(900)..Duration::from_secs(4)).contains(&took),
            "{took:?}"
        );
    });
}

#[test]
fn beyond_the_clips_that_may_wait_the_answer_is_to_come_back_later() {
    run(async {
        let server = Server::busy().await;
        let m4a = uploads::m4a();
        let answers = join_all((0..6).map(|_| server.post(PATH, m4a.clone()))).await;
        let refused: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 503)
            .collect();
        // One is decoded, one waits; what their decoder makes of them is not the point.
        assert_eq!(refused.len(), 4);
        for answer in refused {
            answer.problem(503, "overloaded");
            assert_eq!(answer.header("retry-after"), "1");
        }
        // What needs no decoder goes on, and so does decoding afterwards.
        server.get("/v1/tracks/22006/similar").await.expect(200);
        server.post(PATH, demo_clip(SUNRISE)).await.expect(200);
    });
}

#[test]
fn without_a_generation_nothing_is_ready_and_the_rest_works() {
    run(async {
        let server = Server::empty().await;
        server.get("/livez").await.expect(204);
        server.get("/readyz").await.expect(503);
        server
            .post(PATH, demo_clip(SUNRISE))
            .await
            .problem(503, "not-ready");
        let answer = server
            .post_form("/v1/embeddings", form(demo_clip(SUNRISE)))
            .await;
        answer.problem(503, "not-ready");
        let similar = server.get("/v1/tracks/22006/similar").await;
        similar.problem(503, "not-ready");

        let info = server.get("/v1/info").await.json();
        assert!(info["generation"].is_null());
        assert_eq!(info["catalogue"]["tracks"], 0);
        let page = server.get("/v1/tracks").await.json();
        assert_eq!(page, json!({ "tracks": [], "next_cursor": null }));
        server.get("/metrics").await.expect(200);
    });
}

#[test]
fn what_breaks_inside_stays_inside() {
    run(async {
        let server = Server::broken().await;
        for answer in [
            server.get("/v1/tracks").await,
            server.get("/v1/tracks/22006").await,
            server.post(PATH, uploads::m4a()).await,
        ] {
            let problem = answer.problem(500, "internal");
            assert_eq!(problem["title"], "something broke in the server");
            assert!(problem.get("detail").is_none());
        }
    });
}

#[test]
fn info_tells_what_the_server_takes() {
    run(async {
        let server = Server::start(|parts| {
            parts.settings.server.max_body_mib = 3;
            parts.settings.search.default_k = 4;
            parts.settings.search.max_k = 7;
        })
        .await;
        let info = server.get("/v1/info").await.json();
        assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(info["device"], "cpu");
        assert_eq!(info["generation"]["tracks"], 36);
        assert_eq!(info["generation"]["model"]["name"], "tiny");
        assert_eq!(info["catalogue"]["available"], 36);
        assert_eq!(info["catalogue"]["analysed"], 36);
        assert_eq!(info["catalogue"]["bad"], 0);
        assert_eq!(info["limits"]["max_body_bytes"], 3 << 20);

        let similar = "/v1/tracks/22006/similar";
        assert_eq!(server.get(similar).await.result_ids().len(), 4);
        assert_eq!(server.get(&format!("{similar}?k=8")).await.faults(), ["k"]);
    });
}
