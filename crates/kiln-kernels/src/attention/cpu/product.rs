//! Products of small matrices that lie in cache, where packing and dispatch of a general matrix
//! product would cost as much as the product.
//!
//! A block of the result stays in registers; the right operand is read in rows of vectors and may
//! lie in panels of [`PANEL`] columns, which is how [`transpose`](super::heads::transpose) lays out heads.

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// Columns of results and of right operands are a multiple of this, zeros behind what counts.
pub(super) const LANE: usize = 16;

/// `count` rounded up to whole vectors.
pub(super) fn padded(count: usize) -> usize {
    count.next_multiple_of(LANE)
}

/// A left operand: any strides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Left<'a> {
    /// Rows that start `stride` values apart.
    pub(super) fn rows(values: &'a [f32], stride: usize) -> Self {
        Self { values, row: stride, column: 1 }
    }

    /// Those rows as columns.
    pub(super) fn columns(values: &'a [f32], stride: usize) -> Self {
        Self { values, row: 1, column: stride }
    }
}

/// A right operand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Right<'a> {
    values: &'a [f32],
    /// From a row to the next.
    row: usize,
    /// From [`PANEL`] columns to the next.
    panel: usize,
}

impl<'a> Right<'a> {
    /// Rows of `stride` values.
    pub(super) fn rows(values: &'a [f32], stride: usize) -> Self {
        Self { values, row: stride, panel: PANEL }
    }

    /// Panels of `depth` rows.
    pub(super) fn panels(values: &'a [f32], depth: usize) -> Self {
        Self { values, row: PANEL, panel: depth * PANEL }
    }
}

/// `out = left right`, added to what is there if `add`; `out` has rows of `stride` values, of which
/// the first `columns`, a multiple of [`LANE`], are written.
pub(super) fn product(
    out: &mut [f32],
    stride: usize,
    add: bool,
    left: Left<'_>,
    right: Right<'_>,
    [rows, depth, columns]: [usize; 3],
) {
    assert!(columns.is_multiple_of(LANE) && columns <= stride, "columns come in vectors");
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(out.len() >= (rows - 1) * stride + columns, "a result reaches past its values");
    if depth > 0 {
        let last = (rows - 1) * left.row + (depth - 1) * left.column;
        assert!(left.values.len() > last, "a left operand reaches past its values");
        let last =
            (columns - 1) / PANEL * right.panel + (columns - 1) % PANEL + (depth - 1) * right.row;
        assert!(right.values.len() > last, "a right operand reaches past its values");
    }
    let job = Job { out: out.as_mut_ptr(), stride, add, left, right, rows, depth, columns };
    #[cfg(target_arch = "x86_64")]
    {
        if crate::cpu::simd::has_avx512() {
            // SAFETY: the extents were checked above, the features just now.
            return unsafe { avx512::run(&job) };
        }
        if crate::cpu::simd::has_avx2() {
            // SAFETY: as above.
            return unsafe { avx2::run(&job) };
        }
    }
    // SAFETY: the extents were checked above.
    unsafe { portable::run(&job) }
}

/// A product whose extents were checked.
struct Job<'a> {
    out: *mut f32,
    stride: usize,
    add: bool,
    left: Left<'a>,
    right: Right<'a>,
    rows: usize,
    depth: usize,
    columns: usize,
}

