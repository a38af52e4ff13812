//! The API's description, and Swagger UI for it, all from this binary.

use std::sync::{Arc, LazyLock};

use axum::{
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use utoipa_swagger_ui::Config;

use super::{Problem, problem};

/// `openapi.yaml` as the server serves it.
pub const DOCUMENT: &str = include_str!("../../openapi.yaml");

/// Without a word about the validator, Swagger UI sends the address of every document that is not on
/// localhost to one on the internet.
static UI: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("/openapi.yaml").validator_url("none")));

pub(super) async fn document() -> Response {
    (
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/yaml"),
        )],
        DOCUMENT,
    )
        .into_response()
}

pub(super) async fn redirect() -> Redirect {
    Redirect::permanent("/docs/")
}

pub(super) async fn ui(uri: Uri) -> Result<Response, Problem> {
    // None of the files has a name that would be escaped in a path.
    let file = uri.path().trim_start_matches("/docs/");
    // The error is not `Send`, so it must not live across the next await.
    let found = utoipa_swagger_ui::serve(file, Arc::clone(&UI))
        .map_err(|error| Problem::internal(&*error))?;
    match found {
        Some(file) => {
            let media = HeaderValue::from_str(&file.content_type)
                .map_err(|error| Problem::internal(&error))?;
            Ok(([(header::CONTENT_TYPE, media)], file.bytes.into_owned()).into_response())
        }
        None => Err(problem::no_such_route(uri).await),
    }
}
