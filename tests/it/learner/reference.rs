//! Loss, optimiser and whole steps against PyTorch (`scripts/write-training-fixtures`).

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, Var};
use songkin::{
    model::{AstConfig, canonical_name},
    train::{
        AdamSettings, Gradients, Learner, LearnerSettings, LearnerState, LossSettings, Optimiser,
        Schedule, TrainError, ViewBatch, contrastive_loss,
    },
};

use super::{difference, to_f64};

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/reference")
        .join(name)
}

fn fixture(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(reference(name), &Device::Cpu).unwrap()
}

/// The script's numbers of the same name.
fn wave(count: usize, factor: usize) -> Vec<f32> {
    (0..count)
        .map(|i| (((i * factor) % 2003) as f64 / 1024.0 - 0.978) as f32)
        .collect()
}

fn loss_settings(temperature: f64, decoupled: bool) -> LossSettings {
    LossSettings {
        temperature,
        decoupled,
    }
}

#[test]
fn the_loss_and_its_gradient_are_pytorchs() {
    let want = fixture("training.safetensors");
    let cases: [(&str, usize, LossSettings, Option<&[i64]>); 5] = [
        ("ntxent", 5, loss_settings(0.1, false), None),
        ("decoupled", 5, loss_settings(0.2, true), None),
        ("three_views", 4, loss_settings(0.5, false), None),
        (
            "artists",
            6,
            loss_settings(0.07, false),
            Some(&[1, 1, 2, 3, 3, 3]),
        ),
        (
            "everything",
            6,
            loss_settings(0.3, true),
            Some(&[1, 2, 2, 4, 5, 6]),
        ),
    ];
    for (case, tracks, settings, artists) in cases {
        let at = |what: &str| &want[&format!("loss.{case}.{what}")];
        let projections = Var::from_tensor(at("projections")).unwrap();
        let loss = contrastive_loss(&projections, tracks, artists, &settings).unwrap();
        let error = (to_f64(&loss)[0] - to_f64(at("loss"))[0]).abs();
        assert!(error < 2e-6, "{case}: the loss differs by {error}");
        let gradients = loss.backward().unwrap();
        let (error, size) = difference(gradients.get(&projections).unwrap(), at("gradient"));
        assert!(size > 1e-3, "{case}: a gradient of nothing proves nothing");
        assert!(error < 1e-6, "{case}: the gradient differs by {error}");
    }
}

#[test]
fn one_artists_tracks_are_told_apart_where_there_is_no_other() {
    let values: Vec<f32> = (0..24).map(|i| (i as f32 * 1.7).sin()).collect();
    let projections = Tensor::from_vec(values, (6, 4), &Device::Cpu).unwrap();
    for decoupled in [false, true] {
        let loss = |artists| {
            let settings = loss_settings(0.1, decoupled);
            let loss = contrastive_loss(&projections, 3, artists, &settings).unwrap();
            loss.to_scalar::<f32>().unwrap()
        };
        assert_eq!(loss(Some(&[7, 7, 7])), loss(None));
        assert!(loss(Some(&[7, 7, 8])) < loss(None));
    }
}

#[test]
fn a_loss_that_cannot_be_is_an_error() {
    let projections = Tensor::ones((6, 4), DType::F32, &Device::Cpu).unwrap();
    let settings = LossSettings::default();
    for tracks in [0, 1, 4, 6] {
        assert!(matches!(
            contrastive_loss(&projections, tracks, None, &settings),
            Err(TrainError::Batch { what: "rows", .. })
        ));
    }
    for temperature in [0.0, -1.0, f64::NAN] {
        let settings = loss_settings(temperature, false);
        assert!(matches!(
            contrastive_loss(&projections, 3, None, &settings),
            Err(TrainError::Setting { .. })
        ));
    }
}

#[test]
fn the_optimiser_takes_pytorchs_steps() {
    let want = fixture("training.safetensors");
    for (case, settings) in [
        (
            "adam",
            AdamSettings {
                learning_rate: 3e-3,
                ..AdamSettings::default()
            },
        ),
        (
            "adamw",
            AdamSettings {
                learning_rate: 1e-2,
                beta1: 0.8,
                beta2: 0.99,
                epsilon: 1e-6,
                weight_decay: 0.1,
            },
        ),
    ] {
        let tensor = |values| Tensor::from_vec(values, (5, 8), &Device::Cpu).unwrap();
        let name = "matrix.weight".to_owned();
        let weight = Var::from_tensor(&tensor(wave(40, 37))).unwrap();
        let weights = BTreeMap::from([(name.clone(), weight.clone())]);
        let mut optimiser = Optimiser::new(&weights, settings).unwrap();
        let trace = &want[&format!("adam.{case}.trace")];
        for step in 0..trace.dim(0).unwrap() {
            let size = 10f32.powi(step as i32 - 4);
            let gradient = wave(40, 101 + step).iter().map(|v| v * size).collect();
            let gradients = Gradients::new(BTreeMap::from([(name.clone(), tensor(gradient))]));
            let rate = settings.learning_rate / (1 + step) as f64;
            optimiser.update(&gradients, rate, 1.0).unwrap();
            let (error, _) = difference(&weight, &trace.get(step).unwrap());
            assert!(error < 5e-7, "{case}, step {step}: differs by {error}");
        }
    }
}

