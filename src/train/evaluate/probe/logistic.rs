//! Multinomial logistic regression.

/// Steps of the descent: the answers have long settled by then.
const STEPS: usize = 300;

/// A trained classifier.
pub(super) struct Classifier {
    /// `[classes][dimension + 1]`; the last weight is that of a constant 1.
    weights: Vec<Vec<f64>>,
}

impl Classifier {
    /// Minimises the mean cross-entropy plus `|w|^2 / 2n` over `n` inputs of one length (scikit-learn's
    /// default, C = 1) by Nesterov's accelerated descent with the step 1/L: the cross-entropy's curvature is
    /// at most half the largest eigenvalue of the inputs' second moment (Böhning 1992).
    pub(super) fn train(inputs: &[Vec<f64>], classes: &[usize], class_count: usize) -> Self {
        let inputs: Vec<Vec<f64>> = inputs.iter().map(|input| with_constant(input)).collect();
        let dimension = inputs.first().map_or(0, Vec::len);
        let step = 1.0 / (0.5 * largest_eigenvalue(&inputs) + decay(&inputs));
        let mut now = Self {
            weights: vec![vec![0.0; dimension]; class_count],
        };
        let mut before = now.weights.clone();
        for iteration in 0..STEPS {
            let momentum = iteration as f64 / (iteration as f64 + 3.0);
            let last = now.weights.clone();
            zip_each(&mut now.weights, &before, |weight, before| {
                weight + momentum * (weight - before)
            });
            let gradient = now.gradient(&inputs, classes);
            zip_each(&mut now.weights, &gradient, |weight, gradient| {
                weight - step * gradient
            });
            before = last;
        }
        now
    }

    /// The likeliest class of an input; the first of equals.
    pub(super) fn class(&self, input: &[f64]) -> usize {
        let scores = self.scores(&with_constant(input));
        (0..scores.len())
            .reduce(|best, at| if scores[at] > scores[best] { at } else { best })
            .unwrap_or(0)
    }

    /// Gradient of the objective.
    fn gradient(&self, inputs: &[Vec<f64>], classes: &[usize]) -> Vec<Vec<f64>> {
        let decay = decay(inputs);
        let mut gradient = self.weights.clone();
        gradient.iter_mut().flatten().for_each(|it| *it *= decay);
        for (input, &class) in inputs.iter().zip(classes) {
            let probabilities = softmax(self.scores(input)).into_iter().enumerate();
            for ((at, probability), row) in probabilities.zip(&mut gradient) {
                let target = f64::from(u8::from(at == class));
                let error = (probability - target) / inputs.len() as f64;
                for (sum, value) in row.iter_mut().zip(input) {
                    *sum += error * value;
                }
            }
        }
        gradient
    }

    fn scores(&self, input: &[f64]) -> Vec<f64> {
        let score = |weights: &Vec<f64>| weights.iter().zip(input).map(|(w, x)| w * x).sum();
        self.weights.iter().map(score).collect()
    }
}

fn with_constant(input: &[f64]) -> Vec<f64> {
    input.iter().copied().chain([1.0]).collect()
}

fn decay(inputs: &[Vec<f64>]) -> f64 {
    1.0 / inputs.len().max(1) as f64
}

fn softmax(scores: Vec<f64>) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Replaces each value by a function of it and the value in the same place of `others`.
fn zip_each(values: &mut [Vec<f64>], others: &[Vec<f64>], f: impl Fn(f64, f64) -> f64) {
    for (value, other) in values.iter_mut().flatten().zip(others.iter().flatten()) {
        *value = f(*value, *other);
    }
}

/// Largest eigenvalue of the mean of `x x'` over the inputs, by power iteration. It comes from below and
/// is rounded up by a twentieth.
fn largest_eigenvalue(inputs: &[Vec<f64>]) -> f64 {
    let dimension = inputs.first().map_or(0, Vec::len);
    // No symmetry: a start that is orthogonal to the answer would stay so.
    let mut direction: Vec<f64> = (0..dimension).map(|d| 1.0 + 1.0 / (d + 2) as f64).collect();
    let mut eigenvalue = 0.0;
    for _ in 0..50 {
        let mut image = vec![0.0; dimension];
        for input in inputs {
            let along: f64 = input.iter().zip(&direction).map(|(x, d)| x * d).sum();
            for (sum, value) in image.iter_mut().zip(input) {
                *sum += along * value / inputs.len() as f64;
            }
        }
        let norm = |vector: &[f64]| vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        eigenvalue = norm(&image) / norm(&direction).max(f64::MIN_POSITIVE);
        if eigenvalue == 0.0 {
            break;
        }
        direction = image;
        let scale = 1.0 / norm(&direction);
        direction.iter_mut().for_each(|value| *value *= scale);
    }
    1.05 * eigenvalue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_eigenvalue_of_a_diagonal_is_its_largest_entry() {
        // Second moment diag(8, 0.5).
        let inputs = [vec![4.0, 0.0], vec![0.0, 1.0]];
        let found = largest_eigenvalue(&inputs) / 1.05;
        assert!((found - 8.0).abs() < 1e-9, "{found}");
        assert_eq!(largest_eigenvalue(&[]), 0.0);
    }

    #[test]
    fn training_ends_at_the_minimum() {
        let input = |i: usize| vec![(i % 7) as f64 - 3.0, (i * i % 5) as f64, 0.1 * i as f64];
        let inputs: Vec<Vec<f64>> = (0..30).map(input).collect();
        let classes: Vec<usize> = (0..30).map(|i| (i % 7 + i % 2) % 3).collect();
        let classifier = Classifier::train(&inputs, &classes, 3);
        let inputs: Vec<Vec<f64>> = inputs.iter().map(|input| with_constant(input)).collect();
        let gradient = classifier.gradient(&inputs, &classes);
        let largest = gradient
            .iter()
            .flatten()
            .fold(0.0, |m: f64, g| m.max(g.abs()));
        assert!(largest < 1e-3, "{largest}");
    }

    #[test]
    fn two_mirrored_points_have_the_weight_that_the_equation_says() {
        // Classes 1 and 0 at x = 1 and -1. With weights -w and w the gradient's zero is
        // w / 2 = 1 - 1 / (1 + exp(-2 w)), that is w = 2 / (1 + exp(2 w)).
        let classifier = Classifier::train(&[vec![1.0], vec![-1.0]], &[1, 0], 2);
        let weight = classifier.weights[1][0];
        let expected = 2.0 / (1.0 + (2.0 * weight).exp());
        assert!((weight - expected).abs() < 1e-6, "{weight}");
        assert!(weight > 0.4 && classifier.class(&[0.5]) == 1 && classifier.class(&[-0.5]) == 0);
    }
}
