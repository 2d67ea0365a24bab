//! Log-mel spectrograms as Whisper takes them, <https://arxiv.org/abs/2212.04356>: Hann windows,
//! power, triangles on Slaney's mel scale, decimal logarithm, eight decades below the loudest at
//! most.

use crate::cmvn::{AugmentContext, CmvnStats, DECADE, Standardise};
use kiln_nn::ConfigError;
use ndarray::Array2;
use realfft::{RealFftPlanner, RealToComplex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// A log-mel spectrogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogMelConfig {
    /// Bands from 0 Hz to half of the sample rate.
    pub bins: usize,
    /// Samples of a window.
    pub window: usize,
    /// Samples from one window to the next.
    pub hop: usize,
    /// Dynamic range, dB: values that are further below the loudest are raised to it, so that silences
    /// are alike whatever the noise of the channel.
    #[serde(skip_serializing_if = "is_whisper_range")]
    pub range: u32,
    /// Cepstral mean and variance normalisation (CMVN) of the bands, against differences of voice and
    /// channel, and the recordings that its statistics are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standardise: Option<Standardise>,
}

/// Whisper's range, dB.
const RANGE: u32 = 80;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_whisper_range(range: &u32) -> bool {
    *range == RANGE
}

impl Default for LogMelConfig {
    /// Whisper's at 16 kHz: 80 bands, 25 ms every 10 ms.
    fn default() -> Self {
        Self { bins: 80, window: 400, hop: 160, range: RANGE, standardise: None }
    }
}

impl LogMelConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// When a size is zero or the window a single sample.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("bins", self.bins)?;
        ConfigError::positive("hop", self.hop)?;
        if self.range == 0 {
            return Err(ConfigError::new("range", 0, "some dB"));
        }
        if self.window < 2 {
            return Err(ConfigError::new("window", self.window, "at least 2"));
        }
        Ok(())
    }

    /// Frames of so many samples.
    pub fn frames(&self, samples: usize) -> usize {
        samples / self.hop.max(1)
    }
}

/// Computes log-mel spectrograms on the host.
#[derive(Clone)]
pub struct LogMel {
    config: LogMelConfig,
    /// Periodic Hann window.
    window: Vec<f32>,
    /// For each band the first frequency that it weighs, and the weights from there on.
    bands: Vec<(usize, Vec<f32>)>,
    /// From the centre of a band to the next, mel.
    step: f64,
    transform: Arc<dyn RealToComplex<f32>>,
}

