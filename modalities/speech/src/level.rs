//! What is taken off a spectrogram as voice and line, so that words of other people sound alike:
//! cepstral mean normalisation (Atal, 1974), in bands.

use crate::distortion::SpecAugment;
use ndarray::{Array2, ArrayView1, Axis, concatenate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ten decibels in a spectrogram as models take it.
pub(crate) const DECADE: f32 = 0.25;

/// Over what the means of bands, which are taken off, and their common deviation, which is divided
/// by, are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standardise {
    /// Over the recording itself. A single word loses with it what is the same in all of it.
    Recording,
    /// Over recordings of the same speaker, up to a minute of them, where it is known who speaks,
    /// and over the recording itself where not. The loudness of the recording is taken off, too.
    Speaker,
}

/// What is the same in all that a speaker says, measured where something is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct CmvnStats {
    /// `[1, bins]`, the mean of each band.
    mean: Array2<f32>,
    /// Of all bands together, around their means.
    deviation: f32,
}

impl CmvnStats {
    /// Of spectrograms, `[frames, bins]` each; none of no frames.
    pub fn of(spectrograms: &[Array2<f32>]) -> Option<Self> {
        let heard: Vec<_> = spectrograms.iter().map(heard).collect();
        let views: Vec<_> = heard.iter().map(|one| one.view()).collect();
        let all = concatenate(Axis(0), &views).ok()?;
        let mean = all.mean_axis(Axis(0))?.insert_axis(Axis(0));
        let deviation = (all - &mean).std(0.0);
        Some(Self { mean, deviation })
    }

    /// With its mean, `[1, bins]`, changed.
    pub(crate) fn bent(&self, change: impl FnOnce(&mut Array2<f32>)) -> Self {
        let mut level = self.clone();
        change(&mut level.mean);
        level
    }

    /// Takes it off a spectrogram.
    pub(crate) fn normalise(&self, mel: &mut Array2<f32>) {
        *mel -= &self.mean;
        let deviation = self.deviation();
        mel.mapv_inplace(|value| value / deviation);
    }

    /// Takes it off a spectrogram, and how much louder than it that is.
    pub(crate) fn normalise_with_loudness(&self, mel: &mut Array2<f32>) {
        let mean = |mel: &Array2<f32>| mel.mean().unwrap_or(0.0);
        let louder = mean(&heard(mel)) - mean(&self.mean);
        *mel -= louder;
        self.normalise(mel);
    }

    fn deviation(&self) -> f32 {
        // Silence alone has nothing to be told apart by.
        self.deviation.max(1e-3)
    }
}

/// The frames of a spectrogram, `[frames, bins]`, in which something is heard: a band within 25 dB
/// of the loudest.
fn heard(mel: &Array2<f32>) -> Array2<f32> {
    let loudest = mel.iter().copied().fold(f32::MIN, f32::max);
    let is_heard =
        |row: ArrayView1<'_, f32>| row.iter().any(|value| *value > loudest - 2.5 * DECADE);
    let rows: Vec<usize> = (0..mel.nrows()).filter(|row| is_heard(mel.row(*row))).collect();
    mel.select(Axis(0), &rows)
}

/// How a model hears a recording beside its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AugmentContext<'a> {
    /// What is done to the spectrogram in training.
    pub distortion: Option<&'a SpecAugment>,
    /// That of the speaker, see [`Standardise::Speaker`].
    pub level: Option<&'a CmvnStats>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_mel::LogMel;
    use crate::log_mel::LogMelConfig;

    /// Noise that is always heard, of a colour of its own, behind a filter.
    fn through_a_line(seed: usize, line: f32) -> Vec<f32> {
        let mut last = 0.0;
        (0..8000)
            .map(|at| {
                let noise = ((at * at + 31 * seed * at) % 977) as f32 / 977.0 - 0.5;
                last = line * last + (1.0 - line) * noise;
                last * (1.0 + 0.5 * (at as f32 / (900.0 + 100.0 * seed as f32)).sin())
            })
            .collect()
    }

    #[test]
    fn speakers_lose_their_line_and_words_keep_their_colour() {
        let config = |standardise| LogMelConfig { bins: 8, standardise, ..Default::default() };
        let mel = LogMel::new(config(Some(Standardise::Speaker)), 16_000).unwrap();
        let heard = |line: f32| {
            let words: Vec<_> = (0..4).map(|seed| through_a_line(seed, line)).collect();
            let plain: Vec<_> = words.iter().map(|word| mel.plain(word)).collect();
            let level = CmvnStats::of(&plain).unwrap();
            mel.forward_as(&words[0], AugmentContext { level: Some(&level), distortion: None })
        };
        let (near, far) = (heard(0.1), heard(0.5));
        let mean = |mel: &Array2<f32>| mel.mean_axis(Axis(0)).unwrap();
        let error = (&near - &far).mapv(f32::abs).mean().unwrap();
        let spread = near.std(0.0);
        assert!(error < 0.15 * spread, "{error} of {spread}");
        // Of the recording alone nothing of its own colour is left.
        let alone = LogMel::new(config(Some(Standardise::Recording)), 16_000).unwrap();
        let alone = alone.forward(&through_a_line(0, 0.1));
        assert!(mean(&alone).std(0.0) < 0.5 * mean(&near).std(0.0));
        // Nobody is known to speak.
        assert_eq!(mel.forward(&through_a_line(0, 0.1)), alone);
    }

    #[test]
    fn silences_sound_alike() {
        let config = LogMelConfig { bins: 8, range: 40, ..Default::default() };
        let mel = LogMel::new(config, 16_000).unwrap();
        let with = |silence: f32| {
            let mut wave = through_a_line(0, 0.1);
            wave.iter_mut().skip(4000).for_each(|sample| *sample *= silence);
            mel.forward(&wave)
        };
        let (still, silent) = (with(1e-4), with(0.0));
        // Behind the windows that still hear the end of the noise.
        for frame in 27..50 {
            assert_eq!(still.row(frame), silent.row(frame));
            assert!(silent.row(frame).iter().all(|value| *value == silent[[frame, 0]]));
        }
        assert!(still.iter().all(|value| *value >= silent[[40, 0]]));
        assert_eq!(LogMelConfig { range: 0, ..config }.validate().unwrap_err().key, "range");
        assert_eq!(CmvnStats::of(&[]), None);
    }

    #[test]
    fn standardised_bands_forget_the_line() {
        let config = LogMelConfig {
            bins: 8,
            standardise: Some(Standardise::Recording),
            ..LogMelConfig::default()
        };
        let mel = LogMel::new(config, 16_000).unwrap();
        let wave = through_a_line(0, 0.3);
        let found = mel.forward(&wave);
        for band in found.axis_iter(Axis(1)) {
            assert!(band.mean().unwrap().abs() < 1e-4);
        }
        assert!((found.std(0.0) - 1.0).abs() < 1e-3);
        let softer = mel.forward(&wave.iter().map(|sample| sample * 0.5).collect::<Vec<_>>());
        assert!(found.iter().zip(&softer).all(|(a, b)| (a - b).abs() < 1e-3));
        assert!(mel.forward(&[0.0; 1600]).iter().all(|value| value.is_finite()));
    }
}
