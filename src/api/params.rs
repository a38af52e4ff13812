//! Parameters from query strings and form fields, with all faults told at once.

use std::{collections::BTreeSet, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::problem::{ParameterFault, Problem};
use crate::{
    config,
    recommend::{FilterRequest, Wish},
    track::TrackId,
};

/// Most values of one filter: the whole request line is bounded too, but a form is not.
const MAX_VALUES: usize = 1000;

/// The parameters of one request, taken one by one; what is left over at the end is unknown.
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    faults: Vec<ParameterFault>,
}

impl Params {
    /// Takes the query string apart.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
        Self {
            pairs,
            faults: Vec::new(),
        }
    }

    /// Adds a form field.
    pub(super) fn push(&mut self, name: String, value: String) {
        self.pairs.push((name, value));
    }

    fn fault(&mut self, parameter: &str, detail: String) {
        self.faults.push(ParameterFault {
            parameter: parameter.to_owned(),
            detail,
        });
    }

    /// Takes a parameter's values out, as many as there are.
    fn take(&mut self, name: &str) -> Vec<String> {
        let (own, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pairs)
            .into_iter()
            .partition(|(key, _)| key == name);
        self.pairs = rest;
        own.into_iter().map(|(_, value)| value).collect()
    }

    /// All values of a parameter that may stand several times.
    pub(super) fn many(&mut self, name: &str) -> Vec<String> {
        let values = self.take(name);
        if values.len() > MAX_VALUES {
            self.fault(
                name,
                format!(
                    "{} values are more than the {MAX_VALUES} allowed",
                    values.len()
                ),
            );
            return Vec::new();
        }
        if values.iter().any(|value| value.trim().is_empty()) {
            self.fault(name, "an empty value".to_owned());
        }
        values
    }

    /// The value of a parameter that may stand once, if it stands and `accept`s.
    pub(super) fn one<T: FromStr>(
        &mut self,
        name: &str,
        expected: &str,
        accept: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let mut values = self.take(name);
        if values.len() > 1 {
            self.fault(name, "given more than once".to_owned());
            return None;
        }
        let text = values.pop()?;
        match text.trim().parse() {
            Ok(value) if accept(&value) => Some(value),
            _ => {
                self.fault(name, format!("{} is not {expected}", quoted(&text)));
                None
            }
        }
    }

    /// Text that may stand once; empty is as good as absent, as an empty search box sends it.
    pub(super) fn text(&mut self, name: &str, max_characters: usize) -> Option<String> {
        let expected = format!("text of up to {max_characters} characters");
        self.one(name, &expected, |text: &String| {
            text.chars().count() <= max_characters
        })
        .filter(|text| !text.is_empty())
    }

    /// What a recommendation is wanted like: `k` and the filters.
    pub(super) fn wish(&mut self, search: &config::Search) -> Wish {
        let max_k = search.max_k;
        let k = self.one("k", &format!("a number from 1 to {max_k}"), |k| {
            (1..=max_k).contains(k)
        });
        let max_per_artist = self.one("max_per_artist", "a number from 1 on", |max: &usize| {
            *max > 0
        });
        let filter = FilterRequest {
            genres: self.many("genre"),
            exclude_genres: self.many("exclude_genre"),
            exclude_artists: self.many("exclude_artist"),
            licences: self.many("licence"),
            exclude_ids: self.track_ids("exclude_ids"),
        };
        Wish {
            k: k.unwrap_or(search.default_k),
            filter,
            max_per_artist,
        }
    }

    /// Track ids, separated by commas or given several times.
    fn track_ids(&mut self, name: &str) -> Vec<TrackId> {
        let mut ids = Vec::new();
        for text in self.take(name).iter().flat_map(|value| value.split(',')) {
            match text.trim().parse() {
                Ok(id) => ids.push(id),
                Err(_) => {
                    self.fault(name, format!("{} is not a track id", quoted(text)));
                    break;
                }
            }
        }
        if ids.len() > MAX_VALUES {
            self.fault(
                name,
                format!("{} ids are more than the {MAX_VALUES} allowed", ids.len()),
            );
        }
        ids
    }

    /// Where in the upload the clip starts.
    pub(super) fn offset_seconds(&mut self) -> f64 {
        self.one(
            "offset_seconds",
            "a number of seconds from 0 to 36000",
            |offset| (0.0..=36_000.0).contains(offset),
        )
        .unwrap_or(0.0)
    }

    /// Ends the reading: every fault so far and every parameter that nothing has asked for.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        let left: BTreeSet<String> = std::mem::take(&mut self.pairs)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        for name in left {
            self.fault(&name, "no such parameter".to_owned());
        }
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(Problem::parameters(self.faults))
        }
    }
}

