//! Matrices in memory, to read with any strides and to write row by row.

use burn_flex::FlexTensor;

/// A matrix in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
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

    /// At most `count` of the rows, from `row` on.
    pub(super) fn band(self, row: usize, count: usize) -> Self {
        let values = &self.values[(row * self.row_stride).min(self.values.len())..];
        Self { values, rows: count.min(self.rows - row), ..self }
    }

    /// How many columns there are.
    pub(crate) fn columns(&self) -> usize {
        self.columns
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
    pub(super) values: &'a mut [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
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
