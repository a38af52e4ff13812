//! `/v1/admin/keys`: making, listing, rotating and revoking keys.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{fields::Fields, path::KeyPath};
use crate::{
    api::{App, Problem},
    clock::Timestamp,
    keys::{Key, KeyState, KeyText, NewKey, Quotas, Rotation, Scope},
    text::Chain,
};

/// How long the former key is taken after a rotation where nothing is said.
const DEFAULT_OVERLAP: Duration = Duration::from_secs(86_400);
/// What keeps a key out of caches.
const NO_STORE: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

/// All keys.
#[derive(Serialize)]
pub(crate) struct Listed {
    keys: Vec<KeyView>,
}

/// A key without the key.
#[derive(Serialize)]
pub(crate) struct KeyView {
    state: KeyState,
    #[serde(flatten)]
    key: Key,
}

impl KeyView {
    fn new(key: Key, now: Timestamp) -> Self {
        Self {
            state: key.state(now),
            key,
        }
    }
}

/// A key with the key, told this once.
#[derive(Serialize)]
struct Made<'a> {
    key: &'a str,
    #[serde(flatten)]
    view: KeyView,
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<Listed>, Problem> {
    let now = app.keys.store().now();
    let keys = app.keys.store().keys().await?;
    let keys = keys.into_iter().map(|key| KeyView::new(key, now)).collect();
    Ok(Json(Listed { keys }))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    KeyPath(id): KeyPath,
) -> Result<Json<KeyView>, Problem> {
    let key = app.keys.store().key(id).await?;
    Ok(Json(KeyView::new(key, app.keys.store().now())))
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let mut fields = Fields::of(request.into_body()).await?;
    let new = NewKey {
        name: fields.text("name").unwrap_or_default(),
        scopes: fields.words("scopes", Scope::ALL).into_iter().collect(),
        lifetime: fields.seconds("expires_in_seconds"),
        quotas: Quotas {
            requests_per_minute: fields.number("requests_per_minute"),
            audio_seconds_per_hour: fields.number("audio_seconds_per_hour"),
        },
    };
    fields.finish(new.faults())?;
    let (key, text) = app.keys.store().create(&new).await?;
    let location = [(header::LOCATION, format!("/v1/admin/keys/{}", key.id))];
    let made = made(&app, key, &text).await;
    Ok((StatusCode::CREATED, location, made).into_response())
}

pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    KeyPath(id): KeyPath,
    request: Request,
) -> Result<Response, Problem> {
    let mut fields = Fields::of(request.into_body()).await?;
    let overlap = fields.seconds("overlap_seconds");
    let rotation = Rotation {
        overlap: overlap.unwrap_or(DEFAULT_OVERLAP),
        lifetime: fields.seconds("expires_in_seconds"),
    };
    fields.finish(rotation.faults())?;
    let (key, text) = app.keys.store().rotate(id, &rotation).await?;
    Ok(made(&app, key, &text).await)
}

pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    KeyPath(id): KeyPath,
) -> Result<Json<KeyView>, Problem> {
    let key = app.keys.store().revoke(id).await?;
    catch_up(&app).await;
    Ok(Json(KeyView::new(key, app.keys.store().now())))
}

async fn made(app: &App, key: Key, text: &KeyText) -> Response {
    catch_up(app).await;
    let body = Made {
        key: text.expose(),
        view: KeyView::new(key, app.keys.store().now()),
    };
    ([NO_STORE], Json(body)).into_response()
}

/// What was changed here holds here at once.
async fn catch_up(app: &App) {
    if let Err(error) = app.keys.refresh().await {
        tracing::error!(error = %Chain(&error), "cannot read the keys again; it is tried every second");
    }
}
