//! Every operation against its plain twin in f64, forward and backward, over odd shapes.

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{embed, layer_norm, linear, mean_tokens, patches};

fn random(shape: &[usize], rng: &mut ChaCha8Rng) -> Tensor {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Output and gradients of some arguments, in a type.
fn run(
    arguments: &[Tensor],
    dtype: DType,
    operation: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Vec<f64>> {
    let variables: Vec<Var> = arguments
        .iter()
        .map(|argument| Var::from_tensor(&argument.to_dtype(dtype).unwrap()).unwrap())
        .collect();
    let tensors: Vec<Tensor> = variables
        .iter()
        .map(|var| var.as_tensor().clone())
        .collect();
    let output = operation(&tensors).unwrap();
    let factors = random(output.dims(), &mut ChaCha8Rng::seed_from_u64(9));
    let loss = (&output * factors.to_dtype(dtype).unwrap())
        .unwrap()
        .sum_all()
        .unwrap();
    let gradients = loss.backward().unwrap();
    let mut found = vec![values(&output)];
    found.extend(
        variables
            .iter()
            .map(|var| values(gradients.get(var).unwrap())),
    );
    found
}

fn compare(what: &str, arguments: &[Tensor], operation: &dyn Fn(&[Tensor]) -> Result<Tensor>) {
    let got = run(arguments, DType::F32, operation);
    let want = run(arguments, DType::F64, operation);
    for (number, (got, want)) in got.iter().zip(&want).enumerate() {
        assert_eq!(got.len(), want.len());
        let size = want
            .iter()
            .fold(1.0, |most: f64, value| most.max(value.abs()));
        for (a, b) in got.iter().zip(want) {
            assert!(
                (a - b).abs() < 2e-5 * size,
                "{what}, result {number}: {a} for {b}"
            );
        }
    }
}

#[test]
fn operations_and_gradients_are_those_of_their_twins() {
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    for _ in 0..12 {
        let [rows, inputs, outputs] = [500, 70, 90].map(|most| rng.random_range(1..most));
        let arguments = [
            random(&[2, rows, inputs], rng),
            random(&[outputs, inputs], rng),
            random(&[outputs], rng),
        ];
        compare("linear", &arguments, &|x| linear(&x[0], &x[1], &x[2]));

        // One column has no variance, and a gradient of nothing but rounding.
        let columns = inputs + 1;
        let arguments = [
            random(&[rows, 2, columns], rng),
            random(&[columns], rng),
            random(&[columns], rng),
        ];
        compare("layer norm", &arguments, &|x| {
            layer_norm(&x[0], &x[1], &x[2], 1e-6)
        });

        let tokens = rows + 2;
        let first = rng.random_range(0..tokens);
        let end = rng.random_range(first + 1..=tokens);
        let arguments = [random(&[3, tokens, outputs], rng)];
        compare("mean", &arguments, &|x| mean_tokens(&x[0], first..end));

        let cut = random(&[3, rows, inputs], rng);
        let arguments = [
            random(&[outputs, inputs], rng),
            random(&[tokens, outputs], rng),
        ];
        compare("embed", &arguments, &|x| {
            embed(&cut.to_dtype(x[0].dtype())?, &x[0], &x[1])
        });
    }
}

#[test]
fn patches_are_those_of_the_plain_way() {
    let rng = &mut ChaCha8Rng::seed_from_u64(4);
    let windows = random(&[3, 50, 40], rng);
    let cut = |dtype| {
        let windows = windows.to_dtype(dtype).unwrap();
        values(&patches(&windows, vec![0, 5, 33], vec![40, 2, 2, 43], 7).unwrap())
    };
    assert_eq!(cut(DType::F32), cut(DType::F64));
    for (mel, time) in [(vec![34], vec![0]), (vec![0], vec![44])] {
        assert!(patches(&windows, mel, time, 7).is_err());
    }
}

#[test]
fn a_gradient_that_is_not_there_is_an_error() {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let cut = Var::from_tensor(&random(&[1, 4, 6], rng)).unwrap();
    let (weight, table) = (random(&[5, 6], rng), random(&[6, 5], rng));
    let output = embed(&cut, &weight, &table).unwrap();
    assert!(output.backward().is_err());
    let windows = Var::from_tensor(&random(&[1, 20, 20], rng)).unwrap();
    let output = patches(&windows, vec![0], vec![0], 5).unwrap();
    assert!(output.backward().is_err());
}
