//! `/v1/admin/jobs`: asking for work, looking at it, cancelling it.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{RawQuery, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{generations::report_in, path::JobPath};
use crate::{
    api::{
        App, Kind, Problem,
        params::{Params, quoted},
        problem::ParameterFault,
    },
    jobs::{Job, JobFilter, JobId, JobKind, JobState, NewJob, Parameters},
};

/// Largest description of a job, bytes.
const MAX_BODY: usize = 64 << 10;
const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 100;
const KEY_HEADER: &str = "idempotency-key";

/// A page of jobs.
#[derive(Serialize)]
pub(crate) struct Page {
    jobs: Vec<Job>,
    /// For the next page.
    next_before: Option<JobId>,
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let idempotency_key = idempotency_key(request.headers())?;
    let parameters = parameters(object(request.into_body()).await?)?;
    let new = NewJob {
        idempotency_key,
        ..NewJob::new(parameters)
    };
    let job = app.jobs.enqueue(&new).await?.job;
    let location = format!("/v1/admin/jobs/{}", job.id);
    let location = [(header::LOCATION, location)];
    Ok((StatusCode::ACCEPTED, location, Json(job)).into_response())
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Problem> {
    let mut params = Params::of_query(query.as_deref());
    let filter = JobFilter {
        state: params.one("state", &one_of(JobState::ALL), |_| true),
        kind: params.one("kind", &one_of(JobKind::ALL), |_| true),
        before: params.one("before", "the number of a job", |id| *id > JobId(0)),
    };
    let limit = params.one("limit", &format!("a number from 1 to {MAX_LIMIT}"), |n| {
        (1..=MAX_LIMIT).contains(n)
    });
    params.finish()?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let mut jobs = app.jobs.jobs(filter, limit + 1).await?;
    let more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    let next_before = jobs.last().filter(|_| more).map(|job| job.id);
    Ok(Json(Page { jobs, next_before }))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    JobPath(id): JobPath,
) -> Result<Json<Job>, Problem> {
    Ok(Json(app.jobs.job(id).await?))
}

pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    JobPath(id): JobPath,
) -> Result<Json<Job>, Problem> {
    Ok(Json(app.jobs.cancel(id).await?))
}

pub(crate) async fn report(
    State(app): State<Arc<App>>,
    JobPath(id): JobPath,
) -> Result<Response, Problem> {
    let job = app.jobs.job(id).await?;
    report_in(&app.reports.join(id.to_string()), || match job.kind {
        JobKind::Evaluate => format!("job {id} is {}; its report comes at its end", job.state),
        JobKind::Train => {
            format!("job {id} has no report of its own; the generation in its outcome has it")
        }
        kind => format!("jobs of kind `{kind}` write no report"),
    })
    .await
}

pub(super) fn one_of<T: std::fmt::Display>(words: &[T]) -> String {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    format!("one of {}", words.join(", "))
}

/// The key, if there is one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(KEY_HEADER) else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if (1..=255).contains(&key.len()) {
        return Ok(Some(key.to_owned()));
    }
    Err(Problem::parameter(
        "Idempotency-Key",
        "has to be 1 to 255 printable ASCII characters",
    ))
}

/// Reads a small JSON object; an empty body is an empty one. What Content-Type says does not matter.
pub(super) async fn object(body: Body) -> Result<Map<String, Value>, Problem> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() > MAX_BODY {
            return Err(Problem::with(
                Kind::BodyTooLarge,
                format!("the server takes {MAX_BODY} bytes at most here"),
            ));
        }
    }
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::with(
            Kind::MalformedRequest,
            "the body has to be a JSON object",
        )),
        Err(error) => Err(Problem::with(
            Kind::MalformedRequest,
            format!("the body is not JSON: {error}"),
        )),
    }
}

/// Takes `kind` and `parameters` out of the body and checks them, with all faults at once.
fn parameters(mut body: Map<String, Value>) -> Result<Parameters, Problem> {
    let kind = body.remove("kind");
    let given = body.remove("parameters").unwrap_or_else(|| json!({}));
    let mut faults: Vec<ParameterFault> = body
        .keys()
        .map(|name| ParameterFault::new(name, "no such field"))
        .collect();
    let read = match kind
        .as_ref()
        .map(|kind| kind.as_str().unwrap_or_default().parse())
    {
        Some(Ok(kind)) => Parameters::read(kind, &given).map_err(parameter_faults),
        _ => {
            let found = kind.map_or_else(String::new, |kind| {
                format!("{} is not ", quoted(&kind.to_string()))
            });
            let detail = format!("{found}{}", one_of(JobKind::ALL));
            Err(vec![ParameterFault::new("kind", detail)])
        }
    };
    match read {
        Ok(parameters) if faults.is_empty() => Ok(parameters),
        Ok(_) => Err(Problem::parameters(faults)),
        Err(others) => {
            faults.extend(others);
            Err(Problem::parameters(faults))
        }
    }
}

/// Faults as they are told: with the path of the field in the body.
pub(crate) fn parameter_faults(faults: Vec<crate::jobs::Fault>) -> Vec<ParameterFault> {
    let told = |fault: crate::jobs::Fault| {
        let path = match fault.path.as_str() {
            "" => "parameters".to_owned(),
            path => format!("parameters.{path}"),
        };
        ParameterFault::new(path, fault.detail)
    };
    faults.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: Value) -> Vec<String> {
        let Value::Object(body) = body else {
            panic!("{body}")
        };
        match parameters(body) {
            Ok(_) => Vec::new(),
            Err(problem) => {
                let names = problem.faults().iter();
                names.map(|fault| fault.parameter.clone()).collect()
            }
        }
    }

    #[test]
    fn every_fault_of_a_body_is_told() {
        assert_eq!(faults(json!({"kind": "train"})), [""; 0]);
        assert_eq!(
            faults(json!({"kind": "build", "parameters": {"activate": false}})),
            [""; 0]
        );
        assert_eq!(faults(json!({})), ["kind"]);
        assert_eq!(
            faults(json!({"kind": 7, "urgent": true})),
            ["urgent", "kind"]
        );
        assert_eq!(
            faults(
                json!({"kind": "train", "priority": 1, "parameters": {"epochs": 0, "batch": "x"}})
            ),
            ["priority", "parameters.batch"]
        );
        assert_eq!(
            faults(json!({"kind": "train", "parameters": {"epochs": 0, "batch": 1}})),
            ["parameters.epochs", "parameters.batch"]
        );
        assert_eq!(
            faults(json!({"kind": "train", "parameters": null})),
            ["parameters"]
        );
        assert_eq!(faults(json!({"kind": "ingest"})), ["parameters.dir"]);
    }
}
