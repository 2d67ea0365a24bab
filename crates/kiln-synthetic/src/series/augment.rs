//! Augmentation: coarser rows, flips, missing blocks. Works on real series too.

use kiln_datasets::draw::Draw;
use kiln_host::Rng;
use ndarray::{Array2, s};

/// Reduction of several rows to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Their mean; missing values are left out.
    Mean,
    /// The first of them.
    First,
}

/// Downsampling: every `factor` rows become one, an incomplete last group is left out; `[time,
/// channels]`.
pub fn downsample(values: &Array2<f32>, factor: usize, reduce: Reduce) -> Array2<f32> {
    let factor = factor.max(1);
    let rows = values.nrows() / factor;
    Array2::from_shape_fn((rows, values.ncols()), |(row, channel)| {
        let group = values.slice(s![row * factor..(row + 1) * factor, channel]);
        match reduce {
            Reduce::First => group[0],
            Reduce::Mean => {
                let present = || group.iter().filter(|value| !value.is_nan());
                // Zero by zero is NaN: a group without values is missing.
                present().sum::<f32>() / present().count() as f32
            }
        }
    })
}

/// Block missingness: hides about `share` of the values in blocks; meters fail for a while, not for
/// a row.
pub fn hide_blocks(rng: &mut Rng, values: &mut [f32], share: f64) {
    let length = values.len();
    if length < 4 {
        return;
    }
    let most = (share.clamp(0.0, 0.9) * length as f64) as usize;
    let mut hidden = 0;
    while hidden < most {
        let block =
            (rng.log_uniform(1.0, (length as f32 / 8.0).max(2.0)) as usize).min(most - hidden);
        let begin = rng.below(length);
        values.iter_mut().skip(begin).take(block.max(1)).for_each(|value| *value = f32::NAN);
        hidden += block.max(1);
    }
    // A series without a single value teaches nothing and has no scale.
    if values.iter().all(|value| value.is_nan()) {
        values.fill(0.0);
    }
}

/// Reverses the sign, the time, or both.
pub(super) fn flip(rng: &mut Rng, values: &mut [f32], sign: f64, time: f64) {
    if rng.chance(sign) {
        values.iter_mut().for_each(|value| *value = -*value);
    }
    if rng.chance(time) {
        values.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;
    use ndarray::array;

    #[test]
    fn means_leave_missing_values_out() {
        let values = array![[1.0], [3.0], [f32::NAN], [5.0], [f32::NAN], [f32::NAN], [9.0]];
        let coarse = downsample(&values, 2, Reduce::Mean);
        assert_eq!((coarse[[0, 0]], coarse[[1, 0]]), (2.0, 5.0));
        assert!(coarse[[2, 0]].is_nan() && coarse.nrows() == 3);
        assert_eq!(downsample(&values, 3, Reduce::First), array![[1.0], [5.0]]);
    }

    #[test]
    fn blocks_hide_about_their_share() {
        let mut rng = Seed::new(19).rng();
        let mut values = vec![1.0; 1000];
        hide_blocks(&mut rng, &mut values, 0.2);
        let hidden = values.iter().filter(|v| v.is_nan()).count();
        assert!((100..=200).contains(&hidden), "{hidden}");
    }
}
