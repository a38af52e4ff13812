//! MFCC against what torchaudio wrote; `scripts/write-mfcc-fixture` writes the file.

use std::{collections::BTreeSet, fs, path::PathBuf};

use safetensors::SafeTensors;
use songkin::audio::{AudioError, MFCC_COEFFICIENTS, MFCC_STATISTICS, Mfcc};

fn fixture(name: &str) -> Vec<u8> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference");
    fs::read(dir.join(name)).unwrap()
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap().data();
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    values
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let differences = left.iter().zip(right).map(|(l, r)| (l - r).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn coefficients_and_statistics_are_torchaudios() {
    let (answers, clips) = (fixture("mfcc.safetensors"), fixture("fbank.safetensors"));
    let answers = SafeTensors::deserialize(&answers).unwrap();
    let clips = SafeTensors::deserialize(&clips).unwrap();
    let names = answers.names().into_iter();
    let cases: BTreeSet<&str> = names.map(|name| name.split_once('.').unwrap().0).collect();
    assert_eq!(cases.len(), 6);
    let mfcc = Mfcc::new().unwrap();
    for case in cases {
        let clip = floats(&clips, &format!("{case}.clip"));
        let found: Vec<f32> = mfcc.coefficients(&clip).unwrap().concat();
        let expected = floats(&answers, &format!("{case}.coefficients"));
        let coefficients = largest_difference(&found, &expected);
        let found = mfcc.statistics(&clip).unwrap();
        let expected = floats(&answers, &format!("{case}.statistics"));
        let statistics = largest_difference(&found, &expected);
        println!("{case}: coefficients {coefficients:.1e}, statistics {statistics:.1e}");
        // Values go up to 180.
        assert!(coefficients <= 5e-4, "{case}: {coefficients:e}");
        assert!(statistics <= 2e-4, "{case}: {statistics:e}");
    }
}

#[test]
fn a_clip_of_one_frame_has_statistics_and_a_shorter_one_is_an_error() {
    let mfcc = Mfcc::new().unwrap();
    let clip: Vec<f32> = (0..400).map(|i| (i as f32 * 0.3).sin()).collect();
    let statistics = mfcc.statistics(&clip).unwrap();
    assert_eq!(statistics.len(), MFCC_STATISTICS);
    assert!(statistics[0].is_finite() && statistics[0] != 0.0);
    assert_eq!(
        statistics[MFCC_COEFFICIENTS..],
        [0.0; 2 * MFCC_COEFFICIENTS]
    );
    let short = mfcc.statistics(&clip[1..]);
    assert!(matches!(
        short,
        Err(AudioError::TooShort { samples: 399, .. })
    ));
}