impl fmt::Debug for LogMel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogMel").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LogMel {
    /// For waves of `sample_rate` Hz.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(config: LogMelConfig, sample_rate: usize) -> Result<Self, ConfigError> {
        config.validate()?;
        let turn = std::f64::consts::TAU / config.window as f64;
        let hann = |at: usize| (0.5 - 0.5 * (turn * at as f64).cos()) as f32;
        Ok(Self {
            config,
            window: (0..config.window).map(hann).collect(),
            bands: bands(config.bins, config.window, sample_rate),
            step: band_step(config.bins, sample_rate),
            transform: RealFftPlanner::new().plan_fft_forward(config.window),
        })
    }

    /// What it was built from.
    pub fn config(&self) -> LogMelConfig {
        self.config
    }

    /// `[frames, bins]` of a wave, see [`LogMelConfig::frames`]. Frame `t` is centred on sample
    /// `t * hop`; the wave is mirrored at its ends.
    pub fn forward(&self, wave: &[f32]) -> Array2<f32> {
        self.forward_as(wave, AugmentContext::default())
    }

    /// The same with augmentation, and normalised by the statistics of its speaker.
    pub fn forward_as(&self, wave: &[f32], augment: AugmentContext<'_>) -> Array2<f32> {
        let AugmentContext { spec_augment, cmvn } = augment;
        let mut mel = self.power(wave);
        let source = |bin: usize, factor: f64| {
            to_mel(to_hertz(self.step * (bin + 1) as f64) / factor) / self.step - 1.0
        };
        if let Some(spec_augment) = spec_augment {
            spec_augment.warp(&mut mel, source);
            spec_augment.filter(&mut mel);
        }
        self.scale(&mut mel);
        match (self.config.standardise, cmvn) {
            (None, _) => {}
            (Some(Standardise::Speaker), Some(cmvn)) => {
                // The mean of the speaker is that of the voice before it was warped.
                let warped = spec_augment.map(|one| cmvn.warped(|mean| one.warp(mean, source)));
                warped.as_ref().unwrap_or(cmvn).normalise_with_gain(&mut mel);
            }
            (Some(_), _) => {
                if let Some(cmvn) = CmvnStats::of(std::slice::from_ref(&mel)) {
                    cmvn.normalise(&mut mel);
                }
            }
        }
        if let Some(spec_augment) = spec_augment {
            spec_augment.mask(&mut mel);
        }
        mel
    }

    /// `[frames, bins]` of a wave without normalisation: what CMVN statistics are measured over.
    pub fn plain(&self, wave: &[f32]) -> Array2<f32> {
        let mut mel = self.power(wave);
        self.scale(&mut mel);
        mel
    }

    /// Limits the dynamic range, and scales as Whisper does: the loudest becomes about one.
    fn scale(&self, mel: &mut Array2<f32>) {
        let loudest = mel.iter().copied().fold(f32::MIN, f32::max);
        let softest = loudest - self.config.range as f32 / 10.0;
        mel.mapv_inplace(|value| (value.max(softest) + 4.0) * DECADE);
    }

    /// The decimal logarithm of the power of each band.
    fn power(&self, wave: &[f32]) -> Array2<f32> {
        let LogMelConfig { bins, window, hop, .. } = self.config;
        let frames = self.config.frames(wave.len());
        let mut mel = Array2::zeros((frames, bins));
        let mut time = self.transform.make_input_vec();
        let mut spectrum = self.transform.make_output_vec();
        let mut scratch = self.transform.make_scratch_vec();
        let mut power = vec![0.0_f32; spectrum.len()];
        for (frame, mut row) in mel.outer_iter_mut().enumerate() {
            let start = (frame * hop) as isize - (window / 2) as isize;
            for (at, (sample, weight)) in time.iter_mut().zip(&self.window).enumerate() {
                *sample = wave[mirrored(start + at as isize, wave.len())] * weight;
            }
            let done = self.transform.process_with_scratch(&mut time, &mut spectrum, &mut scratch);
            debug_assert!(done.is_ok(), "buffers are the transform's own");
            for (power, value) in power.iter_mut().zip(&spectrum) {
                *power = value.norm_sqr();
            }
            for (out, (first, weights)) in row.iter_mut().zip(&self.bands) {
                let weighted = power.iter().skip(*first).zip(weights);
                let energy: f32 = weighted.map(|(power, weight)| power * weight).sum();
                *out = energy.max(1e-10).log10();
            }
        }
        mel
    }
}

/// The index in `0..length` that a mirror at either end (the end itself once) leads to.
fn mirrored(at: isize, length: usize) -> usize {
    let period = 2 * (length.max(1) as isize - 1);
    if period == 0 {
        return 0;
    }
    let at = at.rem_euclid(period);
    at.min(period - at) as usize
}

/// From the centre of a band to the next, mel.
fn band_step(bins: usize, sample_rate: usize) -> f64 {
    to_mel(sample_rate as f64 / 2.0) / (bins + 1) as f64
}

/// Triangles of equal area whose corners are evenly spaced on the mel scale.
fn bands(bins: usize, window: usize, sample_rate: usize) -> Vec<(usize, Vec<f32>)> {
    let step = band_step(bins, sample_rate);
    let corner = |at: usize| to_hertz(step * at as f64);
    let frequencies = window / 2 + 1;
    let frequency = |at: usize| at as f64 * sample_rate as f64 / window as f64;
    let band = |bin: usize| {
        let (low, centre, high) = (corner(bin), corner(bin + 1), corner(bin + 2));
        let weight = |at: usize| {
            let rising = (frequency(at) - low) / (centre - low);
            let falling = (high - frequency(at)) / (high - centre);
            rising.min(falling).max(0.0) * 2.0 / (high - low)
        };
        let inside = |at: &usize| weight(*at) > 0.0;
        let first = (0..frequencies).find(inside).unwrap_or(0);
        let weights = (first..frequencies).take_while(inside).map(|at| weight(at) as f32);
        (first, weights.collect())
    };
    (0..bins).map(band).collect()
}

