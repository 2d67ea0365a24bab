//! A matrix product on one thread for AVX-512 and AVX2: a tile of the result stays in registers
//! while rows of the left operand, read where they lie, meet packed columns of the right one.
//!
//! (K. Goto, R. van de Geijn: Anatomy of High-Performance Matrix Multiplication, ACM Trans. Math.
//! Softw. 34(3), 2008.)

use super::matrix::Matrix;

/// Rows of a tile.
const ROWS: usize = 6;
/// Columns of a tile, at most.
const WIDEST: usize = 64;
/// How much of the inner dimension is packed at a time, so that a panel stays in the second cache.
const DEPTH: usize = 256;
/// How many columns are packed at a time.
const COLUMNS: usize = 512;

/// A tile kernel for some instruction set.
#[derive(Clone, Copy)]
struct Machine {
    /// Values of a register.
    lanes: usize,
    /// Registers of a tile's row.
    vectors: usize,
    run: unsafe fn(Tile),
}

/// One call of a kernel: `out = keep * out + a panel`, `rows` by `vectors` registers.
#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    vectors: usize,
    depth: usize,
    a: *const f32,
    a_row: usize,
    a_step: usize,
    panel: *const f32,
    out: *mut f32,
    out_row: usize,
    keep: bool,
}

#[cfg(target_arch = "x86_64")]
fn machine() -> Option<Machine> {
    use super::simd::{has_avx2, has_avx512};
    if has_avx512() {
        return Some(Machine { lanes: 16, vectors: 4, run: x86::avx512 });
    }
    has_avx2().then_some(Machine { lanes: 8, vectors: 2, run: x86::avx2 })
}

#[cfg(not(target_arch = "x86_64"))]
fn machine() -> Option<Machine> {
    None
}

/// `out = keep * out + scale * a b` for rows of `out` that start `out_row` apart. False where
/// there is no kernel for this machine: then nothing was done.
pub(super) fn product(
    out: &mut [f32],
    out_row: usize,
    keep: bool,
    a: Matrix<'_>,
    b: Matrix<'_>,
    scale: f32,
) -> bool {
    let Some(machine) = machine() else { return false };
    let (rows, columns, depth) = (a.rows, b.columns, b.rows);
    let width = machine.lanes * machine.vectors;
    let panels = columns.min(COLUMNS).div_ceil(width);
    let mut packed = vec![0.0; panels * width * depth.min(DEPTH)];
    let mut left = vec![0.0; if a.column_stride == 1 { 0 } else { ROWS * depth.min(DEPTH) }];
    for column in (0..columns).step_by(COLUMNS) {
        let column_count = (columns - column).min(COLUMNS);
        for start in (0..depth).step_by(DEPTH) {
            let count = (depth - start).min(DEPTH);
            let keep = keep || start > 0;
            for (panel, packed) in packed.chunks_mut(width * count).enumerate() {
                let first = panel * width;
                if first < column_count {
                    let wide = (column_count - first).min(width);
                    let stride = wide.next_multiple_of(machine.lanes);
                    pack(b, start, count, column + first, wide, stride, scale, packed);
                }
            }
            for row in (0..rows).step_by(ROWS) {
                let row_count = (rows - row).min(ROWS);
                let (from, a_row, a_step) = if a.column_stride == 1 {
                    (a.values[row * a.row_stride + start..].as_ptr(), a.row_stride, 1)
                } else {
                    pack_rows(a, row, row_count, start, count, &mut left);
                    (left.as_ptr(), 1, ROWS)
                };
                for first in (0..column_count).step_by(width) {
                    let wide = (column_count - first).min(width);
                    let vectors = wide.div_ceil(machine.lanes);
                    let out = &mut out[row * out_row + column + first..];
                    let tile = Tile {
                        rows: row_count,
                        vectors,
                        depth: count,
                        a: from,
                        a_row,
                        a_step,
                        panel: packed[first * count..].as_ptr(),
                        out: out.as_mut_ptr(),
                        out_row,
                        keep,
                    };
                    if wide == vectors * machine.lanes {
                        // SAFETY: `a` and `packed` hold `count` steps of these rows and columns,
                        // `out` these rows and columns, and the machine was asked for.
                        unsafe { (machine.run)(tile) };
                    } else {
                        let mut whole = [0.0; ROWS * WIDEST];
                        let stride = vectors * machine.lanes;
                        let tile =
                            Tile { out: whole.as_mut_ptr(), out_row: stride, keep: false, ..tile };
                        // SAFETY: as above; `whole` holds the widest tile.
                        unsafe { (machine.run)(tile) };
                        let whole = whole.chunks_exact(stride).take(row_count);
                        for (out, whole) in out.chunks_mut(out_row).zip(whole) {
                            for (out, whole) in out[..wide].iter_mut().zip(whole) {
                                *out = if keep { *out + whole } else { *whole };
                            }
                        }
                    }
                }
            }
        }
    }
    true
}

