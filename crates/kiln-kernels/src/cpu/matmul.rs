//! Matrix products on views: any strides, so that transposed operands are never copied.

use super::{
    matrix::{Matrix, MatrixMut},
    tiles,
};
use gemm::{Parallelism, gemm};
use rayon::prelude::*;

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
    // Products of a few rows or columns are for the other version, which has kernels for them.
    let tiled = threads == Threads::One && out.rows > 2 && out.columns > 4 && a.columns > 2;
    if tiled
        && (keep == 0.0 || keep == 1.0)
        && tiles::product(out.values, out.row_stride, keep == 1.0, a, b, scale)
    {
        return;
    }
    let count = match threads {
        Threads::One => 1,
        Threads::All => rayon::current_num_threads() * EACH,
    };
    let worth = out.rows * out.columns * a.columns / PIECE;
    let (height, width) = chunk(out.rows, out.columns, count.min(worth).max(1));
    let across = out.columns.div_ceil(width);
    let (start, row_stride) = (Start(out.values.as_mut_ptr()), out.row_stride);
    let one = |at: usize| {
        let (row, column) = (at / across * height, at % across * width);
        let a = a.band(row, height);
        let b = b.transposed().band(column, width).transposed();
        // SAFETY: the constructors checked that all rows and columns lie within the slices, no two
        // pieces share any, and the borrow checker knows that `out` overlaps neither operand.
        unsafe { alone(start.at(row * row_stride + column), row_stride, keep, a, b, scale) }
    };
    match out.rows.div_ceil(height) * across {
        1 => one(0),
        pieces => (0..pieces).into_par_iter().with_max_len(1).for_each(one),
    }
}

/// Multiplications that are worth a piece of their own.
const PIECE: usize = 1 << 19;
/// Pieces for each thread: more than one, so that a thread that is slowed down leaves some to others.
const EACH: usize = 2;
/// What heights and widths of pieces are multiples of: so many rows and columns stay in registers.
const IN_REGISTERS: (usize, usize) = (8, 48);

/// Rows and columns of a piece, where a matrix is cut into `count` or fewer, as square as they get:
/// each is read and packed by itself.
fn chunk(rows: usize, columns: usize, count: usize) -> (usize, usize) {
    let cut = |down: usize| {
        let height = rows.div_ceil(down).next_multiple_of(IN_REGISTERS.0);
        let width = columns.div_ceil(count / down).next_multiple_of(IN_REGISTERS.1);
        (height.min(rows), width.min(columns))
    };
    let cuts = (1..=count).filter(|down| count.is_multiple_of(*down)).map(cut);
    cuts.min_by_key(|(height, width)| height + width).unwrap_or((rows, columns))
}

/// Where a matrix begins that several threads write to.
#[derive(Clone, Copy)]
struct Start(*mut f32);

// SAFETY: every thread writes to places of its own.
unsafe impl Send for Start {}
// SAFETY: as above.
unsafe impl Sync for Start {}

impl Start {
    fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// The whole product on the calling thread.
///
/// # Safety
/// `out` has the rows of `a` and the columns of `b`, and overlaps neither.
unsafe fn alone(
    out: *mut f32,
    out_row: usize,
    keep: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
) {
    // SAFETY: matrices lie within their slices, and the caller answers for `out`.
    unsafe {
        gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            out_row as isize,
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
            Parallelism::None,
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

    /// Sizes about the edges of tiles, in all layouts.
    #[test]
    fn tiles_agree_with_plain_sums() {
        let sizes =
            [(3, 5, 3), (6, 64, 300), (7, 65, 17), (13, 600, 20), (20, 47, 257), (5, 16, 9)];
        for (rows, columns, depth) in sizes {
            let number = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 64.0;
            let a: Vec<f32> = (0..rows * depth).map(number).collect();
            let b: Vec<f32> = (0..depth * columns).map(|index| number(index + 7)).collect();
            for layout in 0..4 {
                let a_at = |row: usize, step: usize| {
                    if layout % 2 == 0 { row * depth + step } else { step * rows + row }
                };
                let b_at = |step: usize, column: usize| {
                    if layout / 2 == 0 { step * columns + column } else { column * depth + step }
                };
                let a_matrix = if layout % 2 == 0 {
                    Matrix::new(&a, rows, depth)
                } else {
                    Matrix::new(&a, depth, rows).transposed()
                };
                let b_matrix = if layout / 2 == 0 {
                    Matrix::new(&b, depth, columns)
                } else {
                    Matrix::new(&b, columns, depth).transposed()
                };
                let mut out = vec![1.0; rows * (columns + 3)];
                for keep in [0.0, 1.0] {
                    let to = MatrixMut::strided(&mut out, rows, columns, columns + 3);
                    matmul(to, keep, a_matrix, b_matrix, 0.5, Threads::One);
                }
                for (row, out) in out.chunks_exact(columns + 3).enumerate() {
                    for (column, out) in out[..columns].iter().enumerate() {
                        let terms = (0..depth).map(|k| a[a_at(row, k)] * b[b_at(k, column)]);
                        let expected: f32 = terms.sum();
                        assert!((out - expected).abs() < 1e-3, "{out} for {expected}");
                    }
                    assert_eq!(out[columns..], [1.0; 3]);
                }
            }
        }
    }

    #[test]
    fn pieces_cover_a_matrix_and_are_as_square_as_they_get() {
        assert_eq!(chunk(1024, 3072, 4), (1024, 768));
        assert_eq!(chunk(1024, 768, 4), (512, 384));
        assert_eq!(chunk(128, 768, 4), (128, 192));
        assert_eq!(chunk(100_000, 64, 4), (25_000, 64));
        assert_eq!(chunk(5, 7, 4), (5, 7));
        assert_eq!(chunk(4096, 4096, 32), (1024, 528));
    }

    /// Sizes that are cut into several pieces, the last of which are smaller.
    #[test]
    fn pieces_agree_with_the_whole() {
        for (rows, columns, depth) in [(130, 500, 90), (1000, 70, 200), (97, 1003, 129)] {
            let number = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 64.0;
            let a: Vec<f32> = (0..rows * depth).map(number).collect();
            let b: Vec<f32> = (0..depth * columns).map(|index| number(index + 7)).collect();
            let product = |out: &mut [f32], threads, rotated: bool| {
                let to = MatrixMut::strided(out, rows, columns, columns + 3);
                let (a, b) = if rotated {
                    (
                        Matrix::new(&a, depth, rows).transposed(),
                        Matrix::new(&b, columns, depth).transposed(),
                    )
                } else {
                    (Matrix::new(&a, rows, depth), Matrix::new(&b, depth, columns))
                };
                matmul(to, 1.0, a, b, 0.5, threads);
            };
            for rotated in [false, true] {
                let [mut cut, mut whole] = [(); 2].map(|()| vec![1.0; rows * (columns + 3)]);
                product(&mut cut, Threads::All, rotated);
                product(&mut whole, Threads::One, rotated);
                let apart = cut.iter().zip(&whole).map(|(cut, whole)| (cut - whole).abs());
                assert!(apart.fold(0.0, f32::max) < 1e-3);
                assert!(cut.chunks_exact(columns + 3).all(|row| row[columns..] == [1.0; 3]));
            }
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
