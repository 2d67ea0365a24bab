//! A corpus: an endless mixture of all generators, each series a pure function of seed and index.

use super::{
    arma,
    augment::{Reduce, downsample, flip, hide_blocks},
    gp, intermittent, mixup, regime, seasonal,
    standardize::standardize,
    trend,
    weights::{FamilyWeights, ResolutionWeights},
};
use kiln_datasets::{DataError, Frequency, Result, Series, draw::Draw};
use kiln_host::{Rng, Seed};
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Synthetic pretraining corpus of series, from a mixture of generators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Corpus {
    /// Rows of a series.
    pub length: usize,
    /// Channels of a series; more than one are correlated.
    pub channels: usize,
    /// Share of values that are missing, 0 to 0.5, on average; they come in blocks, in some series.
    pub missing: f64,
    /// Share of series, 0 to 1, that are made in finer rows and then averaged or thinned out.
    pub downsample: f64,
    /// How often each family is drawn.
    pub families: FamilyWeights,
    /// How often each distance between rows is drawn.
    pub resolutions: ResolutionWeights,
}

impl Default for Corpus {
    fn default() -> Self {
        Self {
            length: 640,
            channels: 1,
            missing: 0.01,
            downsample: 0.1,
            families: FamilyWeights::default(),
            resolutions: ResolutionWeights::default(),
        }
    }
}

impl Corpus {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the first value that cannot be.
    pub fn validate(&self) -> Result<()> {
        let refuse = |key: &str, found: String, expected: &str| {
            Err(DataError::Config { key: key.into(), found, expected: expected.into() })
        };
        if !(8..=1_000_000).contains(&self.length) {
            return refuse("length", self.length.to_string(), "8 to 1000000 rows");
        }
        if !(1..=1024).contains(&self.channels) {
            return refuse("channels", self.channels.to_string(), "1 to 1024");
        }
        if !(0.0..=0.5).contains(&self.missing) {
            return refuse("missing", self.missing.to_string(), "a share from 0 to 0.5");
        }
        if !(0.0..=1.0).contains(&self.downsample) {
            return refuse("downsample", self.downsample.to_string(), "a share from 0 to 1");
        }
        let families = FamilyWeights::NAMES.into_iter().zip(self.families.weights());
        let families: Vec<_> =
            families.map(|(name, weight)| (format!("families.{name}"), weight)).collect();
        let resolutions = self.resolutions.pairs();
        let resolutions: Vec<_> =
            resolutions.map(|(name, weight, _)| (format!("resolutions.{name}"), weight)).into();
        for (section, weights) in [("families", families), ("resolutions", resolutions)] {
            if let Some((key, weight)) = weights.iter().find(|(_, w)| !w.is_finite() || *w < 0.0) {
                return refuse(key, weight.to_string(), "a weight of 0 or more");
            }
            if weights.iter().all(|(_, weight)| *weight == 0.0) {
                return refuse(section, "all zero".into(), "at least one weight above 0");
            }
        }
        Ok(())
    }

    /// The series at `index`: the same for the same configuration, seed and index, on any thread.
    ///
    /// Values are `[length, channels]` on a scale of their own, as real data are.
    pub fn series(&self, seed: Seed, index: u64) -> Series {
        let rng = &mut seed.part("corpus").at(index).rng();
        let resolutions = self.resolutions.pairs();
        let place = rng.weighted(&resolutions.map(|(_, weight, _)| weight));
        let mut frequency = resolutions.get(place).map_or(Frequency::Unknown, |(_, _, f)| *f);
        let family = rng.weighted(&self.families.weights());

        let length = self.length.max(1);
        let channels = self.channels.max(1);
        let mut values = if rng.chance(self.downsample) {
            let factor = [2, 2, 3, 4, 6][rng.below(5)];
            let reduce = if rng.chance(0.7) { Reduce::Mean } else { Reduce::First };
            let fine = self.channels_of(rng, family, frequency, length * factor, channels);
            frequency = frequency.coarser(factor as u32);
            downsample(&fine, factor, reduce)
        } else {
            self.channels_of(rng, family, frequency, length, channels)
        };
        for mut channel in values.columns_mut() {
            let mut column = channel.to_vec();
            finish(rng, &mut column);
            // A sixth of the series carries all the missing values.
            if rng.chance(1.0 / 6.0) {
                hide_blocks(rng, &mut column, self.missing * 6.0);
            }
            channel.iter_mut().zip(column).for_each(|(cell, value)| *cell = value);
        }
        let id = format!("{}-{index}", FamilyWeights::NAMES.get(family).unwrap_or(&"series"));
        let names = if channels == 1 {
            vec![id.clone()]
        } else {
            (0..channels).map(|channel| format!("{channel}")).collect()
        };
        Series {
            id,
            channels: names,
            values,
            known: 0,
            future: None,
            start: None,
            frequency,
            group: u32::try_from(family).ok(),
        }
    }