/// `count` rows of `wide` columns of `b`, in rows of `stride` with zeros at their end.
#[expect(clippy::too_many_arguments, reason = "two ranges, and where they go")]
fn pack(
    b: Matrix<'_>,
    start: usize,
    count: usize,
    column: usize,
    wide: usize,
    stride: usize,
    scale: f32,
    packed: &mut [f32],
) {
    if b.column_stride == 1 {
        for (row, packed) in packed.chunks_exact_mut(stride).take(count).enumerate() {
            let from = &b.values[(start + row) * b.row_stride + column..][..wide];
            for (packed, from) in packed.iter_mut().zip(from) {
                *packed = from * scale;
            }
            packed[wide..].fill(0.0);
        }
    } else {
        packed[..count * stride].fill(0.0);
        for index in 0..wide {
            let from = &b.values[start * b.row_stride + (column + index) * b.column_stride..];
            let from = from.iter().step_by(b.row_stride);
            let packed = packed[index..].iter_mut().step_by(stride);
            for (packed, from) in packed.zip(from).take(count) {
                *packed = from * scale;
            }
        }
    }
}

/// `rows` rows of `a`, [`ROWS`] values a step.
fn pack_rows(
    a: Matrix<'_>,
    row: usize,
    rows: usize,
    start: usize,
    count: usize,
    packed: &mut [f32],
) {
    let packed = packed.as_chunks_mut::<ROWS>().0.iter_mut().take(count);
    for (step, packed) in packed.enumerate() {
        let from = &a.values[row * a.row_stride + (start + step) * a.column_stride..];
        match from.first_chunk::<ROWS>() {
            Some(from) if a.row_stride == 1 && rows == ROWS => *packed = *from,
            _ => {
                let from = from.iter().step_by(a.row_stride).take(rows);
                packed.iter_mut().zip(from).for_each(|(packed, from)| *packed = *from);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Tile;
    use std::arch::x86_64::*;

    /// A kernel over `$vectors` and one for every smaller tile.
    macro_rules! kernels {
        ($name:ident, $tile:ident, $features:literal, $lanes:literal, [$($vectors:literal),+],
         $zero:ident, $load:ident, $store:ident, $splat:ident, $add:ident, $fma:ident) => {
            #[target_feature(enable = $features)]
            unsafe fn $tile<const R: usize, const V: usize>(tile: Tile) {
                let Tile { a_row, out_row, .. } = tile;
                let mut total = [[$zero(); V]; R];
                let (mut a, mut panel) = (tile.a, tile.panel);
                for _ in 0..tile.depth {
                    let mut right = [$zero(); V];
                    for (index, right) in right.iter_mut().enumerate() {
                        // SAFETY: the caller's panel has this many values a step.
                        *right = unsafe { $load(panel.wrapping_add(index * $lanes)) };
                    }
                    for (row, total) in total.iter_mut().enumerate() {
                        // SAFETY: the caller's rows have this many steps.
                        let left = $splat(unsafe { *a.wrapping_add(row.wrapping_mul(a_row)) });
                        for (total, right) in total.iter_mut().zip(right) {
                            *total = $fma(left, right, *total);
                        }
                    }
                    a = a.wrapping_add(tile.a_step);
                    panel = panel.wrapping_add(V * $lanes);
                }
                for (row, total) in total.into_iter().enumerate() {
                    for (index, total) in total.into_iter().enumerate() {
                        let out = tile.out.wrapping_add(row.wrapping_mul(out_row) + index * $lanes);
                        // SAFETY: the caller's output has these rows and columns.
                        unsafe {
                            $store(out, if tile.keep { $add($load(out), total) } else { total });
                        }
                    }
                }
            }

            /// # Safety
            /// The tile's pointers reach as far as its sizes say, and the machine has the
            /// instructions.
            pub(super) unsafe fn $name(tile: Tile) {
                // SAFETY: as required of the caller.
                unsafe {
                    match (tile.rows, tile.vectors) {
                        $(
                            (1, $vectors) => $tile::<1, $vectors>(tile),
                            (2, $vectors) => $tile::<2, $vectors>(tile),
                            (3, $vectors) => $tile::<3, $vectors>(tile),
                            (4, $vectors) => $tile::<4, $vectors>(tile),
                            (5, $vectors) => $tile::<5, $vectors>(tile),
                            (6, $vectors) => $tile::<6, $vectors>(tile),
                        )+
                        (rows, vectors) => unreachable!("a tile of {rows} by {vectors}"),
                    }
                }
            }
        };
    }

    kernels!(
        avx512,
        tile_avx512,
        "avx512f",
        16,
        [1, 2, 3, 4],
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_add_ps,
        _mm512_fmadd_ps
    );
    kernels!(
        avx2,
        tile_avx2,
        "avx2,fma",
        8,
        [1, 2],
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_add_ps,
        _mm256_fmadd_ps
    );
}
