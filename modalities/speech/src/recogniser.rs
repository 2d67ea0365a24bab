//! A trained model with its vocabulary, free of backends: from waves to log-probabilities.

use crate::{
    SpeechModel, SpeechModelConfig,
    batch::{Clip, Collator},
    vocabulary::Vocabulary,
};
use burn::tensor::activation::log_softmax;
use kiln_core::{AutodiffBackend, Backend};
use kiln_train::{
    dispatch::{self, OnBackend},
    recipe::Device,
    task::TaskError,
};
use ndarray::Array2;
use std::{path::Path, sync::Arc};

/// Recordings that pass a model at once, of all of them together: their padded length in s.
const SECONDS: f64 = 60.0;

/// Acoustic model: log-probabilities of tokens for each frame, whatever the backend.
pub trait Acoustics: Send + Sync {
    /// Log-probabilities of each clip, `[frames, vocabulary]`. Waves are at the model's rate.
    ///
    /// # Errors
    /// When the device fails.
    fn log_probs(&self, clips: &[Clip<'_>]) -> Result<Vec<Array2<f32>>, TaskError>;
}

/// A trained model with its vocabulary.
pub struct Recogniser {
    /// The model.
    pub acoustics: Box<dyn Acoustics>,
    /// Its configuration.
    pub config: SpeechModelConfig,
    /// Its tokens.
    pub vocabulary: Arc<Vocabulary>,
}

impl Recogniser {
    /// Opens a model directory.
    ///
    /// # Errors
    /// When it cannot be read, was not trained to transcribe, or the device is not there.
    pub fn open(dir: &Path, device: Device) -> Result<Self, TaskError> {
        let config = kiln_hub::family::read_config::<SpeechModelConfig>(dir)?;
        let Some(ctc) = &config.ctc else {
            return Err(format!(
                "{} was pretrained only: it has no head that transcribes. Fine-tune it with the \
                 objective `supervised` first",
                dir.display()
            )
            .into());
        };
        let vocabulary = Vocabulary::read(dir, None)?.fit(ctc.vocabulary)?;
        let acoustics = dispatch::on(device, Open(dir))??;
        Ok(Self { acoustics, config, vocabulary: Arc::new(vocabulary) })
    }

    /// The distance between frames, s.
    pub fn stride(&self) -> f64 {
        self.config.frontend.stem.stride() as f64 / self.config.audio.sample_rate as f64
    }

    /// Log-probabilities of many clips: those of similar length together, `each` is called with
    /// the number of clips done.
    ///
    /// # Errors
    /// When the device fails.
    pub fn log_probs(
        &self,
        clips: &[Clip<'_>],
        mut each: impl FnMut(usize),
    ) -> Result<Vec<Array2<f32>>, TaskError> {
        let mut order: Vec<usize> = (0..clips.len()).collect();
        order.sort_by_key(|at| clips[*at].wave.len());
        let mut found = vec![Array2::zeros((0, 0)); clips.len()];
        let samples = (SECONDS * self.config.audio.sample_rate as f64) as usize;
        let mut rest = &order[..];
        while !rest.is_empty() {
            // Sorted: the last of a batch is its longest.
            let fits = |count: &usize| count * clips[rest[count - 1]].wave.len() <= samples;
            let count = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
            let (batch, after) = rest.split_at(count);
            let together: Vec<Clip<'_>> = batch.iter().map(|at| clips[*at]).collect();
            for (at, log_probs) in batch.iter().zip(self.acoustics.log_probs(&together)?) {
                found[*at] = log_probs;
            }
            each(count);
            rest = after;
        }
        Ok(found)
    }
}

/// A model on a backend.
struct OnDevice<B: Backend> {
    model: SpeechModel<B>,
    collator: Collator,
    device: B::Device,
}

struct Open<'a>(&'a Path);

impl OnBackend for Open<'_> {
    type Output = Result<Box<dyn Acoustics>, TaskError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let model = SpeechModel::<B::InnerBackend>::load(self.0, &device)?;
        let collator = Collator::new(model.config())?;
        Ok(Box::new(OnDevice { model, collator, device }))
    }
}

impl<B: Backend> Acoustics for OnDevice<B> {
    fn log_probs(&self, clips: &[Clip<'_>]) -> Result<Vec<Array2<f32>>, TaskError> {
        let batch = self.collator.collate(clips)?.upload::<B>(&self.device);
        let waves: Vec<&[f32]> = clips.iter().map(|clip| clip.wave).collect();
        log_probs(&self.model, &batch, &waves)
    }
}

/// Log-probabilities of a batch, a matrix a wave, without the frames of padding.
///
/// # Errors
/// When the model has no head that transcribes, or the device fails.
pub(crate) fn log_probs<B: Backend>(
    model: &SpeechModel<B>,
    batch: &crate::SpeechBatch<B>,
    waves: &[&[f32]],
) -> Result<Vec<Array2<f32>>, TaskError> {
    let logits = model.logits(batch).ok_or("the model has no head that transcribes")?;
    let [_, frames, classes] = logits.dims();
    let data = log_softmax(logits, 2).try_into_data().map_err(|error| error.to_string())?;
    let values = data.convert::<f32>().into_vec::<f32>().map_err(|error| format!("{error:?}"))?;
    let rows = values.chunks_exact((frames * classes).max(1)).zip(waves);
    rows.map(|(row, wave)| {
        let count = model.frames(wave.len()).min(frames);
        Ok(Array2::from_shape_vec((count, classes), row[..count * classes].to_vec())?)
    })
    .collect()
}
