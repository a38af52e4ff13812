//! The learner: same gradients in less memory, same steps after an interruption, faults.

use candle_core::{DType, Device};
use songkin::{
    audio::FeatureConfig,
    model::{AstConfig, ModelDir, Pooling, Preset, untrained_weights},
    train::{
        Learner, LearnerSettings, LearnerState, LossSettings, Objective, Patchout, Placement,
        Schedule, TrainError, ViewBatch, health::CollapseLimits,
    },
};

use super::{
    difference, numbers,
    reference::{reference_learner, reference_settings},
    shaken_weights, tiny, to_f64,
};

fn batch(frames: usize, tracks: usize, views: usize, seed: u64) -> ViewBatch {
    let window = |number: usize| numbers(frames * 128, seed * 1000 + number as u64);
    ViewBatch {
        frames,
        views: (0..views)
            .map(|view| {
                (0..tracks)
                    .map(|track| window(view * tracks + track))
                    .collect()
            })
            .collect(),
        artists: None,
    }
}

fn learner(settings: LearnerSettings) -> Learner {
    pooled(Pooling::Patches, settings)
}

fn pooled(pooling: Pooling, settings: LearnerSettings) -> Learner {
    let config = AstConfig { pooling, ..tiny() };
    Learner::new(&config, shaken_weights(&config), settings, &Device::Cpu).unwrap()
}

/// Settings that use everything there is.
fn busy() -> LearnerSettings {
    LearnerSettings {
        patchout: Patchout {
            mel_rows_dropped: 3,
            time_columns_dropped: 4,
            kept_per_row: None,
        },
        clip_norm: Some(1.0),
        schedule: Schedule::WarmupCosine {
            warmup_steps: 2,
            total_steps: 9,
            floor: 0.0,
        },
        seed: 5,
        ..LearnerSettings::default()
    }
}

/// A few patches of every row of each window, standardised embeddings.
fn scattered(objective: Objective) -> LearnerSettings {
    LearnerSettings {
        objective,
        patchout: Patchout {
            kept_per_row: Some(3),
            ..Patchout::default()
        },
        ..busy()
    }
}

fn bits(state: &LearnerState) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: &candle_core::Tensor| {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    let tensors = state.tensors.iter();
    tensors
        .map(|(name, tensor)| (name.clone(), bits(tensor)))
        .collect()
}

#[test]
fn cached_gradients_are_those_of_one_pass() {
    for (settings, frames) in [
        (LearnerSettings::default(), 164),
        (busy(), 100),
        (scattered(Objective::Both), 164),
        (scattered(Objective::Standardised), 164),
    ] {
        let batch = batch(frames, 5, 3, 1);
        let (want_loss, want) = learner(settings.clone()).gradients(&batch).unwrap();
        for most in [1, 4, 14] {
            let settings = LearnerSettings {
                micro_batch: Some(most),
                ..settings.clone()
            };
            let (loss, got) = learner(settings).gradients(&batch).unwrap();
            assert!((loss - want_loss).abs() < 1e-5);
            for (name, want) in want.iter() {
                let (error, size) = difference(got.get(name).unwrap(), want);
                assert!(error < 1e-5 * size.max(1.0), "{name}: {error} of {size}");
            }
        }
    }
}

#[test]
fn every_weight_is_trained_under_either_pooling() {
    for pooling in [Pooling::Tokens, Pooling::Patches] {
        let (_, gradients) = pooled(pooling, busy())
            .gradients(&batch(164, 4, 2, 2))
            .unwrap();
        for (name, gradient) in gradients.iter() {
            let largest = to_f64(gradient)
                .into_iter()
                .fold(0.0, |a: f64, b| a.max(b.abs()));
            // Softmax takes no notice of a bias of all keys.
            assert!(largest > 0.0 || name.ends_with("k_proj.bias"), "{name}");
        }
        let mut learner = pooled(pooling, busy());
        let before = learner.state().unwrap();
        for _ in 0..3 {
            learner.step(&batch(164, 4, 2, 2)).unwrap();
        }
        let after = learner.state().unwrap();
        for (name, weight) in &before.tensors {
            let (moved, _) = difference(&after.tensors[name], weight);
            assert!(moved > 0.0 || name.ends_with("k_proj.bias"), "{name} stays");
        }
    }
}