    /// `[length, channels]`: a single series, or channels that share latent ones with lags.
    fn channels_of(
        &self,
        rng: &mut Rng,
        family: usize,
        frequency: Frequency,
        length: usize,
        channels: usize,
    ) -> Array2<f32> {
        if channels == 1 {
            let values = self.latent(rng, family, frequency, length);
            return Array2::from_shape_fn((length, 1), |(row, _)| values[row]);
        }
        let longest_lag = (length / 16).max(1);
        let latents: Vec<Vec<f32>> = (0..1 + channels.div_ceil(3).min(8))
            .map(|_| {
                let mut latent = self.latent(rng, family, frequency, length + longest_lag);
                standardize(&mut latent);
                latent
            })
            .collect();
        let mut values = Array2::zeros((length, channels));
        for mut channel in values.columns_mut() {
            for (place, latent) in latents.iter().enumerate() {
                // The first is common to all channels; each hangs on one or two of the others.
                let weight = match place {
                    0 => rng.between(0.3, 1.5) * if rng.chance(0.15) { -1.0 } else { 1.0 },
                    _ if rng.chance(0.4) => 0.7 * rng.normal(),
                    _ => 0.1 * rng.normal(),
                };
                let lag = if rng.chance(0.6) { 0 } else { rng.below(longest_lag) };
                let shifted = latent.iter().skip(longest_lag - lag);
                channel
                    .iter_mut()
                    .zip(shifted)
                    .for_each(|(value, latent)| *value += weight * latent);
            }
            let noise = arma::noise(rng, length);
            let share = rng.log_uniform(0.03, 0.6);
            channel.iter_mut().zip(noise).for_each(|(value, noise)| *value += share * noise);
        }
        values
    }

    /// One series of a family.
    fn latent(
        &self,
        rng: &mut Rng,
        family: usize,
        frequency: Frequency,
        length: usize,
    ) -> Vec<f32> {
        match family {
            1 => {
                let mut values = gp::generate(rng, frequency, length);
                flip(rng, &mut values, 0.0, 0.3);
                values
            }
            2 => {
                let mut values = trend::generate(rng, frequency, length);
                flip(rng, &mut values, 0.15, 0.0);
                values
            }
            3 => arma::generate(rng, length),
            4 => {
                let base = [0, 0, 1, 2, 3][rng.below(5)];
                let mut values = self.latent(rng, base, frequency, length);
                regime::disturb(rng, &mut values);
                values
            }
            5 => intermittent::generate(rng, frequency, length),
            6 => {
                // Mixtures of mixtures would all look alike.
                let weights = FamilyWeights { mixup: 0.0, ..self.families }.weights();
                let parts = 2 + rng.below(2);
                let part = |rng: &mut Rng| {
                    let family = rng.weighted(&weights).min(5);
                    self.latent(rng, family, frequency, length)
                };
                let parts = (0..parts).map(|_| part(rng)).collect();
                mixup::mix(rng, parts)
            }
            _ => {
                let mut values = seasonal::generate(rng, frequency, length);
                flip(rng, &mut values, 0.1, 0.0);
                if rng.chance(0.08) {
                    regime::disturb(rng, &mut values);
                }
                values
            }
        }
    }
}

