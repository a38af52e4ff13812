//! Finding everything that is wrong with parameters, not the first thing alone.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What is wrong with one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, `limits.test` for one inside another.
    pub path: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

/// Gathers faults.
#[derive(Default)]
pub(super) struct Check(Vec<Fault>);

impl Check {
    pub(super) fn that(&mut self, holds: bool, path: &str, detail: impl Into<String>) {
        if !holds {
            self.0.push(Fault {
                path: path.to_owned(),
                detail: detail.into(),
            });
        }
    }

    pub(super) fn range<T: PartialOrd + std::fmt::Display>(
        &mut self,
        path: &str,
        value: Option<T>,
        range: RangeInclusive<T>,
    ) {
        let (low, high) = (range.start(), range.end());
        let detail = format!("has to be a number from {low} to {high}");
        self.that(
            value.is_none_or(|value| range.contains(&value)),
            path,
            detail,
        );
    }

    pub(super) fn above_zero(&mut self, path: &str, value: Option<f64>, most: f64) {
        self.that(
            value.is_none_or(|value| value > 0.0 && value <= most),
            path,
            format!("has to be above 0 and at most {most}"),
        );
    }

    pub(super) fn generation(&mut self, path: &str, id: Option<&str>) {
        let fine = |id: &str| {
            id.len() == 16
                && id
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        self.that(
            id.is_none_or(fine),
            path,
            "has to be the id of a generation, 16 hexadecimal digits",
        );
    }

    pub(super) fn finish(self) -> Result<(), Vec<Fault>> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0)
        }
    }
}

/// Reads a struct of which every field has a default. serde stops at the first fault, so where
/// there is one, every value is tried on its own.
pub(super) fn typed<T: DeserializeOwned>(object: &Value) -> Result<T, Vec<Fault>> {
    // serde would take an array as well, for the fields in their order.
    if !object.is_object() {
        return Err(vec![Fault {
            path: String::new(),
            detail: "has to be an object".to_owned(),
        }]);
    }
    let error = match T::deserialize(object) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    let mut faults = Vec::new();
    for path in leaves(object) {
        let Err(error) = T::deserialize(&only(object, &path)) else {
            continue;
        };
        faults.push(Fault {
            path: path.join("."),
            detail: error.to_string(),
        });
    }
    if faults.is_empty() {
        faults.push(Fault {
            path: String::new(),
            detail: error.to_string(),
        });
    }
    Err(faults)
}

/// The paths to everything in an object that is not an object with something in it.
fn leaves(value: &Value) -> Vec<Vec<&str>> {
    let Some(members) = value.as_object() else {
        return vec![Vec::new()];
    };
    members
        .iter()
        .flat_map(|(name, member)| {
            let below = match member.as_object() {
                Some(inner) if !inner.is_empty() => leaves(member),
                _ => vec![Vec::new()],
            };
            below.into_iter().map(move |rest| {
                let mut path = vec![name.as_str()];
                path.extend(rest);
                path
            })
        })
        .collect()
}

/// The object with nothing in it but what the path leads to.
fn only(value: &Value, path: &[&str]) -> Value {
    match path {
        [] => value.clone(),
        [name, rest @ ..] => {
            let member = only(&value[*name], rest);
            Value::Object(Map::from_iter([((*name).to_owned(), member)]))
        }
    }
}
