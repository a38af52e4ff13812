//! `songkin-server healthcheck`: asks a running server how it is, for containers, which have no other client inside.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// How long a server that is well may take for each step. Container engines give a check a time of their own, so this
/// is only for calls by hand.
const PATIENCE: Duration = Duration::from_secs(5);

/// The head of an answer is cut here; ours take a few hundred bytes.
const MAX_HEAD: u64 = 8 << 10;

/// Asks the server that listens on `listen` for `path` and returns the status code.
///
/// # Errors
///
/// When nobody answers there within a few seconds, or not in HTTP.
pub fn healthcheck(listen: SocketAddr, path: &str) -> io::Result<u16> {
    let address = reachable(listen);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut head = Vec::new();
    stream.take(MAX_HEAD).read_to_end(&mut head)?;
    status(&head)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1"))
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
