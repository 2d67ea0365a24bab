//! Batches of speech: on the host, where they are put together, and on the device.

use crate::{
    cmvn::AugmentContext,
    config::{SpeechModelConfig, TokenHeadConfig},
    frontend::{HostMask, Input, Mask, StemConfig},
    log_mel::LogMel,
};
use burn::tensor::{BasicOps, Element, Int, Tensor, TensorData};
use kiln_core::{Backend, HostBatch, Layout};
use kiln_nn::ConfigError;
use ndarray::{Array2, Array3, ArrayViewMut1, Axis, s};

/// One recording, ready to be put into a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip<'a> {
    /// At the model's sample rate, one channel.
    pub wave: &'a [f32],
    /// What was said, as ids of the CTC head's vocabulary.
    pub labels: Option<&'a [u32]>,
    /// An id for each frame, for a head that predicts units; the last is repeated where there are
    /// too few.
    pub units: Option<&'a [u32]>,
    /// Augmentation and normalisation of its spectrogram.
    pub augment: AugmentContext<'a>,
}

impl<'a> Clip<'a> {
    /// Of a wave about which nothing else is known.
    pub fn of(wave: &'a [f32]) -> Self {
        Self { wave, ..Self::default() }
    }
}

/// A batch on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpeechHostBatch {
    /// `[batch, samples]`, normalised, zeros after each wave; no samples where the model takes
    /// spectrograms.
    pub waves: Array2<f32>,
    /// `[batch, frames, bins]`, where the model takes spectrograms.
    pub log_mel: Option<Array3<f32>>,
    /// `[batch]`, samples that are no padding.
    pub samples: Vec<usize>,
    /// Its layout in frames of the model.
    pub layout: Layout,
    /// What was said.
    pub labels: Option<HostLabels>,
    /// `[batch, frames]`, the unit of each frame.
    pub units: Option<Array2<i64>>,
    /// `[batch, frames, values]`, what a head predicts that predicts spectrograms.
    pub spectrogram: Option<Array3<f32>>,
    /// SpecAugment behind the frontend, in training.
    pub mask: HostMask,
}

/// Labels of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLabels {
    /// `[batch, most]`, zeros after each; room for one at least.
    pub ids: Array2<i64>,
    /// `[batch]`, how many there are.
    pub counts: Vec<usize>,
}

/// Puts clips together as a model takes them.
#[derive(Clone, Debug)]
pub struct Collator {
    config: SpeechModelConfig,
    input: Option<LogMel>,
    target: Option<LogMel>,
}

