//! Gradients of the encoder: every weight has one, and it is right.

use candle_core::{DType, Device, Tensor, backprop::GradStore};
use candle_nn::VarBuilder;
use songkin::model::{Ast, AstConfig, KeptPatches};

use super::{difference, shaken_weights, tensor, tiny, to_f64, variables};

/// A number that depends on every value of the output.
fn loss(ast: &Ast, windows: &Tensor, kept: Option<&KeptPatches>) -> Tensor {
    let output = ast.forward_kept(windows, kept).unwrap();
    let dtype = windows.dtype();
    [
        (output.embedding.clone(), 1.0),
        (output.pooler_output().unwrap(), 1.0),
        (output.last_hidden_state, 0.05),
    ]
    .into_iter()
    .zip(900..)
    .map(|((part, scale), seed)| {
        let factors = tensor(part.dims(), seed).to_dtype(dtype).unwrap();
        ((part * factors).unwrap().sum_all().unwrap() * scale).unwrap()
    })
    .reduce(|a, b| (a + b).unwrap())
    .unwrap()
}

struct Case {
    config: AstConfig,
    frames: usize,
    kept: Option<KeptPatches>,
}

/// Whole windows; patchout; short windows in the middle of the grid; no biases of queries, keys, values.
fn cases() -> [Case; 4] {
    let kept = KeptPatches {
        mel_rows: vec![0, 3, 4, 11],
        time_columns: vec![1, 2, 6],
        first_column: 5,
    };
    [
        Case {
            config: tiny(),
            frames: 164,
            kept: None,
        },
        Case {
            config: tiny(),
            frames: 164,
            kept: Some(KeptPatches {
                first_column: 0,
                ..kept.clone()
            }),
        },
        Case {
            config: tiny(),
            frames: 88,
            kept: Some(kept),
        },
        Case {
            config: AstConfig {
                qkv_bias: false,
                layer_norm_eps: 1e-6,
                ..tiny()
            },
            frames: 64,
            kept: None,
        },
    ]
}

fn gradients(case: &Case, dtype: DType, windows: &Tensor) -> (f64, Vec<(String, Option<Tensor>)>) {
    let weights = shaken_weights(&case.config);
    let (variables, ast) = variables(&case.config, &weights, dtype);
    let windows = windows.to_dtype(dtype).unwrap();
    let loss = loss(&ast, &windows, case.kept.as_ref());
    let store: GradStore = loss.backward().unwrap();
    let found = variables
        .iter()
        .map(|(name, variable)| (name.clone(), store.get(variable).cloned()))
        .collect();
    (to_f64(&loss)[0], found)
}

#[test]
fn the_kernels_gradients_are_those_of_plain_f64() {
    for (number, case) in cases().iter().enumerate() {
        let windows = tensor(&[3, case.frames, 128], 77);
        let (got_loss, got) = gradients(case, DType::F32, &windows);
        let (want_loss, want) = gradients(case, DType::F64, &windows);
        let error = (got_loss - want_loss).abs();
        assert!(error < 1e-4, "case {number}: losses differ by {error}");
        for ((name, got), (_, want)) in got.into_iter().zip(want) {
            let got = got.unwrap_or_else(|| panic!("case {number}: {name} has no gradient"));
            let want = want.unwrap_or_else(|| panic!("case {number}: plain {name} has none"));
            let (worst, size) = difference(&got, &want);
            if name.ends_with("k_proj.bias") {
                // Softmax takes no notice of what all scores of a row have in common.
                assert!(size < 1e-9 && worst < 1e-4, "case {number}: {name} {worst}");
                continue;
            }
            assert!(
                size > 1e-3,
                "case {number}: {name}'s gradient is next to nothing"
            );
            assert!(
                worst < 2e-5 * size.max(1.0),
                "case {number}: {name} differs by {worst} of {size}"
            );
        }
    }
}

