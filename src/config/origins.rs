//! Origins whose pages may call the API.

use serde::{Deserialize, Serialize};

/// Web origins such as `https://music.example`, written as one text with commas between them, or `*` for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origins(Vec<String>);

/// A text that names none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no origin such as `https://music.example`, without a path; or `*` for all")]
pub struct NoOrigin(String);

impl Origins {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all are meant.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.iter().any(|origin| origin == ANY)
    }

    /// The origins.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

const ANY: &str = "*";

impl TryFrom<String> for Origins {
    type Error = NoOrigin;

    fn try_from(text: String) -> Result<Self, NoOrigin> {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        words
            .map(|word| {
                if word == ANY || is_origin(word) {
                    // Browsers send it so.
                    Ok(word.to_ascii_lowercase())
                } else {
                    Err(NoOrigin(word.to_owned()))
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl From<Origins> for String {
    fn from(origins: Origins) -> Self {
        origins.0.join(",")
    }
}

/// Scheme and host, perhaps a port: what a browser sends in `Origin`.
fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, host)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        ["http", "https"].contains(&scheme) && !host.is_empty() && host.chars().all(plain)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_and_what_is_none_is_refused() {
        let read = |text: &str| Origins::try_from(text.to_owned());
        assert!(read("").unwrap().is_empty());
        assert!(read("*").unwrap().is_any());
        let two = read("https://Music.example, http://localhost:3000").unwrap();
        let all: Vec<&str> = two.iter().collect();
        assert_eq!(all, ["https://music.example", "http://localhost:3000"]);
        assert_eq!(
            String::from(two),
            "https://music.example,http://localhost:3000"
        );
        for wrong in [
            "music.example",
            "https://",
            "https://music.example/",
            "ftp://x",
            "https://a b",
        ] {
            assert!(
                read(wrong).unwrap_err().to_string().contains("no origin"),
                "{wrong}"
            );
        }
    }
}
