//! The filterbank against what Hugging Face's `ASTFeatureExtractor` wrote.
//!
//! `scripts/write-reference-fixtures` writes the files.

use std::{collections::BTreeSet, fs, path::PathBuf};

use safetensors::SafeTensors;
use songkin::audio::{AudioError, Excerpt, Fbank, FeatureConfig};

use super::decoder;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/reference")
        .join(name)
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap().data();
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
}

/// Names before the dot.
fn cases(tensors: &SafeTensors<'_>) -> BTreeSet<String> {
    let names = tensors.names().into_iter();
    names
        .map(|name| name.split_once('.').unwrap().0.to_owned())
        .collect()
}

/// Largest and mean absolute difference.
fn difference(left: &[f32], right: &[f32]) -> (f32, f64) {
    assert_eq!(left.len(), right.len());
    let differences = left.iter().zip(right).map(|(l, r)| (l - r).abs());
    let sum: f64 = differences.clone().map(f64::from).sum();
    (differences.fold(0.0, f32::max), sum / left.len() as f64)
}

fn first_window(clip: &[f32]) -> Vec<f32> {
    let fbank = Fbank::new(&FeatureConfig::default()).unwrap();
    fbank.spectrogram(clip).unwrap().window(0, 1024)
}

#[test]
fn the_filterbank_is_the_references() {
    let file = fs::read(fixture("fbank.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let cases = cases(&tensors);
    assert!(cases.len() >= 5, "{cases:?}");
    for case in cases {
        let clip = floats(&tensors, &format!("{case}.clip"));
        let expected = floats(&tensors, &format!("{case}.values"));
        let (max, mean) = difference(&first_window(&clip), &expected);
        println!("{case}: max {max:.2e}, mean {mean:.2e}");
        let (max_allowed, mean_allowed) = if case == "music" {
            (5e-4, 2e-6)
        } else {
            (1e-3, 2e-5)
        };
        assert!(
            max <= max_allowed && mean <= mean_allowed,
            "{case}: max {max:e}, mean {mean:e}"
        );
    }
}

#[test]
fn from_the_mp3_on_the_mean_difference_is_below_a_thousandth() {
    let file = fs::read(fixture("mp3.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let cases = cases(&tensors);
    assert!(!cases.is_empty());
    for case in cases {
        let expected = floats(&tensors, &format!("{case}.values"));
        let decoded = decoder()
            .decode_file(&fixture(&format!("{case}.mp3")), Excerpt::ALL)
            .unwrap();
        let (max, mean) = difference(&first_window(&decoded.clip), &expected);
        println!("{case}: max {max:.2e}, mean {mean:.2e}");
        assert!(mean <= 1e-3, "{case}: max {max:e}, mean {mean:e}");
    }
}

#[test]
fn the_empty_filter_and_the_padding_have_the_references_values() {
    let clip: Vec<f32> = (0..16_000).map(|i| (i as f32 * 0.17).sin() * 0.5).collect();
    let window = first_window(&clip);
    for frame in window.chunks_exact(128).take(98) {
        assert!((frame[3] - -1.277_59).abs() < 1e-5, "{}", frame[3]);
    }
    for value in &window[98 * 128..] {
        assert!((value - 0.467_04).abs() < 1e-5, "{value}");
    }
}

#[test]
fn a_clip_shorter_than_a_frame_is_an_error() {
    let fbank = Fbank::new(&FeatureConfig::default()).unwrap();
    assert_eq!(fbank.frames(399), 0);
    assert_eq!(fbank.frames(400), 1);
    assert_eq!(fbank.frames(559), 1);
    assert_eq!(fbank.frames(560), 2);
    assert!(matches!(
        fbank.spectrogram(&[0.0; 399]),
        Err(AudioError::TooShort {
            samples: 399,
            needed: 400
        })
    ));
    assert_eq!(fbank.spectrogram(&[0.0; 400]).unwrap().frames, 1);
}
