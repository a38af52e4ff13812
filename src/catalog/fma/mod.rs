//! The Free Music Archive dataset's metadata files and directory layout.

/// What is wrong with a directory's layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutFault {
    /// No metadata directory.
    #[error("no fma_metadata directory with a tracks.csv in it, beside it or above it")]
    NoMetadata,
}
