//! Stopping.

use std::time::Duration;

use super::{Server, run, uploads};

#[test]
fn a_server_that_is_told_to_stop_finishes_what_it_has_begun() {
    run(async {
        let mut server = Server::busy().await;
        server.get("/livez").await.expect(204);
        let stop = server.stop.take().unwrap();
        let clip = uploads::m4a();
        let ((), answer) = tokio::join!(
            async {
                // By now the upload has arrived and is decoded, which takes a second.
                tokio::time::sleep(Duration::from_millis(500)).await;
                stop.send(()).unwrap();
            },
            server.post("/v1/recommendations", clip)
        );
        answer.problem(422, "undecodable-audio");
        let ended = tokio::time::timeout(Duration::from_secs(5), &mut server.ended);
        ended.await.expect("it goes on").unwrap().unwrap();
        tokio::net::TcpStream::connect(server.address)
            .await
            .expect_err("nobody listens any more");
    });
}

#[test]
fn a_request_that_does_not_end_is_not_waited_for_beyond_the_deadline() {
    run(async {
        let mut server = Server::start(|parts| parts.settings.server.shutdown_seconds = 1).await;
        server.get("/livez").await.expect(204);
        let head = "POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nbegun";
        let mut client = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut client, head.as_bytes())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.stop.take().unwrap().send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(5), &mut server.ended);
        ended.await.expect("it goes on").unwrap().unwrap();
    });
}
