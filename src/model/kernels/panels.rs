//! Matrix products whose right side is put in order once and used for many blocks of rows.
//!
//! The right side lies in panels two registers wide, row after row, so that a tile of the result
//! stays in registers while a panel is read from a core's cache from front to end; the left side is
//! read where it is (Goto, van de Geijn: "Anatomy of High-Performance Matrix Multiplication", ACM
//! TOMS 34(3), 2008, without its packing of the left side, whose rows are short here).

use pulp::{Arch, Simd, WithSimd};

use super::{
    buffers::{Buffer, Buffers},
    matrix::{Held, Matrix, MatrixMut, multiply},
};

/// Registers in the width of a panel.
const VECTORS: usize = 2;

/// The right side of products, `inner` x `columns`.
pub(super) struct Panels {
    /// Panels one after the other, each `inner` rows; the last one is filled up with zeros. Where the
    /// machine has no vectors: the matrix, row after row.
    values: Buffer,
    inner: usize,
    columns: usize,
    lanes: usize,
}

impl Panels {
    /// Puts `matrix` in order.
    pub(super) fn of(matrix: Matrix<'_>, buffers: &Buffers) -> Self {
        let (inner, columns) = matrix.dims();
        let mut panels = Self::empty(inner, columns, buffers);
        panels.fill(|place, panel| {
            let width = panel.len() / inner;
            let taken = width.min(columns - place);
            for (row, target) in panel.chunks_exact_mut(width).enumerate() {
                let (there, rest) = target.split_at_mut(taken);
                there.copy_from_slice(&matrix.row(row)[place..place + taken]);
                rest.fill(0.0);
            }
        });
        panels
    }

    /// Puts the transpose of `matrix` in order.
    pub(super) fn transposed(matrix: Matrix<'_>, buffers: &Buffers) -> Self {
        /// Columns that are written at once.
        const STRIP: usize = 16;
        let (columns, inner) = matrix.dims();
        let mut panels = Self::empty(inner, columns, buffers);
        panels.fill(|place, panel| {
            let width = panel.len() / inner;
            let taken = width.min(columns - place);
            for first in (0..taken / STRIP * STRIP).step_by(STRIP) {
                let tile = matrix.tile::<STRIP>(place + first);
                for (k, target) in panel.chunks_exact_mut(width).enumerate() {
                    target[first..][..STRIP].copy_from_slice(&tile.column(k));
                }
            }
            for column in taken / STRIP * STRIP..taken {
                let targets = panel[column..].iter_mut().step_by(width);
                targets
                    .zip(matrix.row(place + column))
                    .for_each(|(target, value)| *target = *value);
            }
            for target in panel.chunks_exact_mut(width) {
                target[taken..].fill(0.0);
            }
        });
        panels
    }

    /// `out = rows * self`, or `out += rows * self`, for whole rows one after the other.
    pub(super) fn multiply(&self, rows: &[f32], out: &mut [f32], held: Held) {
        let mut out = MatrixMut::new(out, self.columns);
        product(&mut out, held, Matrix::new(rows, self.inner), self);
    }

    fn empty(inner: usize, columns: usize, buffers: &Buffers) -> Self {
        let lanes = Arch::new().dispatch(Lanes);
        let width = match lanes {
            1 => columns,
            lanes => columns.next_multiple_of(lanes),
        };
        Self {
            values: buffers.take(inner * width),
            inner,
            columns,
            lanes,
        }
    }

    /// Hands out each panel with its first column.
    fn fill(&mut self, mut write: impl FnMut(usize, &mut [f32])) {
        let width = match self.lanes {
            1 => self.columns,
            lanes => lanes * VECTORS,
        };
        for (number, panel) in self.values.chunks_mut(self.inner * width).enumerate() {
            write(number * width, panel);
        }
    }
}

/// How many values a register holds; 1 where there are no vectors.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// `dst = lhs * rhs`, or `dst += lhs * rhs`, on the calling thread; the values of a row of `lhs` lie
/// next to each other.
///
/// The order of the sums depends on the inner dimension alone, so a row comes out the same
/// whatever block of rows it is computed in.
pub(super) fn product(dst: &mut MatrixMut<'_>, held: Held, lhs: Matrix<'_>, rhs: &Panels) {
    let (rows, inner) = lhs.dims();
    assert_eq!(inner, rhs.inner, "inner dimensions differ");
    assert_eq!((dst.rows(), dst.width()), (rows, rhs.columns));
    if rhs.lanes == 1 {
        multiply(dst, held, lhs, Matrix::new(&rhs.values, rhs.columns));
    } else {
        Arch::new().dispatch(Product {
            dst,
            held,
            lhs,
            rhs,
        });
    }
}

