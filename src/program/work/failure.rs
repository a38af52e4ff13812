//! Which failures another attempt may mend.

use std::io;

use crate::{
    database::is_disk_full,
    jobs::{Fault, JobFailure},
    train::TrainError,
};

/// A job whose parameters are none.
pub(super) fn of_parameters(faults: &[Fault]) -> JobFailure {
    let faults: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.path, fault.detail))
        .collect();
    JobFailure::fatal("parameters", faults.join("; "))
}

/// What the table keeps of an error: a word for programs, the whole chain for people, and whether
/// to try again. What came of the machine may pass; what came of the data comes again.
pub(super) fn of(error: &anyhow::Error) -> JobFailure {
    // With its sources: they are no longer at hand when the failure is stored.
    let message = format!("{error:#}");
    let kind = error.chain().find_map(kind_of);
    match kind {
        Some(kind @ ("not_finite" | "collapsed" | "data")) => JobFailure::fatal(kind, message),
        Some(kind) => JobFailure::retryable(kind, message),
        None => JobFailure::fatal("failed", message),
    }
}

fn kind_of(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<TrainError>() {
        return match error {
            TrainError::NotFinite { .. } => Some("not_finite"),
            TrainError::Collapsed { .. } => Some("collapsed"),
            TrainError::Dataset(_) => Some("data"),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<sqlx::Error>() {
        return is_disk_full(error).then_some("disk_full");
    }
    let error = error.downcast_ref::<io::Error>()?;
    Some(match error.kind() {
        io::ErrorKind::StorageFull => "disk_full",
        _ => "io",
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_full_disk_may_pass_and_is_named() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = anyhow::Error::new(full)
            .context("cannot write a checkpoint")
            .context("training stopped");
        let failure = of(&error);
        assert_eq!(failure.kind(), "disk_full");
        assert!(failure.is_retryable());
        let stored = failure.to_stored().message;
        assert!(stored.starts_with("training stopped: cannot write a checkpoint: "));
    }

    #[test]
    fn a_diverged_run_is_not_tried_again() {
        let error = Err::<(), _>(TrainError::NotFinite {
            step: 7,
            what: "loss",
        })
        .context("training stopped")
        .unwrap_err();
        let failure = of(&error);
        assert_eq!(
            (failure.kind(), failure.is_retryable()),
            ("not_finite", false)
        );
    }
}
