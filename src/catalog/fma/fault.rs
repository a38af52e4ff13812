//! What is wrong with single rows of a metadata file: noted, never fatal for the others.

use std::fmt;

/// How many faults are kept in full; the rest are only counted.
const KEPT: usize = 1_000;

/// A fault in a metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file's name, such as `tracks.csv`.
    pub file: &'static str,
    /// Line on which the row begins, from 1.
    pub line: u64,
    /// The column, `track.genres` for one of two header rows; none for the whole row.
    pub column: Option<String>,
    /// What is wrong.
    pub reason: FaultReason,
}

/// What is wrong with a field or a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultReason {
    /// The row is skipped.
    #[error("the row has {found} fields, the header {expected}: row skipped")]
    FieldCount {
        /// Fields of the header.
        expected: usize,
        /// Fields of the row.
        found: usize,
    },
    /// The row is skipped.
    #[error("{0:?} is no id: row skipped")]
    BadId(String),
    /// The row is skipped.
    #[error("id {0} comes a second time: row skipped")]
    RepeatedId(i64),
    /// The bytes that are no UTF-8 are replaced.
    #[error("not UTF-8: the bytes in question are replaced")]
    NotUtf8,
    /// The field is taken as empty.
    #[error("{0:?} is no number: taken as empty")]
    NotANumber(String),
    /// The field is taken as empty.
    #[error("{0:?} is no list of ids: taken as empty")]
    NotAList(String),
    /// The field is taken as empty.
    #[error("{0:?} is no date: taken as empty")]
    NotADate(String),
    /// The field is taken as empty.
    #[error("{0:?} is none of the words that are known here: taken as empty")]
    UnknownWord(String),
    /// The reference is left out.
    #[error("genre {0} is not in genres.csv: left out")]
    UnknownGenre(String),
    /// Reading ends here.
    #[error("the file cannot be read on from here: {0}")]
    Unreadable(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file, self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// The faults of a set of files: the first thousand in full, all of them counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    kept: Vec<Fault>,
    total: usize,
}

impl Faults {
    /// The first thousand.
    #[must_use]
    pub fn kept(&self) -> &[Fault] {
        &self.kept
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    pub(super) fn push(&mut self, fault: Fault) {
        self.total += 1;
        if self.kept.len() < KEPT {
            self.kept.push(fault);
        }
    }
}

/// The beginning of a field, enough to find it by.
pub(super) fn excerpt(text: &str) -> String {
    const CHARS: usize = 60;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
