//! The fields of a small JSON body, taken out one by one, with all faults told at once.

use std::{fmt::Display, str::FromStr, time::Duration};

use axum::body::Body;
use serde_json::{Map, Value};

use super::jobs::{object, one_of};
use crate::{
    api::{Problem, params::quoted, problem::ParameterFault},
    keys::Fault,
};

/// What is left of a body, and what was wrong with the rest.
pub(super) struct Fields {
    body: Map<String, Value>,
    faults: Vec<ParameterFault>,
}

impl Fields {
    /// Reads a body.
    pub(super) async fn of(body: Body) -> Result<Self, Problem> {
        Ok(Self::from(object(body).await?))
    }

    /// Takes out what stands under a name; null is as good as absent.
    fn take<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.body.remove(name).filter(|value| !value.is_null())?;
        let taken = read(&value);
        if taken.is_none() {
            let detail = format!("{} is not {expected}", quoted(&value.to_string()));
            self.faults.push(ParameterFault::new(name, detail));
        }
        taken
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn number(&mut self, name: &str) -> Option<u32> {
        let expected = format!("a whole number from 0 to {}", u32::MAX);
        self.take(name, &expected, |value| value.as_u64()?.try_into().ok())
    }

    pub(super) fn seconds(&mut self, name: &str) -> Option<Duration> {
        let seconds = self.number(name)?;
        Some(Duration::from_secs(u64::from(seconds)))
    }

    /// A list of words.
    pub(super) fn words<T>(&mut self, name: &str, all: &[T]) -> Vec<T>
    where
        T: FromStr + Display,
    {
        let expected = format!("a list of words, each {}", one_of(all));
        let read = |value: &Value| {
            let words = value.as_array()?.iter();
            words.map(|word| word.as_str()?.parse().ok()).collect()
        };
        self.take(name, &expected, read).unwrap_or_default()
    }

    /// Ends the reading: the faults so far, those of the whole, and every field that nothing has
    /// asked for.
    pub(super) fn finish(mut self, others: Vec<Fault>) -> Result<(), Problem> {
        for Fault { field, detail } in others {
            // What could not be read is told already.
            if self.faults.iter().all(|fault| fault.parameter != field) {
                self.faults.push(ParameterFault::new(field, detail));
            }
        }
        for name in self.body.keys() {
            self.faults.push(ParameterFault::new(name, "no such field"));
        }
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(Problem::parameters(self.faults))
        }
    }
}

impl From<Map<String, Value>> for Fields {
    fn from(body: Map<String, Value>) -> Self {
        Self {
            body,
            faults: Vec::new(),
        }
    }
}
