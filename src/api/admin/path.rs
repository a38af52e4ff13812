//! Ids in paths.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use crate::{
    api::{Problem, params::quoted},
    jobs::JobId,
    keys::KeyId,
};

/// A job's number.
pub(crate) struct JobPath(pub(super) JobId);

/// A key's id.
pub(crate) struct KeyPath(pub(super) KeyId);

/// A generation's id. Nothing else is ever made part of a file's path.
pub(crate) struct GenerationPath(pub(super) String);

async fn text<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Problem> {
    let Path(text) = Path::<String>::from_request_parts(parts, state)
        .await
        .map_err(|rejection| Problem::parameter("id", rejection.body_text()))?;
    Ok(text)
}

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = text(parts, state).await?;
        match text.parse() {
            Ok(id) if id > JobId(0) => Ok(Self(id)),
            _ => {
                let detail = format!("{} is not the number of a job", quoted(&text));
                Err(Problem::parameter("id", detail))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = text(parts, state).await?;
        text.parse().map(Self).map_err(|_| {
            let detail = format!("{} is not the id of a key", quoted(&text));
            Problem::parameter("id", detail)
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for GenerationPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = text(parts, state).await?;
        if is_generation_id(&text) {
            return Ok(Self(text));
        }
        let detail = format!("{} is not the id of a generation", quoted(&text));
        Err(Problem::parameter("id", detail))
    }
}

/// 16 hexadecimal digits in lower case.
pub(super) fn is_generation_id(text: &str) -> bool {
    text.len() == 16
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