/// The loops over a kind of vectors of `$lanes` values: blocks of `$rows` rows and `$wide` vectors.
macro_rules! loops {
    ($(#[$features:meta])* $lanes:literal, $rows:literal, $wide:literal) => {
        $(#[$features])*
        pub(super) unsafe fn run(job: &super::Job<'_>) {
            let mut column = 0;
            while column < job.columns {
                let wide = job.columns - column >= $wide * $lanes;
                let mut row = 0;
                while row < job.rows {
                    let left = job.rows - row;
                    // SAFETY: the caller checked the extents.
                    row += unsafe {
                        match (wide, left) {
                            (true, $rows..) => block::<$rows, $wide>(job, row, column),
                            (true, 4..) => block::<4, $wide>(job, row, column),
                            (true, 2..) => block::<2, $wide>(job, row, column),
                            (true, _) => block::<1, $wide>(job, row, column),
                            (false, $rows..) => block::<$rows, 1>(job, row, column),
                            (false, 4..) => block::<4, 1>(job, row, column),
                            (false, 2..) => block::<2, 1>(job, row, column),
                            (false, _) => block::<1, 1>(job, row, column),
                        }
                    };
                }
                column += if wide { $wide * $lanes } else { $lanes };
            }
        }

        /// A block of the result in registers; gives its rows.
        $(#[$features])*
        #[inline]
        unsafe fn block<const R: usize, const V: usize>(
            job: &super::Job<'_>,
            row: usize,
            column: usize,
        ) -> usize {
            // Wrapping arithmetic: checks, where they are compiled in, would cost more than the work.
            let out = job.out.wrapping_add(row * job.stride + column);
            let left = job.left.values.as_ptr().wrapping_add(row * job.left.row);
            // Rows by fours: few enough pointers for registers.
            let steps: [usize; 4] = std::array::from_fn(|r| r.wrapping_mul(job.left.row));
            let mut fours: [*const f32; 3] =
                std::array::from_fn(|four| left.wrapping_add(job.left.row.wrapping_mul(4 * four)));
            let right = column / super::PANEL * job.right.panel + column % super::PANEL;
            let mut right = job.right.values.as_ptr().wrapping_add(right);
            // SAFETY: the caller checked the extents.
            unsafe {
                let mut sums = [[zero(); V]; R];
                if job.add {
                    for r in 0..R {
                        for v in 0..V {
                            sums[r][v] = load(out.wrapping_add(r * job.stride + v * $lanes));
                        }
                    }
                }
                for _ in 0..job.depth {
                    let mut vectors = [zero(); V];
                    for v in 0..V {
                        vectors[v] = load(right.wrapping_add(v * $lanes));
                    }
                    for r in 0..R {
                        let factor = splat(fours[r / 4].wrapping_add(steps[r % 4]));
                        for v in 0..V {
                            sums[r][v] = fma(factor, vectors[v], sums[r][v]);
                        }
                    }
                    for four in &mut fours {
                        *four = four.wrapping_add(job.left.column);
                    }
                    right = right.wrapping_add(job.right.row);
                }
                for r in 0..R {
                    for v in 0..V {
                        store(out.wrapping_add(r * job.stride + v * $lanes), sums[r][v]);
                    }
                }
            }
            R
        }
    };
}

// Masked loads of everything are loads: where plain ones are compiled with checks of the pointer,
// these have none.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, _mm512_broadcastss_ps, _mm512_castps512_ps128, _mm512_fmadd_ps,
        _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_setzero_ps,
    };

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller's.
        unsafe { _mm512_maskz_loadu_ps(0xffff, from) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(to: *mut f32, vector: __m512) {
        // SAFETY: the caller's.
        unsafe { _mm512_mask_storeu_ps(to, 0xffff, vector) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn splat(from: *const f32) -> __m512 {
        // SAFETY: the caller's; only one value is read.
        let one = unsafe { _mm512_maskz_loadu_ps(1, from) };
        _mm512_broadcastss_ps(_mm512_castps512_ps128(one))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn fma(factor: __m512, vector: __m512, sum: __m512) -> __m512 {
        _mm512_fmadd_ps(factor, vector, sum)
    }

    loops!(
        #[target_feature(enable = "avx512f")]
        16,
        12,
        2
    );
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256, _mm256_broadcastss_ps, _mm256_castps256_ps128, _mm256_fmadd_ps, _mm256_maskload_ps,
        _mm256_maskstore_ps, _mm256_set1_epi32, _mm256_setr_epi32, _mm256_setzero_ps,
    };

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn zero() -> __m256 {
        _mm256_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's.
        unsafe { _mm256_maskload_ps(from, _mm256_set1_epi32(-1)) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn store(to: *mut f32, vector: __m256) {
        // SAFETY: the caller's.
        unsafe { _mm256_maskstore_ps(to, _mm256_set1_epi32(-1), vector) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn splat(from: *const f32) -> __m256 {
        let first = _mm256_setr_epi32(-1, 0, 0, 0, 0, 0, 0, 0);
        // SAFETY: the caller's; only one value is read.
        let one = unsafe { _mm256_maskload_ps(from, first) };
        _mm256_broadcastss_ps(_mm256_castps256_ps128(one))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn fma(factor: __m256, vector: __m256, sum: __m256) -> __m256 {
        _mm256_fmadd_ps(factor, vector, sum)
    }

    loops!(
        #[target_feature(enable = "avx2,fma")]
        8,
        6,
        2
    );
}

/// Arrays that the compiler makes vectors of (NEON on AArch64).
mod portable {
    type Vector = [f32; 8];

    #[inline(always)]
    fn zero() -> Vector {
        [0.0; 8]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: the caller's; arrays of f32 are aligned as f32.
        unsafe { from.cast::<Vector>().read() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: Vector) {
        // SAFETY: as above.
        unsafe { to.cast::<Vector>().write(vector) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Vector {
        // SAFETY: the caller's.
        [unsafe { from.read() }; 8]
    }

    #[inline(always)]
    fn fma(factor: Vector, vector: Vector, sum: Vector) -> Vector {
        std::array::from_fn(|lane| factor[lane] * vector[lane] + sum[lane])
    }

    loops!(8, 5, 2);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;

    #[test]
    fn every_shape_on_every_instruction_set() {
        let mut numbers = Numbers::new(1);
        let mut random = |len: usize| (0..len).map(|_| numbers.normal() as f32).collect::<Vec<_>>();
        for (rows, depth, columns) in [(1, 1, 16), (31, 7, 48), (12, 33, 80), (3, 0, 32)] {
            let (left, right) = (random(rows * depth), random(depth * 96));
            for (left_rows, panels, add) in [(true, false, true), (false, true, false)] {
                let stride = if left_rows { depth } else { rows };
                let a = |i: usize, k: usize| {
                    left[if left_rows { i * stride + k } else { k * stride + i }]
                };
                let b = |k: usize, j: usize| {
                    let (panel, column) = (j / PANEL, j % PANEL);
                    right[if panels { (panel * depth + k) * PANEL + column } else { k * 96 + j }]
                };
                let expected = |i: usize, j: usize| {
                    (0..depth).map(|k| a(i, k) * b(k, j)).sum::<f32>() + f32::from(add)
                };
                let check = |out: &[f32]| {
                    for (index, &found) in out.iter().enumerate() {
                        let (i, j) = (index / (columns + 1), index % (columns + 1));
                        let expected = if j == columns { 1.0 } else { expected(i, j) };
                        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
                    }
                };
                let left = if left_rows { Left::rows } else { Left::columns }(&left, stride);
                let right =
                    if panels { Right::panels(&right, depth) } else { Right::rows(&right, 96) };
                let job = |out: &mut Vec<f32>| {
                    let (out, stride) = (out.as_mut_ptr(), columns + 1);
                    Job { out, stride, add, left, right, rows, depth, columns }
                };
                let mut out = vec![1.0; rows * (columns + 1)];
                product(&mut out, columns + 1, add, left, right, [rows, depth, columns]);
                check(&out);
                out.fill(1.0);
                // SAFETY: the buffers are as large as `product` just found them to be.
                unsafe { portable::run(&job(&mut out)) };
                check(&out);
                #[cfg(target_arch = "x86_64")]
                if crate::cpu::simd::has_avx2() {
                    out.fill(1.0);
                    // SAFETY: as above, and the features are there.
                    unsafe { avx2::run(&job(&mut out)) };
                    check(&out);
                }
            }
        }
    }
}
