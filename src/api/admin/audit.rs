//! The record of what was done by those who may change something, written and read.

use std::sync::Arc;

use axum::{
    Json,
    extract::{MatchedPath, RawQuery, Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tower_http::request_id::RequestId;

use crate::{
    api::{App, Problem, params::Params},
    keys::{Action, ActionId, AuditEntry, Outcome},
    text::Chain,
};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// A page of the record.
#[derive(Serialize)]
pub(crate) struct Page {
    actions: Vec<AuditEntry>,
    /// For the next page.
    next_before: Option<ActionId>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Problem> {
    let mut params = Params::of_query(query.as_deref());
    let before = params.one("before", "the number of an action", |id: &i64| *id > 0);
    let limit = params.one("limit", &format!("a number from 1 to {MAX_LIMIT}"), |n| {
        (1..=MAX_LIMIT).contains(n)
    });
    params.finish()?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let before = before.map(ActionId);
    let mut actions = app.audit.entries(before, limit + 1).await?;
    let more = actions.len() > limit as usize;
    actions.truncate(limit as usize);
    let next_before = actions.last().filter(|_| more).map(|action| action.id);
    Ok(Json(Page {
        actions,
        next_before,
    }))
}

fn route(request: &Request) -> String {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or_else(|| request.uri().path(), MatchedPath::as_str);
    format!("{} {path}", request.method())
}

/// Does what is asked for and puts it on record: a row in the table, before and after, and a line in
/// the log under the target `audit`. What cannot be put on record is not done.
pub(in crate::api) async fn record(
    app: &App,
    who: String,
    request: Request,
    next: Next,
) -> Response {
    let id = request.extensions().get::<RequestId>();
    let id = id.and_then(|id| id.header_value().to_str().ok());
    let action = Action {
        who,
        action: route(&request),
        target: request.uri().path().to_owned(),
        request_id: id.map(str::to_owned),
    };
    let number = match app.audit.begin(&action).await {
        Ok(number) => number,
        Err(error) => return Problem::from(error).into_response(),
    };
    let response = next.run(request).await;
    let status = response.status();
    let made = response.headers().get(header::LOCATION);
    let made = made.and_then(|location| location.to_str().ok());
    let ended = app
        .audit
        .end(number, outcome(status), Some(status.as_u16()), made)
        .await;
    if let Err(error) = ended {
        tracing::error!(action = number.0, error = %Chain(&error), "an action's outcome is not on record");
    }
    let Action {
        who,
        action,
        target,
        ..
    } = action;
    let status = status.as_u16();
    tracing::info!(target: "audit", number = number.0, who, action, target, status, made, "done");
    response
}

fn outcome(status: StatusCode) -> Outcome {
    if status.is_server_error() {
        Outcome::Failed
    } else if status.is_client_error() {
        Outcome::Refused
    } else {
        Outcome::Done
    }
}

/// Writes into the log that somebody was not let in. The table is for what was let in: whoever has
/// no key must not be able to fill a disk.
pub(in crate::api) fn refused(request: &Request) {
    let action = route(request);
    let target = request.uri().path();
    tracing::warn!(target: "audit", action, target, "refused");
}
