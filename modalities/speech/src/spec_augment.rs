//! Augmentation of spectrograms in training, for voices and channels that are not in the data: vocal
//! tract length perturbation moves formants (Jaitly and Hinton, Vocal tract length perturbation
//! improves speech recognition, 2013), FilterAugment changes the gain of bands,
//! <https://arxiv.org/abs/2110.03282>, and the frequency masks of SpecAugment hide bands,
//! <https://arxiv.org/abs/1904.08779>.

use kiln_core::Rng;
use kiln_nn::ConfigError;
use ndarray::{Array2, Axis, s};
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Augmentation of spectrograms; what is left out is not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpecAugmentConfig {
    /// Vocal tract length perturbation: the lowest and the highest factor that frequencies are
    /// multiplied by, such as `[0.85, 1.15]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warp: Option<[f64; 2]>,
    /// FilterAugment: random gains of bands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterConfig>,
    /// Frequency masking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masks: Option<BandMasks>,
}

/// FilterAugment, linear: gains are drawn at random frequencies and interpolated between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfig {
    /// Fewest and most frequencies whose gain is drawn, beside the lowest and the highest.
    pub places: [usize; 2],
    /// The largest gain, dB; the smallest is minus that.
    pub decibels: f64,
}

impl Default for FilterConfig {
    fn default() -> Self {
        Self { places: [1, 4], decibels: 6.0 }
    }
}

/// Frequency masking: bands are replaced with the mean of the spectrogram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BandMasks {
    /// How many.
    pub count: usize,
    /// The widest, as a share of all bins; a mask's width is drawn from zero to that.
    pub widest: f64,
}

impl Default for BandMasks {
    fn default() -> Self {
        Self { count: 2, widest: 0.2 }
    }
}

impl SpecAugmentConfig {
    /// Whether anything is done.
    pub fn is_used(&self) -> bool {
        *self != Self::default()
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some([low, high]) = self.warp
            && !(0.25..=high).contains(&low) | (high > 4.0)
        {
            let found = format!("[{low}, {high}]");
            return Err(ConfigError::new("warp", found, "two factors in order, from 0.25 to 4"));
        }
        if let Some(FilterConfig { places: [fewest, most], decibels }) = self.filter {
            if fewest > most {
                let found = format!("[{fewest}, {most}]");
                return Err(ConfigError::new("filter.places", found, "two numbers in order"));
            }
            if !(0.0..=60.0).contains(&decibels) {
                return Err(ConfigError::new("filter.decibels", decibels, "0 to 60"));
            }
        }
        match self.masks {
            Some(masks) if !(0.0..=1.0).contains(&masks.widest) => {
                Err(ConfigError::new("masks.widest", masks.widest, "a share, 0 to 1"))
            }
            _ => Ok(()),
        }
    }

    /// Draws the augmentation of one recording.
    pub fn draw(&self, rng: &mut Rng) -> SpecAugment {
        let warp = self.warp.map_or(1.0, |[low, high]| {
            // Log-uniform: half is as likely as double.
            rng.random_range(low.ln()..=high.ln()).exp()
        });
        let gains = self.filter.map_or_else(Vec::new, |filter| {
            let [fewest, most] = filter.places;
            let between = rng.random_range(fewest..=most);
            let mut places: Vec<f64> = (0..between).map(|_| rng.random::<f64>()).collect();
            places.extend([0.0, 1.0]);
            places.sort_by(f64::total_cmp);
            let gain = filter.decibels;
            places.into_iter().map(|place| (place, rng.random_range(-gain..=gain))).collect()
        });
        let masks = self.masks.map_or_else(Vec::new, |masks| {
            let mut mask = || {
                let width = rng.random_range(0.0..=masks.widest);
                let start = rng.random_range(0.0..=1.0 - width);
                [start, start + width]
            };
            (0..masks.count).map(|_| mask()).collect()
        });
        SpecAugment { warp, gains, masks }
    }
}

/// The augmentation of one recording's spectrogram.
#[derive(Clone, Debug, PartialEq)]
pub struct SpecAugment {
    /// The factor that frequencies are multiplied by.
    pub warp: f64,
    /// Places from 0, the lowest bin, to 1, the highest, in order, and their gains, dB; gains between
    /// them are interpolated.
    pub gains: Vec<(f64, f64)>,
    /// Where masked bands begin and end, from 0 to 1.
    pub masks: Vec<[f64; 2]>,
}

impl SpecAugment {
    /// Warps the frequency axis of a spectrogram, `[frames, bins]`. `source` tells for a bin and a
    /// factor which (fractional) bin has the frequency of the bin divided by the factor.
    pub(crate) fn warp(&self, mel: &mut Array2<f32>, source: impl Fn(usize, f64) -> f64) {
        let bins = mel.ncols();
        if self.warp != 1.0 && bins > 1 {
            let old = mel.clone();
            for (bin, mut column) in mel.axis_iter_mut(Axis(1)).enumerate() {
                let at = source(bin, self.warp).clamp(0.0, (bins - 1) as f64);
                let low = (at.floor() as usize).min(bins - 2);
                let share = (at - low as f64) as f32;
                let values = old.column(low).to_owned() * (1.0 - share);
                column.assign(&(values + &old.column(low + 1) * share));
            }
        }
    }

