//! Cepstral mean and variance normalisation (CMVN; Atal, 1974), in the bands of a log-mel spectrogram:
//! the mean of each band, which is that of the voice and the channel, is subtracted, and the deviation
//! of all bands divided by.

use crate::spec_augment::SpecAugment;
use ndarray::{Array2, ArrayView1, Axis, concatenate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// 10 dB in a scaled log-mel spectrogram.
pub(crate) const DECADE: f32 = 0.25;

/// The recordings whose statistics CMVN uses: the mean of each band, and the common deviation of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standardise {
    /// Those of the recording itself. A single word loses what is the same in all of it.
    Recording,
    /// Those of recordings of the same speaker, up to a minute of them, where the speaker is known,
    /// and of the recording itself where not. The gain of the recording is normalised, too.
    Speaker,
}

/// CMVN statistics of a speaker or a recording, measured over the frames that are not silent.
#[derive(Clone, Debug, PartialEq)]
pub struct CmvnStats {
    /// `[1, bins]`, the mean of each band.
    mean: Array2<f32>,
    /// The standard deviation of all bands together, around their means.
    deviation: f32,
}

impl CmvnStats {
    /// The statistics of spectrograms, `[frames, bins]` each; `None` without frames.
    pub fn of(spectrograms: &[Array2<f32>]) -> Option<Self> {
        let active: Vec<_> = spectrograms.iter().map(active_frames).collect();
        let views: Vec<_> = active.iter().map(|one| one.view()).collect();
        let all = concatenate(Axis(0), &views).ok()?;
        let mean = all.mean_axis(Axis(0))?.insert_axis(Axis(0));
        let deviation = (all - &mean).std(0.0);
        Some(Self { mean, deviation })
    }

    /// The same with `warp` applied to the mean, `[1, bins]`.
    pub(crate) fn warped(&self, warp: impl FnOnce(&mut Array2<f32>)) -> Self {
        let mut stats = self.clone();
        warp(&mut stats.mean);
        stats
    }

    /// Normalises a spectrogram, `[frames, bins]`.
    pub(crate) fn normalise(&self, mel: &mut Array2<f32>) {
        *mel -= &self.mean;
        let deviation = self.deviation();
        mel.mapv_inplace(|value| value / deviation);
    }

    /// Normalises a spectrogram, `[frames, bins]`, after its gain was brought to that of the
    /// statistics.
    pub(crate) fn normalise_with_gain(&self, mel: &mut Array2<f32>) {
        let mean = |mel: &Array2<f32>| mel.mean().unwrap_or(0.0);
        let gain = mean(&active_frames(mel)) - mean(&self.mean);
        *mel -= gain;
        self.normalise(mel);
    }

    fn deviation(&self) -> f32 {
        // Digital silence has a deviation of zero.
        self.deviation.max(1e-3)
    }
}

/// Energy-based voice activity detection: the frames of a spectrogram, `[frames, bins]`, that have a
/// band within 25 dB of the loudest.
fn active_frames(mel: &Array2<f32>) -> Array2<f32> {
    let loudest = mel.iter().copied().fold(f32::MIN, f32::max);
    let is_active =
        |row: ArrayView1<'_, f32>| row.iter().any(|value| *value > loudest - 2.5 * DECADE);
    let rows: Vec<usize> = (0..mel.nrows()).filter(|row| is_active(mel.row(*row))).collect();
    mel.select(Axis(0), &rows)
}

/// What the log-mel frontend is given beside the samples of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AugmentContext<'a> {
    /// The augmentation of the spectrogram, in training.
    pub spec_augment: Option<&'a SpecAugment>,
    /// The statistics of the speaker, see [`Standardise::Speaker`].
    pub cmvn: Option<&'a CmvnStats>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_mel::{LogMel, LogMelConfig};

    /// Coloured noise that is never silent, through the filter of a channel.
    fn through_a_channel(seed: usize, channel: f32) -> Vec<f32> {
        let mut last = 0.0;
        (0..8000)
            .map(|at| {
                let noise = ((at * at + 31 * seed * at) % 977) as f32 / 977.0 - 0.5;
                last = channel * last + (1.0 - channel) * noise;
                last * (1.0 + 0.5 * (at as f32 / (900.0 + 100.0 * seed as f32)).sin())
            })
            .collect()
    }

    #[test]
    fn speakers_lose_their_channel_and_words_keep_their_colour() {
        let config = |standardise| LogMelConfig { bins: 8, standardise, ..Default::default() };
        let mel = LogMel::new(config(Some(Standardise::Speaker)), 16_000).unwrap();
        let normalised = |channel: f32| {
            let words: Vec<_> = (0..4).map(|seed| through_a_channel(seed, channel)).collect();
            let plain: Vec<_> = words.iter().map(|word| mel.plain(word)).collect();
            let cmvn = CmvnStats::of(&plain).unwrap();
            mel.forward_as(&words[0], AugmentContext { cmvn: Some(&cmvn), spec_augment: None })
        };
        let (near, far) = (normalised(0.1), normalised(0.5));
        let mean = |mel: &Array2<f32>| mel.mean_axis(Axis(0)).unwrap();
        let error = (&near - &far).mapv(f32::abs).mean().unwrap();
        let spread = near.std(0.0);
        assert!(error < 0.15 * spread, "{error} of {spread}");
        // With the statistics of the recording alone nothing of its own colour is left.
        let alone = LogMel::new(config(Some(Standardise::Recording)), 16_000).unwrap();
        let alone = alone.forward(&through_a_channel(0, 0.1));
        assert!(mean(&alone).std(0.0) < 0.5 * mean(&near).std(0.0));
        // The speaker is not known.
        assert_eq!(mel.forward(&through_a_channel(0, 0.1)), alone);
    }

    #[test]
    fn silences_are_raised_to_the_same_floor() {
        let config = LogMelConfig { bins: 8, range: 40, ..Default::default() };
        let mel = LogMel::new(config, 16_000).unwrap();
        let with = |silence: f32| {
            let mut wave = through_a_channel(0, 0.1);
            wave.iter_mut().skip(4000).for_each(|sample| *sample *= silence);
            mel.forward(&wave)
        };
        let (still, silent) = (with(1e-4), with(0.0));
        // After the windows that still overlap the noise.
        for frame in 27..50 {
            assert_eq!(still.row(frame), silent.row(frame));
            assert!(silent.row(frame).iter().all(|value| *value == silent[[frame, 0]]));
        }
        assert!(still.iter().all(|value| *value >= silent[[40, 0]]));
        assert_eq!(LogMelConfig { range: 0, ..config }.validate().unwrap_err().key, "range");
        assert_eq!(CmvnStats::of(&[]), None);
    }

    #[test]
    fn normalised_bands_lose_channel_and_gain() {
        let config = LogMelConfig {
            bins: 8,
            standardise: Some(Standardise::Recording),
            ..LogMelConfig::default()
        };
        let mel = LogMel::new(config, 16_000).unwrap();
        let wave = through_a_channel(0, 0.3);
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
