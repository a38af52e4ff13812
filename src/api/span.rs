//! The span that every log line of a request stands in.

use axum::http::Request;
use tower_http::request_id::RequestId;

/// Makes a request's span. Query strings and headers stay out: they may name what somebody listens to, and
/// who it is.
///
/// With the feature `otel` the span continues the trace that the header `traceparent` names.
pub(super) fn of<B>(request: &Request<B>) -> tracing::Span {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok());
    let span = tracing::info_span!(
        "request",
        id,
        method = %request.method(),
        path = request.uri().path()
    );
    #[cfg(feature = "otel")]
    continue_trace(&span, request.headers());
    span
}

/// W3C Trace Context.
#[cfg(feature = "otel")]
fn continue_trace(span: &tracing::Span, headers: &axum::http::HeaderMap) {
    use opentelemetry::propagation::Extractor;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    struct Headers<'a>(&'a axum::http::HeaderMap);

    impl Extractor for Headers<'_> {
        fn get(&self, name: &str) -> Option<&str> {
            self.0.get(name)?.to_str().ok()
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(|name| name.as_str()).collect()
        }
    }

    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Headers(headers))
    });
    // It fails where no traces are exported, and then there is none to continue.
    let _ = span.set_parent(parent);
}