/// A track id from the path.
pub(super) struct PathId(pub(super) TrackId);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let fault = |detail: String| Problem::parameter("id", detail);
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| fault(rejection.body_text()))?;
        match text.parse() {
            Ok(id) => Ok(Self(id)),
            Err(_) => Err(fault(format!("{} is not a track id", quoted(&text)))),
        }
    }
}

/// What was sent, short enough to be sent back.
pub(super) fn quoted(text: &str) -> String {
    const MAX: usize = 60;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(query: &str) -> Vec<String> {
        let mut params = Params::of_query(Some(query));
        params.wish(&config::Search::default());
        params.offset_seconds();
        let faults = params.faults.clone();
        let unknown = params.pairs.iter().map(|(name, _)| name.clone());
        faults
            .into_iter()
            .map(|fault| fault.parameter)
            .chain(unknown)
            .collect()
    }

    #[test]
    fn a_whole_wish_is_read() {
        let query = "k=3&genre=Hip-Hop&genre=21&exclude_genre=Rock&exclude_artist=A%20%26%20B\
                     &licence=CC-BY-4.0&max_per_artist=2&exclude_ids=1,2&exclude_ids=3&offset_seconds=1.5";
        let mut params = Params::of_query(Some(query));
        let wish = params.wish(&config::Search::default());
        assert_eq!((wish.k, wish.max_per_artist), (3, Some(2)));
        assert_eq!(wish.filter.genres, ["Hip-Hop", "21"]);
        assert_eq!(wish.filter.exclude_artists, ["A & B"]);
        assert_eq!(
            wish.filter.exclude_ids,
            [TrackId(1), TrackId(2), TrackId(3)]
        );
        assert!((params.offset_seconds() - 1.5).abs() < f64::EPSILON);
        assert!(params.finish().is_ok());
    }

    #[test]
    fn every_fault_is_told() {
        let query = "k=0&max_per_artist=x&exclude_ids=1,a&offset_seconds=-1&genre=&colour=red";
        assert_eq!(
            faults(query),
            [
                "k",
                "max_per_artist",
                "genre",
                "exclude_ids",
                "offset_seconds",
                "colour"
            ]
        );
        assert_eq!(faults("k=1&k=2"), ["k"]);
        assert_eq!(faults("offset_seconds=NaN"), ["offset_seconds"]);
        assert_eq!(faults("k=101"), ["k"]);
        assert_eq!(
            faults("k=&exclude_ids=&genre="),
            ["k", "genre", "exclude_ids"]
        );
        assert_eq!(faults(""), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_parameter_is_told_once() {
        let params = Params::of_query(Some("b=1&a=1&b=2"));
        let faults = params.finish().unwrap_err();
        let expected = ["a", "b"].map(|name| ParameterFault {
            parameter: name.to_owned(),
            detail: "no such parameter".to_owned(),
        });
        assert_eq!(faults.faults(), expected);
    }

    #[test]
    fn a_long_value_is_not_sent_back_whole() {
        let query = format!("k={}", "ä".repeat(10_000));
        let mut params = Params::of_query(Some(&query));
        params.wish(&config::Search::default());
        assert!(params.faults[0].detail.len() < 200);
    }
}
