//! Running the server on a listener until it is told to stop.
//!
//! axum's own loop sets no bounds on connections, heads and slow clients, so connections are driven
//! here, by the HTTP library that axum uses.

mod connection;
mod crowd;
mod tls;
mod wire;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub use tls::{Tls, TlsError};

use super::{App, router};
use connection::Host;
use crowd::Crowd;
pub(super) use crowd::Full;

/// How long the loop rests when the system gives no connection, for want of files say.
const REST: Duration = Duration::from_secs(1);

/// Tells streams and connections that the server stops: they would never end by themselves, and
/// open requests are waited for.
#[derive(Clone, Debug, Default)]
pub struct Stopping(watch::Sender<bool>);

impl Stopping {
    /// Whether the server stops.
    pub(super) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes when the server stops.
    pub(super) async fn begun(&self) {
        // The sender lives as long as this does, so the error cannot come.
        let _ = self.0.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// Serves until `shutdown` completes; open requests then get `server.shutdown_seconds` to end.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let crowd = Crowd::new(app.settings.server.max_connections);
    let host = Arc::new(Host::new(router(Arc::clone(&app)), Arc::clone(&app)));
    let mut open = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener) => accepted,
            Some(_) = open.join_next() => continue,
        };
        match crowd.admit(peer.ip()) {
            Ok(place) => {
                app.metrics.connections.inc();
                let host = Arc::clone(&host);
                open.spawn(async move {
                    host.receive(stream, peer).await;
                    host.app.metrics.connections.dec();
                    drop(place);
                });
            }
            Err(full) => {
                app.metrics.turn_away(full);
                if app.tls.is_none() {
                    // At once or not at all: a crowd must not make more work.
                    let _ = stream.try_write(&connection::crowded());
                }
            }
        }
    }
    drop(listener);
    tracing::info!("stopping, open requests are finished first");
    app.stopping.0.send_replace(true);
    let grace = Duration::from_secs(app.settings.server.shutdown_seconds);
    let drained = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, drained).await.is_err() {
        tracing::warn!(
            seconds = grace.as_secs(),
            "requests were still open at the deadline"
        );
    }
}

/// The next connection, however often the system has none to give.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // That client went before it was received.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::error!(error = %error, "cannot accept connections");
                tokio::time::sleep(REST).await;
            }
        }
    }
}
