//! Telling how far an ingest has come.

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Decoded, embedded and recorded.
    Analysed,
    /// Known content at a new place or time.
    Moved,
    /// Another track's content.
    Duplicate,
    /// Entered into the ledger, with the reason.
    Bad(String),
}

/// Hears how far an ingest has come. The ingest knows nothing of bars and lines.
pub trait Progress: Send + Sync {
    /// A phase begins, of `total` steps; 0 when that is not known.
    fn phase(&self, name: &str, total: u64);

    /// A file of the present phase is done.
    fn file(&self, path: &str, outcome: &Outcome);

    /// Something that a person should know and that stops nothing.
    fn notice(&self, text: &str);
}
