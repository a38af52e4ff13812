//! Admin keys, of which only hashes are known.

use crate::text::{from_hex, hex};
use serde::{Deserialize, Serialize, Serializer};

/// SHA-256 hashes of admin keys that stand in no table.
///
/// Written as one text of hexadecimal hashes with commas between them, or as a list of such texts.
/// A hash without salt is enough for keys that are random themselves and 256 bits long, as the
/// server's `keys generate` makes them: there is no dictionary of those.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct AdminKeys(Vec<[u8; 32]>);

impl AdminKeys {
    /// The hashes.
    #[must_use]
    pub fn hashes(&self) -> &[[u8; 32]] {
        &self.0
    }
}

impl Serialize for AdminKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hashes: Vec<String> = self.0.iter().map(|hash| hex(hash)).collect();
        serializer.serialize_str(&hashes.join(","))
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "has to be a SHA-256 hash or a list of them")]
enum Written {
    Text(String),
    List(Vec<String>),
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a SHA-256 hash, 64 hexadecimal digits; `songkin-server keys generate` makes a key with its hash"
)]
struct NoHash(String);

impl TryFrom<Written> for AdminKeys {
    type Error = NoHash;

    fn try_from(written: Written) -> Result<Self, NoHash> {
        let texts = match written {
            Written::Text(text) => vec![text],
            Written::List(texts) => texts,
        };
        let words = texts
            .iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|word| !word.is_empty());
        words
            .map(|word| from_hex(word).ok_or_else(|| NoHash(word.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<AdminKeys, toml::de::Error> {
        #[derive(Deserialize)]
        struct Section {
            keys: AdminKeys,
        }
        toml::from_str(toml).map(|section: Section| section.keys)
    }

    #[test]
    fn one_several_or_none_are_read_and_written() {
        let (one, two) = ("0f".repeat(32), "A5".repeat(32));
        assert_eq!(read("keys = ''").unwrap(), AdminKeys::default());
        let single = read(&format!("keys = '{one}'")).unwrap();
        assert_eq!(single.hashes(), [[0x0f; 32]]);
        let text = read(&format!("keys = '{one}, {two}'")).unwrap();
        let list = read(&format!("keys = ['{one}', '{two}']")).unwrap();
        assert_eq!(text.hashes(), [[0x0f; 32], [0xa5; 32]]);
        assert_eq!(text, list);
        let written = toml::Value::try_from(&text).unwrap();
        assert_eq!(
            written.as_str().unwrap(),
            format!("{one},{}", two.to_lowercase())
        );
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in [
            "'x'",
            "'00'",
            &format!("'{}'", "é".repeat(32)),
            &format!("'{}'", "0".repeat(65)),
        ] {
            let error = read(&format!("keys = {text}")).unwrap_err().to_string();
            assert!(error.contains("is not a SHA-256 hash"), "{error}");
        }
        let error = read("keys = 7").unwrap_err().to_string();
        assert!(error.contains("a SHA-256 hash or a list"), "{error}");
    }
}
