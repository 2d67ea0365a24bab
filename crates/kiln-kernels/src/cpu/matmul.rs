//! Matrix products on views: any strides, so that transposed operands are never copied.

use burn_flex::FlexTensor;
use gemm::{Parallelism, gemm};

/// A matrix in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` of `columns` values that lie one after the other.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that start `row_stride` values apart.
    pub(crate) fn strided(
        values: &'a [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        let last = if rows * columns == 0 { 0 } else { (rows - 1) * row_stride + columns };
        assert!(values.len() >= last, "a matrix reaches past its values");
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// A tensor of two dimensions, in any layout but a flipped one.
    pub(crate) fn of(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let (shape, strides) = (layout.shape(), layout.strides());
        let (rows, columns) = (shape[0], shape[1]);
        let (row_stride, column_stride) = (strides[0], strides[1]);
        assert!(row_stride >= 0 && column_stride >= 0, "a matrix with a flipped dimension");
        let (row_stride, column_stride) = (row_stride as usize, column_stride as usize);
        let values = &tensor.storage::<f32>()[layout.start_offset()..];
        let reach = rows.saturating_sub(1) * row_stride + columns.saturating_sub(1) * column_stride;
        assert!(rows * columns == 0 || values.len() > reach, "a matrix reaches past its values");
        Self { values, rows, columns, row_stride, column_stride }
    }

    /// Rows as columns.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write, whose rows start `row_stride` values apart.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// `rows` of `columns` values that lie one after the other.
    pub(crate) fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that start `row_stride` values apart.
    pub(crate) fn strided(
        values: &'a mut [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        let last = if rows * columns == 0 { 0 } else { (rows - 1) * row_stride + columns };
        assert!(values.len() >= last, "a matrix reaches past its values");
        Self { values, rows, columns, row_stride }
    }
}

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Threads {
    /// The calling thread: for products inside a parallel loop.
    One,
    /// All of them, where the product is large enough.
    All,
}

/// `out = keep * out + scale * a b`.
pub(crate) fn matmul(
    out: MatrixMut<'_>,
    keep: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
    threads: Threads,
) {
    assert_eq!((out.rows, out.columns, a.columns), (a.rows, b.columns, b.rows), "matmul shapes");
    if out.rows == 0 || out.columns == 0 {
        return;
    }
    let large = out.rows * out.columns * a.columns.max(1) > 48 * 48 * 256;
    let parallelism = match threads {
        Threads::All if large => Parallelism::Rayon(0),
        _ => Parallelism::None,
    };
    // SAFETY: the constructors checked that every row and column lies within the slices, and the
    // borrow checker that `out` overlaps neither operand.
    unsafe {
        gemm(
            out.rows,
            out.columns,
            a.columns,
            out.values.as_mut_ptr(),
            1,
            out.row_stride as isize,
            keep != 0.0,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            keep,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_strided_and_accumulated() {
        // a = [[1, 2, 3], [4, 5, 6]] stored transposed, b = [[1, 0], [0, 1], [1, 1]] in wide rows.
        let a = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        let b = [1.0, 0.0, 9.0, 0.0, 1.0, 9.0, 1.0, 1.0];
        let mut out = [100.0; 5];
        for (keep, expected) in
            [(0.0, [8.0, 10.0, 100.0, 20.0, 22.0]), (1.0, [16.0, 20.0, 100.0, 40.0, 44.0])]
        {
            matmul(
                MatrixMut::strided(&mut out, 2, 2, 3),
                keep,
                Matrix::new(&a, 3, 2).transposed(),
                Matrix::strided(&b, 3, 2, 3),
                2.0,
                Threads::All,
            );
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn nothing_to_sum_is_zero() {
        let mut out = [7.0; 2];
        matmul(
            MatrixMut::new(&mut out, 1, 2),
            0.0,
            Matrix::new(&[], 1, 0),
            Matrix::new(&[], 0, 2),
            1.0,
            Threads::One,
        );
        assert_eq!(out, [0.0, 0.0]);
    }
}
