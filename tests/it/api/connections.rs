//! Connections that no honest client makes: slow ones, heads without end, nonsense, too many at once.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{Server, contract::CONTRACT, run};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server says before it closes.
struct Last {
    head: String,
    problem: Value,
}

impl Last {
    fn parse(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{text:?}"));
        let head = head.to_ascii_lowercase();
        for header in [
            "connection: close",
            "content-type: application/problem+json",
            "x-content-type-options: nosniff",
            &format!("content-length: {}", body.len()),
        ] {
            assert!(head.contains(header), "{header}: {head}");
        }
        let problem: Value = serde_json::from_str(body).unwrap();
        CONTRACT.hold(
            &CONTRACT.document["components"]["schemas"]["Problem"],
            &problem,
            "problem",
        );
        Self { head, problem }
    }

    #[track_caller]
    fn expect(&self, status: u16, slug: &str) {
        assert!(
            self.head.starts_with(&format!("http/1.1 {status} ")),
            "{}",
            self.head
        );
        assert_eq!(self.problem["type"], format!("urn:songkin:problem:{slug}"));
        assert_eq!(self.problem["status"], status);
    }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that the server says to these bytes until it closes.
    async fn told(&self, bytes: &[u8]) -> Last {
        let mut client = self.connect().await;
        client.write_all(bytes).await.unwrap();
        Last::parse(&rest(&mut client).await)
    }
}

async fn rest(client: &mut TcpStream) -> String {
    let mut text = String::new();
    let read = timeout(PATIENCE, client.read_to_string(&mut text)).await;
    read.expect("the server does not close").unwrap();
    text
}

/// The attack that is named after a slow animal: a byte now and then keeps a connection busy.
#[test]
fn a_head_that_comes_too_slowly_ends() {
    run(async {
        let server = Server::start(|parts| parts.settings.server.request_seconds = 1).await;
        let mut client = server.connect().await;
        let started = Instant::now();
        client
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n")
            .await
            .unwrap();
        let (mut reading, mut writing) = client.into_split();
        let drip = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if writing.write_all(b"x-a: b\r\n").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut text = String::new();
        tokio::select! {
            read = reading.read_to_string(&mut text) => { read.unwrap(); }
            () = drip => unreachable!(),
            () = tokio::time::sleep(PATIENCE) => panic!("it may drip for ever"),
        }
        assert!(started.elapsed() >= Duration::from_secs(1));
        Last::parse(&text).expect(408, "request-timeout");
        let faults = "songkin_http_connections_faulty_total{fault=\"timeout\"}";
        assert_eq!(server.counted().await[faults], 1.0);
    });
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_word() {
    run(async {
        let server = Server::start(|parts| parts.settings.server.request_seconds = 1).await;
        let mut silent = server.connect().await;
        assert_eq!(rest(&mut silent).await, "");
        // The same after a request was answered.
        let mut idle = server.connect().await;
        idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let answer = rest(&mut idle).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    });
}

#[test]
fn a_head_that_is_too_large_is_told_so() {
    run(async {
        let server = Server::shared().await;
        let many = "x-a: b\r\n".repeat(101);
        for head in [
            format!(
                "GET /livez HTTP/1.1\r\nx-a: {}\r\n\r\n",
                "b".repeat(65 << 10)
            ),
            format!("GET /livez?{} HTTP/1.1\r\n\r\n", "b".repeat(65 << 10)),
            format!("GET /livez HTTP/1.1\r\n{many}\r\n"),
            // One that never ends.
            format!("GET /livez HTTP/1.1\r\nx-a: {}", "b".repeat(300 << 10)),
        ] {
            server
                .told(head.as_bytes())
                .await
                .expect(431, "head-too-large");
        }
        // What fits is answered, a thousand ids among it.
        let ids: Vec<String> = (0..1000)
            .map(|id| (4_000_000_000_u32 + id).to_string())
            .collect();
        let path = format!("/v1/tracks/22006/similar?exclude_ids={}", ids.join(","));
        server.get(&path).await.expect(200);
    });
}

#[test]
fn what_is_no_http_is_told_so() {
    run(async {
        let server = Server::start(|_| {}).await;
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a greeting of TLS\r\n\r\n"[..],
            b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /livez HTTP/9.9\r\n\r\n",
            b"GET /a b HTTP/1.1\r\n\r\n",
            b"POST /v1/embeddings HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        ] {
            server.told(bytes).await.expect(400, "malformed-request");
        }
        let faults = "songkin_http_connections_faulty_total{fault=\"malformed\"}";
        assert_eq!(server.counted().await[faults], 5.0);
    });
}

#[test]
fn one_address_gets_half_of_the_connections() {
    run(async {
        let server = Server::start(|parts| parts.settings.server.max_connections = 4).await;
        let mut held = [server.connect().await, server.connect().await];
        for client in &mut held {
            client
                .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            client.read_u8().await.unwrap();
        }
        let mut third = server.connect().await;
        let refused = Last::parse(&rest(&mut third).await);
        refused.expect(503, "overloaded");
        assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
        drop(held);
        // There is place again as soon as the server has seen them go.
        let started = Instant::now();
        loop {
            let mut client = server.connect().await;
            // It may be turned away before it has written.
            let _ = client
                .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await;
            let mut text = String::new();
            if client.read_to_string(&mut text).await.is_ok() && text.starts_with("HTTP/1.1 200") {
                let refused = "songkin_http_connections_refused_total{reason=\"address\"} ";
                let count = text.split(refused).nth(1).unwrap().lines().next().unwrap();
                assert!(count.parse::<u32>().unwrap() >= 1, "{count}");
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// A place is held to the answer's end, whatever that is.
#[test]
fn reads_beyond_the_limit_are_told_to_come_again() {
    run(async {
        let server = Server::start(|parts| parts.settings.server.max_requests = 1).await;
        server.get("/v1/info").await.expect(200);
        let mut taking = server.connect().await;
        let request = b"GET /v1/tracks/22006/audio HTTP/1.1\r\nhost: localhost\r\n\r\n";
        // The file is larger than what the system takes of it at once, so its answer goes on while nobody reads.
        taking.write_all(request).await.unwrap();
        taking.read_u8().await.unwrap();
        let started = Instant::now();
        let answer = server.get("/v1/info").await;
        if answer.status != 200 {
            answer.problem(503, "overloaded");
            assert_eq!(answer.header("retry-after"), "1");
        }
        drop(taking);
        while server.get("/v1/info").await.status != 200 {
            assert!(started.elapsed() < PATIENCE, "the place does not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}
