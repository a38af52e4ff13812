//! A library that makes system calls fail, loaded before the C library.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// Errors by their numbers on Linux.
pub(super) const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;
/// No error: half of what is asked is done.
pub(super) const SHORT: i32 = 0;

/// Compiled once a run of the tests.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/faults/shim.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults-shim.so");
    let status = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status()
        .expect("a C compiler is needed: scripts/test says which");
    assert!(status.success());
    library
});

/// Which calls fail, and how.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Part of the file's path.
    pub(super) path: String,
    /// `open`, `read`, `write`, `sync`, `truncate`, `rename`.
    pub(super) calls: &'static str,
    pub(super) error: i32,
    /// Calls that go through first.
    pub(super) after: u64,
    /// Calls that fail then.
    pub(super) count: u64,
}

impl Fault {
    pub(super) fn new(path: impl Into<String>, calls: &'static str, error: i32) -> Self {
        Self {
            path: path.into(),
            calls,
            error,
            after: 0,
            count: u64::from(u32::MAX),
        }
    }

    pub(super) fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    pub(super) fn count(self, count: u64) -> Self {
        Self { count, ..self }
    }

    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", LIBRARY.display().to_string()),
            ("FAULT_PATH", self.path.clone()),
            ("FAULT_CALLS", self.calls.to_owned()),
            ("FAULT_ERRNO", self.error.to_string()),
            ("FAULT_AFTER", self.after.to_string()),
            ("FAULT_COUNT", self.count.to_string()),
        ]
    }
}

/// What makes a program's wall clock be off by the seconds that are in a file.
pub(super) fn clock_of(file: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("LD_PRELOAD", LIBRARY.display().to_string()),
        ("FAULT_CLOCK", file.display().to_string()),
    ]
}
