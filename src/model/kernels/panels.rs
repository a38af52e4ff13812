//! Matrix products whose right side is put in order once and used for many blocks of rows.
//!
//! The right side lies in panels two registers wide, cell after cell, so that a tile of the result
//! stays in registers while a panel is read from a core's cache from front to end; the left side is
//! read where it is (Goto, van de Geijn: "Anatomy of High-Performance Matrix Multiplication", ACM
//! TOMS 34(3), 2008, without its packing of the left side, whose rows are short here).

use super::{
    buffers::{Buffer, Buffers},
    element::{Element, Engine, Work},
    matrix::{Held, Matrix, MatrixMut},
    sink::{Added, Sink, Written},
};

/// Registers in the width of a panel.
const VECTORS: usize = 2;

/// Most values in the width of a panel: registers of 512 bits.
const WIDEST: usize = VECTORS * 16;

/// The right side of products, `inner` x `columns`.
pub(super) struct Panels<T: Element> {
    /// Panels one after the other, each `inner` cells high; the last one is filled up with zeros.
    cells: Buffer<T::Cell>,
    /// Cells.
    inner: usize,
    columns: usize,
    lanes: usize,
}

impl<T: Element> Panels<T> {
    /// Puts `matrix` in order. Its rows are filled up with zeros to whole cells.
    pub(super) fn of(matrix: Matrix<'_, T>, buffers: &Buffers<T::Cell>) -> Self {
        let (rows, columns) = matrix.dims();
        let mut panels = Self::empty(rows.div_ceil(T::DEPTH), columns, buffers);
        panels.fill(|place, taken, panel, width| {
            for (cell, target) in panel.chunks_exact_mut(width).enumerate() {
                let (there, rest) = target.split_at_mut(taken);
                let row = |depth| {
                    let row = cell * T::DEPTH + depth;
                    (row < rows).then(|| &matrix.row(row)[place..place + taken])
                };
                T::stack(row, there);
                rest.fill(T::Cell::default());
            }
        });
        panels
    }

    /// Puts the transpose of `matrix`, whose rows are whole cells, in order.
    pub(super) fn transposed(matrix: Matrix<'_, T>, buffers: &Buffers<T::Cell>) -> Self {
        /// Columns that are written at once.
        const STRIP: usize = 16;
        let (columns, inner) = matrix.dims();
        let mut panels = Self::empty(inner / T::DEPTH, columns, buffers);
        panels.fill(|place, taken, panel, width| {
            for first in (0..taken / STRIP * STRIP).step_by(STRIP) {
                let tile = matrix.tile::<STRIP>(place + first);
                for (cell, target) in panel.chunks_exact_mut(width).enumerate() {
                    target[first..][..STRIP].copy_from_slice(&tile.column(cell));
                }
            }
            for column in taken / STRIP * STRIP..taken {
                let tile = matrix.tile::<1>(place + column);
                for (cell, target) in panel.chunks_exact_mut(width).enumerate() {
                    [target[column]] = tile.column(cell);
                }
            }
            for target in panel.chunks_exact_mut(width) {
                target[taken..].fill(T::Cell::default());
            }
        });
        panels
    }

    /// Values of a row of the left side: whole cells.
    pub(super) fn inner(&self) -> usize {
        self.inner * T::DEPTH
    }

    /// Values of a row of the result.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    fn empty(inner: usize, columns: usize, buffers: &Buffers<T::Cell>) -> Self {
        struct Lanes<'a>(&'a mut usize);
        impl<T: Element> Work<T> for Lanes<'_> {
            #[inline(always)]
            fn run<G: Engine<T>>(self, _: G) {
                *self.0 = G::LANES;
            }
        }
        let mut lanes = 1;
        T::run(Lanes(&mut lanes));
        Self {
            cells: buffers.take(inner * columns.next_multiple_of(lanes)),
            inner,
            columns,
            lanes,
        }
    }

    /// Hands out each panel with its first column, the columns that it holds, and its width.
    fn fill(&mut self, mut write: impl FnMut(usize, usize, &mut [T::Cell], usize)) {
        let most = self.lanes * VECTORS;
        for (number, panel) in self.cells.chunks_mut(self.inner * most).enumerate() {
            let (place, width) = (number * most, panel.len() / self.inner);
            write(place, width.min(self.columns - place), panel, width);
        }
    }
}

impl Panels<f32> {
    /// `out = rows * self`, or `out += rows * self`, for whole rows one after the other.
    pub(super) fn multiply(&self, rows: &[f32], out: &mut [f32], held: Held) {
        let rows = Matrix::new(rows, self.inner);
        let out = MatrixMut::new(out, self.columns);
        match held {
            Held::Replaced => product(rows, self, Written(out)),
            Held::Kept => product(rows, self, Added { out, bias: &[] }),
        }
    }
}

/// Gives `lhs * rhs` to a sink, on the calling thread; the values of a row of `lhs` lie next to each
/// other.
///
/// The order of the sums depends on the inner dimension alone, so a row comes out the same
/// whatever block of rows it is computed in.
pub(super) fn product<T: Element>(lhs: Matrix<'_, T>, rhs: &Panels<T>, sink: impl Sink<T>) {
    let (rows, inner) = lhs.dims();
    assert_eq!(inner, rhs.inner(), "inner dimensions differ");
    assert_eq!(
        sink.dims(),
        (rows, rhs.columns),
        "the sink has another size"
    );
    T::run(Product { lhs, rhs, sink });
}

struct Product<'a, T: Element, D> {
    lhs: Matrix<'a, T>,
    rhs: &'a Panels<T>,
    sink: D,
}

