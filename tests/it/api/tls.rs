//! TLS with certificates made for the occasion.

use std::{fs, path::Path, sync::Arc, time::Duration};

use rcgen::{CertificateParams, CertifiedKey, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::{Server, metrics, run};

const PATIENCE: Duration = Duration::from_secs(20);

fn certificate() -> CertifiedKey<KeyPair> {
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    CertifiedKey { cert, signing_key }
}

fn write(dir: &Path, pair: &CertifiedKey<KeyPair>) {
    fs::write(dir.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    fs::write(dir.join("certificate.pem"), pair.cert.pem()).unwrap();
}

/// One that trusts this certificate alone.
fn connector(trusted: &CertificateDer<'static>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

impl Server {
    async fn with_tls(dir: &Path) -> Self {
        Self::start(|parts| {
            let server = &mut parts.settings.server;
            server.tls_certificate = dir.join("certificate.pem");
            server.tls_key = dir.join("key.pem");
            server.reload_seconds = 1;
        })
        .await
    }

    async fn handshake(
        &self,
        trusted: &CertificateDer<'static>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        connector(trusted).connect(name, stream).await
    }

    /// Handshakes until the server shows this certificate.
    async fn until_shown(&self, trusted: &CertificateDer<'static>) {
        let started = Instant::now();
        while self.handshake(trusted).await.is_err() {
            assert!(
                started.elapsed() < PATIENCE,
                "the certificate is not taken up"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The answer, head and body, to a request on a connection that ends with it.
async fn get(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    // The server says that it closes, so the end is no truncation.
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[test]
fn requests_go_over_tls_and_nothing_goes_without() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let own = certificate();
        write(dir.path(), &own);
        let server = Server::with_tls(dir.path()).await;
        let mut stream = server.handshake(own.cert.der()).await.unwrap();
        let answer = get(&mut stream, "/v1/info").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            answer.contains("strict-transport-security: max-age="),
            "{answer}"
        );
        // A client that trusts another one does not talk to it.
        let error = server.handshake(certificate().cert.der()).await;
        assert!(error.is_err());
        // The health check asks as the settings say that the server listens.
        let address = server.address;
        let ask = move |tls| songkin::program::healthcheck(address, tls, "/livez");
        let asked = tokio::task::spawn_blocking(move || (ask(true), ask(false)));
        let (over_tls, plain) = asked.await.unwrap();
        assert_eq!(over_tls.unwrap(), 204);
        plain.expect_err("an answer without TLS");
        // Plain HTTP gets no answer that is HTTP.
        let mut plain = TcpStream::connect(server.address).await.unwrap();
        plain
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut said = Vec::new();
        plain.read_to_end(&mut said).await.unwrap();
        assert!(!said.starts_with(b"HTTP"), "{said:?}");

        let mut stream = server.handshake(own.cert.der()).await.unwrap();
        let counted = get(&mut stream, "/metrics").await;
        let counted = counted.split_once("\r\n\r\n").unwrap().1;
        let counted = metrics::parse(counted);
        assert_eq!(
            counted["songkin_http_connections_faulty_total{fault=\"tls\"}"],
            3.0
        );
    });
}

#[test]
fn a_new_certificate_is_taken_up_and_a_bad_one_is_not() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let first = certificate();
        write(dir.path(), &first);
        let server = Server::with_tls(dir.path()).await;
        server.until_shown(first.cert.der()).await;
        // One that was open before goes on.
        let mut before = server.handshake(first.cert.der()).await.unwrap();

        let second = certificate();
        write(dir.path(), &second);
        server.until_shown(second.cert.der()).await;
        assert!(server.handshake(first.cert.der()).await.is_err());
        let answer = get(&mut before, "/livez").await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");

        for bad in [
            "",
            "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n",
        ] {
            fs::write(dir.path().join("certificate.pem"), bad).unwrap();
            tokio::time::sleep(Duration::from_millis(2500)).await;
            assert!(server.handshake(second.cert.der()).await.is_ok(), "{bad:?}");
        }
        // Of another key than the one that lies there.
        fs::write(dir.path().join("certificate.pem"), first.cert.pem()).unwrap();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let mut stream = server.handshake(second.cert.der()).await.unwrap();
        let counted = get(&mut stream, "/metrics").await;
        let counted = metrics::parse(counted.split_once("\r\n\r\n").unwrap().1);
        assert!(counted["songkin_tls_loads_total{outcome=\"refused\"}"] >= 3.0);

        let third = certificate();
        write(dir.path(), &third);
        server.until_shown(third.cert.der()).await;
    });
}

#[test]
fn a_server_does_not_start_with_files_that_are_no_pair() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &certificate());
        fs::write(
            dir.path().join("key.pem"),
            certificate().signing_key.serialize_pem(),
        )
        .unwrap();
        let mut server = Server::with_tls(dir.path()).await;
        let ended = tokio::time::timeout(PATIENCE, &mut server.ended)
            .await
            .unwrap();
        let error = format!("{:#}", ended.unwrap().unwrap_err());
        assert!(error.contains("server.tls_certificate"), "{error}");
        assert!(error.contains("cannot be used together"), "{error}");
    });
}
