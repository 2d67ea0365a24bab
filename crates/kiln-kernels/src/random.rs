//! Random bits from a seed and a position: replayed, never stored.
//!
//! A hash of 32-bit words alone, so that every device computes the same bits: a finaliser of three
//! multiplications in the manner of MurmurHash3 (constants from C. Wellons' search for hashes of
//! little bias, <https://nullprogram.com/blog/2018/07/31/>), which takes in the column, with two
//! keys of the row. Rows would have to share both keys, 64 bits, to share their bits.

#[cfg(feature = "cube")]
pub(crate) mod cube;

/// Constants of the seed's words: zeros are no weak seed.
const SEED_MARKS: [u32; 2] = [0x9e37_79b9, 0x85eb_ca6b];
/// The finaliser's multipliers.
const MULTIPLIERS: [u32; 3] = [0xed5a_d4bb, 0xac4c_1b51, 0x3184_8bab];

/// 32 bits for a seed, a row and a column.
#[inline(always)]
pub(crate) fn bits(seed: [u32; 2], row: u32, column: u32) -> u32 {
    bits_of(row_keys(seed, row), column)
}

/// What [`bits_of`] needs of a row: out of loops over columns.
#[inline(always)]
pub(crate) fn row_keys(seed: [u32; 2], row: u32) -> [u32; 2] {
    let [first, second] = [0, 1].map(|word| finish(seed[word] ^ SEED_MARKS[word], 0));
    [finish(row ^ first, 0), finish(row.wrapping_add(second), 0)]
}

/// The bits of a column of a row.
#[inline(always)]
pub(crate) fn bits_of(keys: [u32; 2], column: u32) -> u32 {
    finish(column ^ keys[0], keys[1])
}

/// Spreads every bit over all bits; `key` goes in between.
#[inline(always)]
fn finish(x: u32, key: u32) -> u32 {
    let mut x = x;
    x ^= x >> 17;
    x = x.wrapping_mul(MULTIPLIERS[0]);
    x ^= x >> 11;
    x = x.wrapping_add(key);
    x = x.wrapping_mul(MULTIPLIERS[1]);
    x ^= x >> 15;
    x = x.wrapping_mul(MULTIPLIERS[2]);
    x ^ (x >> 14)
}

/// The bits from which on a value is kept that is dropped with probability `p`.
pub(crate) fn threshold(p: f64) -> u32 {
    (p * 4_294_967_296.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [[u32; 2]; 4] = [[0, 0], [1, 0], [0, 1], [0xdead_beef, 42]];

    /// Flips each bit of a part of the input: each bit of the output must flip half of the time.
    fn avalanche(flip: impl Fn([u32; 2], u32, u32, u32) -> u32) {
        const TRIALS: u32 = 4096;
        for bit in 0..32 {
            let mut flipped = [0u32; 32];
            for trial in 0..TRIALS {
                let (seed, row, column) = ([trial / 7, 3], trial / 64, trial % 64);
                let difference = bits(seed, row, column) ^ flip(seed, row, column, 1 << bit);
                for (out, flipped) in flipped.iter_mut().enumerate() {
                    *flipped += difference >> out & 1;
                }
            }
            for (out, flipped) in flipped.into_iter().enumerate() {
                let share = f64::from(flipped) / f64::from(TRIALS);
                // Five deviations of a fair coin.
                assert!((share - 0.5).abs() < 0.04, "bit {bit} flips bit {out} with {share}");
            }
        }
    }

    #[test]
    fn every_input_bit_reaches_every_output_bit() {
        avalanche(|seed, row, column, bit| bits(seed, row, column ^ bit));
        avalanche(|seed, row, column, bit| bits(seed, row ^ bit, column));
        avalanche(|seed, row, column, bit| bits([seed[0] ^ bit, seed[1]], row, column));
        avalanche(|seed, row, column, bit| bits([seed[0], seed[1] ^ bit], row, column));
    }

    #[test]
    fn bytes_are_uniform() {
        for seed in SEEDS {
            for shift in [0, 8, 16, 24] {
                let mut counts = [0.0f64; 256];
                for row in 0..256 {
                    for column in 0..256 {
                        counts[(bits(seed, row, column) >> shift & 255) as usize] += 1.0;
                    }
                }
                // Chi-square with 255 degrees of freedom: mean 255, deviation 22.6.
                let chi: f64 = counts.iter().map(|count| (count - 256.0).powi(2) / 256.0).sum();
                assert!((chi - 255.0).abs() < 5.0 * 22.6, "{seed:?} at {shift}: {chi}");
            }
        }
    }

    #[test]
    fn neighbours_are_independent() {
        const SIDE: u32 = 300;
        let sign = |seed, row, column| if bits(seed, row, column) >> 31 == 0 { 1.0 } else { -1.0 };
        for seed in SEEDS {
            for (down, right, words) in
                [(0, 1, [0, 0]), (1, 0, [0, 0]), (1, 1, [0, 0]), (0, 0, [1, 0]), (0, 0, [0, 1])]
            {
                let other = [seed[0] ^ words[0], seed[1] ^ words[1]];
                let mut sum = 0.0f64;
                for row in 0..SIDE {
                    for column in 0..SIDE {
                        sum += sign(seed, row, column) * sign(other, row + down, column + right);
                    }
                }
                // The sum of 90 000 fair signs has deviation 300.
                assert!(sum.abs() < 5.0 * 300.0, "{seed:?}, {down}, {right}, {words:?}: {sum}");
            }
        }
    }

    #[test]
    fn thresholds() {
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(threshold), [0, 1 << 30, 1 << 31, u32::MAX]);
    }
}
