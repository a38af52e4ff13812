//! Writing what every floor writes in one way: bytes, and errors with their sources.

use std::{error::Error, fmt};

/// Bytes as hexadecimal digits in lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error and its sources in one line.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(hex(&[0, 7, 0xab, 0xff]), "0007abff");
        assert_eq!(hex(&[]), "");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write a checkpoint")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn sources_follow_the_error() {
        let error = Outer(std::io::Error::other("no space left"));
        assert_eq!(
            Chain(&error).to_string(),
            "cannot write a checkpoint: no space left"
        );
    }
}
