//! `GET /v1/admin/jobs/{id}/events`: what happens to a job, as it happens.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Extension, State},
    http::{HeaderMap, HeaderName, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;

use super::path::JobPath;
use crate::{
    api::{App, Problem, params::quoted},
    jobs::{JobEvent, JobId},
    keys::Pass,
    text::Chain,
};

/// How often the table is looked at: a worker, another process, writes into it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A comment that often keeps what lies between from closing a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events that are read at once.
const CHUNK: u32 = 500;
const LAST_EVENT_ID: &str = "last-event-id";
/// Asks nginx to hand events on as they come.
const NO_BUFFERING: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    Extension(pass): Extension<Pass>,
    JobPath(id): JobPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = last_event_id(&headers)?;
    let job = app.jobs.job(id).await?;
    if job.state.is_final() && after >= job.events {
        // A client that has seen the end and comes back: this status tells it to stay away.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follower = Follower {
        app,
        pass,
        id,
        after: after.min(job.events),
        read: VecDeque::new(),
        ended: false,
    };
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([NO_BUFFERING], events).into_response())
}

/// Where a client that comes back has left off; 0 for a new one.
fn last_event_id(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(0);
    };
    let text = value.to_str().unwrap_or_default();
    text.parse().map_err(|_| {
        let detail = format!("{} is not the number of an event", quoted(text));
        Problem::parameter("Last-Event-ID", detail)
    })
}

/// Follows the events of a job.
struct Follower {
    app: Arc<App>,
    /// Who follows.
    pass: Pass,
    id: JobId,
    /// The last one that was sent.
    after: u64,
    /// Those that are read but not sent.
    read: VecDeque<JobEvent>,
    ended: bool,
}

impl Follower {
    /// The next event; none after the job's last one, when the server stops, and when the follower's
    /// key opens this no more.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                self.ended = event.is_last();
                return self.shown(&event);
            }
            let welcome = self.app.keys.still_opens(&self.pass);
            if self.ended || !welcome || self.app.stopping.has_begun() {
                return None;
            }
            match self.app.jobs.events(self.id, self.after, CHUNK).await {
                Ok(events) => self.read = events.into(),
                Err(error) => {
                    // The head of the answer is out, so the log alone is told. The client comes back.
                    tracing::error!(job = %self.id, error = %Chain(&error), "cannot follow a job");
                    return None;
                }
            }
            if self.read.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = self.app.stopping.begun() => return None,
                }
            }
        }
    }

    fn shown(&self, event: &JobEvent) -> Option<Event> {
        let shown = Event::default()
            .id(event.seq.to_string())
            .event(&event.kind)
            .json_data(event);
        match shown {
            Ok(shown) => Some(shown),
            Err(error) => {
                tracing::error!(job = %self.id, error = %Chain(&error), "cannot show an event");
                None
            }
        }
    }
}
