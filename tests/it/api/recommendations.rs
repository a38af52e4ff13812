//! `POST /v1/recommendations`.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use super::{SUNRISE, Server, all_tracks, demo_clip, form, id, is_of_genre, run};

const PATH: &str = "/v1/recommendations";

#[test]
fn a_clip_finds_itself_first_and_then_the_nearest() {
    run(async {
        let server = Server::shared().await;
        let answer = server.post(PATH, demo_clip(SUNRISE)).await.json();
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), 10, "the default k");
        assert_eq!(results[0]["track"]["title"], "Sunrise");
        assert_eq!(results[0]["same_recording"], true);
        assert!(results[0]["similarity"].as_f64().unwrap() > 0.999);

        let similarity = |result: &Value| result["similarity"].as_f64().unwrap();
        for pair in results[1..].windows(2) {
            let order = similarity(&pair[1]).total_cmp(&similarity(&pair[0]));
            assert!(
                order
                    .then(id(&pair[0]["track"]).cmp(&id(&pair[1]["track"])))
                    .is_lt()
            );
        }
        let ids: BTreeSet<u64> = results.iter().map(|result| id(&result["track"])).collect();
        assert_eq!(ids.len(), 10, "every track once");

        let query = &answer["query"];
        assert_eq!(query["source"]["codec"], "mp3");
        assert_eq!(
            (&query["offset_seconds"], &query["truncated"]),
            (&0.0.into(), &false.into())
        );
        assert!((query["seconds"].as_f64().unwrap() - 26.0).abs() < 0.1);
        let ready = server.get("/readyz").await.json();
        assert_eq!(answer["generation"], ready["generation"]);
        assert_eq!(answer["search"]["allowed"], 36);
    });
}

/// With another decoder idle the device begins before the clip is decoded to its end, without one after it.
#[test]
fn an_answer_does_not_depend_on_when_the_device_begins() {
    run(async {
        let answer = async |decodes| {
            let server = Server::start(|parts| parts.settings.server.max_decodes = decodes).await;
            server.post(PATH, demo_clip(SUNRISE)).await.json()
        };
        assert_eq!(answer(1).await, answer(2).await);
    });
}

#[test]
fn the_body_and_the_form_say_the_same() {
    run(async {
        let server = Server::shared().await;
        let clip = demo_clip(SUNRISE);
        let path = format!("{PATH}?k=3&exclude_genre=Rock");
        let raw = server.post(&path, clip.clone()).await.json();
        assert_eq!(
            server.post_form(&path, form(clip.clone())).await.json(),
            raw
        );

        let fields = form(clip.clone())
            .text("k", "3")
            .text("exclude_genre", "Rock");
        assert_eq!(server.post_form(PATH, fields).await.json(), raw);
        // Fields may stand before the clip, and in the query string at the same time.
        let fields = reqwest::multipart::Form::new().text("exclude_genre", "Rock");
        let part = reqwest::multipart::Part::bytes(clip.clone());
        let fields = fields.part("file", part);
        let answer = server.post_form(&format!("{PATH}?k=3"), fields).await;
        assert_eq!(answer.json(), raw);

        for media in ["application/octet-stream", "audio/x-anything"] {
            let request = server
                .request(Method::POST, &path)
                .header("content-type", media);
            assert_eq!(server.send(request.body(clip.clone())).await.json(), raw);
        }
        let untyped = server.request(Method::POST, &path).body(clip);
        assert_eq!(server.send(untyped).await.json(), raw);
    });
}

#[test]
fn k_is_how_many_come_back() {
    run(async {
        let server = Server::shared().await;
        for (k, count) in [(1, 1), (7, 7), (36, 36), (100, 36)] {
            let path = format!("{PATH}?k={k}");
            let ids = server.post(&path, demo_clip(SUNRISE)).await.result_ids();
            assert_eq!(ids.len(), count, "k={k}");
        }
    });
}

#[test]
fn results_are_the_tracks_as_the_catalogue_describes_them() {
    run(async {
        let tracks = all_tracks().await;
        let path = format!("{PATH}?k=100");
        let answer = Server::shared()
            .await
            .post(&path, demo_clip(SUNRISE))
            .await
            .json();
        for result in answer["results"].as_array().unwrap() {
            assert_eq!(result["track"], tracks[&id(&result["track"])]);
        }
    });
}

