//! Arrays in memory or in a file that is mapped.
//!
//! What is mapped takes memory only where it is looked at, the system can take that back, and all processes share
//! it. Files of an index are named by their content or vouched for by a manifest, written once,
//! renamed into place, and only ever removed, which a mapping outlives.

use std::{
    fmt,
    fs::File,
    io,
    ops::{Deref, Range},
    sync::Arc,
};

use bytemuck::Pod;
use memmap2::Mmap;

#[cfg(target_endian = "big")]
compile_error!("index files are little-endian and used as they are");

/// A file that is mapped for reading.
#[derive(Clone)]
pub(super) struct Mapped(Arc<Mmap>);

impl Mapped {
    /// Maps a whole file. None of it is in memory before it is looked at.
    ///
    /// # Errors
    /// Those of the system.
    #[allow(unsafe_code)]
    pub(super) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: memory behind a shared reference must not change. Nobody writes to a file of an index once it has its
        // name (see above), and nothing maps it before. Who edits one by hand in a running server's
        // data directory breaks that promise: docs/ARCHITECTURE.md says so.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(Arc::new(map)))
    }

    /// Part of the file as numbers; `None` if it is not there or does not hold whole and aligned ones.
    pub(super) fn array<T: Pod>(&self, bytes: Range<usize>) -> Option<Array<T>> {
        let numbers = bytemuck::try_cast_slice::<u8, T>(self.get(bytes.clone())?);
        numbers.is_ok().then(|| Array::Mapped(self.clone(), bytes))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Numbers that are read and never changed.
#[derive(Clone)]
pub(super) enum Array<T> {
    /// In memory of their own.
    Owned(Vec<T>),
    /// Bytes of a file; [`Mapped::array`] has seen that they are numbers.
    Mapped(Mapped, Range<usize>),
}

impl<T: Pod> Deref for Array<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(numbers) => numbers,
            Self::Mapped(file, bytes) => bytemuck::cast_slice(&file[bytes.clone()]),
        }
    }
}

impl<T> From<Vec<T>> for Array<T> {
    fn from(numbers: Vec<T>) -> Self {
        Self::Owned(numbers)
    }
}

impl<T: Pod + PartialEq> PartialEq for Array<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<T: Pod + Eq> Eq for Array<T> {}

impl<T: Pod> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Owned(_) => "Owned",
            Self::Mapped(..) => "Mapped",
        };
        write!(f, "{kind}({} numbers)", self.len())
    }
}