impl<T: Element, D: Sink<T>> Work<T> for Product<'_, T, D> {
    #[inline(always)]
    fn run<G: Engine<T>>(mut self, engine: G) {
        let width = G::LANES * VECTORS;
        for (number, panel) in self.rhs.cells.chunks(self.rhs.inner * width).enumerate() {
            let panel = G::registers(panel);
            let place = number * width;
            // Accumulators, a row of the panel and one value of the left side have to fit.
            match (panel.len() / self.rhs.inner, G::REGISTERS >= 32) {
                (1, _) => self.panel::<G, 8, 1>(engine, panel, place),
                (_, true) => self.panel::<G, 8, VECTORS>(engine, panel, place),
                (_, false) => self.panel::<G, 6, VECTORS>(engine, panel, place),
            }
        }
    }
}

impl<T: Element, D: Sink<T>> Product<'_, T, D> {
    /// All rows of the result in the columns of a panel, `ROWS` at a time.
    #[inline(always)]
    fn panel<G: Engine<T>, const ROWS: usize, const WIDTH: usize>(
        &mut self,
        engine: G,
        panel: &[G::Cells],
        place: usize,
    ) {
        let rows = self.lhs.dims().0;
        let mut row = 0;
        while row + ROWS <= rows {
            self.tile::<G, ROWS, WIDTH>(engine, panel, row, place);
            row += ROWS;
        }
        if row + 4 <= rows {
            self.tile::<G, 4, WIDTH>(engine, panel, row, place);
            row += 4;
        }
        if row + 2 <= rows {
            self.tile::<G, 2, WIDTH>(engine, panel, row, place);
            row += 2;
        }
        if row < rows {
            self.tile::<G, 1, WIDTH>(engine, panel, row, place);
        }
    }

    #[inline(always)]
    fn tile<G: Engine<T>, const ROWS: usize, const WIDTH: usize>(
        &mut self,
        engine: G,
        panel: &[G::Cells],
        first: usize,
        place: usize,
    ) {
        let lhs = self.lhs.tile::<ROWS>(first);
        let mut sums = [[engine.zero(); WIDTH]; ROWS];
        for (cell, panel) in panel.chunks_exact(WIDTH).enumerate() {
            let column = lhs.column(cell);
            for row in 0..ROWS {
                for vector in 0..WIDTH {
                    sums[row][vector] = engine.step(column[row], panel[vector], sums[row][vector]);
                }
            }
        }
        let width = G::LANES * WIDTH;
        let values = |row: usize| {
            let mut values = [0.0; WIDEST];
            for vector in 0..WIDTH {
                engine.store(
                    sums[row][vector],
                    &mut values[vector * G::LANES..][..G::LANES],
                );
            }
            values
        };
        // A width that is known here becomes a few instructions without a loop.
        if place + width <= self.rhs.columns {
            for row in 0..ROWS {
                let mut values = values(row);
                self.sink
                    .take(engine, first + row, place, &mut values[..width]);
            }
        } else {
            let taken = self.rhs.columns - place;
            // All rows first: a loop over registers that is not unrolled would keep the sums in memory, also above.
            let mut all = [[0.0; WIDEST]; ROWS];
            for (row, all) in all.iter_mut().enumerate() {
                *all = values(row);
            }
            for (row, values) in all.iter_mut().enumerate() {
                self.sink
                    .take(engine, first + row, place, &mut values[..taken]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::{super::element::Bf16, *};

    fn products_are_those_of_the_definition<T: Element>(tolerance: f64, value: fn(T) -> f64) {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let buffers = Buffers::default();
        for _ in 0..60 {
            let [rows, inner, columns]: [usize; 3] =
                [40, 90, 110].map(|most| rng.random_range(1..most));
            let padded = inner.next_multiple_of(T::DEPTH);
            let mut random = |count: usize| -> Vec<T> {
                (0..count)
                    .map(|_| T::round(rng.random_range(-1.0..1.0)))
                    .collect()
            };
            let (lhs, rhs) = (random(rows * (padded + 4)), random(padded * columns));
            let held: Vec<f32> = (0..rows * columns).map(|i| i as f32 * 1e-3).collect();
            let turned: Vec<T> = (0..padded * columns)
                .map(|i| rhs[i % padded * columns + i / padded])
                .collect();
            let left = Matrix::strip(&lhs, rows, padded, padded + 4);
            let check = |out: &[f32], inner: usize, held: &dyn Fn(usize) -> f32| {
                for (place, got) in out.iter().enumerate() {
                    let (row, column) = (place / columns, place % columns);
                    let sum: f64 = (0..inner)
                        .map(|k| {
                            value(lhs[row * (padded + 4) + k]) * value(rhs[k * columns + column])
                        })
                        .sum();
                    let want = sum + f64::from(held(place));
                    assert!(
                        (f64::from(*got) - want).abs() < tolerance,
                        "{got} for {want}"
                    );
                }
            };
            let mut out = held.clone();
            let panels = Panels::of(Matrix::new(&rhs[..inner * columns], columns), &buffers);
            let added = Added {
                out: MatrixMut::new(&mut out, columns),
                bias: &[],
            };
            product(left, &panels, added);
            check(&out, inner, &|place| held[place]);
            let panels = Panels::transposed(Matrix::new(&turned, padded), &buffers);
            product(left, &panels, Written(MatrixMut::new(&mut out, columns)));
            check(&out, padded, &|_| 0.0);
        }
    }

    #[test]
    fn products_of_f32_are_those_of_the_definition() {
        products_are_those_of_the_definition::<f32>(1e-5, f64::from);
    }

    #[test]
    fn products_of_bf16_are_those_of_the_definition() {
        if Bf16::available() {
            // The instruction rounds otherwise than IEEE 754 does.
            products_are_those_of_the_definition::<Bf16>(1e-4, |value| value.widened().into());
        }
    }
}