    /// Applies the gains to a decimal logarithm of power, `[frames, bins]`.
    pub(crate) fn filter(&self, mel: &mut Array2<f32>) {
        if self.gains.is_empty() {
            return;
        }
        let last = mel.ncols().saturating_sub(1).max(1) as f64;
        for (bin, mut column) in mel.axis_iter_mut(Axis(1)).enumerate() {
            column += (self.gain(bin as f64 / last) / 10.0) as f32;
        }
    }

    /// Masks bands of a spectrogram, `[frames, bins]`, with its mean.
    pub(crate) fn mask(&self, mel: &mut Array2<f32>) {
        let bins = mel.ncols() as f64;
        let mean = mel.mean().unwrap_or(0.0);
        for mask in &self.masks {
            let [start, end] = mask.map(|place| (place * bins).round() as usize);
            mel.slice_mut(s![.., start..end]).fill(mean);
        }
    }

    fn gain(&self, place: f64) -> f64 {
        let after = self.gains.partition_point(|(at, _)| *at <= place);
        match (after.checked_sub(1).map(|before| self.gains[before]), self.gains.get(after)) {
            (Some((low, from)), Some((high, to))) => {
                from + (to - from) * (place - low) / (high - low)
            }
            (Some((_, gain)), None) => gain,
            (None, next) => next.map_or(0.0, |(_, gain)| *gain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::Seed;

    #[test]
    fn draws_stay_within_their_settings() {
        let config = SpecAugmentConfig {
            warp: Some([0.8, 1.25]),
            filter: Some(FilterConfig { places: [0, 3], decibels: 9.0 }),
            masks: Some(BandMasks { count: 3, widest: 0.5 }),
        };
        config.validate().unwrap();
        let mut rng = Seed::new(1).rng();
        let drawn: Vec<_> = (0..300).map(|_| config.draw(&mut rng)).collect();
        assert!(drawn.iter().all(|one| (0.8..=1.25 + 1e-9).contains(&one.warp)));
        let slower = drawn.iter().filter(|one| one.warp < 1.0).count();
        assert!((100..200).contains(&slower), "{slower}");
        for one in &drawn {
            assert!((2..=5).contains(&one.gains.len()) && one.masks.len() == 3);
            assert!(one.gains.is_sorted_by_key(|(place, _)| *place));
            assert!(one.gains.iter().all(|(_, gain)| gain.abs() <= 9.0));
            assert!(one.masks.iter().all(|[start, end]| (0.0..=0.5).contains(&(end - start))));
        }
        assert!(!SpecAugmentConfig::default().is_used());
        let nothing = SpecAugmentConfig::default().draw(&mut rng);
        assert_eq!(nothing, SpecAugment { warp: 1.0, gains: Vec::new(), masks: Vec::new() });
    }

    #[test]
    fn by_hand() {
        let mel = || Array2::from_shape_fn((2, 5), |(frame, bin)| (10 * frame + bin * bin) as f32);
        let one = |warp, gains: &[_], masks: &[_]| SpecAugment {
            warp,
            gains: gains.to_vec(),
            masks: masks.to_vec(),
        };
        // On a linear scale of bins.
        let source = |bin: usize, factor: f64| bin as f64 / factor;
        let mut warped = mel();
        one(2.0, &[], &[]).warp(&mut warped, source);
        assert_eq!(warped.row(0).to_vec(), [0.0, 0.5, 1.0, 2.5, 4.0]);
        let mut warped = mel();
        let louder = one(0.5, &[(0.0, 10.0), (0.5, 30.0), (1.0, 30.0)], &[]);
        louder.warp(&mut warped, source);
        louder.filter(&mut warped);
        assert_eq!(warped.row(1).to_vec(), [11.0, 16.0, 29.0, 29.0, 29.0]);
        let mut masked = mel();
        one(1.0, &[], &[[0.2, 0.6], [0.9, 0.9]]).mask(&mut masked);
        // The mean of 0, 1, 4, 9, 16 and of those plus ten is 11.
        assert_eq!(masked.row(0).to_vec(), [0.0, 11.0, 11.0, 9.0, 16.0]);
    }

    #[test]
    fn mistakes_name_the_key() {
        let key = |config: SpecAugmentConfig| config.validate().unwrap_err().key;
        let none = SpecAugmentConfig::default();
        assert_eq!(key(SpecAugmentConfig { warp: Some([1.2, 0.8]), ..none }), "warp");
        let filter = FilterConfig { places: [3, 1], ..Default::default() };
        assert_eq!(key(SpecAugmentConfig { filter: Some(filter), ..none }), "filter.places");
        let filter = FilterConfig { decibels: -1.0, ..Default::default() };
        assert_eq!(key(SpecAugmentConfig { filter: Some(filter), ..none }), "filter.decibels");
        let masks = BandMasks { widest: 1.5, ..Default::default() };
        assert_eq!(key(SpecAugmentConfig { masks: Some(masks), ..none }), "masks.widest");
    }
}
