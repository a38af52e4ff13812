//! Licences as the world writes them, brought to SPDX-like ids.
//!
//! The ids are those of the [SPDX licence list](https://spdx.org/licenses/) with three
//! liberties. Jurisdiction ports of a Creative Commons licence share the id of the licence
//! (`CC-BY-NC-SA-3.0` for its United States port too): who filters by licence means the terms; the
//! port's own deed is kept in [`Licence::port_url`]. A licence named without its version has an id
//! without one (`CC-BY`). What is on no list becomes `LicenseRef-...` and keeps its text.

mod creative_commons;
mod known;

use crate::text::hex;
use sha2::{Digest, Sha256};

/// Longest slug of an unknown licence's id and longest text that is kept of it.
const SLUG_CHARS: usize = 48;
const TEXT_CHARS: usize = 1_000;

/// A normalised licence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Licence {
    /// SPDX-like id, `LicenseRef-...` for what is on no list.
    pub id: String,
    /// Readable name; the text as found where the licence is unknown.
    pub name: String,
    /// Canonical URL of the licence where there is one.
    pub url: Option<String>,
    /// Deed of the jurisdiction port that the track names.
    pub port_url: Option<String>,
}

impl Licence {
    fn new(id: impl Into<String>, name: impl Into<String>, url: Option<&str>) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            url: url.map(Into::into),
            port_url: None,
        }
    }
}

/// Normalises what a track says about its licence: a text, a URL, or both; none of neither.
///
/// A URL that is known decides, for it is exact where texts leave out the version. Alternatives
/// (`CC-BY-SA-3.0 or GPL-2+`) become an SPDX expression when every part is known.
#[must_use]
pub fn normalise(text: Option<&str>, url: Option<&str>) -> Option<Licence> {
    let present = |s: Option<&str>| s.map(str::trim).filter(|s| !s.is_empty()).map(clip_text);
    let (text, url) = (present(text), present(url));
    let known = url
        .as_deref()
        .and_then(from_url)
        .or_else(|| text.as_deref().and_then(from_text))
        .or_else(|| url.as_deref().and_then(from_text));
    known.or_else(|| unknown(text.as_deref(), url.as_deref()))
}

fn from_url(url: &str) -> Option<Licence> {
    creative_commons::from_url(url).or_else(|| known::from_url(url))
}

fn from_text(text: &str) -> Option<Licence> {
    // Tags often hold a sentence with the deed's address in it.
    let address = text.split_whitespace().find(|word| word.contains("://"));
    if let Some(licence) = address.and_then(from_url) {
        return Some(licence);
    }
    let words = words(text);
    single(&words).or_else(|| expression(&words))
}

fn single(words: &[String]) -> Option<Licence> {
    known::from_words(words).or_else(|| creative_commons::from_words(words))
}

fn expression(words: &[String]) -> Option<Licence> {
    for operator in ["or", "and"] {
        let parts: Vec<_> = words.split(|word| word == operator).collect();
        if parts.len() < 2 {
            continue;
        }
        let parts = parts.into_iter().map(single).collect::<Option<Vec<_>>>()?;
        let join =
            |of: fn(&Licence) -> &str, by: &str| parts.iter().map(of).collect::<Vec<_>>().join(by);
        return Some(Licence::new(
            join(|l| &l.id, &format!(" {} ", operator.to_uppercase())),
            join(|l| &l.name, &format!(" {operator} ")),
            None,
        ));
    }
    None
}

/// Lower-case words: runs of letters and digits, with `.` inside and `+` after a number.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower
        .split(|c: char| !(c.is_alphanumeric() || c == '.' || c == '+'))
        .map(|word| word.trim_matches('.'))
        .filter(|word| !word.is_empty())
        .map(Into::into)
        .collect()
}

fn unknown(text: Option<&str>, url: Option<&str>) -> Option<Licence> {
    let name = text.or(url)?;
    let link = url.filter(|url| url.starts_with("http://") || url.starts_with("https://"));
    Some(Licence::new(
        format!("LicenseRef-{}", slug(name)),
        name,
        link,
    ))
}

/// The letters and digits of `text`, as SPDX allows them in an id; a piece of its hash where that
/// loses something.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for part in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.')) {
        if !part.is_empty() {
            if !slug.is_empty() {
                slug.push('-');
            }
            slug.push_str(part);
        }
    }
    if text.is_ascii() && !slug.is_empty() && slug.len() <= SLUG_CHARS {
        return slug;
    }
    slug.truncate(SLUG_CHARS);
    let hash = Sha256::digest(text.as_bytes());
    let tag = hex(&hash[..4]);
    if slug.is_empty() {
        tag
    } else {
        format!("{slug}-{tag}")
    }
}

fn clip_text(text: &str) -> String {
    text.chars()
        .filter(|c| *c != '\0')
        .take(TEXT_CHARS)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