#[test]
fn a_restored_learner_goes_on_bit_for_bit() {
    let settings = LearnerSettings {
        micro_batch: Some(3),
        ..busy()
    };
    // Short windows, so that places are drawn too.
    let batches: Vec<ViewBatch> = (0..5).map(|number| batch(120, 4, 2, number)).collect();
    let mut through = learner(settings.clone());
    let config = through.config().clone();
    let mut states = Vec::new();
    let mut reports = Vec::new();
    for batch in &batches {
        states.push(through.state().unwrap());
        reports.push(through.step(batch).unwrap());
    }
    for first in [0, 2, 4] {
        let mut again =
            Learner::restore(&config, settings.clone(), &states[first], &Device::Cpu).unwrap();
        assert_eq!(again.steps(), first as u64);
        for (batch, report) in batches.iter().zip(&reports).skip(first) {
            let repeated = again.step(batch).unwrap();
            assert_eq!(repeated.loss.to_bits(), report.loss.to_bits());
            assert_eq!(repeated.learning_rate, report.learning_rate);
        }
        assert_eq!(
            bits(&again.state().unwrap()),
            bits(&through.state().unwrap())
        );
    }
    let mut other = LearnerSettings {
        seed: 6,
        ..settings
    };
    other.micro_batch = None;
    let mut other = Learner::restore(&config, other, &states[0], &Device::Cpu).unwrap();
    assert_ne!(other.step(&batches[0]).unwrap().loss, reports[0].loss);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut learner = learner(busy());
            for number in 0..2 {
                learner.step(&batch(164, 5, 2, number)).unwrap();
            }
            bits(&learner.state().unwrap())
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn a_step_that_is_not_finite_leaves_the_weights_alone() {
    let mut learner = learner(LearnerSettings::default());
    learner.step(&batch(164, 3, 2, 0)).unwrap();
    let before = bits(&learner.state().unwrap());
    for (bad, what) in [(f32::NAN, "loss"), (f32::INFINITY, "loss")] {
        let mut broken = batch(164, 3, 2, 1);
        broken.views[1][2][500] = bad;
        assert!(matches!(
            learner.step(&broken),
            Err(TrainError::NotFinite { what: found, step: 1 }) if found == what
        ));
    }
    assert_eq!(bits(&learner.state().unwrap()), before);
    learner.step(&batch(164, 3, 2, 1)).unwrap();
}

#[test]
fn the_loss_of_a_small_set_falls() {
    let settings = LearnerSettings {
        placement: Placement::Start,
        optimiser: songkin::train::AdamSettings {
            learning_rate: 1e-3,
            ..Default::default()
        },
        loss: LossSettings {
            decoupled: true,
            ..LossSettings::default()
        },
        ..LearnerSettings::default()
    };
    let mut learner = learner(settings);
    let batch = batch(164, 6, 2, 3);
    let first = learner.validate(std::slice::from_ref(&batch)).unwrap();
    for _ in 0..15 {
        learner.step(&batch).unwrap();
    }
    let last = learner.validate(&[batch]).unwrap();
    assert!(
        last.loss < first.loss - 0.5,
        "{} to {}",
        first.loss,
        last.loss
    );
    assert!(last.health.alignment < first.health.alignment);
}

#[test]
fn a_validation_is_the_loss_that_a_step_begins_with() {
    let (mut learner, batch) = reference_learner(reference_settings());
    let validation = learner.validate(std::slice::from_ref(&batch)).unwrap();
    assert!((validation.loss - learner.step(&batch).unwrap().loss).abs() < 1e-5);
    let health = &validation.health;
    assert!(health.effective_rank > 1.0 && health.effective_rank <= 11.0);
    assert_eq!(health.variances.len(), 32);
    assert_eq!(health.collapse(&CollapseLimits::default()), None);
    let json = serde_json::to_value(&validation).unwrap();
    assert!(json["loss"].is_number() && json["uniformity"].is_number());
    assert!(matches!(
        learner.validate(&[]),
        Err(TrainError::Batch {
            what: "batches",
            ..
        })
    ));
}

/// Makes something that cannot be.
type Spoil<T> = fn(&mut T);

#[test]
fn batches_and_settings_that_cannot_be_are_named() {
    let mut learner = learner(LearnerSettings::default());
    let good = batch(164, 3, 2, 0);
    let cases: [(&str, Spoil<ViewBatch>); 7] = [
        ("views", |batch| batch.views.truncate(1)),
        ("tracks", |batch| {
            batch.views.iter_mut().for_each(|view| view.truncate(1));
        }),
        ("tracks in a view", |batch| batch.views[1].truncate(2)),
        ("values in a window", |batch| batch.views[1][1].truncate(9)),
        ("frames", |batch| batch.frames = 15),
        ("frames", |batch| batch.frames = 165),
        ("artists", |batch| batch.artists = Some(vec![1, 2])),
    ];
    for (name, spoil) in cases {
        let mut spoiled = good.clone();
        spoil(&mut spoiled);
        assert!(
            matches!(learner.step(&spoiled), Err(TrainError::Batch { what, .. }) if what == name),
            "{name}"
        );
    }
    assert_eq!(learner.steps(), 0);

    let cases: [(&str, Spoil<LearnerSettings>); 6] = [
        ("patchout.mel_rows_dropped", |s| {
            s.patchout.mel_rows_dropped = 12;
        }),
        ("patchout.time_columns_dropped", |s| {
            s.patchout.time_columns_dropped = 15;
        }),
        ("optimiser.learning_rate", |s| {
            s.optimiser.learning_rate = f64::NAN;
        }),
        ("optimiser.beta2", |s| s.optimiser.beta2 = 1.0),
        ("clip_norm", |s| s.clip_norm = Some(0.0)),
        ("micro_batch", |s| s.micro_batch = Some(0)),
    ];
    for (name, spoil) in cases {
        let mut settings = LearnerSettings::default();
        spoil(&mut settings);
        let config = tiny();
        let result = Learner::new(&config, shaken_weights(&config), settings, &Device::Cpu);
        assert!(
            matches!(result, Err(TrainError::Setting { key, .. }) if key == name),
            "{name}"
        );
    }
}

#[test]
fn a_state_that_does_not_fit_names_the_tensor() {
    let state = learner(LearnerSettings::default()).state().unwrap();
    let restore = |state: &LearnerState| {
        Learner::restore(&tiny(), LearnerSettings::default(), state, &Device::Cpu)
            .err()
            .expect("a spoiled state must not be taken")
    };
    let name = "v.encoder.layers.1.mlp.fc1.bias";
    let mut missing = state.clone();
    missing.tensors.remove(name);
    assert!(matches!(restore(&missing), TrainError::MissingState(found) if found == name));
    let mut reshaped = state.clone();
    let other = candle_core::Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    reshaped.tensors.insert(name.to_owned(), other);
    assert!(
        matches!(restore(&reshaped), TrainError::StateShape { name: found, .. } if found == name)
    );
    let mut headless = state;
    headless.tensors.remove("head.projection.2.bias");
    assert!(matches!(restore(&headless), TrainError::Tensor(_)));
}

#[test]
fn a_states_tensors_do_not_change_with_later_steps() {
    let mut learner = learner(LearnerSettings::default());
    let weights = learner.encoder_weights().unwrap();
    let state = learner.state().unwrap();
    let before = bits(&state);
    learner.step(&batch(164, 3, 2, 0)).unwrap();
    assert_eq!(bits(&state), before);
    let name = "layers.0.mlp.fc1.weight";
    let (moved, _) = difference(&learner.encoder_weights().unwrap()[name], &weights[name]);
    assert!(moved > 0.0);
}

#[test]
fn what_was_learned_is_a_model() {
    let config = Preset::Small.config();
    let weights = untrained_weights(&config, 0).unwrap();
    let untrained =
        ModelDir::new(config.clone(), FeatureConfig::default(), weights.clone()).unwrap();
    let settings = LearnerSettings {
        patchout: Patchout {
            mel_rows_dropped: 6,
            time_columns_dropped: 56,
            ..Patchout::default()
        },
        ..LearnerSettings::default()
    };
    let mut learner = Learner::new(&config, weights, settings, &Device::Cpu).unwrap();
    learner.step(&batch(1024, 2, 2, 0)).unwrap();
    let trained = learner.encoder_weights().unwrap();
    let trained = ModelDir::new(config, FeatureConfig::default(), trained).unwrap();
    assert_ne!(trained.extractor, untrained.extractor);
}

#[test]
fn only_what_the_objective_looks_at_is_trained() {
    let batch = batch(164, 4, 2, 3);
    for (objective, head_moves) in [(Objective::Both, true), (Objective::Standardised, false)] {
        let mut learner = learner(scattered(objective));
        let before = learner.state().unwrap();
        learner.step(&batch).unwrap();
        let after = learner.state().unwrap();
        for (name, weight) in &before.tensors {
            let (moved, _) = difference(&after.tensors[name], weight);
            let waits = name.contains("k_proj.bias") || name.starts_with("head") && !head_moves;
            // Optimiser tensors have the names of weights with a prefix of their own.
            if name.starts_with("encoder") || name.starts_with("head") {
                assert!(waits || moved > 0.0, "{objective:?}: {name} stays");
                assert!(
                    head_moves || !name.starts_with("head") || moved == 0.0,
                    "{name} moves"
                );
            }
        }
    }
}

#[test]
fn the_standardisation_of_training_is_in_the_encoder_that_comes_out() {
    let mut learner = learner(scattered(Objective::Standardised));
    let sample = [batch(164, 8, 2, 4), batch(164, 8, 2, 5)];
    for batch in &sample {
        learner.step(batch).unwrap();
    }
    let raw = learner.encoder_weights().unwrap();
    let folded = learner.trained_encoder(&sample).unwrap();
    let config = learner.config();
    let embed = |weights: &std::collections::BTreeMap<String, candle_core::Tensor>| {
        let (_, ast) = super::variables(config, weights, DType::F32);
        let windows: Vec<f32> = sample
            .iter()
            .flat_map(|b| b.views.iter().flatten())
            .flatten()
            .copied()
            .collect();
        let windows = candle_core::Tensor::from_vec(windows, (32, 164, 128), &Device::Cpu).unwrap();
        ast.forward(&windows).unwrap().embedding.detach()
    };
    let (before, after) = (embed(&raw), embed(&folded));
    let mean = |x: &candle_core::Tensor| x.mean_keepdim(0).unwrap();
    let deviation = |x: &candle_core::Tensor| {
        x.broadcast_sub(&mean(x))
            .unwrap()
            .sqr()
            .unwrap()
            .mean_keepdim(0)
            .unwrap()
            .sqrt()
            .unwrap()
    };
    assert!(to_f64(&mean(&before)).iter().any(|mean| mean.abs() > 0.01));
    for mean in to_f64(&mean(&after)) {
        assert!(mean.abs() < 1e-3, "mean {mean}");
    }
    for (now, then) in to_f64(&deviation(&after))
        .into_iter()
        .zip(to_f64(&deviation(&before)))
    {
        // What hardly varied varies less than 1 even now.
        let expected = then / (then * then + 1e-6).sqrt();
        assert!(
            (now - expected).abs() < 1e-3,
            "deviation {now}, {expected} expected"
        );
    }
}