/// Gives a series a scale and an offset of its own, and sometimes a meter's resolution.
fn finish(rng: &mut Rng, values: &mut [f32]) {
    standardize(values);
    if rng.chance(0.12) {
        regime::round_to(values, rng.log_uniform(0.02, 0.5));
    }
    let scale = rng.log_uniform(0.1, 1000.0);
    let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
    // Most measured things are not negative; temperatures and balances may be.
    let offset = if rng.chance(0.6) && lowest.is_finite() {
        -lowest + if rng.chance(0.3) { 0.0 } else { rng.log_uniform(0.05, 10.0) }
    } else {
        3.0 * rng.normal()
    };
    values.iter_mut().for_each(|value| *value = scale * (*value + offset));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values bit for bit: NaN equals NaN.
    fn bits(series: &Series) -> Vec<u32> {
        series.values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn a_series_is_a_function_of_seed_and_index() {
        let corpus = Corpus::default();
        let (one, two) = (corpus.series(Seed::new(1), 5), corpus.series(Seed::new(1), 5));
        assert_eq!(bits(&one), bits(&two));
        assert_eq!((one.id, one.frequency), (two.id, two.frequency));
        assert_ne!(bits(&corpus.series(Seed::new(1), 6)), bits(&corpus.series(Seed::new(2), 6)));
    }

    #[test]
    fn a_thousand_series_are_sound_and_diverse() {
        let corpus = Corpus { length: 320, ..Corpus::default() };
        let (mut families, mut missing, mut constant) = ([0usize; 7], 0usize, 0usize);
        for index in 0..1000 {
            let series = corpus.series(Seed::new(3), index);
            assert_eq!(series.values.dim(), (320, 1));
            let present: Vec<f32> = series.values.iter().copied().filter(|v| !v.is_nan()).collect();
            assert!(!present.is_empty() && present.iter().all(|v| v.is_finite()), "{}", series.id);
            missing += 320 - present.len();
            constant += usize::from(present.iter().all(|v| *v == present[0]));
            families[series.group.unwrap() as usize] += 1;
        }
        assert!(families.iter().all(|count| *count > 10), "{families:?}");
        let share = missing as f64 / 320_000.0;
        assert!((0.003..0.02).contains(&share), "asked for 0.01, got {share}");
        assert!(constant <= 10, "{constant} constant series teach nothing");
    }

    #[test]
    fn a_series_is_made_in_a_fraction_of_a_millisecond() {
        let corpus = Corpus::default();
        let begin = std::time::Instant::now();
        let rows: usize = (0..400).map(|index| corpus.series(Seed::new(5), index).len()).sum();
        let each = begin.elapsed().as_secs_f64() * 1e6 / 400.0;
        eprintln!("{each:.0} µs a series of 640 rows");
        assert_eq!(rows, 400 * 640);
        // About 60 µs when nothing else runs: a machine that is busy is slower, not this slow.
        assert!(each < 3000.0, "{each:.0} µs");
    }

    #[test]
    fn channels_are_correlated() {
        let corpus = Corpus { channels: 4, missing: 0.0, length: 400, ..Corpus::default() };
        let mut strong = 0;
        for index in 0..50 {
            let series = corpus.series(Seed::new(4), index);
            assert_eq!((series.values.dim(), series.channels.len()), ((400, 4), 4));
            let columns: Vec<Vec<f32>> = series
                .values
                .columns()
                .into_iter()
                .map(|column| {
                    let mut column = column.to_vec();
                    standardize(&mut column);
                    column
                })
                .collect();
            let correlation: f32 =
                columns[0].iter().zip(&columns[1]).map(|(a, b)| a * b).sum::<f32>() / 400.0;
            strong += usize::from(correlation.abs() > 0.3);
        }
        assert!(strong > 15, "{strong} of 50");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| {
            toml::from_str::<Corpus>(text).unwrap().validate().unwrap_err().to_string()
        };
        assert_eq!(message("length = 3"), "`length` is 3, expected 8 to 1000000 rows");
        assert_eq!(message("missing = nan"), "`missing` is NaN, expected a share from 0 to 0.5");
        let text = message("[families]\ngp = -1.0");
        assert_eq!(text, "`families.gp` is -1, expected a weight of 0 or more");
        let zero = Corpus {
            resolutions: ResolutionWeights {
                minutely: 0.0,
                ten_minutely: 0.0,
                quarter_hourly: 0.0,
                half_hourly: 0.0,
                hourly: 0.0,
                daily: 0.0,
                weekly: 0.0,
                monthly: 0.0,
                quarterly: 0.0,
                yearly: 0.0,
                undated: 0.0,
            },
            ..Corpus::default()
        };
        assert!(zero.validate().unwrap_err().to_string().contains("`resolutions` is all zero"));
        let error =
            toml::from_str::<Corpus>("[families]\nseasonnal = 1.0").unwrap_err().to_string();
        assert!(error.contains("seasonnal") && error.contains("seasonal"), "{error}");
        assert!(Corpus::default().validate().is_ok());
    }
}