impl Collator {
    /// For models of this configuration.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn new(config: &SpeechModelConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let rate = config.audio.sample_rate;
        let input = match &config.frontend.stem {
            StemConfig::LogMel(stem) => Some(LogMel::new(stem.spectrogram, rate)?),
            StemConfig::Wave(_) => None,
        };
        let target = match &config.token {
            Some(TokenHeadConfig::LogMel(spectrogram)) => Some(LogMel::new(*spectrogram, rate)?),
            Some(TokenHeadConfig::Units(_) | TokenHeadConfig::Teacher) | None => None,
        };
        Ok(Self { config: config.clone(), input, target })
    }

    /// A batch of these clips.
    ///
    /// # Errors
    /// When there are none, only some have labels or units, or an id is not of the vocabulary.
    pub fn collate(&self, clips: &[Clip<'_>]) -> Result<SpeechHostBatch, BatchError> {
        if clips.is_empty() {
            return Err(BatchError::Empty);
        }
        let stem = &self.config.frontend.stem;
        let longest = clips.iter().map(|clip| clip.wave.len()).max().unwrap_or(0);
        // Convolutions need something to stand on, however short the clips.
        let longest = longest.max(stem.receptive_field());
        let audio = &self.config.audio;
        let samples: Vec<usize> = clips
            .iter()
            .map(|clip| if audio.padding_mask { clip.wave.len() } else { longest })
            .collect();
        let (waves, log_mel) = match &self.input {
            Some(mel) => (Array2::zeros((clips.len(), 0)), Some(spectrograms(mel, clips, longest))),
            None => {
                let mut waves = padded(clips, longest);
                if audio.normalise {
                    normalise_rows(&mut waves, &samples);
                }
                (waves, None)
            }
        };
        let frames = stem.frames(longest);
        Ok(SpeechHostBatch {
            waves,
            log_mel,
            layout: Layout {
                lengths: Some(samples.iter().map(|samples| stem.frames(*samples)).collect()),
                ..Layout::new(clips.len(), frames)
            },
            samples,
            mask: HostMask::default(),
            labels: self.labels(clips)?,
            units: self.units(clips, frames)?,
            spectrogram: self.target.as_ref().map(|mel| {
                let ratio = stem.stride() / mel.config().hop.max(1);
                let plain: Vec<_> = clips
                    .iter()
                    .map(|clip| Clip { augment: AugmentContext::default(), ..*clip })
                    .collect();
                stacked(spectrograms(mel, &plain, longest), frames, ratio.max(1))
            }),
        })
    }

    fn labels(&self, clips: &[Clip<'_>]) -> Result<Option<HostLabels>, BatchError> {
        let Some(ctc) = &self.config.ctc else { return Ok(None) };
        let Some(rows) = all(clips, "labels", |clip| clip.labels)? else { return Ok(None) };
        let most = rows.iter().map(|row| row.len()).max().unwrap_or(0).max(1);
        let mut ids = Array2::zeros((rows.len(), most));
        for (clip, (row, mut out)) in rows.iter().zip(ids.outer_iter_mut()).enumerate() {
            for (label, out) in row.iter().zip(&mut out) {
                if *label as usize >= ctc.vocabulary || *label as usize == ctc.blank {
                    let expected =
                        format!("below {} and not the blank {}", ctc.vocabulary, ctc.blank);
                    return Err(BatchError::Id { what: "label", clip, found: *label, expected });
                }
                *out = i64::from(*label);
            }
        }
        Ok(Some(HostLabels { ids, counts: rows.iter().map(|row| row.len()).collect() }))
    }

    fn units(&self, clips: &[Clip<'_>], frames: usize) -> Result<Option<Array2<i64>>, BatchError> {
        let Some(TokenHeadConfig::Units(count)) = self.config.token else { return Ok(None) };
        let Some(rows) = all(clips, "units", |clip| clip.units)? else { return Ok(None) };
        let mut units = Array2::zeros((rows.len(), frames));
        for (clip, (row, mut out)) in rows.iter().zip(units.outer_iter_mut()).enumerate() {
            if let Some(&found) = row.iter().find(|unit| **unit as usize >= count) {
                let expected = format!("below {count}");
                return Err(BatchError::Id { what: "unit", clip, found, expected });
            }
            let last = row.last().into_iter().cycle();
            for (unit, out) in row.iter().chain(last).zip(&mut out) {
                *out = i64::from(*unit);
            }
        }
        Ok(Some(units))
    }
}

/// A part of every clip, of none, or an error where only some have it.
fn all<'a>(
    clips: &[Clip<'a>],
    what: &'static str,
    part: impl Fn(&Clip<'a>) -> Option<&'a [u32]>,
) -> Result<Option<Vec<&'a [u32]>>, BatchError> {
    let rows: Vec<_> = clips.iter().filter_map(part).collect();
    match rows.len() {
        0 => Ok(None),
        found if found == clips.len() => Ok(Some(rows)),
        found => Err(BatchError::Some { what, found, clips: clips.len() }),
    }
}

/// `[batch, longest]`, zeros after each wave.
fn padded(clips: &[Clip<'_>], longest: usize) -> Array2<f32> {
    let mut waves = Array2::zeros((clips.len(), longest));
    for (clip, mut row) in clips.iter().zip(waves.outer_iter_mut()) {
        for (to, from) in row.iter_mut().zip(clip.wave) {
            *to = *from;
        }
    }
    waves
}

/// Gives the first `samples` of each row, `[batch, samples]`, a mean of zero and a variance of one,
/// as models of the wav2vec 2.0 family take them; what follows stays zero.
pub fn normalise_rows(waves: &mut Array2<f32>, samples: &[usize]) {
    for (mut row, &count) in waves.outer_iter_mut().zip(samples) {
        let count = count.min(row.len());
        normalise(row.slice_mut(s![..count]));
    }
}

/// A wave, `[samples]`, with a mean of zero and a variance of one.
pub fn normalise(mut wave: ArrayViewMut1<'_, f32>) {
    let count = wave.len().max(1) as f64;
    let mean = wave.iter().map(|sample| f64::from(*sample)).sum::<f64>() / count;
    let square = |sample: &f32| (f64::from(*sample) - mean).powi(2);
    let variance = wave.iter().map(square).sum::<f64>() / count;
    let scale = 1.0 / (variance + 1e-7).sqrt();
    wave.mapv_inplace(|sample| ((f64::from(sample) - mean) * scale) as f32);
}

/// `[batch, frames, bins]`, each clip by itself, zeros after it.
fn spectrograms(mel: &LogMel, clips: &[Clip<'_>], longest: usize) -> Array3<f32> {
    let config = mel.config();
    let mut batch = Array3::zeros((clips.len(), config.frames(longest).max(1), config.bins));
    for (clip, mut rows) in clips.iter().zip(batch.outer_iter_mut()) {
        let found = mel.forward_as(clip.wave, clip.augment);
        rows.slice_mut(s![..found.nrows(), ..]).assign(&found);
    }
    batch
}

/// The spectrogram of a clip as a model's frames see it, `[frames, values]`: that of the samples
/// between a frame and the next, one window after the other. What units are clustered from.
pub fn frame_spectrogram(mel: &LogMel, stem: &StemConfig, clip: Clip<'_>) -> Array2<f32> {
    let ratio = (stem.stride() / mel.config().hop.max(1)).max(1);
    let found = spectrograms(mel, &[clip], clip.wave.len());
    stacked(found, stem.frames(clip.wave.len()), ratio).index_axis_move(Axis(0), 0)
}

/// Lays `ratio` frames of a spectrogram side by side for each frame of the model:
/// `[batch, frames, ratio * bins]`. The last is repeated where there are too few.
fn stacked(mel: Array3<f32>, frames: usize, ratio: usize) -> Array3<f32> {
    let (batch, found, bins) = mel.dim();
    Array3::from_shape_fn((batch, frames, ratio * bins), |(item, frame, value)| {
        let at = (frame * ratio + value / bins).min(found - 1);
        mel[[item, at, value % bins]]
    })
}

/// A batch on the device.
#[derive(Clone, Debug)]
pub struct SpeechBatch<B: Backend> {
    /// Sound as the model's frontend takes it.
    pub input: Input<B>,
    /// `[batch]`, samples that are no padding.
    pub samples: Vec<usize>,
    /// What was said.
    pub labels: Option<Labels<B>>,
    /// `[batch, frames]`, the unit of each frame.
    pub units: Option<Tensor<B, 2, Int>>,
    /// `[batch, frames, values]`
    pub spectrogram: Option<Tensor<B, 3>>,
    /// SpecAugment behind the frontend, in training.
    pub mask: Mask<B>,
}

/// Labels of a batch.
#[derive(Clone, Debug)]
pub struct Labels<B: Backend> {
    /// `[batch, most]`
    pub ids: Tensor<B, 2, Int>,
    /// `[batch]`, how many there are.
    pub counts: Vec<usize>,
}

impl<B: Backend> SpeechBatch<B> {
    /// Normalised waves, `[batch, samples]`, zeros after the first `samples` of each.
    pub fn new(waves: Tensor<B, 2>, samples: Vec<usize>) -> Self {
        Self {
            input: Input::Wave(waves),
            samples,
            labels: None,
            units: None,
            spectrogram: None,
            mask: Mask::none(),
        }
    }
}

impl HostBatch for SpeechHostBatch {
    fn layout(&self) -> Layout {
        self.layout.clone()
    }
}

impl SpeechHostBatch {
    /// Clips in the batch.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Copies the batch to a device.
    pub fn upload<B: Backend>(&self, device: &B::Device) -> SpeechBatch<B> {
        let input = match &self.log_mel {
            Some(mel) => Input::LogMel(upload3(mel, device)),
            None => Input::Wave(upload2(&self.waves, device)),
        };
        SpeechBatch {
            input,
            samples: self.samples.clone(),
            labels: self.labels.as_ref().map(|labels| Labels {
                ids: upload2(&labels.ids, device),
                counts: labels.counts.clone(),
            }),
            units: self.units.as_ref().map(|units| upload2(units, device)),
            spectrogram: self.spectrogram.as_ref().map(|values| upload3(values, device)),
            mask: self.mask.upload(device),
        }
    }
}

fn upload3<B: Backend>(values: &Array3<f32>, device: &B::Device) -> Tensor<B, 3> {
    let (a, b, c) = values.dim();
    let values = values.iter().copied().collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(values, [a, b, c]), device)
}

fn upload2<B: Backend, E: Element, K: BasicOps<B>>(
    values: &Array2<E>,
    device: &B::Device,
) -> Tensor<B, 2, K> {
    let (rows, columns) = values.dim();
    let values = values.iter().copied().collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// Clips that make no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// There are none.
    #[error("a batch needs at least one clip")]
    Empty,
    /// Some clips have what others lack.
    #[error("{found} of {clips} clips have {what}; expected all or none")]
    Some {
        /// Of what: `labels`, `units`.
        what: &'static str,
        /// Clips that have it.
        found: usize,
        /// Clips.
        clips: usize,
    },
    /// An id that the model does not know.
    #[error("clip {clip} has the {what} {found}; expected {expected}")]
    Id {
        /// Of what: `label`, `unit`.
        what: &'static str,
        /// The clip's number in the batch.
        clip: usize,
        /// The id.
        found: u32,
        /// What would do.
        expected: String,
    },
}

#[cfg(test)]
mod tests;
