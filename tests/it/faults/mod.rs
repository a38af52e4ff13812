//! Faults: programs killed at any moment, disks that are full or fail, clocks that jump.
//!
//! A part of it runs with all tests; `scripts/test-faults` runs all of it, which takes minutes.

mod clock;
mod disk;
mod kills;
mod shim;

use std::env;

/// What `scripts/test-faults` asks for more of.
fn asked(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Where chance begins: another one with `FAULT_SEED`.
fn seed() -> u64 {
    asked("FAULT_SEED").unwrap_or(1)
}
