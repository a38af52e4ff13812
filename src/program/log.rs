//! Starting the log and, with the feature `otel`, the export of traces.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter, Layer, filter::ParseError, layer::SubscriberExt, registry, util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    /// The filter is not one.
    #[error("log.filter: {0}")]
    Filter(#[from] ParseError),
    /// There is no exporting to that address.
    #[cfg(feature = "otel")]
    #[error("log.otlp_endpoint: {0}")]
    Export(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Starts logging to standard error; standard output is for answers. Not on an async runtime.
pub(super) fn start(settings: &Log) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&settings.filter)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let log = registry().with(filter).with(lines);
    #[cfg(feature = "otel")]
    let log = log.with(traces::layer(&settings.otlp_endpoint)?);
    log.init();
    Ok(())
}

/// Sends what is still to be sent. Not on an async runtime.
pub(super) fn finish() {
    #[cfg(feature = "otel")]
    traces::finish();
}

/// Traces for an OpenTelemetry collector, as protobuf over HTTP.
#[cfg(feature = "otel")]
mod traces {
    use std::sync::OnceLock;

    use opentelemetry::{global, trace::TracerProvider};
    use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
    use opentelemetry_sdk::{
        Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider,
    };
    use tracing::Subscriber;
    use tracing_subscriber::{Layer, registry::LookupSpan};

    static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

    /// None where there is no endpoint. Spans are sent in batches by a thread of their own; the
    /// variables `OTEL_*` of the SDK, such as `OTEL_TRACES_SAMPLER`, hold as well.
    pub(super) fn layer<S>(endpoint: &str) -> Result<Option<impl Layer<S>>, ExporterBuildError>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        if endpoint.is_empty() {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()?;
        let resource = Resource::builder()
            .with_service_name(env!("CARGO_PKG_NAME"))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        global::set_text_map_propagator(TraceContextPropagator::new());
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        let provider = PROVIDER.get_or_init(|| provider);
        global::set_tracer_provider(provider.clone());
        Ok(Some(tracing_opentelemetry::layer().with_tracer(tracer)))
    }

    pub(super) fn finish() {
        if let Some(provider) = PROVIDER.get()
            && let Err(error) = provider.shutdown()
        {
            eprintln!("the last traces were not sent: {error}");
        }
    }
}
