//! Commands on record: what they do is entered like what is done over HTTP.

use crate::{
    database::Database,
    keys::{Action, AuditLog, Outcome},
};

/// Does what changes something, with a row in the record before and after it. `made` is the path of
/// what it made, if it made something. What cannot be put on record is not done.
///
/// # Errors
/// The work's own, and when the record cannot be written.
pub(super) async fn audited<T>(
    database: &Database,
    action: &str,
    target: &str,
    work: impl Future<Output = anyhow::Result<T>>,
    made: impl FnOnce(&T) -> Option<String>,
) -> anyhow::Result<T> {
    let record = AuditLog::new(database.clone());
    let action = Action {
        who: format!("cli:{}", user()),
        action: action.to_owned(),
        target: target.to_owned(),
        request_id: None,
    };
    let number = record.begin(&action).await?;
    let done = work.await;
    let (outcome, made) = match &done {
        Ok(done) => (Outcome::Done, made(done)),
        Err(_) => (Outcome::Failed, None),
    };
    let ended = record.end(number, outcome, None, made.as_deref()).await;
    if let Err(error) = ended {
        tracing::error!(action = number.0, error = %error, "an action's outcome is not on record");
    }
    done
}

/// Who runs the command, as the environment says; whoever can write the database can say anything.
fn user() -> String {
    ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
