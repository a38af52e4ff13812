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
        let head =
            "POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nbegun";
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

#[test]
fn the_health_check_tells_alive_from_ready_from_gone() {
    run(async {
        let (serving, empty) = (Server::shared().await, Server::empty().await);
        let ask = async |address, path| {
            tokio::task::spawn_blocking(move || songkin::program::healthcheck(address, false, path))
                .await
                .unwrap()
        };
        assert_eq!(ask(serving.address, "/livez").await.unwrap(), 204);
        assert_eq!(ask(serving.address, "/readyz").await.unwrap(), 200);
        assert_eq!(ask(empty.address, "/livez").await.unwrap(), 204);
        assert_eq!(ask(empty.address, "/readyz").await.unwrap(), 503);
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        ask(address, "/livez").await.expect_err("nobody listens");
    });
}
