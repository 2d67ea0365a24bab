//! Random bits by counter: a hash of seed, row and column, so that dropout is replayed in the
//! backward step instead of kept.
//!
//! 32-bit integer arithmetic alone: the same bits on every device.

#[cfg(feature = "cube")]
use cubecl::prelude::*;

/// The bits of a row and column.
#[cfg(test)]
pub(crate) fn bits(seed: [u32; 2], row: u32, column: u32) -> u32 {
    bits_of(row_key(seed, row), column)
}

/// What a row's columns share.
#[inline(always)]
pub(crate) fn row_key(seed: [u32; 2], row: u32) -> [u32; 2] {
    let start = mix(row ^ seed[0]);
    [start, mix(start.wrapping_add(seed[1])) | 1]
}

/// The bits of a column.
#[inline(always)]
pub(crate) fn bits_of(key: [u32; 2], column: u32) -> u32 {
    // The odd factor differs by row: rows are not permutations of each other by a shift.
    mix(column.wrapping_mul(key[1]) ^ key[0])
}

/// Every bit of the result depends on every bit of `x`: the two-round multiply-and-shift hash of
/// least bias found by search (<https://nullprogram.com/blog/2018/07/31/>).
#[inline(always)]
fn mix(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// [`row_key`] on a GPU.
#[cfg(feature = "cube")]
#[cube]
pub(crate) fn cube_row_key(seed_low: u32, seed_high: u32, row: u32) -> (u32, u32) {
    let start = cube_mix(row ^ seed_low);
    (start, cube_mix(start + seed_high) | 1u32)
}

/// [`bits_of`] on a GPU.
#[cfg(feature = "cube")]
#[cube]
pub(crate) fn cube_bits_of(start: u32, factor: u32, column: u32) -> u32 {
    cube_mix((column * factor) ^ start)
}

/// [`mix`] on a GPU.
#[cfg(feature = "cube")]
#[cube]
fn cube_mix(x: u32) -> u32 {
    let x = (x ^ (x >> 16u32)) * 0x7feb_352du32;
    let x = (x ^ (x >> 15u32)) * 0x846c_a68bu32;
    x ^ (x >> 16u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flipping any bit of seed, row or column flips about half of the bits.
    #[test]
    fn avalanche() {
        for input in 0..128 {
            let mut flipped = 0;
            for start in 0..256u32 {
                let words = [start * 3, start * 7 + 1, start, start * 5 + 2];
                let mut other = words;
                other[input / 32] ^= 1 << (input % 32);
                let hash = |w: [u32; 4]| bits([w[0], w[1]], w[2], w[3]);
                flipped += (hash(words) ^ hash(other)).count_ones();
            }
            let mean = f64::from(flipped) / 256.0;
            assert!((mean - 16.0).abs() < 1.0, "input bit {input} flips {mean} bits");
        }
    }

    #[test]
    fn uniform() {
        let mut counts = [0; 16];
        for row in 0..64 {
            for column in 0..256 {
                counts[(bits([1, 2], row, column) >> 28) as usize] += 1;
            }
        }
        // 1024 expected in each; five deviations.
        assert!(counts.iter().all(|&count: &i32| (count - 1024).abs() < 160), "{counts:?}");
    }
}
