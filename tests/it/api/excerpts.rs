//! The promise of the fingerprint, over HTTP: a short excerpt at another bit rate finds its track.

use serde_json::Value;

use super::{Server, all_tracks, demo_path, run};
use crate::support::ffmpeg;

/// 5 s from `start`, as an MP3 of 64 kbit/s (the demo's have 80).
fn excerpt(id: u32, start: f64) -> Vec<u8> {
    let source = demo_path(id);
    let start = start.to_string();
    // Options after the input decode up to the start instead of guessing where it lies.
    let args = [
        "-i",
        source.to_str().unwrap(),
        "-ss",
        &start,
        "-t",
        "5",
        "-b:a",
        "64k",
    ];
    ffmpeg("mp3", &args)
}

/// Where an excerpt of a 26-second track starts: anywhere, the same in every run.
fn start(id: u32) -> f64 {
    f64::from(id.wrapping_mul(2_654_435_761) >> 12) / f64::from(1 << 20) * 20.8
}

/// What is wrong with the first result, if anything.
fn fault(answer: &Value, id: u32, start: f64) -> Option<String> {
    let first = &answer["results"][0];
    if first["track"]["id"] != id || first["same_recording"] != true {
        return Some(format!(
            "first came {} with same_recording {}",
            first["track"]["id"], first["same_recording"]
        ));
    }
    let at = |key: &str| first["passage"][key].as_f64().unwrap();
    let offset = at("track_seconds") - at("query_seconds");
    ((offset - start).abs() > 0.3).then(|| format!("placed at {offset} s"))
}

#[test]
fn five_seconds_at_another_bit_rate_find_their_track_and_place() {
    run(async {
        let server = Server::shared().await;
        let ids: Vec<u32> = all_tracks().await.keys().map(|id| *id as u32).collect();
        let mut faults = Vec::new();
        for &id in &ids {
            let start = start(id);
            assert!((0.0..=20.8).contains(&start));
            let clip = tokio::task::spawn_blocking(move || excerpt(id, start));
            let answer = server
                .post("/v1/recommendations?k=3", clip.await.unwrap())
                .await;
            if let Some(fault) = fault(&answer.json(), id, start) {
                faults.push(format!("{id} from {start:.3} s: {fault}"));
            }
        }
        let allowed = ids.len() / 20;
        assert!(faults.len() <= allowed, "{faults:#?}");
    });
}

/// Music that the catalogue does not hold is nobody's recording.
#[test]
fn what_is_not_in_the_catalogue_is_no_same_recording() {
    run(async {
        let server = Server::shared().await;
        for source in [
            "sine=frequency=440:duration=5",
            "anoisesrc=duration=5:seed=1:color=pink",
        ] {
            let clip = ffmpeg("mp3", &["-f", "lavfi", "-i", source, "-b:a", "128k"]);
            let answer = server.post("/v1/recommendations?k=36", clip).await.json();
            for result in answer["results"].as_array().unwrap() {
                assert_eq!(
                    result["same_recording"], false,
                    "{source}: {}",
                    result["track"]["id"]
                );
            }
        }
    });
}