#[test]
fn an_offset_is_where_the_clip_starts_and_passages_are_told_in_the_uploads_time() {
    run(async {
        let server = Server::shared().await;
        let clip = demo_clip(SUNRISE);
        let answer = server
            .post(&format!("{PATH}?offset_seconds=10.5"), clip.clone())
            .await
            .json();
        assert_eq!(answer["query"]["offset_seconds"], 10.5);
        assert!((answer["query"]["seconds"].as_f64().unwrap() - 15.5).abs() < 0.1);
        let first = &answer["results"][0];
        assert_eq!(first["same_recording"], true);
        let at = |key: &str| first["passage"][key].as_f64().unwrap();
        assert!(at("query_seconds") >= 10.5);
        assert!((at("query_seconds") - at("track_seconds")).abs() < 0.3);

        let beyond = server
            .post(&format!("{PATH}?offset_seconds=27"), clip)
            .await;
        assert_eq!(beyond.faults(), ["offset_seconds"]);
    });
}

#[test]
fn what_goes_beyond_the_longest_query_is_not_heard() {
    run(async {
        let server = Server::start(|parts| parts.settings.audio.max_query_seconds = 6.0).await;
        let answer = server.post(PATH, demo_clip(SUNRISE)).await.json();
        assert_eq!(answer["query"]["truncated"], true);
        assert!((answer["query"]["seconds"].as_f64().unwrap() - 6.0).abs() < 0.1);
    });
}

/// Every filter gives exactly the tracks that it should, by what the catalogue says of each track.
#[test]
fn filters_let_through_what_they_say_and_nothing_else() {
    fn artist(track: &Value) -> &str {
        track["artist"]["name"].as_str().unwrap_or_default()
    }
    fn licence(track: &Value) -> &str {
        track["licence"]["id"].as_str().unwrap_or_default()
    }
    type Allows = fn(&Value) -> bool;
    let filters: &[(&str, Allows)] = &[
        ("genre=Soundtrack", |track| is_of_genre(track, 18)),
        // A genre stands for those below it: no track is of genre 12 or 1235 itself and of no other.
        ("genre=Instrumental", |track| is_of_genre(track, 1235)),
        ("genre=1235", |track| is_of_genre(track, 1235)),
        ("genre=rock&genre=jazz", |track| {
            is_of_genre(track, 12) || is_of_genre(track, 4)
        }),
        ("exclude_genre=Electronic", |track| !is_of_genre(track, 15)),
        ("exclude_genre=Metal&exclude_genre=18", |track| {
            !is_of_genre(track, 31) && !is_of_genre(track, 18)
        }),
        ("genre=Instrumental&exclude_genre=Soundtrack", |track| {
            is_of_genre(track, 1235) && !is_of_genre(track, 18)
        }),
        ("exclude_artist=Askyel", |track| artist(track) != "Askyel"),
        (
            "exclude_artist=muldjord&exclude_artist=David%20Reeves%20(Destructavator)",
            |track| !["Muldjord", "David Reeves (Destructavator)"].contains(&artist(track)),
        ),
        ("licence=CC-BY-4.0", |track| licence(track) == "CC-BY-4.0"),
        ("licence=cc-by-3.0&licence=CC-BY-4.0", |track| {
            ["CC-BY-3.0", "CC-BY-4.0"].contains(&licence(track))
        }),
        ("exclude_ids=22006", |track| id(track) != 22006),
        ("exclude_ids=22006,22002,4711&exclude_ids=2007", |track| {
            ![22006, 22002, 2007].contains(&id(track))
        }),
        (
            "genre=Electronic&licence=CC-BY-SA-3.0&exclude_artist=DJ%20Helium&exclude_ids=2007",
            |track| {
                is_of_genre(track, 15)
                    && licence(track) == "CC-BY-SA-3.0"
                    && artist(track) != "DJ Helium"
                    && id(track) != 2007
            },
        ),
    ];
    run(async {
        let server = Server::shared().await;
        let tracks = all_tracks().await;
        for (filter, allows) in filters {
            let expected: BTreeSet<u64> = tracks
                .iter()
                .filter(|(_, track)| allows(track))
                .map(|(id, _)| *id)
                .collect();
            assert!(
                (1..36).contains(&expected.len()),
                "{filter} filters nothing"
            );
            let path = format!("{PATH}?k=100&{filter}");
            let answer = server.post(&path, demo_clip(SUNRISE)).await;
            let found: BTreeSet<u64> = answer.result_ids().into_iter().collect();
            assert_eq!(found, expected, "{filter}");
            assert_eq!(
                answer.json()["search"]["allowed"],
                expected.len(),
                "{filter}"
            );
        }
    });
}

