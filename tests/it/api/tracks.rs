//! `/v1/tracks`: search, description, audio.

use reqwest::Method;
use serde_json::Value;

use super::{Answer, REMOVED, SUNRISE, Server, all_tracks, demo_clip, id, run};

fn titles(answer: &Answer) -> Vec<String> {
    let page = answer.json();
    let tracks = page["tracks"].as_array().unwrap();
    let title = |track: &Value| track["title"].as_str().unwrap().to_owned();
    tracks.iter().map(title).collect()
}

#[test]
fn tracks_are_found_by_the_words_of_title_artist_and_album() {
    run(async {
        let server = Server::shared().await;
        let found = |query: &'static str| async move {
            titles(&server.get(&format!("/v1/tracks?query={query}")).await)
        };
        assert_eq!(found("sunrise").await, ["Sunrise"]);
        assert_eq!(found("SUNR").await, ["Sunrise"]);
        assert_eq!(found("savino%20palace").await, ["Palace"]);
        assert_eq!(found("muldjord").await, ["Armygeddon", "Chaos God"]);
        assert_eq!(found("no%20such%20words").await, [""; 0]);
        // Nothing in a query is syntax.
        assert_eq!(found("%22%29%20OR%20*%20NEAR(").await, [""; 0]);
        let everything = titles(&server.get("/v1/tracks?limit=100").await);
        assert_eq!(everything.len(), 36);
        let blank = titles(&server.get("/v1/tracks?query=&cursor=&limit=100").await);
        assert_eq!(blank, everything, "an empty search box asks for everything");
        assert_eq!(
            titles(&server.get("/v1/tracks").await),
            everything[..20],
            "a page"
        );
    });
}

/// All ids of a search, page by page.
async fn pages(query: &str, limit: usize) -> Vec<u64> {
    let server = Server::shared().await;
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/tracks?query={query}&limit={limit}&cursor={cursor}");
        let page = server.get(&path).await.json();
        let tracks = page["tracks"].as_array().unwrap();
        ids.extend(tracks.iter().map(id));
        match page["next_cursor"].as_str() {
            Some(next) => {
                assert_eq!(tracks.len(), limit, "only the last page may be shorter");
                assert!(ids.len() < 100, "the pages do not end");
                next.clone_into(&mut cursor);
            }
            None => return ids,
        }
    }
}

#[test]
fn pages_end_and_neither_repeat_nor_skip() {
    run(async {
        let everything: Vec<u64> = all_tracks().await.into_keys().collect();
        for limit in [1, 5, 12, 35, 36, 100] {
            assert_eq!(pages("", limit).await, everything, "limit {limit}");
        }
        let words = pages("d", 100).await;
        assert!(words.len() > 5, "too few to page through");
        assert_eq!(pages("d", 2).await, words);
    });
}

#[test]
fn a_cursor_is_good_for_its_own_search_alone() {
    run(async {
        let server = Server::shared().await;
        let page = server.get("/v1/tracks?query=d&limit=1").await.json();
        let cursor = page["next_cursor"].as_str().unwrap();
        for query in [
            format!("?query=e&cursor={cursor}"),
            "?cursor=made-up".to_owned(),
        ] {
            assert_eq!(
                server.get(&format!("/v1/tracks{query}")).await.faults(),
                ["cursor"]
            );
        }
        for (query, faults) in [
            ("limit=0&k=1", &["limit", "k"][..]),
            ("limit=101", &["limit"]),
            ("limit=many&query=a&query=b", &["query", "limit"]),
            (&format!("query={}", "x".repeat(201)), &["query"]),
        ] {
            let answer = server.get(&format!("/v1/tracks?{query}")).await;
            assert_eq!(answer.faults(), faults, "{query}");
        }
    });
}