/// Slaney's scale is linear up to here, with three mel to 200 Hz, and logarithmic beyond.
const KNEE: f64 = 1000.0;
/// Mel to a factor of 6.4.
const OCTAVES: f64 = 27.0;

fn to_mel(hertz: f64) -> f64 {
    let knee = 3.0 * KNEE / 200.0;
    if hertz < KNEE {
        3.0 * hertz / 200.0
    } else {
        knee + (hertz / KNEE).ln() * OCTAVES / 6.4_f64.ln()
    }
}

fn to_hertz(mel: f64) -> f64 {
    let knee = 3.0 * KNEE / 200.0;
    if mel < knee {
        200.0 * mel / 3.0
    } else {
        KNEE * ((mel - knee) * 6.4_f64.ln() / OCTAVES).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec_augment::SpecAugment;

    /// 0.2 s at 16 kHz.
    fn tone(hertz: f32) -> Vec<f32> {
        let turn = std::f32::consts::TAU * hertz / 16_000.0;
        (0..3200).map(|at| (turn * at as f32).sin()).collect()
    }

    /// The loudest band in the middle of a tone.
    fn loudest(found: &Array2<f32>) -> usize {
        let row = found.row(10);
        (0..80).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap()
    }

    #[test]
    fn a_tone_is_loudest_in_its_band() {
        let mel = LogMel::new(LogMelConfig::default(), 16_000).unwrap();
        for hertz in [300.0, 1000.0, 3500.0] {
            let found = mel.forward(&tone(hertz));
            assert_eq!(found.dim(), (20, 80));
            let step = to_mel(8000.0) / 81.0;
            let centre = to_hertz(step * (loudest(&found) + 1) as f64);
            assert!((centre - f64::from(hertz)).abs() < 0.05 * f64::from(hertz) + 25.0, "{centre}");
            // Nothing lies more than eight decades (two of these units) below the loudest.
            let (least, most) = found.iter().fold((f32::MAX, f32::MIN), |(least, most), value| {
                (least.min(*value), most.max(*value))
            });
            assert!((most - least - 2.0).abs() < 1e-4);
        }
    }

    #[test]
    fn a_warped_tone_is_that_of_a_higher_voice() {
        let mel = LogMel::new(LogMelConfig::default(), 16_000).unwrap();
        let higher = SpecAugment { warp: 1.25, gains: Vec::new(), masks: Vec::new() };
        let augment = AugmentContext { spec_augment: Some(&higher), cmvn: None };
        for hertz in [400.0, 1600.0, 3000.0] {
            let found = loudest(&mel.forward_as(&tone(hertz), augment));
            let expected = loudest(&mel.forward(&tone(1.25 * hertz)));
            assert!(found.abs_diff(expected) <= 1, "{hertz}: {found} is not {expected}");
        }
    }

    #[test]
    fn any_length_is_taken() {
        let mel = LogMel::new(LogMelConfig::default(), 16_000).unwrap();
        for (samples, frames) in [(0, 0), (1, 0), (159, 0), (160, 1), (161, 1), (480, 3)] {
            let found = mel.forward(&vec![0.25; samples]);
            assert_eq!(found.dim(), (frames, 80), "{samples}");
            assert!(found.iter().all(|value| value.is_finite()));
        }
        assert_eq!([-2, -1, 0, 2, 3, 4, 5].map(|at| mirrored(at, 3)), [2, 1, 0, 2, 1, 0, 1]);
    }

    #[test]
    fn mistakes_name_the_key() {
        let config = LogMelConfig { hop: 0, ..Default::default() };
        assert_eq!(LogMel::new(config, 16_000).unwrap_err().key, "hop");
    }
}
