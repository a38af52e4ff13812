//! More clips than the server can do, the same clip again, and clients that go before they are answered.

use futures_util::future::join_all;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{SUNRISE, Server, demo_clip, form, run, uploads};

const PATH: &str = "/v1/recommendations";

/// Another file that sounds the same: nothing after the last packet is read.
fn another(mut clip: Vec<u8>, number: u8) -> Vec<u8> {
    clip.extend([0, number]);
    clip
}

impl Server {
    /// A client that announces a clip and sends `part` of it.
    async fn sending(&self, length: usize, part: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: audio/mpeg\r\ncontent-length: {length}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(part).await.unwrap();
        client
    }
}

#[test]
fn who_was_let_in_does_not_wait_beyond_the_limit() {
    run(async {
        let server = Server::busy_with(|settings| {
            settings.max_wait_seconds = 0.2;
            settings.max_waiting = 64;
        })
        .await;
        let clips = (0..3).map(|number| server.post(PATH, another(uploads::m4a(), number)));
        let answers = join_all(clips).await;
        let refused: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 503)
            .collect();
        assert_eq!(refused.len(), 2, "one is decoded, which takes a second");
        for answer in refused {
            answer.problem(503, "overloaded");
            assert_eq!(answer.header("retry-after"), "1");
        }
        let counted = server.counted().await;
        assert_eq!(counted["songkin_clips_late_total"], 2.0);
        assert_eq!(counted["songkin_clips_inside"], 0.0);
        server.post(PATH, demo_clip(SUNRISE)).await.expect(200);
    });
}

#[test]
fn uploads_under_way_take_places_until_their_clients_go() {
    run(async {
        let server = Server::busy().await;
        let uploads = [
            server.sending(1000, b"begun").await,
            server.sending(1000, b"").await,
        ];
        server.until_counted("songkin_clips_inside", 2.0).await;
        let refused = server.post(PATH, demo_clip(SUNRISE)).await;
        refused.problem(503, "overloaded");
        assert_eq!(server.counted().await["songkin_clips_refused_total"], 1.0);
        drop(uploads);
        server.until_counted("songkin_clips_inside", 0.0).await;
        server.post(PATH, demo_clip(SUNRISE)).await.expect(200);
    });
}

#[test]
fn a_client_that_goes_leaves_no_work_behind() {
    run(async {
        let server = Server::busy_with(|settings| settings.max_waiting = 64).await;
        let slow = server.post(PATH, uploads::m4a());
        let leave = async {
            server.until_counted("songkin_clips_inside", 1.0).await;
            let clip = demo_clip(SUNRISE);
            let client = server.sending(clip.len(), &clip).await;
            server.until_counted("songkin_clips_inside", 2.0).await;
            drop(client);
            server.until_counted("songkin_clips_inside", 1.0).await;
        };
        let (slow, ()) = tokio::join!(slow, leave);
        slow.problem(422, "undecodable-audio");
        // The decoder takes clips in the order of their arrival: had it waited, it would be known.
        let other = another(demo_clip(SUNRISE), 1);
        server.post(PATH, other).await.expect(200);
        server.post(PATH, demo_clip(SUNRISE)).await.expect(200);
        let counted = server.counted().await;
        assert_eq!(counted["songkin_cache_hits_total"], 0.0);
    });
}

#[test]
fn the_same_clip_is_analysed_once() {
    run(async {
        let server = Server::start(|_| {}).await;
        let of_all = |path: &'static str| server.post(path, demo_clip(SUNRISE));
        let first = join_all((0..4).map(|_| of_all("/v1/recommendations?k=2"))).await;
        for answer in &first {
            assert_eq!(answer.json(), first[0].json());
        }
        let more = of_all("/v1/recommendations?k=5").await;
        assert_eq!(more.result_ids().len(), 5);
        assert_eq!(more.result_ids()[..2], first[0].result_ids());
        let sent_as_form = server
            .post_form("/v1/embeddings", form(demo_clip(SUNRISE)))
            .await;
        let vectors = of_all("/v1/embeddings").await;
        assert_eq!(sent_as_form.json(), vectors.json());
        let counted = server.counted().await;
        assert_eq!(counted["songkin_cache_misses_total"], 1.0);
        assert_eq!(counted["songkin_cache_hits_total"], 6.0);
        assert!(counted["songkin_cache_bytes"] > 0.0);

        // Another stretch and other bytes are other clips.
        let later = of_all("/v1/embeddings?offset_seconds=3").await;
        assert_ne!(later.json()["embedding"], vectors.json()["embedding"]);
        let other = another(demo_clip(SUNRISE), 1);
        server.post("/v1/embeddings", other).await.expect(200);
        assert_eq!(server.counted().await["songkin_cache_misses_total"], 3.0);
    });
}

#[test]
fn without_a_cache_every_clip_is_analysed() {
    run(async {
        let server = Server::start(|parts| parts.settings.cache.max_mib = 0).await;
        let first = server.post(PATH, demo_clip(SUNRISE)).await.json();
        assert_eq!(server.post(PATH, demo_clip(SUNRISE)).await.json(), first);
        let counted = server.counted().await;
        assert_eq!(counted["songkin_cache_misses_total"], 2.0);
        assert_eq!(counted["songkin_cache_bytes"], 0.0);
    });
}
