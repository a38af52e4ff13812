//! Quotas of keys over HTTP.

use reqwest::Method;
use songkin::keys::{Quotas, Scope};

use super::{Answer, SUNRISE, Server, demo_clip, house, key_for, new_key, run};

const CLIPS: &str = "/v1/recommendations";
const SIMILAR: &str = "/v1/tracks/22006/similar";

/// The house's catalogue behind keys alone.
async fn guarded_house() -> Server {
    let server = Server::start(|parts| parts.settings.server.anonymous = false).await;
    server.get("/livez").await.expect(204);
    server
}

async fn key(server: &Server, quotas: Quotas) -> String {
    let database = house().await.parts.catalog.database().clone();
    let keys = songkin::keys::KeyStore::new(database);
    // Waiting for it to be known would spend of it; one that is made later and known is enough.
    let made = keys
        .create(&new_key([Scope::Recommend], quotas))
        .await
        .unwrap();
    key_for(server, &keys, &new_key([Scope::Read], Quotas::default())).await;
    made.1.expose().to_owned()
}

async fn get(server: &Server, key: &str) -> Answer {
    server
        .send(server.request_with(key, Method::GET, SIMILAR))
        .await
}

async fn post(server: &Server, key: &str, clip: Vec<u8>) -> Answer {
    let request = server.request_with(key, Method::POST, CLIPS);
    let request = request.header("content-type", "audio/mpeg").body(clip);
    server.send(request).await
}

fn quota(answer: &Answer) -> (&str, &str) {
    (
        answer.header("ratelimit-policy"),
        answer.header("ratelimit"),
    )
}

#[test]
fn requests_are_counted_for_each_key_and_refused_beyond_its_quota() {
    run(async {
        let server = guarded_house().await;
        let quotas = Quotas {
            requests_per_minute: Some(3),
            ..Quotas::default()
        };
        let (one, other) = (key(&server, quotas).await, key(&server, quotas).await);
        for left in (0..3).rev() {
            let answer = get(&server, &one).await;
            let (policy, limit) = quota(answer.expect(200));
            assert_eq!(policy, r#""requests";q=3;w=60"#);
            let seconds = limit.strip_prefix(&format!(r#""requests";r={left};t="#));
            let seconds: u32 = seconds
                .unwrap_or_else(|| panic!("{limit}"))
                .parse()
                .unwrap();
            assert!((1..=20).contains(&seconds), "{limit}");
        }
        let spent = get(&server, &one).await;
        let problem = spent.problem(429, "quota-exceeded");
        assert_eq!(
            problem["detail"],
            "the key's quota of 3 requests in 60 s is spent"
        );
        let wait: u32 = spent.header("retry-after").parse().unwrap();
        assert!((1..=20).contains(&wait), "{wait}");
        assert!(quota(&spent).1.starts_with(r#""requests";r=0;t="#));
        // The other key has its own, and calls that are no longer let in cost nothing.
        assert!(quota(&get(&server, &other).await).1.contains("r=2"));
        // No quota, no word of one.
        let free = key(&server, Quotas::default()).await;
        assert_eq!(quota(get(&server, &free).await.expect(200)), ("", ""));
    });
}

#[test]
fn a_clip_costs_what_is_heard_of_it_and_looking_costs_nothing() {
    run(async {
        let server = guarded_house().await;
        let quotas = Quotas {
            audio_seconds_per_hour: Some(40),
            ..Quotas::default()
        };
        let key = key(&server, quotas).await;
        let policy = r#""audio";q=40;w=3600;qu="audio-seconds""#;
        // What fails costs nothing.
        let failed = post(&server, &key, b"plain text".to_vec()).await;
        assert_eq!(quota(failed.expect(415)), (policy, r#""audio";r=40;t=0"#));
        // 26 seconds. A part of a second more or less comes back before the answer.
        let heard = post(&server, &key, demo_clip(SUNRISE)).await;
        let (told, limit) = quota(heard.expect(200));
        assert_eq!(told, policy);
        assert!(limit.starts_with(r#""audio";r=14;t="#), "{limit}");
        // Up to 30 might be heard of the next one.
        let spent = post(&server, &key, demo_clip(SUNRISE)).await;
        let problem = spent.problem(429, "quota-exceeded");
        assert_eq!(
            problem["detail"],
            "the key's quota of 40 seconds of audio in 3600 s is spent"
        );
        // 16 of 40 seconds are missing, which come back in 16/40 of an hour.
        let wait: f64 = spent.header("retry-after").parse().unwrap();
        assert!((1300.0..1450.0).contains(&wait), "{wait}");
        let looked = get(&server, &key).await;
        assert_eq!(quota(looked.expect(200)), ("", ""));
    });
}
