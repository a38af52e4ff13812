//! Views of row-major matrices, and the product of any two of f32.
//!
//! The heads of an attention block are strips of columns of one matrix, so tasks that write
//! different heads share a slice without sharing a value. [`MatrixMut`] hands out such strips
//! safely: it is made from a slice that is borrowed as a whole, and every way to divide it gives
//! parts that do not overlap.

#![allow(
    unsafe_code,
    reason = "strips of columns are disjoint without being slices, and gemm takes pointers"
)]

use std::marker::PhantomData;

use super::element::Element;

/// A matrix to read, `rows` x `columns`, any strides.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T = f32> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T: Element> Matrix<'a, T> {
    /// All of `values`, row after row.
    pub(super) fn new(values: &'a [T], columns: usize) -> Self {
        assert_eq!(values.len() % columns, 0, "rows have to be whole");
        Self::strip(values, values.len() / columns, columns, columns)
    }

    /// `rows` x `columns` from the front of `values`, whose rows begin `stride` values apart.
    pub(super) fn strip(values: &'a [T], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(columns <= stride, "rows overlap");
        assert!(
            rows == 0 || (rows - 1) * stride + columns <= values.len(),
            "the matrix does not fit into its values"
        );
        Self {
            values,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// Rows and columns.
    pub(super) fn dims(self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The transposed view.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// `count` rows from `first` on.
    pub(super) fn rows(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "rows outside the matrix");
        Self {
            values: &self.values[(first * self.row_stride).min(self.values.len())..],
            rows: count,
            ..self
        }
    }

    /// One row, whose values have to lie next to each other.
    #[inline(always)]
    pub(super) fn row(self, row: usize) -> &'a [T] {
        assert!(row < self.rows && self.column_stride == 1);
        &self.values[row * self.row_stride..][..self.columns]
    }

    /// `ROWS` rows from `first` on, whole cells, whose values have to lie next to each other.
    #[inline(always)]
    pub(super) fn tile<const ROWS: usize>(self, first: usize) -> Tile<'a, T, ROWS> {
        assert_eq!(self.columns % T::DEPTH, 0, "cells have to be whole");
        let mut rows = [std::ptr::null(); ROWS];
        for (row, pointer) in rows.iter_mut().enumerate() {
            *pointer = self.row(first + row).as_ptr().cast();
        }
        Tile {
            rows,
            cells: self.columns / T::DEPTH,
            values: PhantomData,
        }
    }

    /// `count` columns from `first` on.
    pub(super) fn columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.columns, "columns outside the matrix");
        Self {
            values: &self.values[(first * self.column_stride).min(self.values.len())..],
            columns: count,
            ..self
        }
    }
}

/// A few rows, to be read cell by cell.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a, T: Element, const ROWS: usize> {
    /// The first cell of each row; `cells` cells lie there.
    rows: [*const T::Cell; ROWS],
    cells: usize,
    values: PhantomData<&'a [T]>,
}

impl<T: Element, const ROWS: usize> Tile<'_, T, ROWS> {
    /// One cell of each row. Slices would check its number once for every row, which takes as long as
    /// what is done with the values.
    #[inline(always)]
    pub(super) fn column(&self, cell: usize) -> [T::Cell; ROWS] {
        assert!(cell < self.cells, "cell outside the tile");
        // SAFETY: `Matrix::tile` made the pointers from slices of `cells` times `DEPTH` values that live as
        // long as this tile, and the bits of `DEPTH` values are those of a cell.
        self.rows
            .map(|row| unsafe { row.add(cell).read_unaligned() })
    }
}

/// A matrix to write, `rows` x `columns`; the values of a row lie next to each other.
pub(super) struct MatrixMut<'a, T = f32> {
    /// The first value. Row `r` is the `columns` values from `r * row_stride` on; all rows lie
    /// within the slice that this was made from, and no other live `MatrixMut` has any of them.
    first: *mut T,
    rows: usize,
    columns: usize,
    row_stride: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: a `MatrixMut` is the only way to its values while it lives, as a `&mut [T]` is.
unsafe impl<T: Send> Send for MatrixMut<'_, T> {}

impl<'a, T> MatrixMut<'a, T> {
    /// All of `values`, row after row.
    pub(super) fn new(values: &'a mut [T], columns: usize) -> Self {
        assert_eq!(values.len() % columns, 0, "rows have to be whole");
        Self {
            rows: values.len() / columns,
            first: values.as_mut_ptr(),
            columns,
            row_stride: columns,
            slice: PhantomData,
        }
    }

