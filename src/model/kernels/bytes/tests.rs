//! Against the definitions in f64, over odd shapes.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    super::{
        buffers::Pools,
        element::Element,
        layer::StackShape,
        matrix::{Matrix, MatrixMut},
        prepared::Prepared,
        sink::{Added, Written},
    },
    Byte,
    linear::{LeftBuffer, Right},
    rows::{self, Side},
};

fn random(count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn magnitude(values: impl Iterator<Item = f32>) -> f64 {
    values.fold(0.0, |most, value| most.max(f64::from(value.abs())))
}

/// Nearest whole numbers of a row, and what 1 is.
fn whole(row: &[f32]) -> (Vec<f64>, f64) {
    let unit = magnitude(row.iter().copied()) / 127.0;
    let numbers = row.iter().map(|value| (f64::from(*value) / unit).round());
    (numbers.collect(), unit)
}

#[test]
fn linear_layers_are_products_of_whole_numbers() {
    if !Byte::available() {
        return;
    }
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let pools = Pools::default();
    for round in 0..60 {
        let [rows, cells, outputs]: [usize; 3] =
            [40, 30, 110].map(|most| rng.random_range(1..most));
        let inputs = 4 * cells;
        let (input, weight) = (random(rows * inputs, rng), random(outputs * inputs, rng));
        let bias = random(if round % 2 == 0 { outputs } else { 0 }, rng);
        let held = random(rows * outputs, rng);
        let layer = Right::transposed(weight.chunks_exact(inputs), inputs, &bias, &pools);
        let mut left = LeftBuffer::new(rows, inputs, &pools);
        let mut out = held.clone();
        let added = Added {
            out: MatrixMut::new(&mut out, outputs),
            bias: &[],
        };
        layer.product(left.quantise(&input), added);
        for (place, got) in out.iter().enumerate() {
            let (row, column) = (place / outputs, place % outputs);
            let (input, weight) = (
                &input[row * inputs..][..inputs],
                &weight[column * inputs..][..inputs],
            );
            let exact: f64 = input
                .iter()
                .zip(weight)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            let ((a, a_unit), (b, b_unit)) = (whole(input), whole(weight));
            let sum: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            let rest = f64::from(bias.get(column).copied().unwrap_or(0.0) + held[place]);
            // Where a value lies between two whole numbers f32 may take the other one.
            let tolerance = 2.0 * 127.0 * a_unit * b_unit + 1e-4;
            let want = sum * a_unit * b_unit + rest;
            assert!(
                (f64::from(*got) - want).abs() < tolerance,
                "{got} for {want}"
            );
            let most = 0.5 * inputs as f64 * 128.0 * 2.0 * a_unit * b_unit;
            assert!(
                (f64::from(*got) - exact - rest).abs() < most,
                "{got} for {exact}"
            );
        }
    }
}

#[test]
fn weights_around_zero_are_multiplied_with_columns() {
    if !Byte::available() {
        return;
    }
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    let pools = Pools::default();
    for _ in 0..40 {
        let [count, tokens, width]: [usize; 3] = [20, 90, 70].map(|most| rng.random_range(1..most));
        let padded = tokens.next_multiple_of(Byte::DEPTH);
        let (scores, values) = (random(count * tokens, rng), random(tokens * width, rng));
        let mut weights = vec![Byte(7); count * padded];
        let mut inverse_sums = vec![0.0; count];
        let scale = 3.0;
        rows::exponentials(&scores, scale, &mut weights, &mut inverse_sums);
        let side = Right::of(Matrix::new(&values, width), &pools);
        let mut out = vec![0.0; count * width];
        let left = super::linear::Left {
            bytes: Matrix::new(&weights, padded),
            units: &inverse_sums,
        };
        side.product(left, Written(MatrixMut::new(&mut out, width)));
        for (row, scores) in scores.chunks_exact(tokens).enumerate() {
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let powers = scores
                .iter()
                .map(|score| (f64::from(score - most) * f64::from(scale)).exp());
            let powers: Vec<f64> = powers.collect();
            let total: f64 = powers.iter().sum();
            let weights = &weights[row * padded..][..padded];
            for (power, byte) in powers.iter().zip(weights) {
                assert!(
                    (f64::from(byte.0) - 255.0 * power).abs() < 0.53,
                    "{byte:?} for {power}"
                );
            }
            assert!(weights[tokens..].iter().all(|byte| byte.0 == 0));
            let sum = 1.0 / f64::from(inverse_sums[row]) / 255.0;
            assert!((sum / total - 1.0).abs() < 1e-4, "{sum} for {total}");
            for (column, got) in out[row * width..][..width].iter().enumerate() {
                let values = values.chunks_exact(width).map(|row| f64::from(row[column]));
                let want: f64 = powers
                    .iter()
                    .zip(values.clone())
                    .map(|(p, v)| p * v / total)
                    .sum();
                let most = values.fold(0.0, |most: f64, value| most.max(value.abs()));
                // Half a step of a weight for each value, and half a step of each value.
                let tolerance = most * (0.53 * tokens as f64 / 255.0 / total + 0.51 / 127.0);
                assert!(
                    (f64::from(*got) - want).abs() < tolerance,
                    "{got} for {want}"
                );
            }
        }
    }
}

#[test]
fn a_stack_is_near_that_of_f32() {
    if !Byte::available() {
        return;
    }
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    for (tokens, heads, head, wide, qkv_bias) in [
        (1, 1, 4, 4, true),
        (5, 3, 12, 20, false),
        (97, 2, 32, 132, true),
        (130, 3, 64, 768, true),
    ] {
        let shape = StackShape {
            layers: 2,
            hidden: heads * head,
            heads,
            intermediate: wide,
            qkv_bias,
            epsilon: 1e-12,
        };
        let packed: Vec<f32> = random(shape.layers * shape.layer_len(), rng);
        let packed: Vec<f32> = packed.iter().map(|weight| 0.3 * weight).collect();
        let x = random(3 * tokens * shape.hidden, rng);
        for read in [1, tokens.div_ceil(2), tokens] {
            let run = |products| {
                let mut x = x.clone();
                Prepared::new(shape, &packed, products).forward(tokens, read, &mut x);
                x
            };
            let (want, got) = (run(candle_core::DType::F32), run(candle_core::DType::U8));
            let (mut off, mut size) = (0.0, 0.0);
            for window in 0..3 {
                let first = window * tokens * shape.hidden;
                let read = first..first + read * shape.hidden;
                for (want, got) in want[read.clone()].iter().zip(&got[read]) {
                    off += f64::from(want - got).powi(2);
                    size += f64::from(*want).powi(2);
                }
            }
            assert!(
                off.sqrt() < 0.03 * size.sqrt(),
                "{off} of {size} at {tokens} tokens"
            );
        }
    }
}

#[test]
fn what_is_no_number_is_not_swallowed() {
    if !Byte::available() {
        return;
    }
    for count in [1, 15, 16, 17, 40] {
        for place in [0, count / 2, count - 1] {
            let mut row = vec![0.5; count];
            let mut bytes = vec![Byte(0); count];
            let mut unit = [0.0];
            for (spoiled, finite) in [(f32::NAN, false), (f32::INFINITY, false), (1.0, true)] {
                row[place] = spoiled;
                for side in [Side::Left, Side::Right] {
                    rows::quantise([&row[..]].into_iter(), side, &mut bytes, &mut unit);
                    assert_eq!(unit[0].is_finite(), finite);
                }
                let mut units = vec![0.0; count];
                rows::quantise_columns(Matrix::new(&row, count), &mut bytes, &mut units);
                assert_eq!(units[place].is_finite(), finite);
                rows::exponentials(&row, 1.0, &mut bytes, &mut unit);
                assert_eq!(unit[0].is_finite(), finite, "{row:?}");
            }
        }
    }
}

#[test]
fn rows_of_zeros_or_of_nothing_are_no_error() {
    if !Byte::available() {
        return;
    }
    let (mut bytes, mut unit) = ([Byte(7); 3], [7.0]);
    rows::quantise(
        [&[0.0; 3][..]].into_iter(),
        Side::Left,
        &mut bytes,
        &mut unit,
    );
    assert_eq!((bytes, unit), ([Byte(128); 3], [0.0]));
    rows::quantise(
        [&[0.0; 3][..]].into_iter(),
        Side::Right,
        &mut bytes,
        &mut unit,
    );
    assert_eq!((bytes, unit), ([Byte(0); 3], [0.0]));
    rows::quantise([].into_iter(), Side::Left, &mut [], &mut []);
    rows::exponentials(&[], 1.0, &mut [], &mut []);
}
