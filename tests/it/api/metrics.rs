//! `GET /metrics`.

use std::collections::BTreeMap;

use super::{SUNRISE, Server, demo_clip, run};

/// Reads OpenMetrics text: every sample by its name and labels. Panics where it is not well-formed.
pub(super) fn parse(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            if kind == "TYPE" {
                let former = types.insert(name.to_owned(), words.next().unwrap().to_owned());
                assert_eq!(former, None, "{line}");
            }
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let name = key.split('{').next().unwrap();
        let declared = types.iter().any(|(family, kind)| {
            let suffixes: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "gauge" => &[""],
                _ => panic!("{family} is a {kind}"),
            };
            suffixes
                .iter()
                .any(|suffix| format!("{family}{suffix}") == name)
        });
        assert!(declared && name.starts_with("songkin_"), "{line}");
        assert_eq!(samples.insert(key.to_owned(), value), None, "{line}");
    }
    samples
}

#[test]
fn requests_and_work_are_counted() {
    run(async {
        let server = Server::start(|_| {}).await;
        let fresh = server.get("/metrics").await;
        let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(fresh.header("content-type"), media);
        let fresh = parse(fresh.expect(200).text());
        assert_eq!(fresh["songkin_index_tracks"], 36.0);

        for path in [
            "/v1/tracks/22006",
            "/v1/tracks/22002",
            "/v1/tracks/x",
            "/nothing",
            "/nowhere",
        ] {
            server.get(path).await;
        }
        server
            .post("/v1/embeddings", demo_clip(SUNRISE))
            .await
            .expect(200);
        let strange = server.request("BREW".parse().unwrap(), "/v1/tracks");
        server
            .send(strange)
            .await
            .problem(405, "method-not-allowed");

        let counted = parse(server.get("/metrics").await.expect(200).text());
        let requests = |method: &str, route: &str, status: u16| {
            let labels = format!("{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}");
            let count = counted[&format!("songkin_http_requests_total{labels}")];
            assert_eq!(
                counted[&format!("songkin_http_request_seconds_count{labels}")],
                count
            );
            count
        };
        assert_eq!(
            requests("GET", "/v1/tracks/{id}", 200),
            2.0,
            "one label for all tracks"
        );
        assert_eq!(requests("GET", "/v1/tracks/{id}", 400), 1.0);
        assert_eq!(
            requests("GET", "unmatched", 404),
            2.0,
            "one label for all that is not there"
        );
        assert_eq!(requests("POST", "/v1/embeddings", 200), 1.0);
        assert_eq!(requests("other", "/v1/tracks", 405), 1.0);
        assert_eq!(requests("GET", "/metrics", 200), 1.0);

        // The device is shared with the other tests.
        let windows = |samples: &BTreeMap<String, f64>| samples["songkin_device_windows_total"];
        assert!(windows(&counted) >= windows(&fresh) + 3.0);
        // A clip went through decoder, queue and device.
        assert_eq!(counted["songkin_decode_seconds_count{outcome=\"ok\"}"], 1.0);
        for name in ["queue_seconds", "batch_windows", "batch_seconds"] {
            assert!(counted[&format!("songkin_{name}_count")] >= 1.0, "{name}");
        }
        assert_eq!(counted["songkin_device_up"], 1.0);
        assert_eq!(
            counted["songkin_catalogue_files{state=\"available\"}"],
            36.0
        );
        assert_eq!(counted["songkin_jobs_queued"], 0.0);
        assert_eq!(
            counted["songkin_generation_loads_total{outcome=\"loaded\"}"],
            1.0
        );
        assert!(counted["songkin_process_resident_bytes"] > 1e6);

        let info = server.get("/v1/info").await.json();
        let id = info["generation"]["id"].as_str().unwrap();
        let generation = format!("songkin_generation_info{{generation=\"{id}\",model=\"tiny\"}}");
        assert_eq!(counted[&generation], 1.0);
    });
}

#[test]
fn the_answers_are_watched_while_they_are_given() {
    run(async {
        let server = Server::start(|_| {}).await;
        let fresh = parse(server.get("/metrics").await.expect(200).text());
        assert_eq!(fresh["songkin_live_recall_samples_total"], 0.0);
        assert!(!fresh.contains_key("songkin_live_recall"));
        server.get("/v1/tracks/22006/similar").await.expect(200);
        // The sample is taken after the answer.
        let started = std::time::Instant::now();
        loop {
            let counted = parse(server.get("/metrics").await.expect(200).text());
            if counted["songkin_live_recall_samples_total"] >= 1.0 {
                assert_eq!(counted["songkin_live_recall"], 1.0, "the scan is exact");
                assert_eq!(counted["songkin_live_hub_share"], 1.0);
                // Ten of 36 tracks are in the one answer: (1 - 2p) / sqrt(p (1 - p)).
                let p: f64 = 10.0 / 36.0;
                let skew = (1.0 - 2.0 * p) / (p * (1.0 - p)).sqrt();
                assert!((counted["songkin_live_hubness"] - skew).abs() < 1e-9);
                assert_eq!(
                    counted["songkin_search_seconds_count{engine=\"exact\"}"],
                    1.0
                );
                return;
            }
            assert!(started.elapsed().as_secs() < 20, "no sample is taken");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
}
