//! One connection: its handshake, its requests, its end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tower::Service;

use super::wire::{Refusal, Wire};
use crate::api::{App, metrics::Fault};

/// Request line and headers, bytes: two thousand ids to leave out have room.
const MAX_HEAD: usize = 64 << 10;
/// What is read ahead of a connection at most, bytes.
const MAX_BUFFER: usize = 128 << 10;
/// Headers of a request.
const MAX_HEADERS: usize = 100;
/// How long a head may take to arrive, and how long a connection may be idle between requests.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// What a head gets in any case.
const LEAST_TIME: Duration = Duration::from_secs(1);
/// How long a client may take nothing of its answer.
const STALL_TIME: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// What is read and thrown away at an early end, bytes.
const REST: u64 = 256 << 10;
/// How long that may take.
const REST_TIME: Duration = Duration::from_secs(1);

/// What connections share.
pub(super) struct Host {
    pub(super) app: Arc<App>,
    router: Router,
    http: http1::Builder,
}

impl Host {
    pub(super) fn new(router: Router, app: Arc<App>) -> Self {
        let mut http = http1::Builder::new();
        let request_time = Duration::from_secs(app.settings.server.request_seconds);
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME.min(request_time).max(LEAST_TIME))
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_BUFFER);
        Self { app, router, http }
    }

    /// Serves a connection to its end.
    pub(super) async fn receive(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are written whole; waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.app.tls else {
            return self.converse(stream, peer).await;
        };
        let handshake = tls.acceptor().accept(stream);
        match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
            Ok(Ok(stream)) => self.converse(stream, peer).await,
            Ok(Err(error)) => {
                tracing::debug!(%peer, error = %error, "a TLS handshake failed");
                self.app.metrics.fault(Fault::Tls);
            }
            Err(_) => self.app.metrics.fault(Fault::Timeout),
        }
    }

    async fn converse<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request)
        });
        let io = TokioIo::new(Wire::new(stream, STALL_TIME));
        let mut connection = self.http.serve_connection(io, service);
        let mut told = false;
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                () = self.app.stopping.begun(), if !told => {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                    told = true;
                }
            }
        };
        let Err(error) = ended else {
            return;
        };
        let parts = connection.into_parts();
        let mut stream = parts.io.into_inner().into_inner();
        let fault = if error.is_timeout() && parts.read_buf.is_empty() {
            // Nothing was begun: an idle connection is closed without a word.
            None
        } else if error.is_timeout() {
            let refusal = Refusal::HEAD_TIME.bytes();
            // A client that takes nothing gets nothing.
            let _ = tokio::time::timeout(REST_TIME, stream.write_all(&refusal)).await;
            Some(Fault::Timeout)
        } else if error.is_parse() {
            // The refusal is written already.
            Some(Fault::Malformed)
        } else {
            tracing::debug!(%peer, error = %error, "a connection ended early");
            return self.app.metrics.fault(Fault::Broken);
        };
        if let Some(fault) = fault {
            self.app.metrics.fault(fault);
        }
        // Whether the client goes along or not, the connection ends here.
        let _ = tokio::time::timeout(REST_TIME, part(stream)).await;
    }
}

/// Says that nothing more comes, and reads on for a while: closing while the client still sends
/// would reset the connection, and it would not see its answer.
async fn part<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    // It fails where that was said before, which is as good.
    let _ = stream.shutdown().await;
    tokio::io::copy(&mut stream.take(REST), &mut tokio::io::sink()).await?;
    Ok(())
}

/// What a client is told for which there is no place, as it stands on the wire.
pub(super) fn crowded() -> Vec<u8> {
    Refusal::CROWDED.bytes()
}
