//! `songkin-server healthcheck`: asks a running server how it is, for containers, which have no other client inside.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// How long a server that is well may take for each step. Container engines give a check a time of their own, so this
/// is only for calls by hand.
const PATIENCE: Duration = Duration::from_secs(5);

/// The head of an answer is cut here; ours take a few hundred bytes.
const MAX_HEAD: u64 = 8 << 10;

/// Asks the server that listens on `listen`, in TLS or not, for `path` and returns the status code.
///
/// # Errors
///
/// When nobody answers there within a few seconds, or not in HTTP.
pub fn healthcheck(listen: SocketAddr, tls: bool, path: &str) -> io::Result<u16> {
    let address = reachable(listen);
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if tls {
        ask(
            StreamOwned::new(client(address.ip())?, stream),
            address,
            path,
        )
    } else {
        ask(stream, address, path)
    }
}

fn ask(mut stream: impl Read + Write, address: SocketAddr, path: &str) -> io::Result<u16> {
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut head = Vec::new();
    stream.take(MAX_HEAD).read_to_end(&mut head)?;
    status(&head)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1"))
}

fn client(ip: IpAddr) -> io::Result<ClientConnection> {
    let provider = Arc::new(ring::default_provider());
    let any = AnyCertificate(provider.signature_verification_algorithms);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(any))
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::from(ip)).map_err(io::Error::other)
}

/// Takes any certificate: the server is this machine's own, asked under an address that no certificate
/// names, and nothing secret is said.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// An address to call for one to listen on: who listens everywhere is asked over loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The status code of an answer (RFC 9112, section 4).
fn status(head: &[u8]) -> Option<u16> {
    let code = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_over_loopback() {
        let asked = |listen: &str| listen.parse().map(reachable).map(|at| at.to_string());
        assert_eq!(asked("0.0.0.0:8000"), Ok("127.0.0.1:8000".to_owned()));
        assert_eq!(asked("[::]:8000"), Ok("[::1]:8000".to_owned()));
        assert_eq!(asked("10.1.2.3:80"), Ok("10.1.2.3:80".to_owned()));
    }

    #[test]
    fn only_the_status_line_of_http_is_believed() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        for other in [&b""[..], b"HTTP/1.1 2", b"HTTP/1.1 abc", b"SSH-2.0-OpenSSH"] {
            assert_eq!(status(other), None, "{other:?}");
        }
    }
}
