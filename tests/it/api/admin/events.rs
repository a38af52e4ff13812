//! Following a job.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use songkin::{
    catalog::GenerationState,
    jobs::{Claimed, End, Note},
};

use super::{
    super::{contract::CONTRACT, decoder_with, house, run, uploads},
    Admin, JOBS,
    jobs::worker,
    wait_until_ready,
};

impl Admin {
    async fn follow(&self, job: &Value, last: Option<u64>) -> Events {
        let mut request = self.request(Method::GET, &format!("{JOBS}/{}/events", job["id"]));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events::new(response)
    }
}

/// The events of a stream as they arrive, each held against the document.
struct Events {
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    text: String,
}

impl Events {
    fn new(response: Response) -> Self {
        Self {
            chunks: Box::pin(response.bytes_stream()),
            text: String::new(),
        }
    }

    /// The next event; none when the stream has ended.
    async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(Duration::from_secs(20), self.read())
            .await
            .expect("no event comes")
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            let Some((event, rest)) = self.text.split_once("\n\n") else {
                let chunk = self.chunks.next().await?.unwrap();
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
                continue;
            };
            let field = |name: &str| {
                let mut lines = event.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            let (id, kind, data) = (field("id: "), field("event: "), field("data: "));
            self.text = rest.to_owned();
            // A comment.
            let Some(data) = data else { continue };
            let data: Value = serde_json::from_str(&data).unwrap();
            CONTRACT.hold(
                &CONTRACT.document["components"]["schemas"]["JobEvent"],
                &data,
                "an event",
            );
            assert_eq!(id.unwrap(), data["seq"].to_string());
            assert_eq!(kind.unwrap(), data["kind"].as_str().unwrap());
            return Some(data);
        }
    }

    /// The kinds of all events until the stream's end.
    async fn kinds(mut self) -> Vec<String> {
        let mut kinds = Vec::new();
        while let Some(event) = self.next().await {
            kinds.push(event["kind"].as_str().unwrap().to_owned());
        }
        kinds
    }
}

#[test]
fn a_job_is_followed_from_the_request_to_its_end() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let body = json!({"kind": "train", "parameters": {"epochs": 2, "activate": false}});
        let job = admin.create(&body).await;
        assert_eq!(
            (&job["state"], &job["attempt"]),
            (&json!("queued"), &json!(0))
        );
        assert_eq!(job["parameters"]["epochs"], 2);
        assert_eq!(job["parameters"]["preset"], "small");
        assert_eq!(admin.show(&job).await, job);

        let mut events = admin.follow(&job, None).await;
        let first = events.next().await.unwrap();
        assert_eq!(
            (&first["seq"], &first["kind"]),
            (&json!(1), &json!("queued"))
        );

        // A worker, which is another process.
        let table = admin.table().await;
        let Claimed {
            job: claimed,
            lease,
        } = table.claim(&worker()).await.unwrap().unwrap();
        let started = events.next().await.unwrap();
        assert_eq!(
            started["data"],
            json!({"worker": "w", "device": "cpu", "attempt": 1})
        );
        let note = |epoch: u32| Note {
            kind: "epoch".to_owned(),
            at: claimed.created_at,
            data: json!({ "epoch": epoch, "loss": 1.0 / f64::from(epoch) }),
        };
        table.report(&lease, &[note(1)], None).await.unwrap();
        assert_eq!(events.next().await.unwrap()["data"]["loss"], 1.0);
        assert_eq!(admin.show(&job).await["state"], "running");
        table.report(&lease, &[note(2)], None).await.unwrap();
        let outcome = json!({"generation": "0123456789abcdef"});
        let end = End::Succeeded(outcome.clone());
        table.finish(&lease, &end).await.unwrap();
        assert_eq!(events.kinds().await, ["epoch", "succeeded"]);
        assert_eq!(admin.show(&job).await["outcome"], outcome);

        // Coming back: nothing is missed and nothing comes twice.
        let kinds = admin.follow(&job, Some(3)).await.kinds().await;
        assert_eq!(kinds, ["epoch", "succeeded"]);
        let kinds = admin.follow(&job, None).await.kinds().await;
        assert_eq!(kinds, ["queued", "started", "epoch", "epoch", "succeeded"]);
        let path = format!("{JOBS}/{}/events", job["id"]);
        for last in ["5", "4711"] {
            let request = admin
                .request(Method::GET, &path)
                .header("last-event-id", last);
            admin.server.send(request).await.expect(204);
        }
        let request = admin
            .request(Method::GET, &path)
            .header("last-event-id", "x");
        assert_eq!(admin.server.send(request).await.faults(), ["Last-Event-ID"]);
    });
}

#[test]
fn a_stream_goes_on_beyond_the_time_of_a_request() {
    run(async {
        let admin = Admin::start(|parts| parts.settings.server.request_seconds = 1).await;
        let job = admin.create(&json!({"kind": "build"})).await;
        let mut events = admin.follow(&job, None).await;
        assert_eq!(events.next().await.unwrap()["kind"], "queued");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        admin.cancel(&job).await;
        assert_eq!(events.kinds().await, ["cancelled"]);
    });
}

#[test]
fn streams_end_when_the_server_stops_and_other_requests_are_finished() {
    run(async {
        let house = &house().await.parts;
        let mut admin = Admin::start(|parts| {
            // Decoding takes a second and fails.
            parts.decoder = decoder_with("/bin/sh", &["-c", "sleep 1"]);
            parts.store = house.store.clone();
            parts.settings.server.anonymous = true;
        })
        .await;
        let active = house.catalog.active_generation().await.unwrap().unwrap();
        admin.enter(&active.id, GenerationState::Ready).await;
        admin.catalog.activate(None, &active.id).await.unwrap();
        wait_until_ready(&admin.server).await;

        let job = admin.create(&json!({"kind": "build"})).await;
        let mut followers = Vec::new();
        for _ in 0..3 {
            let mut events = admin.follow(&job, None).await;
            assert_eq!(events.next().await.unwrap()["kind"], "queued");
            followers.push(tokio::spawn(events.kinds()));
        }
        let stop = admin.server.stop.take().unwrap();
        let ((), answer) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_millis(400)).await;
                stop.send(()).unwrap();
            },
            admin.server.post("/v1/embeddings", uploads::m4a())
        );
        answer.problem(422, "undecodable-audio");
        // Well within the 20 s that open requests would get.
        let stopped = Instant::now();
        let ended = tokio::time::timeout(Duration::from_secs(5), &mut admin.server.ended);
        ended.await.expect("it goes on").unwrap().unwrap();
        for follower in followers {
            assert_eq!(follower.await.unwrap(), [""; 0]);
        }
        assert!(stopped.elapsed() < Duration::from_secs(3));
    });
}
