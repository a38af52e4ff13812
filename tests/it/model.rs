//! The encoder against `transformers`, and model directories.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use songkin::{
    audio::FeatureConfig,
    model::{
        AstConfig, CONFIG_FILE, EncodeWindows, Encoder, ModelDir, ModelError, Pooling, Precision,
        PrecisionChoice, Preset, WEIGHTS_FILE, canonical_name, published_name, untrained_weights,
    },
};

use crate::stock::StockEncoder;

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/reference")
        .join(name)
}

fn max_difference(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar().unwrap()
}

/// Runs a reference's input through an encoder and compares all tokens and the pooled output.
fn compare(encoder: &Encoder, name: &str) {
    let io = candle_core::safetensors::load(reference(name).join("io.safetensors"), &Device::Cpu)
        .unwrap();
    let output = encoder.ast().forward(&io["input_values"]).unwrap();
    for (what, ours) in [
        ("last_hidden_state", &output.last_hidden_state),
        ("pooler_output", &output.embedding),
    ] {
        let spread = io[what]
            .flatten_all()
            .unwrap()
            .var(0)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        assert!(
            spread > 1e-2,
            "{name}: a reference whose {what} hardly varies proves nothing"
        );
        let difference = max_difference(ours, &io[what]);
        assert!(difference <= 1e-4, "{name}: {what} differs by {difference}");
    }
    let alone = encoder.ast().embed(&io["input_values"]).unwrap();
    assert_eq!(max_difference(&alone, &output.embedding), 0.0, "{name}");
}

/// The last block is computed for the pooled tokens alone, which changes no bit of them.
#[test]
fn an_embedding_alone_is_that_of_a_whole_pass() {
    for pooling in [Pooling::Tokens, Pooling::Patches] {
        let config = AstConfig {
            pooling,
            num_hidden_layers: 2,
            ..Preset::Small.config()
        };
        let weights = untrained_weights(&config, 0).unwrap();
        let model = ModelDir::new(config, FeatureConfig::default(), weights).unwrap();
        let own = PrecisionChoice::Int8.on(&Device::Cpu);
        for precision in [Precision::F32, Precision::Bf16, Precision::F16, own] {
            let encoder = model.encoder(&Device::Cpu, precision).unwrap();
            let shape = (2, model.config.max_length, model.config.num_mel_bins);
            let windows = Tensor::rand(-1_f32, 1.0, shape, &Device::Cpu).unwrap();
            let whole = encoder.ast().forward(&windows).unwrap().embedding;
            let alone = encoder.ast().embed(&windows).unwrap();
            assert_eq!(alone.dims(), [2, model.config.hidden_size]);
            assert_eq!(
                max_difference(&alone, &whole),
                0.0,
                "{pooling:?} {precision:?}"
            );
        }
    }
}

#[test]
fn the_encoder_computes_what_transformers_computes() {
    for name in ["ast-a", "ast-b", "ast-classifier"] {
        let encoder = ModelDir::load(&reference(name))
            .unwrap()
            .encoder(&Device::Cpu, Precision::F32)
            .unwrap();
        compare(&encoder, name);
    }
}

#[test]
fn the_encoder_computes_what_candle_computes() {
    let trained = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/songkin-small");
    let mut config = Preset::Paper.config();
    config.num_hidden_layers = 2;
    let weights = untrained_weights(&config, 0).unwrap();
    let paper = ModelDir::new(config, FeatureConfig::default(), weights).unwrap();
    for model in [ModelDir::load(&trained).unwrap(), paper] {
        let (frames, bins) = (model.config.max_length, model.config.num_mel_bins);
        let values: Vec<f32> = (0..2 * frames * bins)
            .map(|i| (i as f32 * 0.37).sin() + (i % bins) as f32 / 100.0 - 0.6)
            .collect();
        let windows = Tensor::from_vec(values, (2, frames, bins), &Device::Cpu).unwrap();
        let ours = model.encoder(&Device::Cpu, Precision::F32).unwrap();
        let ours = ours.ast().forward(&windows).unwrap().embedding;
        let stock = StockEncoder::new(&model).unwrap();
        let difference = max_difference(&ours, &stock.forward(&windows).unwrap());
        assert!(difference <= 1e-4, "{difference}");
    }
}

