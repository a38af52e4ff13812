//! Products of quantised sides.

use super::{
    super::{
        buffers::{Buffer, Pools},
        element::Engine,
        layer::Affine,
        matrix::Matrix,
        panels::{Panels, product},
        simd::cumulative_coarse,
        sink::Sink,
    },
    MIDDLE,
    byte::Byte,
    rows::{self, Side},
};

/// The left side of a product and what each row's 1 is.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) bytes: Matrix<'a, Byte>,
    pub(super) units: &'a [f32],
}

/// Columns whose scales lie together: values of a register.
const LANES: usize = 16;

/// What the sums of some columns stand for.
#[derive(Clone, Copy, Default)]
struct Scales {
    /// What a column's 1 is.
    units: [f32; LANES],
    /// What takes from a column what the left side's [`MIDDLE`] adds to it, in units of a row.
    offsets: [f32; LANES],
    /// What is added in the end.
    bias: [f32; LANES],
}

impl Scales {
    /// What a sum of a column stands for in a row whose 1 is `unit`.
    #[inline(always)]
    fn measure(&self, lane: usize, sum: f32, unit: f32) -> f32 {
        let value = sum.mul_add(self.units[lane], self.offsets[lane]);
        value.mul_add(unit, self.bias[lane])
    }
}

/// The right side of products and what its whole numbers stand for.
pub(super) struct Right {
    panels: Panels<Byte>,
    scales: Vec<Scales>,
}

impl Right {
    /// The transpose of rows of so many values, for a left side around [`MIDDLE`]. The bias has a value a row, or is empty.
    pub(super) fn transposed<'a>(
        rows: impl ExactSizeIterator<Item = &'a [f32]>,
        inner: usize,
        bias: &[f32],
        pools: &Pools<Byte>,
    ) -> Self {
        let mut units = vec![0.0; rows.len()];
        let mut bytes = pools.elements.take(units.len() * inner);
        rows::quantise(rows, Side::Right, &mut bytes, &mut units);
        let mut scales = scales(&units);
        for (row, bytes) in bytes.chunks_exact(inner).enumerate() {
            let values = bytes.iter().map(|byte| i32::from(byte.0.cast_signed()));
            let sum = values.sum::<i32>() as f32;
            let (scales, lane) = (&mut scales[row / LANES], row % LANES);
            scales.offsets[lane] = -MIDDLE * units[row] * sum;
            scales.bias[lane] = bias.get(row).copied().unwrap_or(0.0);
        }
        Self {
            panels: Panels::transposed(Matrix::new(&bytes, inner), &pools.cells),
            scales,
        }
    }

    /// A matrix as it is, for a left side around zero, which so has no negative values.
    pub(super) fn of(values: Matrix<'_>, pools: &Pools<Byte>) -> Self {
        let (rows, width) = values.dims();
        let mut bytes = pools.elements.take(rows * width);
        let mut units = vec![0.0; width];
        rows::quantise_columns(values, &mut bytes, &mut units);
        Self {
            panels: Panels::of(Matrix::new(&bytes, width), &pools.cells),
            scales: scales(&units),
        }
    }

    /// Gives `left * self + bias` to a sink.
    pub(super) fn product(&self, left: Left<'_>, then: impl Sink<Byte>) {
        let sink = Measured {
            rows: left.units,
            scales: &self.scales,
            then,
        };
        product(left.bytes, &self.panels, sink);
    }
}

fn scales(units: &[f32]) -> Vec<Scales> {
    let scales = units.chunks(LANES).map(|units| {
        let mut scales = Scales::default();
        scales.units[..units.len()].copy_from_slice(units);
        scales
    });
    scales.collect()
}

/// Brings sums back to what they stand for and gives them on: `row (unit sum + offset) + bias`.
struct Measured<'a, S> {
    /// What each row's 1 is.
    rows: &'a [f32],
    scales: &'a [Scales],
    then: S,
}

impl<S: Sink<Byte>> Sink<Byte> for Measured<'_, S> {
    fn dims(&self) -> (usize, usize) {
        self.then.dims()
    }

    #[inline(always)]
    fn take<G: Engine<Byte>>(&mut self, engine: G, row: usize, column: usize, sums: &mut [f32]) {
        let unit = self.rows[row];
        let (chunks, tail) = sums.as_chunks_mut::<LANES>();
        let first = column / LANES;
        for (number, sums) in chunks.iter_mut().enumerate() {
            let scales = &self.scales[first + number];
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum = scales.measure(lane, *sum, unit);
            }
        }
        for (lane, sum) in tail.iter_mut().enumerate() {
            *sum = self.scales[first + chunks.len()].measure(lane, *sum, unit);
        }
        self.then.take(engine, row, column, sums);
    }
}

/// Gives `gelu(sums)` on, see [`super::super::sink::Activated`].
pub(super) struct Gelu<S>(pub(super) S);

impl<S: Sink<Byte>> Sink<Byte> for Gelu<S> {
    fn dims(&self) -> (usize, usize) {
        self.0.dims()
    }

    #[inline(always)]
    fn take<G: Engine<Byte>>(&mut self, engine: G, row: usize, column: usize, sums: &mut [f32]) {
        for sum in sums.iter_mut() {
            *sum *= cumulative_coarse(*sum);
        }
        self.0.take(engine, row, column, sums);
    }
}

/// Rows as bytes, to be the left side of products.
pub(super) struct LeftBuffer {
    bytes: Buffer<Byte>,
    units: Buffer,
    columns: usize,
}

impl LeftBuffer {
    /// Room for so many rows of so many values.
    pub(super) fn new(rows: usize, columns: usize, pools: &Pools<Byte>) -> Self {
        Self {
            bytes: pools.elements.take(rows * columns),
            units: pools.values.take(rows),
            columns,
        }
    }

    /// Whole rows.
    pub(super) fn quantise(&mut self, values: &[f32]) -> Left<'_> {
        let count = values.len() / self.columns;
        let (out, units) = (&mut self.bytes[..values.len()], &mut self.units[..count]);
        rows::quantise(values.chunks_exact(self.columns), Side::Left, out, units);
        self.left(count)
    }

    /// Layer norm of whole rows.
    pub(super) fn norm(&mut self, x: &[f32], norm: &Affine<Vec<f32>>, epsilon: f32) -> Left<'_> {
        let count = x.len() / self.columns;
        let (out, units) = (&mut self.bytes[..x.len()], &mut self.units[..count]);
        rows::layer_norm(x, norm, epsilon, out, units);
        self.left(count)
    }

    fn left(&self, count: usize) -> Left<'_> {
        Left {
            bytes: Matrix::new(&self.bytes[..count * self.columns], self.columns),
            units: &self.units[..count],
        }
    }
}
