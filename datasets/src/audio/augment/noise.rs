//! Noise at a given ratio of signal to noise.

use super::{amplitude, range, share};
use crate::{DataError, Result, audio::Waveform, draw::Draw as _};
use kiln_host::Rng;
use realfft::{RealFftPlanner, num_complex::Complex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Additive noise behind speech.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Noise {
    /// How often, 0 to 1.
    pub probability: f64,
    /// Lowest and highest ratio of signal to noise, dB: the mean power of the clip to that of the
    /// noise.
    pub snr: [f32; 2],
    /// Kinds, one of which is drawn, recordings being one more where there are any.
    pub kinds: Vec<NoiseKind>,
    /// Recordings of noise.
    pub files: Vec<PathBuf>,
}

/// Kind of noise that needs no recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseKind {
    /// The same power at all frequencies: electronics.
    White,
    /// The same power in each octave: ventilation, rain.
    Pink,
    /// Falling by 6 dB an octave: engines, wind.
    Brown,
    /// Several other clips at once: people behind.
    Babble,
}

impl NoiseKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::White, Self::Pink, Self::Brown, Self::Babble];
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            probability: 0.6,
            snr: [5.0, 30.0],
            kinds: vec![NoiseKind::White, NoiseKind::Pink, NoiseKind::Brown],
            files: Vec::new(),
        }
    }
}

impl Noise {
    pub(super) fn validate(&self) -> Result<()> {
        share("noise.probability", self.probability)?;
        range("noise.snr", self.snr, -40.0, 100.0)?;
        if self.kinds.is_empty() && self.files.is_empty() {
            return Err(DataError::config("noise.kinds", "empty", "a kind of noise, or files"));
        }
        Ok(())
    }

    pub(super) fn apply(
        &self,
        waveform: &mut Waveform,
        files: &[Waveform],
        voices: &[Waveform],
        rng: &mut Rng,
    ) {
        let length = waveform.samples.len();
        let snr = rng.between(self.snr[0], self.snr[1]);
        let kind = rng.below(self.kinds.len() + usize::from(!files.is_empty()));
        let noise = match self.kinds.get(kind) {
            Some(NoiseKind::White) => coloured(rng, length, 0.0),
            Some(NoiseKind::Pink) => coloured(rng, length, 1.0),
            Some(NoiseKind::Brown) => coloured(rng, length, 2.0),
            Some(NoiseKind::Babble) => babble(rng, length, voices),
            None => cut(rng, length, files),
        };
        add_at(waveform, noise, snr);
    }
}

/// Adds noise so that the power of what was there is `snr` dB above it. Silence stays silence.
fn add_at(waveform: &mut Waveform, noise: Vec<f32>, snr: f32) {
    let noise = Waveform::new(noise, waveform.rate);
    let (signal, power) = (waveform.power(), noise.power());
    if power <= 0.0 {
        return;
    }
    let scale = (signal / power).sqrt() as f32 * amplitude(-snr);
    waveform.samples.iter_mut().zip(noise.samples).for_each(|(s, noise)| *s += scale * noise);
}

/// Normal noise whose power falls with the frequency to this exponent; from 20 Hz at 16 kHz up.
fn coloured(rng: &mut Rng, length: usize, exponent: f32) -> Vec<f32> {
    if exponent == 0.0 {
        return (0..length).map(|_| rng.normal()).collect();
    }
    let size = length.max(2).next_power_of_two();
    let lowest = (size / 800).max(1);
    let mut spectrum: Vec<Complex<f32>> = (0..=size / 2)
        .map(|bin| match bin {
            bin if bin < lowest => Complex::default(),
            bin => {
                let level = (bin as f32).powf(-exponent / 2.0);
                Complex::new(level * rng.normal(), level * rng.normal())
            }
        })
        .collect();
    // The two ends of a real signal's spectrum are real.
    if let Some(last) = spectrum.last_mut() {
        last.im = 0.0;
    }
    let mut samples = vec![0.0; size];
    let inverse = RealFftPlanner::new().plan_fft_inverse(size);
    if inverse.process(&mut spectrum, &mut samples).is_err() {
        samples.fill(0.0);
    }
    samples.truncate(length);
    samples
}

/// Three to eight voices at once, each from a place of its own.
fn babble(rng: &mut Rng, length: usize, voices: &[Waveform]) -> Vec<f32> {
    let mut sum = vec![0.0; length];
    for _ in 0..3 + rng.below(6) {
        let voice = cut(rng, length, voices);
        let level = rng.between(0.4, 1.0);
        sum.iter_mut().zip(voice).for_each(|(sum, sample)| *sum += level * sample);
    }
    sum
}

/// A stretch of one of the recordings, from anywhere on, and from its begin again at its end.
fn cut(rng: &mut Rng, length: usize, recordings: &[Waveform]) -> Vec<f32> {
    let Some(recording) = recordings.get(rng.below(recordings.len())) else {
        return vec![0.0; length];
    };
    let begin = rng.below(recording.samples.len());
    recording.samples.iter().copied().cycle().skip(begin).take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tests::sine;
    use kiln_host::Seed;

    #[test]
    fn the_ratio_is_the_one_asked_for() {
        let voices = [sine(200.0, 0.2, 16_000, 900), sine(310.0, 0.7, 16_000, 2_000)];
        for kind in NoiseKind::ALL {
            for snr in [-5.0, 10.0, 30.0] {
                let noise = Noise { snr: [snr; 2], kinds: vec![kind], ..Noise::default() };
                let clean = sine(440.0, 0.3, 16_000, 16_000);
                let mut noisy = clean.clone();
                noise.apply(&mut noisy, &[], &voices, &mut Seed::new(3).rng());
                let added = noisy.samples.iter().zip(&clean.samples).map(|(a, b)| a - b).collect();
                let ratio = clean.power() / Waveform::new(added, 16_000).power();
                let measured = 10.0 * ratio.log10();
                assert!((measured - f64::from(snr)).abs() < 0.05, "{kind:?}: {measured} for {snr}");
            }
        }
    }

    #[test]
    fn colours_fall_as_they_should() {
        let octave = |samples: &[f32], low: f32| {
            let wave = Waveform::new(samples.to_vec(), 16_000);
            let bins = (0..200).map(|n| wave.amplitude_at(low * (1.0 + n as f32 / 200.0)).powi(2));
            bins.sum::<f32>() / 200.0
        };
        for (exponent, expected) in [(0.0, 0.0), (1.0, 3.01), (2.0, 6.02)] {
            let samples = coloured(&mut Seed::new(5).rng(), 65_536, exponent);
            let fall = octave(&samples, 500.0) / octave(&samples, 4000.0);
            let decibels = 10.0 * fall.log10() / 3.0;
            assert!((decibels - expected).abs() < 0.8, "{decibels} dB an octave for {expected}");
        }
        assert!(coloured(&mut Seed::new(5).rng(), 0, 1.0).is_empty());
    }

    #[test]
    fn files_are_cut_and_repeated() {
        let files = [Waveform::new(vec![1.0, 2.0, 3.0], 8000)];
        let samples = cut(&mut Seed::new(1).rng(), 7, &files);
        assert!(samples.windows(2).all(|w| w[1] == w[0] % 3.0 + 1.0), "{samples:?}");
    }
}