#[test]
fn lower_precisions_give_the_same_embeddings_but_for_rounding() {
    let trained = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/songkin-small");
    let model = ModelDir::load(&trained).unwrap();
    let windows = [0.37, 0.11].map(|pitch| -> Vec<f32> {
        (0..model.config.window_len())
            .map(|i| (i as f32 * pitch).sin() + (i % 128) as f32 / 100.0 - 0.6)
            .collect()
    });
    let windows = [&*windows[0], &*windows[1]];
    let embed = |precision| {
        let encoder = model.encoder(&Device::Cpu, precision).unwrap();
        assert_eq!(encoder.precision(), precision);
        encoder.encode(&windows).unwrap()
    };
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let exact = embed(Precision::F32);
    assert!(
        cosine(&exact[0], &exact[1]) < 0.9,
        "windows that are alike prove nothing"
    );
    let mut precisions = vec![(Precision::F16, 0.99999), (Precision::Bf16, 0.999)];
    if multiplies_int8() {
        precisions.push((Precision::Int8, 0.999));
    }
    for (precision, least) in precisions {
        for (rounded, exact) in embed(precision).iter().zip(&exact) {
            assert_ne!(rounded, exact, "{precision:?} computes in f32");
            let cosine = cosine(rounded, exact);
            assert!(cosine > least, "{precision:?}: {cosine}");
        }
    }
}

fn multiplies_int8() -> bool {
    PrecisionChoice::Int8.on(&Device::Cpu) == Precision::Int8
}

/// One channel 10,000 times as large as it was, and weights that take as much back: the same encoder, but for int8.
#[test]
fn an_encoder_that_int8_does_not_fit_computes_in_another_precision() {
    let trained = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/songkin-small");
    let model = ModelDir::load(&trained).unwrap();
    let mut weights = model.weights().clone();
    let mut scale = |name: &str, factor: f64| {
        let weight = weights.get_mut(name).unwrap();
        let channels = weight.dim(weight.rank() - 1).unwrap();
        let factors: Vec<f32> = (0..channels)
            .map(|channel| if channel == 7 { factor as f32 } else { 1.0 })
            .collect();
        let factors = Tensor::new(factors, &Device::Cpu).unwrap();
        *weight = weight.broadcast_mul(&factors).unwrap();
    };
    scale("layers.1.layernorm_before.weight", 1e4);
    scale("layers.1.layernorm_before.bias", 1e4);
    for part in ["q_proj", "k_proj", "v_proj"] {
        scale(&format!("layers.1.attention.{part}.weight"), 1e-4);
    }
    let (config, features) = (model.config.clone(), model.features.clone());
    let outlying = ModelDir::new(config, features, weights).unwrap();
    let window: Vec<f32> = (0..model.config.window_len())
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let embed = |model: &ModelDir, precision| {
        let encoder = model.encoder(&Device::Cpu, precision).unwrap();
        (
            encoder.encode(&[&window]).unwrap().remove(0),
            encoder.precision(),
        )
    };
    let (exact, _) = embed(&model, Precision::F32);
    let (same, _) = embed(&outlying, Precision::F32);
    let (found, precision) = embed(&outlying, Precision::Int8);
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    assert!(cosine(&exact, &same) > 0.99999);
    assert!(cosine(&exact, &found) > 0.999);
    assert_ne!(precision, Precision::Int8);
    assert_eq!(
        embed(&model, PrecisionChoice::Int8.on(&Device::Cpu)).1 == Precision::Int8,
        multiplies_int8()
    );
}

#[test]
fn widths_that_are_no_whole_cells_are_computed_in_another_precision() {
    let config = AstConfig {
        hidden_size: 30,
        num_attention_heads: 3,
        intermediate_size: 62,
        num_hidden_layers: 2,
        ..Preset::Small.config()
    };
    let weights = untrained_weights(&config, 0).unwrap();
    let model = ModelDir::new(config, FeatureConfig::default(), weights).unwrap();
    let window = vec![0.5; model.config.window_len()];
    let encoder = model.encoder(&Device::Cpu, Precision::Int8).unwrap();
    assert_ne!(encoder.precision(), Precision::Int8);
    assert_eq!(encoder.encode(&[&window]).unwrap()[0].len(), 30);
}

#[test]
fn a_window_that_is_not_finite_is_an_error_in_every_precision() {
    let trained = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/songkin-small");
    let model = ModelDir::load(&trained).unwrap();
    let own = PrecisionChoice::Int8.on(&Device::Cpu);
    for precision in [Precision::F32, PrecisionChoice::Bf16.on(&Device::Cpu), own] {
        let encoder = model.encoder(&Device::Cpu, precision).unwrap();
        for spoiled in [f32::NAN, f32::INFINITY] {
            let mut window = vec![0.5; model.config.window_len()];
            window[1000] = spoiled;
            let outcome = encoder.encode(&[&window]);
            assert!(
                matches!(outcome, Err(ModelError::DegenerateEmbedding)),
                "{precision:?}"
            );
        }
    }
}