#[test]
fn a_track_is_described_with_what_its_use_asks_for() {
    run(async {
        let server = Server::shared().await;
        let track = server.get(&format!("/v1/tracks/{SUNRISE}")).await.json();
        assert_eq!(track["title"], "Sunrise");
        assert_eq!(
            track["artist"]["name"],
            "Alexander Zhelanov and Stian Grenborgen"
        );
        assert_eq!(track["licence"]["id"], "CC-BY-4.0");
        assert!(
            track["licence"]["url"]
                .as_str()
                .unwrap()
                .contains("/by/4.0")
        );
        assert_eq!(track["attribution_url"], "https://www.freecol.org/");
        assert_eq!(track["audio"], format!("/v1/tracks/{SUNRISE}/audio"));

        server
            .get("/v1/tracks/4711")
            .await
            .problem(404, "no-such-track");
        for id in ["x", "-1", "4294967296", "%FF"] {
            let answer = server.get(&format!("/v1/tracks/{id}")).await;
            assert_eq!(answer.faults(), ["id"], "{id}");
        }
    });
}

const AUDIO: &str = "/v1/tracks/22006/audio";

async fn audio(method: Method, headers: &[(&str, &str)]) -> Answer {
    let server = Server::shared().await;
    let request = headers
        .iter()
        .fold(server.request(method, AUDIO), |request, (name, value)| {
            request.header(*name, *value)
        });
    server.send(request).await
}

#[test]
fn the_audio_is_the_file() {
    run(async {
        let file = demo_clip(SUNRISE);
        let whole = audio(Method::GET, &[]).await;
        assert_eq!(whole.header("content-type"), "audio/mpeg");
        assert_eq!(whole.header("content-length"), file.len().to_string());
        assert!(whole.expect(200).body == file);

        let head = audio(Method::HEAD, &[]).await;
        assert_eq!(
            head.expect(200).header("content-length"),
            file.len().to_string()
        );
        assert_eq!(head.header("accept-ranges"), "bytes");
    });
}

#[test]
fn ranges_of_the_audio_are_taken() {
    run(async {
        let file = demo_clip(SUNRISE);
        let last = file.len() - 1;
        for (range, start, end) in [
            ("bytes=0-99", 0, 99),
            ("bytes=1000-1000", 1000, 1000),
            ("bytes=200000-", 200_000, last),
            ("bytes=-500", file.len() - 500, last),
            ("bytes=100-99999999", 100, last),
        ] {
            let part = audio(Method::GET, &[("range", range)]).await;
            assert!(part.expect(206).body == file[start..=end], "{range}");
            let content_range = format!("bytes {start}-{end}/{}", file.len());
            assert_eq!(part.header("content-range"), content_range);
        }
        let head = audio(Method::HEAD, &[("range", "bytes=0-99")]).await;
        assert_eq!(head.expect(206).header("content-length"), "100");

        for range in ["bytes=99999999-", "bytes=0-1,5-6"] {
            let refused = audio(Method::GET, &[("range", range)]).await;
            refused.problem(416, "range-not-satisfiable");
            assert_eq!(
                refused.header("content-range"),
                format!("bytes */{}", file.len())
            );
        }
    });
}

#[test]
fn conditions_on_the_audio_are_kept() {
    run(async {
        let whole = audio(Method::GET, &[]).await;
        let (tag, modified) = (whole.header("etag"), whole.header("last-modified"));
        for header in [("if-none-match", tag), ("if-modified-since", modified)] {
            audio(Method::GET, &[header]).await.expect(304);
        }
        audio(Method::GET, &[("if-match", tag)]).await.expect(200);
        let long_ago = "Thu, 01 Jan 1970 00:00:01 GMT";
        for header in [
            ("if-match", "\"another\""),
            ("if-unmodified-since", long_ago),
        ] {
            let answer = audio(Method::GET, &[header]).await;
            answer.problem(412, "precondition-failed");
        }
    });
}

#[test]
fn audio_that_is_not_there_is_told_from_a_track_that_is_not() {
    run(async {
        let server = Server::shared().await;
        let gone = server.get(&format!("/v1/tracks/{REMOVED}/audio")).await;
        gone.problem(404, "no-audio-file");
        let unknown = server.get("/v1/tracks/4711/audio").await;
        unknown.problem(404, "no-such-track");
        assert_eq!(server.get("/v1/tracks/x/audio").await.faults(), ["id"]);
    });
}
