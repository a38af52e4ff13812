//! What is computed row by row for the next product, rounded to its element.

use super::{
    element::{Element, Engine, Work},
    rows::moments,
    simd::{LANES, exp, fold, largest, mul_add},
};

/// Layer norm (Ba, Kiros, Hinton 2016, arXiv:1607.06450) of whole rows: to mean 0 and variance 1,
/// times weight plus bias.
pub(super) fn layer_norm<T: Element>(
    x: &[f32],
    [weight, bias]: [&[f32]; 2],
    epsilon: f32,
    out: &mut [T],
) {
    T::run(LayerNorm {
        x,
        weight,
        bias,
        epsilon,
        out,
    });
}

struct LayerNorm<'a, T> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    out: &'a mut [T],
}

impl<T: Element> Work<T> for LayerNorm<'_, T> {
    #[inline(always)]
    fn run<G: Engine<T>>(self, engine: G) {
        let columns = self.weight.len().max(1);
        for (x, out) in self
            .x
            .chunks_exact(columns)
            .zip(self.out.chunks_exact_mut(columns))
        {
            let (mean, inverse) = moments(x, self.epsilon);
            for (((out, x), weight), bias) in out
                .chunks_mut(LANES)
                .zip(x.chunks(LANES))
                .zip(self.weight.chunks(LANES))
                .zip(self.bias.chunks(LANES))
            {
                let mut values = [0.0; LANES];
                for (((value, x), weight), bias) in values.iter_mut().zip(x).zip(weight).zip(bias) {
                    *value = (x - mean) * inverse * weight + bias;
                }
                engine.round(&values[..out.len()], out);
            }
        }
    }
}

/// Rows of scores `s` give `out = e^(scale (s - max))`; rows of `out` may be longer and are filled up
/// with zeros. `log_sums`, `[rows]`, gets the logarithm of each row's sum of `e^(scale s)`, and
/// `inverse_sums`, `[rows]`, the factor that makes the row sum to 1.
pub(super) fn exponentials<T: Element>(
    scores: &[f32],
    scale: f32,
    out: &mut [T],
    log_sums: &mut [f32],
    inverse_sums: &mut [f32],
) {
    T::run(Exponentials {
        scores,
        scale,
        out,
        log_sums,
        inverse_sums,
    });
}

struct Exponentials<'a, T> {
    scores: &'a [f32],
    scale: f32,
    out: &'a mut [T],
    log_sums: &'a mut [f32],
    inverse_sums: &'a mut [f32],
}

impl<T: Element> Work<T> for Exponentials<'_, T> {
    #[inline(always)]
    fn run<G: Engine<T>>(self, engine: G) {
        let rows = self.log_sums.len().max(1);
        let (columns, width) = (self.scores.len() / rows, self.out.len() / rows);
        for (((row, out), log_sum), inverse_sum) in self
            .scores
            .chunks_exact(columns.max(1))
            .zip(self.out.chunks_exact_mut(width.max(1)))
            .zip(self.log_sums)
            .zip(self.inverse_sums)
        {
            let most = largest(row) * self.scale;
            let power = |score: f32| {
                if G::FUSED {
                    exp::<true>(mul_add::<true>(score, self.scale, -most))
                } else {
                    exp::<false>(mul_add::<false>(score, self.scale, -most))
                }
            };
            let (out, rest) = out.split_at_mut(columns);
            rest.fill(T::default());
            let (chunks, tail) = row.as_chunks::<LANES>();
            let (out, out_tail) = out.as_chunks_mut::<LANES>();
            let mut sums = [0.0; LANES];
            for (chunk, out) in chunks.iter().zip(out) {
                let mut powers = [0.0; LANES];
                for lane in 0..LANES {
                    powers[lane] = power(chunk[lane]);
                    sums[lane] += powers[lane];
                }
                engine.round(&powers, out);
            }
            let mut total = 0.0;
            for (score, out) in tail.iter().zip(out_tail) {
                let power = power(*score);
                *out = T::round(power);
                total += power;
            }
            total += fold(sums);
            *log_sum = most + total.ln();
            *inverse_sum = 1.0 / total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_a_number_is_not_swallowed() {
        let mut out = [1.0; 4];
        let (log_sum, inverse_sum) = (&mut [0.0], &mut [0.0]);
        exponentials(&[0.0, f32::NAN, 1.0], 1.0, &mut out, log_sum, inverse_sum);
        assert!(out[1].is_nan() && inverse_sum[0].is_nan() && out[3] == 0.0);
        let mut out = [0.0; 2];
        layer_norm(&[1.0, f32::NAN], [&[1.0; 2], &[0.0; 2]], 1e-12, &mut out);
        assert!(out.iter().all(|value| value.is_nan()));
    }

    #[test]
    fn rows_of_no_values_are_no_rows() {
        layer_norm::<f32>(&[], [&[], &[]], 1e-12, &mut []);
        exponentials::<f32>(&[], 1.0, &mut [], &mut [], &mut []);
    }
}
