//! Effective rank, from the eigenvalues of a Gram matrix.

/// The exponential of the entropy of the singular values, taken as shares of their sum (Roy,
/// Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007): `n` equal
/// ones give `n`, whatever else is zero. 0 for a matrix of zeros. Rows have one length.
///
/// On embeddings, centre them first: the mean's singular value would drown the others.
#[must_use]
pub fn effective_rank(rows: &[Vec<f64>]) -> f64 {
    let singular: Vec<f64> = eigenvalues(gram(rows))
        .into_iter()
        .map(|value| value.max(0.0).sqrt())
        .collect();
    let sum: f64 = singular.iter().sum();
    if sum == 0.0 {
        return 0.0;
    }
    let entropy: f64 = singular
        .iter()
        .map(|value| value / sum)
        .filter(|&share| share != 0.0)
        .map(|share| -share * share.ln())
        .sum();
    entropy.exp()
}

/// `A A^T` or `A^T A`, whichever is smaller: both have the squared singular values.
fn gram(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let dim = rows.first().map_or(0, Vec::len);
    let vectors: Vec<Vec<f64>> = if rows.len() <= dim {
        rows.to_vec()
    } else {
        let column = |column| rows.iter().map(|row| row[column]).collect();
        (0..dim).map(column).collect()
    };
    let products = |a: &Vec<f64>| vectors.iter().map(|b| dot(a, b)).collect();
    vectors.iter().map(products).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Eigenvalues of a symmetric matrix, in ascending order; NaN if it holds one.
///
/// Householder reflections make it tridiagonal (Golub, Van Loan, "Matrix Computations", 4th
/// edition, algorithm 8.3.1), then each eigenvalue is found by bisection (section 8.4.1).
fn eigenvalues(matrix: Vec<Vec<f64>>) -> Vec<f64> {
    let (diagonal, beside) = tridiagonal(matrix);
    let radius = |row: usize| {
        let left = row.checked_sub(1).map_or(0.0, |left| beside[left].abs());
        left + beside.get(row).map_or(0.0, |right| right.abs())
    };
    // Gershgorin: every eigenvalue is within a row's radius of its diagonal entry.
    let bound = (0..diagonal.len())
        .map(|row| diagonal[row].abs() + radius(row))
        .fold(
            0.0,
            |most: f64, value| if value <= most { most } else { value },
        );
    if !bound.is_finite() {
        return vec![f64::NAN; diagonal.len()];
    }
    (0..diagonal.len())
        .map(|number| {
            let (mut low, mut high) = (-bound, bound);
            // Halving 64 times leaves nothing of an f64's digits.
            for _ in 0..64 {
                let middle = 0.5 * (low + high);
                if below(&diagonal, &beside, middle) > number {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            0.5 * (low + high)
        })
        .collect()
}

/// How many eigenvalues of a tridiagonal matrix are below `x`: as many as there are negative
/// pivots of the matrix less `x` on its diagonal.
fn below(diagonal: &[f64], beside: &[f64], x: f64) -> usize {
    let mut count = 0;
    let mut pivot = 1.0;
    for (row, value) in diagonal.iter().enumerate() {
        let coupling = row
            .checked_sub(1)
            .map_or(0.0, |left| beside[left] * beside[left]);
        pivot = value - x - coupling / pivot;
        if pivot == 0.0 {
            pivot = f64::MIN_POSITIVE.sqrt();
        }
        if pivot < 0.0 {
            count += 1;
        }
    }
    count
}

/// Diagonal and secondary diagonal of a tridiagonal matrix with the same eigenvalues.
fn tridiagonal(mut a: Vec<Vec<f64>>) -> (Vec<f64>, Vec<f64>) {
    let n = a.len();
    let mut beside = Vec::with_capacity(n.saturating_sub(1));
    for k in 0..n.saturating_sub(1) {
        // The reflection that leaves of this column, below the diagonal, its first entry only.
        let mut v: Vec<f64> = (k + 1..n).map(|row| a[row][k]).collect();
        let length = dot(&v, &v).sqrt();
        let first = if v[0] > 0.0 { -length } else { length };
        beside.push(first);
        v[0] -= first;
        let squared = dot(&v, &v);
        if squared == 0.0 {
            continue;
        }
        let beta = 2.0 / squared;
        let mut w: Vec<f64> = a[k + 1..]
            .iter()
            .map(|row| beta * dot(&row[k + 1..], &v))
            .collect();
        let half = 0.5 * beta * dot(&w, &v);
        for (w, v) in w.iter_mut().zip(&v) {
            *w -= half * v;
        }
        for (row, (vi, wi)) in a[k + 1..].iter_mut().zip(v.iter().zip(&w)) {
            for (value, (vj, wj)) in row[k + 1..].iter_mut().zip(v.iter().zip(&w)) {
                *value -= vi * wj + wi * vj;
            }
        }
    }
    let diagonal = (0..n).map(|row| a[row][row]).collect();
    (diagonal, beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvalues_of_known_matrices() {
        // The second difference matrix of order n: 2 - 2 cos(k pi / (n + 1)).
        let n = 9;
        let entry = |i: usize, j: usize| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        };
        let matrix = (0..n)
            .map(|i| (0..n).map(|j| entry(i, j)).collect())
            .collect();
        for (k, found) in (1..).zip(eigenvalues(matrix)) {
            let angle = f64::from(k) * std::f64::consts::PI / (n + 1) as f64;
            assert!((found - (2.0 - 2.0 * angle.cos())).abs() < 1e-12);
        }
        // A full matrix: n - 1 times 1 and once 1 + n.
        let matrix = (0..n)
            .map(|i| (0..n).map(|j| if i == j { 2.0 } else { 1.0 }).collect())
            .collect();
        let found = eigenvalues(matrix);
        assert!(
            found[..n - 1]
                .iter()
                .all(|value| (value - 1.0).abs() < 1e-12)
        );
        assert!((found[n - 1] - (n + 1) as f64).abs() < 1e-12);
        assert!(eigenvalues(Vec::new()).is_empty());
        assert!(eigenvalues(vec![vec![f64::NAN; 2]; 2])[0].is_nan());
    }

    #[test]
    fn effective_rank_counts_equal_directions() {
        let direction = |which: usize, length: f64| {
            let mut row = vec![0.0; 5];
            row[which] = length;
            row
        };
        let three: Vec<Vec<f64>> = (0..3).map(|which| direction(which, 7.0)).collect();
        assert!((effective_rank(&three) - 3.0).abs() < 1e-6);
        let one = vec![direction(1, 2.0); 8];
        assert!((effective_rank(&one) - 1.0).abs() < 1e-5);
        assert_eq!(effective_rank(&vec![vec![0.0; 4]; 3]), 0.0);
        assert_eq!(effective_rank(&[]), 0.0);
        // Singular values 3 and 1: exp(-(.75 ln .75 + .25 ln .25)).
        let uneven = [direction(0, 3.0), direction(4, 1.0)];
        let want = (-(0.75f64 * 0.75f64.ln() + 0.25 * 0.25f64.ln())).exp();
        assert!((effective_rank(&uneven) - want).abs() < 1e-9);
    }
}