#[test]
fn a_step_without_a_gradient_changes_nothing() {
    let weight = Var::from_vec(wave(6, 3), 6, &Device::Cpu).unwrap();
    let other = Var::from_vec(wave(6, 5), 6, &Device::Cpu).unwrap();
    let weights = BTreeMap::from([
        ("a.weight".to_owned(), weight.clone()),
        ("b.weight".to_owned(), other),
    ]);
    let mut optimiser = Optimiser::new(&weights, AdamSettings::default()).unwrap();
    let gradient = Tensor::ones(6, DType::F32, &Device::Cpu).unwrap();
    let gradients = Gradients::new(BTreeMap::from([("a.weight".to_owned(), gradient)]));
    assert!(matches!(
        optimiser.update(&gradients, 0.1, 1.0),
        Err(TrainError::NoGradient(name)) if name == "b.weight"
    ));
    assert_eq!(optimiser.step(), 0);
    assert_eq!(weight.to_vec1::<f32>().unwrap(), wave(6, 3));
}

#[test]
fn the_norm_is_that_of_all_gradients_as_one_vector() {
    let tensor = |values: Vec<f32>| Tensor::new(values, &Device::Cpu).unwrap();
    let gradients = Gradients::new(BTreeMap::from([
        ("a".to_owned(), tensor(vec![3.0; 90_000])),
        ("b".to_owned(), tensor(vec![4.0, f32::MAX])),
    ]));
    let want = (9.0 * 90_000.0 + 16.0 + f64::from(f32::MAX).powi(2)).sqrt();
    assert!((gradients.norm().unwrap() / want - 1.0).abs() < 1e-12);
    for bad in [f32::NAN, f32::INFINITY] {
        let gradients = Gradients::new(BTreeMap::from([("a".to_owned(), tensor(vec![1.0, bad]))]));
        assert!(!gradients.norm().unwrap().is_finite());
    }
}

/// The learner of the script's `write_steps`, and its batch.
pub(super) fn reference_learner(settings: LearnerSettings) -> (Learner, ViewBatch) {
    let text = std::fs::read(reference("ast-classifier/config.json")).unwrap();
    let config: AstConfig = serde_json::from_slice(&text).unwrap();
    let mut tensors = BTreeMap::new();
    for (name, weight) in fixture("ast-classifier/model.safetensors") {
        if let Some(name) = canonical_name(&name) {
            tensors.insert(format!("encoder.{name}"), weight);
        }
    }
    for (name, shape, number) in [
        ("projection.0.weight", vec![512, 32], 37),
        ("projection.0.bias", vec![512], 41),
        ("projection.2.weight", vec![128, 512], 43),
        ("projection.2.bias", vec![128], 47),
    ] {
        let scale = 1.0 / (shape[shape.len() - 1] as f64).sqrt();
        let values = wave(shape.iter().product(), number);
        let values = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        tensors.insert(format!("head.{name}"), (values * scale).unwrap());
    }
    for name in tensors.keys().cloned().collect::<Vec<_>>() {
        let zeros = tensors[&name].zeros_like().unwrap();
        tensors.insert(format!("m.{name}"), zeros.clone());
        tensors.insert(format!("v.{name}"), zeros);
    }
    let state = LearnerState { step: 0, tensors };
    let learner = Learner::restore(&config, settings, &state, &Device::Cpu).unwrap();
    let noise = &fixture("ast-b/io.safetensors")["input_values"];
    let window = |view, track: usize| {
        let window = noise.get(view).unwrap().narrow(0, track * 64, 64).unwrap();
        window.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let batch = ViewBatch {
        frames: 64,
        views: (0..2)
            .map(|view| (0..6).map(|track| window(view, track)).collect())
            .collect(),
        artists: None,
    };
    (learner, batch)
}

pub(super) fn reference_settings() -> LearnerSettings {
    LearnerSettings {
        loss: loss_settings(0.2, false),
        optimiser: AdamSettings {
            learning_rate: 5e-3,
            epsilon: 1e-4,
            weight_decay: 0.1,
            ..AdamSettings::default()
        },
        schedule: Schedule::WarmupCosine {
            warmup_steps: 2,
            total_steps: 5,
            floor: 0.1,
        },
        clip_norm: Some(0.5),
        ..LearnerSettings::default()
    }
}

#[test]
fn the_learner_follows_pytorch_step_by_step() {
    let want = fixture("training.safetensors");
    let losses = to_f64(&want["step.losses"]);
    let norms = to_f64(&want["step.grad_norms"]);
    let (mut learner, batch) = reference_learner(reference_settings());
    for (loss, norm) in losses.into_iter().zip(norms) {
        let report = learner.step(&batch).unwrap();
        let errors = [report.loss / loss - 1.0, report.grad_norm / norm - 1.0];
        assert!(
            errors.iter().all(|error| error.abs() < 1e-3),
            "step {}: loss {} for {loss}, gradient {} for {norm}",
            report.step,
            report.loss,
            report.grad_norm
        );
    }
    assert_eq!(learner.steps(), 5);
}

#[test]
fn the_learning_rate_rises_falls_and_stays() {
    assert_eq!(Schedule::Constant.factor(1_000_000), 1.0);
    let schedule = Schedule::WarmupCosine {
        warmup_steps: 4,
        total_steps: 12,
        floor: 0.2,
    };
    let want = [
        (0, 0.25),
        (3, 1.0),
        (4, 1.0),
        (8, 0.6),
        (12, 0.2),
        (1000, 0.2),
    ];
    for (step, factor) in want {
        assert!((schedule.factor(step) - factor).abs() < 1e-12, "{step}");
    }
    assert!((5..12).all(|step| schedule.factor(step) < schedule.factor(step - 1)));
    // A run without a rise or without a descent divides by nothing.
    for (warmup_steps, total_steps) in [(0, 0), (3, 3), (5, 2)] {
        let schedule = Schedule::WarmupCosine {
            warmup_steps,
            total_steps,
            floor: 0.0,
        };
        assert!((0..9).all(|step| (0.0..=1.0).contains(&schedule.factor(step))));
    }
}