#[test]
fn a_directory_written_here_holds_the_same_model() {
    for name in ["ast-a", "ast-b", "ast-classifier"] {
        let dir = tempfile::tempdir().unwrap();
        let model = ModelDir::load(&reference(name)).unwrap();
        model.save(dir.path()).unwrap();
        let again = ModelDir::load(dir.path()).unwrap();
        assert_eq!(again.extractor, model.extractor);
        assert_eq!(again.config.hidden_size, model.config.hidden_size);
        compare(&again.encoder(&Device::Cpu, Precision::F32).unwrap(), name);
    }
}

/// Copies a reference model so that a test can spoil it.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(reference(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

fn weights(dir: &Path) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(dir.join(WEIGHTS_FILE), &Device::Cpu)
        .unwrap()
        .into_iter()
        .collect()
}

fn write_weights(dir: &Path, weights: &BTreeMap<String, Tensor>) {
    let weights = weights
        .iter()
        .map(|(name, weight)| (name.clone(), weight.clone()))
        .collect();
    candle_core::safetensors::save(&weights, dir.join(WEIGHTS_FILE)).unwrap();
}

fn load_error(dir: &Path) -> ModelError {
    ModelDir::load(dir)
        .err()
        .expect("a spoiled model must not load")
}

#[test]
fn a_spoiled_checkpoint_names_the_weight() {
    let name = "encoder.layer.1.output.dense.bias";
    let dir = copy("ast-a");
    let whole = weights(dir.path());
    let own = whole
        .keys()
        .find(|key| canonical_name(key) == canonical_name(name))
        .unwrap()
        .clone();

    let mut missing = whole.clone();
    missing.remove(&own);
    write_weights(dir.path(), &missing);
    assert!(
        matches!(load_error(dir.path()), ModelError::MissingWeights(names) if names == ["layers.1.mlp.fc2.bias"])
    );

    let mut unknown = whole.clone();
    unknown.insert("decoder.weight".to_owned(), whole[&own].clone());
    write_weights(dir.path(), &unknown);
    assert!(
        matches!(load_error(dir.path()), ModelError::UnknownWeights(names) if names == ["decoder.weight"])
    );

    let mut reshaped = whole.clone();
    reshaped.insert(
        own.clone(),
        Tensor::zeros(7, candle_core::DType::F32, &Device::Cpu).unwrap(),
    );
    write_weights(dir.path(), &reshaped);
    assert!(
        matches!(load_error(dir.path()), ModelError::WeightShape { found, .. } if found == [7])
    );

    for bad in [f32::NAN, f32::INFINITY] {
        let mut broken = whole.clone();
        let size = whole[&own].dims1().unwrap();
        let mut values = vec![0.0; size];
        values[size / 2] = bad;
        broken.insert(own.clone(), Tensor::new(values, &Device::Cpu).unwrap());
        write_weights(dir.path(), &broken);
        assert!(
            matches!(load_error(dir.path()), ModelError::NotFinite(name) if name == "layers.1.mlp.fc2.bias")
        );
    }

    fs::write(dir.path().join(WEIGHTS_FILE), b"not safetensors").unwrap();
    assert!(matches!(load_error(dir.path()), ModelError::Tensor(_)));
}

#[test]
fn a_spoiled_configuration_names_the_key() {
    for (key, value) in [
        ("hidden_act", serde_json::json!("relu")),
        ("num_attention_heads", serde_json::json!(5)),
        ("patch_size", serde_json::json!(4096)),
        ("hidden_size", serde_json::json!(0)),
        ("model_type", serde_json::json!("bert")),
        ("time_stride", serde_json::json!(0)),
    ] {
        let dir = copy("ast-a");
        let path = dir.path().join(CONFIG_FILE);
        let mut config: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[key] = value;
        fs::write(&path, config.to_string()).unwrap();
        let error = load_error(dir.path());
        assert!(
            matches!(error, ModelError::Config { key: found, .. } if found == key),
            "{key}: {error}"
        );
    }
    let dir = copy("ast-a");
    FeatureConfig {
        num_mel_bins: 64,
        ..FeatureConfig::load(dir.path()).unwrap()
    }
    .save(dir.path())
    .unwrap();
    assert!(matches!(
        load_error(dir.path()),
        ModelError::FrontEndMismatch {
            key: "num_mel_bins",
            ..
        }
    ));
    fs::remove_file(dir.path().join(CONFIG_FILE)).unwrap();
    assert!(
        matches!(load_error(dir.path()), ModelError::Io { path, .. } if path.ends_with(CONFIG_FILE))
    );
}

