//! Running the server on a listener until it is told to stop.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::HeaderValue,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::watch};
use tower_http::request_id::{MakeRequestId, RequestId};

use super::{App, Kind, Problem, router};

/// Tells streams that the server stops: they would never end by themselves, and open requests are
/// waited for.
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

/// Serves until `shutdown` completes; open requests then get `grace` to end.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let grace = Duration::from_secs(app.settings.server.shutdown_seconds);
    let (told, stopping) = tokio::sync::oneshot::channel();
    let streams = app.stopping.clone();
    let server = axum::serve(listener, router(app)).with_graceful_shutdown(async move {
        shutdown.await;
        tracing::info!("stopping, open requests are finished first");
        streams.0.send_replace(true);
        let _ = told.send(());
    });
    let deadline = async {
        if stopping.await.is_ok() {
            tokio::time::sleep(grace).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = server => ended,
        () = deadline => {
            tracing::warn!(seconds = grace.as_secs(), "requests were still open at the deadline");
            Ok(())
        }
    }
}

/// Bounds a request's time, its upload included.
pub(super) async fn limit_time(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let seconds = app.settings.server.request_seconds;
    match tokio::time::timeout(Duration::from_secs(seconds), next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::with(
            Kind::RequestTimeout,
            format!("a request gets {seconds} s, its upload included"),
        )
        .into_response(),
    }
}

/// Request ids: the time of the start and a counter, so that they differ between runs too.
#[derive(Clone)]
pub(super) struct RequestIds {
    prefix: Arc<str>,
    next: Arc<AtomicU64>,
}

impl Default for RequestIds {
    fn default() -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            prefix: format!("{:x}", now.as_millis()).into(),
            next: Arc::default(),
        }
    }
}

impl MakeRequestId for RequestIds {
    fn make_request_id<B>(&mut self, _request: &axum::http::Request<B>) -> Option<RequestId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::from_str(&format!("{}-{number:x}", self.prefix))
            .ok()
            .map(RequestId::new)
    }
}

/// The span that every log line of a request stands in. Query strings stay out: they may name
/// what somebody listens to.
pub(super) fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok());
    tracing::info_span!("request", id, method = %request.method(), path = request.uri().path())
}
