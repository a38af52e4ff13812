//! Windows, and the settings file.

use std::fs;

use songkin::audio::{AudioError, Fbank, FeatureConfig, FeatureError};

fn wave(samples: usize) -> Vec<f32> {
    (0..samples)
        .map(|i| (i as f32 * i as f32 * 1e-5).sin() * 0.3)
        .collect()
}

#[test]
fn a_window_of_the_clip_is_the_clip_of_the_window() {
    let fbank = Fbank::new(&FeatureConfig::default()).unwrap();
    let clip = wave(16_000 * 25);
    let spectrogram = fbank.spectrogram(&clip).unwrap();
    assert_eq!(spectrogram.frames, 2_498);
    let windows = spectrogram.windows(1024);
    let starts: Vec<usize> = windows.iter().map(|window| window.start_frame).collect();
    assert_eq!(starts, [0, 1024]);
    for start in [1024, 777] {
        let alone = fbank.spectrogram(&clip[start * 160..]).unwrap();
        assert_eq!(spectrogram.window(start, 1024), alone.window(0, 1024));
    }
}

#[test]
fn settings_survive_a_round_trip_with_the_keys_that_are_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("preprocessor_config.json");
    fs::write(
        &path,
        r#"{"feature_extractor_type": "ASTFeatureExtractor", "max_length": 512, "mean": -4.5,
            "std": 3.0, "num_mel_bins": 64, "padding_side": "right", "padding_value": 0.0,
            "return_attention_mask": false, "sampling_rate": 16000, "feature_size": 1,
            "do_normalize": true}"#,
    )
    .unwrap();
    let config = FeatureConfig::load(dir.path()).unwrap();
    assert_eq!((config.max_length, config.num_mel_bins), (512, 64));
    assert_eq!((config.mean, config.std), (-4.5, 3.0));
    assert_eq!(config.other["padding_side"], "right");

    config.save(dir.path()).unwrap();
    assert_eq!(FeatureConfig::load(dir.path()).unwrap(), config);

    let spectrogram = Fbank::new(&config)
        .unwrap()
        .spectrogram(&wave(16_000))
        .unwrap();
    assert_eq!((spectrogram.mel_bins, spectrogram.padding), (64, 0.75));
}

#[test]
fn missing_keys_have_the_extractors_defaults() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("preprocessor_config.json"), "{}").unwrap();
    assert_eq!(
        FeatureConfig::load(dir.path()).unwrap(),
        FeatureConfig::default()
    );
}

#[test]
fn without_normalisation_values_are_log_energies() {
    let config = FeatureConfig {
        do_normalize: false,
        ..FeatureConfig::default()
    };
    let spectrogram = Fbank::new(&config)
        .unwrap()
        .spectrogram(&[0.0; 800])
        .unwrap();
    assert_eq!(spectrogram.padding, 0.0);
    let floor = f32::EPSILON.ln();
    assert!(
        spectrogram.data.iter().all(|&value| value == floor),
        "silence lies on the floor"
    );
}

#[test]
fn settings_of_another_extractor_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("preprocessor_config.json");
    for (text, expected) in [
        (r#"{"sampling_rate": 44100}"#, "sampling_rate"),
        (
            r#"{"feature_extractor_type": "WhisperFeatureExtractor"}"#,
            "feature_extractor_type",
        ),
        (r#"{"feature_size": 80}"#, "feature_size"),
        (r#"{"num_mel_bins": 0}"#, "num_mel_bins"),
        (r#"{"num_mel_bins": 100000}"#, "num_mel_bins"),
        (r#"{"max_length": 0}"#, "max_length"),
        (r#"{"std": 0.0}"#, "std"),
    ] {
        fs::write(&path, text).unwrap();
        match FeatureConfig::load(dir.path()) {
            Err(AudioError::Features(FeatureError::Unsupported { key, .. })) => {
                assert_eq!(key, expected);
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    fs::write(&path, "[]").unwrap();
    let error = FeatureConfig::load(dir.path()).unwrap_err();
    assert!(
        matches!(error, AudioError::Features(FeatureError::Json { .. })),
        "{error:?}"
    );
    fs::remove_file(&path).unwrap();
    let error = FeatureConfig::load(dir.path()).unwrap_err();
    assert!(
        matches!(error, AudioError::Features(FeatureError::File { .. })),
        "{error:?}"
    );
}