#[test]
fn names_go_back_and_forth() {
    for (published, own) in [
        (
            "encoder.layer.11.attention.attention.query.weight",
            "layers.11.attention.q_proj.weight",
        ),
        (
            "encoder.layer.0.attention.output.dense.bias",
            "layers.0.attention.o_proj.bias",
        ),
        (
            "encoder.layer.3.intermediate.dense.weight",
            "layers.3.mlp.fc1.weight",
        ),
        (
            "encoder.layer.3.output.dense.weight",
            "layers.3.mlp.fc2.weight",
        ),
        (
            "encoder.layer.3.layernorm_before.bias",
            "layers.3.layernorm_before.bias",
        ),
        ("embeddings.cls_token", "embeddings.cls_token"),
        ("layernorm.weight", "layernorm.weight"),
    ] {
        assert_eq!(canonical_name(published).as_deref(), Some(own));
        assert_eq!(
            canonical_name(&format!("audio_spectrogram_transformer.{published}")).as_deref(),
            Some(own)
        );
        assert_eq!(canonical_name(own).as_deref(), Some(own));
        assert_eq!(published_name(own), published);
    }
    assert_eq!(canonical_name("classifier.dense.weight"), None);
}

fn untrained(preset: Preset, seed: u64) -> ModelDir {
    let config = preset.config();
    let weights = untrained_weights(&config, seed).unwrap();
    ModelDir::new(config, FeatureConfig::default(), weights).unwrap()
}

#[test]
fn presets_have_the_published_sizes() {
    let paper = Preset::Paper.config();
    assert_eq!(
        (
            paper.hidden_size,
            paper.num_hidden_layers,
            paper.num_attention_heads
        ),
        (512, 12, 8)
    );
    assert_eq!((paper.patch_grid(), paper.tokens()), ((12, 101), 1214));
    let small = Preset::Small.config();
    assert_eq!((small.patch_grid(), small.tokens()), ((8, 64), 514));
}

#[test]
fn a_seed_fixes_the_untrained_model() {
    let model = untrained(Preset::Small, 0);
    assert_eq!(model.extractor, untrained(Preset::Small, 0).extractor);
    assert_ne!(model.extractor, untrained(Preset::Small, 1).extractor);
    // A change of this name means that every catalogue analysed before has to be analysed anew.
    assert_eq!(model.extractor.as_str(), "ce7a8faaad8a8702");
}

#[test]
fn embeddings_have_unit_length_and_do_not_depend_on_the_batch() {
    let encoder = untrained(Preset::Small, 0)
        .encoder(&Device::Cpu, Precision::F32)
        .unwrap();
    let window = |seed: usize| -> Vec<f32> {
        (0..encoder.window_len())
            .map(|i| ((i * (seed + 3)) % 97) as f32 / 48.5 - 1.0)
            .collect()
    };
    let windows: Vec<Vec<f32>> = (0..3).map(window).collect();
    let together = encoder
        .encode(&windows.iter().map(Vec::as_slice).collect::<Vec<_>>())
        .unwrap();
    for (window, embedding) in windows.iter().zip(&together) {
        let alone = &encoder.encode(&[window]).unwrap()[0];
        let norm: f32 = embedding.iter().map(|value| value * value).sum();
        assert!((norm - 1.0).abs() < 1e-5);
        assert!(
            alone
                .iter()
                .zip(embedding)
                .all(|(a, b)| (a - b).abs() < 1e-5)
        );
    }
    assert_eq!(encoder.dim(), encoder.config().hidden_size);
    assert!(matches!(
        encoder.encode(&[&windows[0][1..]]),
        Err(ModelError::WindowSize { found, expected }) if found + 1 == expected
    ));
}

#[test]
fn strides_may_differ() {
    let mut config = Preset::Small.config();
    (
        config.frequency_stride,
        config.time_stride,
        config.num_hidden_layers,
    ) = (10, 16, 1);
    let weights = untrained_weights(&config, 0).unwrap();
    let encoder = ModelDir::new(config, FeatureConfig::default(), weights)
        .unwrap()
        .encoder(&Device::Cpu, Precision::F32)
        .unwrap();
    let window = vec![0.5; encoder.window_len()];
    assert_eq!(encoder.encode(&[&window]).unwrap()[0].len(), encoder.dim());
}