#[test]
fn no_artist_comes_more_often_than_allowed() {
    run(async {
        let server = Server::shared().await;
        let tracks = all_tracks().await;
        let artist = |track: &Value| track["artist"]["id"].as_i64().unwrap();
        let mut total = std::collections::BTreeMap::<i64, usize>::new();
        for track in tracks.values() {
            *total.entry(artist(track)).or_default() += 1;
        }
        for max in [1, 2, 50] {
            let path = format!("{PATH}?k=100&max_per_artist={max}");
            let ids = server.post(&path, demo_clip(SUNRISE)).await.result_ids();
            let mut found = std::collections::BTreeMap::<i64, usize>::new();
            for id in ids {
                *found.entry(artist(&tracks[&id])).or_default() += 1;
            }
            let expected = total
                .iter()
                .map(|(artist, count)| (*artist, *count.min(&max)));
            assert_eq!(found, expected.collect());
        }
    });
}

#[test]
fn a_filter_value_that_the_catalogue_does_not_have_is_a_fault_of_its_parameter() {
    run(async {
        let server = Server::shared().await;
        for parameter in ["genre", "exclude_genre", "exclude_artist", "licence"] {
            let path = format!("{PATH}?{parameter}=Zydeco");
            let answer = server.post(&path, demo_clip(SUNRISE)).await;
            assert_eq!(answer.faults(), [parameter]);
            let detail = answer.problem(400, "invalid-parameter");
            assert!(
                detail["faults"][0]["detail"]
                    .as_str()
                    .unwrap()
                    .contains("\"Zydeco\"")
            );
        }
    });
}

#[test]
fn all_wrong_parameters_are_told_at_once() {
    run(async {
        let server = Server::shared().await;
        let wrong = "k=0&offset_seconds=-1&max_per_artist=none&exclude_ids=1,x&genre=&colour=red";
        let faults = [
            "k",
            "max_per_artist",
            "genre",
            "exclude_ids",
            "offset_seconds",
            "colour",
        ];
        let answer = server
            .post(&format!("{PATH}?{wrong}"), demo_clip(SUNRISE))
            .await;
        assert_eq!(answer.faults(), faults);

        let mut fields = form(demo_clip(SUNRISE));
        for pair in wrong.split('&') {
            let (name, value) = pair.split_once('=').unwrap();
            fields = fields.text(name, value);
        }
        assert_eq!(server.post_form(PATH, fields).await.faults(), faults);

        for (query, fault) in [
            ("k=101", "k"),
            ("k=2.5", "k"),
            ("k=1&k=2", "k"),
            ("k=", "k"),
            ("offset_seconds=NaN", "offset_seconds"),
            ("offset_seconds=inf", "offset_seconds"),
            ("max_per_artist=0", "max_per_artist"),
            ("exclude_ids=4294967296", "exclude_ids"),
            ("file=x", "file"),
        ] {
            let answer = server
                .post(&format!("{PATH}?{query}"), demo_clip(SUNRISE))
                .await;
            assert_eq!(answer.faults(), [fault], "{query}");
        }
        // A field and the query string may not contradict each other.
        let twice = form(demo_clip(SUNRISE)).text("k", "2");
        let answer = server.post_form(&format!("{PATH}?k=1"), twice).await;
        assert_eq!(answer.faults(), ["k"]);
    });
}
