//! Whatever the bytes are that come from outside: an answer or an error, never a panic.
//!
//! Inputs are what the program itself writes and what lies in `tests/data/fuzz`, changed by chance; the same
//! chance every time. `FUZZ_CASES` asks for more of them than the ordinary run has. An input that fails is
//! made small and kept with the others, so that it is tried first from then on.

pub(crate) mod mutation;
mod targets;

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use sha2::{Digest, Sha256};
use songkin::text::hex;

use mutation::{apply, mutation};

/// Changed inputs of a target in the ordinary run.
const FEW: u32 = 200;

/// As many as are asked for.
pub(crate) fn cases(few: u32) -> u32 {
    let asked = std::env::var("FUZZ_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(few)
}

fn kept(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/fuzz")
        .join(target)
}

/// The inputs of a target that are kept.
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(kept(target))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Gives `check` every kept input and every seed, then changed ones.
fn fuzz(target: &str, seeds: Vec<Vec<u8>>, check: impl Fn(&[u8])) {
    let inputs = [corpus(target), seeds].concat();
    for input in &inputs {
        check(input);
    }
    let config = Config {
        cases: cases(FEW),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let changed = |seed: &Index, mutations: &[_]| {
        let mut bytes = seed.get(&inputs).clone();
        mutations
            .iter()
            .for_each(|mutation| apply(&mut bytes, mutation, &inputs));
        bytes
    };
    let outcome = runner.run(
        &(any::<Index>(), vec(mutation(), 1..12)),
        |(seed, mutations)| {
            check(&changed(&seed, &mutations));
            Ok(())
        },
    );
    if let Err(TestError::Fail(reason, (seed, mutations))) = outcome {
        let bytes = changed(&seed, &mutations);
        let path = kept(target).join(hex(&Sha256::digest(&bytes)[..8]));
        fs::create_dir_all(kept(target)).unwrap();
        fs::write(&path, bytes).unwrap();
        panic!(
            "{target}: {reason}; the input is kept as {}",
            path.display()
        );
    }
    outcome.unwrap();
}