    /// Divides into parts of `height` rows, the last one possibly lower.
    pub(super) fn split_rows(self, height: usize) -> Vec<Self> {
        (0..self.rows)
            .step_by(height)
            .map(|row| Self {
                first: self.first.wrapping_add(row * self.row_stride),
                rows: height.min(self.rows - row),
                ..self
            })
            .collect()
    }

    /// Divides into parts of `width` columns, the last one possibly narrower.
    pub(super) fn split_columns(self, width: usize) -> Vec<Self> {
        (0..self.columns)
            .step_by(width)
            .map(|column| Self {
                first: self.first.wrapping_add(column),
                columns: width.min(self.columns - column),
                ..self
            })
            .collect()
    }

    /// Rows and columns.
    pub(super) fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn width(&self) -> usize {
        self.columns
    }

    /// One row.
    #[inline(always)]
    pub(super) fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "row outside the matrix");
        // SAFETY: by the invariant of `first` these values are inside the slice and nobody else's.
        unsafe {
            std::slice::from_raw_parts_mut(self.first.add(row * self.row_stride), self.columns)
        }
    }
}

/// What a product does with the values that its destination holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// They are written over.
    Replaced,
    /// The product is added to them.
    Kept,
}

/// `dst = lhs * rhs`, or `dst += lhs * rhs`, on the calling thread.
///
/// Which sums are formed in which order depends on the inner dimension alone, so a row comes out
/// the same whatever block of rows it is computed in.
pub(super) fn multiply(dst: &mut MatrixMut<'_>, held: Held, lhs: Matrix<'_>, rhs: Matrix<'_>) {
    assert_eq!(lhs.columns, rhs.rows, "inner dimensions differ");
    assert_eq!((dst.rows, dst.columns), (lhs.rows, rhs.columns));
    let stride = |value: usize| value as isize;
    // SAFETY: `Matrix` has checked that all of its values lie in its slice (transposing and
    // narrowing keep that), the invariant of `MatrixMut` says the same of the destination, and
    // the destination is borrowed mutably, so it is none of the sources.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.columns,
            lhs.columns,
            dst.first,
            1,
            stride(dst.row_stride),
            held == Held::Kept,
            lhs.values.as_ptr(),
            stride(lhs.column_stride),
            stride(lhs.row_stride),
            rhs.values.as_ptr(),
            stride(rhs.column_stride),
            stride(rhs.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_knows_strips_transposes_and_what_is_held() {
        // a = [[1, 2], [3, 4]], read from a matrix of three columns; b = [[5, 6], [7, 8]].
        let a = [1.0, 2.0, -1.0, 3.0, 4.0, -1.0];
        let b = [5.0, 6.0, 7.0, 8.0];
        let a = Matrix::strip(&a, 2, 2, 3);
        let b = Matrix::new(&b, 2);
        let mut out = [0.0; 4];
        multiply(&mut MatrixMut::new(&mut out, 2), Held::Replaced, a, b);
        assert_eq!(out, [19.0, 22.0, 43.0, 50.0]);
        multiply(&mut MatrixMut::new(&mut out, 2), Held::Kept, a.t(), b.t());
        assert_eq!(out, [19.0 + 23.0, 22.0 + 31.0, 43.0 + 34.0, 50.0 + 46.0]);
        let mut column = [0.0; 2];
        let second = b.columns(1, 1);
        multiply(
            &mut MatrixMut::new(&mut column, 1),
            Held::Replaced,
            a,
            second,
        );
        assert_eq!(column, [22.0, 50.0]);
    }

    #[test]
    fn strips_cover_the_matrix_once() {
        let mut values = [0.0; 7 * 5];
        for (number, strip) in MatrixMut::new(&mut values, 5)
            .split_columns(2)
            .into_iter()
            .enumerate()
        {
            for mut part in strip.split_rows(3) {
                for row in 0..part.rows() {
                    for value in part.row(row) {
                        *value += (number + 1) as f32;
                    }
                }
            }
        }
        for row in values.chunks(5) {
            assert_eq!(row, [1.0, 1.0, 2.0, 2.0, 3.0]);
        }
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_strip_outside_its_values_is_refused() {
        Matrix::strip(&[0.0; 5], 2, 3, 3);
    }
}