/// Independent of any backward pass: the slope of the loss along some entries of every weight.
#[test]
fn no_weight_lacks_its_gradient() {
    let case = &cases()[2];
    let windows = tensor(&[2, case.frames, 128], 78);
    let (_, analytic) = gradients(case, DType::F32, &windows);
    let windows = windows.to_dtype(DType::F64).unwrap();
    let weights = shaken_weights(&case.config);
    let at = |name: &str, entry: usize, step: f64| {
        let changed = weights.iter().map(|(key, weight)| {
            let mut values = to_f64(weight);
            if key == name {
                values[entry] += step;
            }
            let weight = Tensor::from_vec(values, weight.shape(), &Device::Cpu).unwrap();
            (key.clone(), weight)
        });
        let vb = VarBuilder::from_tensors(changed.collect(), DType::F64, &Device::Cpu);
        let ast = Ast::new(&case.config, vb).unwrap();
        to_f64(&loss(&ast, &windows, case.kept.as_ref()))[0]
    };
    for (name, gradient) in analytic {
        let gradient = gradient.unwrap_or_else(|| panic!("{name} has no gradient"));
        let gradient = to_f64(&gradient);
        // The entry that matters most, and one in the middle.
        let steepest = (0..gradient.len())
            .max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()))
            .unwrap();
        for entry in [steepest, gradient.len() / 2] {
            let step = 1e-5;
            let slope = (at(&name, entry, step) - at(&name, entry, -step)) / (2.0 * step);
            let error = (slope - gradient[entry]).abs();
            assert!(
                error < 1e-4 * slope.abs().max(1.0),
                "{name}[{entry}]: slope {slope}, gradient {}",
                gradient[entry]
            );
        }
    }
}

#[test]
fn scattered_patches_are_the_windows_own() {
    let config = tiny();
    let (columns, all) = (
        config.patch_grid().1,
        config.patch_grid().0 * config.patch_grid().1,
    );
    let (_, ast) = variables(&config, &shaken_weights(&config), DType::F32);
    let windows = tensor(&[2, 164, 128], 31);
    let whole: Vec<u32> = (0..all as u32).collect();
    let flat = windows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let slices: Vec<&[f32]> = flat.chunks(164 * 128).collect();
    let cut = |kept: &[Vec<u32>]| config.cut_patches(&slices, kept, &Device::Cpu);
    let scattered = |kept: &[Vec<u32>]| ast.forward_scattered(&cut(kept).unwrap(), kept).unwrap();
    let got = scattered(&[whole.clone(), whole]);
    let want = ast.forward(&windows).unwrap();
    let (error, _) = difference(&got.last_hidden_state, &want.last_hidden_state);
    assert!(error < 1e-4, "{error}");

    // The same rows and columns in every window are a grid, and other windows do not matter.
    let kept = KeptPatches {
        mel_rows: vec![1, 4],
        time_columns: vec![0, 2, 9],
        first_column: 0,
    };
    let numbers = |row: usize| {
        kept.time_columns
            .iter()
            .map(move |c| (row * columns) as u32 + c)
    };
    let own: Vec<u32> = numbers(1).chain(numbers(4)).collect();
    let other: Vec<u32> = own.iter().map(|number| number + 1).collect();
    let got = scattered(&[own.clone(), other]);
    let want = ast.forward_kept(&windows, Some(&kept)).unwrap();
    let first =
        |output: &songkin::model::AstOutput| output.last_hidden_state.narrow(0, 0, 1).unwrap();
    let (error, _) = difference(&first(&got), &first(&want));
    assert!(error < 1e-4, "{error}");
    let (error, _) = difference(&got.last_hidden_state, &want.last_hidden_state);
    assert!(error > 1e-2, "the second window sees other patches");

    for wrong in [
        vec![vec![0], vec![0, 1]],
        vec![vec![0]],
        vec![vec![all as u32]; 2],
    ] {
        assert!(cut(&wrong).is_err(), "{wrong:?}");
        let patches = cut(&[own.clone(), own.clone()]).unwrap();
        assert!(
            ast.forward_scattered(&patches, &wrong).is_err(),
            "{wrong:?}"
        );
    }
    assert!(
        config
            .cut_patches(&[&flat[1..], &flat], &[vec![0], vec![0]], &Device::Cpu)
            .is_err()
    );
}