struct Product<'a, 'd> {
    dst: &'a mut MatrixMut<'d>,
    held: Held,
    lhs: Matrix<'a>,
    rhs: &'a Panels,
}

impl WithSimd for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let width = S::F32_LANES * VECTORS;
        for (number, panel) in self.rhs.values.chunks(self.rhs.inner * width).enumerate() {
            let panel = S::as_simd_f32s(panel).0;
            let place = number * width;
            // Accumulators, a row of the panel and one value of the left side have to fit.
            match (panel.len() / self.rhs.inner, S::REGISTER_COUNT >= 32) {
                (1, _) => self.column::<S, 8, 1>(simd, panel, place),
                (_, true) => self.column::<S, 8, VECTORS>(simd, panel, place),
                (_, false) => self.column::<S, 6, VECTORS>(simd, panel, place),
            }
        }
    }
}

impl Product<'_, '_> {
    /// All rows of the result in the columns of a panel, `ROWS` at a time.
    #[inline(always)]
    fn column<S: Simd, const ROWS: usize, const WIDTH: usize>(
        &mut self,
        simd: S,
        panel: &[S::f32s],
        place: usize,
    ) {
        let rows = self.dst.rows();
        let mut row = 0;
        while row + ROWS <= rows {
            self.tile::<S, ROWS, WIDTH>(simd, panel, row, place);
            row += ROWS;
        }
        if row + 4 <= rows {
            self.tile::<S, 4, WIDTH>(simd, panel, row, place);
            row += 4;
        }
        while row < rows {
            self.tile::<S, 1, WIDTH>(simd, panel, row, place);
            row += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const WIDTH: usize>(
        &mut self,
        simd: S,
        panel: &[S::f32s],
        first: usize,
        place: usize,
    ) {
        let lhs = self.lhs.tile::<ROWS>(first);
        let mut sums = [[simd.splat_f32s(0.0); WIDTH]; ROWS];
        for (k, panel) in panel.chunks_exact(WIDTH).enumerate() {
            let column = lhs.column(k);
            for row in 0..ROWS {
                let value = simd.splat_f32s(column[row]);
                for vector in 0..WIDTH {
                    sums[row][vector] =
                        simd.mul_add_e_f32s(value, panel[vector], sums[row][vector]);
                }
            }
        }
        let width = (S::F32_LANES * WIDTH).min(self.rhs.columns - place);
        for (row, sums) in sums.into_iter().enumerate() {
            let target = &mut self.dst.row(first + row)[place..place + width];
            for (target, mut sum) in target.chunks_mut(S::F32_LANES).zip(sums) {
                if self.held == Held::Kept {
                    sum = simd.add_f32s(simd.partial_load_f32s(target), sum);
                }
                simd.partial_store_f32s(target, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn products_are_those_of_the_definition() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let buffers = Buffers::default();
        for _ in 0..60 {
            let [rows, inner, columns] = [40, 90, 110].map(|most| rng.random_range(1..most));
            let mut random = |count: usize| -> Vec<f32> {
                (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
            };
            let (lhs, rhs, held) = (
                random(rows * (inner + 3)),
                random(inner * columns),
                random(rows * columns),
            );
            let turned: Vec<f32> = (0..inner * columns)
                .map(|i| rhs[i % inner * columns + i / inner])
                .collect();
            let left = Matrix::strip(&lhs, rows, inner, inner + 3);
            for (panels, kept) in [
                (Panels::of(Matrix::new(&rhs, columns), &buffers), Held::Kept),
                (
                    Panels::transposed(Matrix::new(&turned, inner), &buffers),
                    Held::Replaced,
                ),
            ] {
                let mut out = held.clone();
                product(&mut MatrixMut::new(&mut out, columns), kept, left, &panels);
                for (place, got) in out.iter().enumerate() {
                    let (row, column) = (place / columns, place % columns);
                    let mut want: f64 = (0..inner)
                        .map(|k| {
                            f64::from(lhs[row * (inner + 3) + k])
                                * f64::from(rhs[k * columns + column])
                        })
                        .sum();
                    if kept == Held::Kept {
                        want += f64::from(held[place]);
                    }
                    assert!((f64::from(*got) - want).abs() < 1e-5, "{got} for {want}");
                }
            }
        }
    }
}
