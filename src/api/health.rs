//! Liveness and readiness.

use std::{io, path::Path, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::App;
use crate::text::Chain;

/// How long the database may take to answer.
const DATABASE_TIME: Duration = Duration::from_secs(2);

/// `GET /livez`: the process answers.
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// `GET /readyz`: requests can be answered; if not, which part is at fault.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let readiness = Readiness::of(&app).await;
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness)).into_response()
}

/// Whether requests can be answered.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    /// Whether every part is ready.
    pub(super) ready: bool,
    /// The generation that answers.
    generation: Option<String>,
    pub(super) parts: Parts,
    #[serde(skip)]
    pub(super) free_bytes: Option<u64>,
}

/// What has to be ready.
#[derive(Debug, Serialize)]
pub(super) struct Parts {
    generation: Part,
    pub(super) device: Part,
    pub(super) database: Part,
    disk: Part,
}

/// One part.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) ready: bool,
    /// How it is.
    detail: String,
}

impl Part {
    fn new(ready: bool, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { ready, detail }
    }
}

impl Parts {
    /// Each with its name.
    pub(super) fn all(&self) -> [(&'static str, &Part); 4] {
        [
            ("generation", &self.generation),
            ("device", &self.device),
            ("database", &self.database),
            ("disk", &self.disk),
        ]
    }
}

impl Readiness {
    /// Looks at every part.
    pub(super) async fn of(app: &App) -> Self {
        let generation = app.recommender.generation();
        let (disk, free_bytes) = disk(app);
        let parts = Parts {
            generation: match &generation {
                Ok(_) => Part::new(true, "loaded"),
                Err(error) => Part::new(false, error.to_string()),
            },
            device: if app.recommender.batcher().is_alive() {
                Part::new(true, app.device)
            } else {
                Part::new(false, "the device thread has stopped; restart the server")
            },
            database: database(app).await,
            disk,
        };
        Self {
            ready: parts.all().iter().all(|(_, part)| part.ready),
            generation: generation
                .ok()
                .map(|generation| generation.manifest.id.clone()),
            parts,
            free_bytes,
        }
    }
}

async fn database(app: &App) -> Part {
    let asked = app.recommender.catalog().active_generation();
    match tokio::time::timeout(DATABASE_TIME, asked).await {
        Ok(Ok(_)) => Part::new(true, "it answers"),
        Ok(Err(error)) => {
            tracing::warn!(error = %Chain(&error), "the database is not ready");
            Part::new(false, "it fails; the log says why")
        }
        Err(_) => Part::new(
            false,
            format!("no answer within {} s", DATABASE_TIME.as_secs()),
        ),
    }
}

fn disk(app: &App) -> (Part, Option<u64>) {
    let wanted = app.settings.server.min_free_mib;
    let free = match free_bytes(&app.settings.data.dir) {
        Ok(free) => free,
        Err(error) => {
            tracing::debug!(error = %error, "cannot tell how much disk is free");
            return (Part::new(true, "how much is free cannot be told"), None);
        }
    };
    let free_mib = free >> 20;
    let part = if wanted > 0 && free_mib < wanted {
        let detail = format!("{free_mib} MiB are free, server.min_free_mib is {wanted}");
        Part::new(false, detail)
    } else {
        Part::new(true, format!("{free_mib} MiB are free"))
    };
    (part, Some(free))
}

/// Space of a directory's file system that is free for this process, bytes.
#[cfg(unix)]
fn free_bytes(dir: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(dir)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_dir: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}
