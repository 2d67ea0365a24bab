//! A speech model, put together by its configuration.

use crate::{
    batch::{Labels, SpeechBatch},
    config::{CtcReduction, SpeechModelConfig},
    frontend::{Features, Frontend, Mask},
    quantizer::Quantizer,
};
use burn::{
    module::Module,
    tensor::{Bool, Int, Tensor, TensorData},
};
use kiln_core::{Backend, Tokens};
use kiln_kernels::ctc_loss;
use kiln_nn::{
    ConfigError, Dropout, Linear, LinearConfig, Transformer,
    adapt::{Adapt, Walk},
};

/// A speech model.
#[derive(Module, Debug)]
pub struct SpeechModel<B: Backend> {
    /// From sound to tokens.
    pub frontend: Frontend<B>,
    /// From tokens to tokens.
    pub backbone: Transformer<B>,
    /// From tokens to scores of the vocabulary.
    pub ctc: Option<Linear<B>>,
    /// From the frontend's features to codes.
    pub quantizer: Option<Quantizer<B>>,
    /// From tokens to what they stand for.
    pub token_head: Option<Linear<B>>,
    ctc_dropout: Dropout,
    #[module(skip)]
    config: SpeechModelConfig,
}

/// What a model makes of a batch before any head.
#[derive(Clone, Debug)]
pub struct Encoded<B: Backend> {
    /// What the frontend's stem made, nothing masked.
    pub features: Features<B>,
    /// `[batch, frames, width]`, the backbone's output.
    pub tokens: Tokens<B>,
}

impl<B: Backend> SpeechModel<B> {
    /// A model with random weights.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(config: SpeechModelConfig, device: &B::Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let (width, norm) = (config.width, config.backbone.norm);
        let linear = |outputs| LinearConfig::new(width, outputs).init(device);
        let channels = config.frontend.stem.channels();
        Ok(Self {
            frontend: config.frontend.init(width, norm, !config.backbone.pre_norm, device),
            backbone: config.backbone.init(width, device),
            ctc: config.ctc.map(|ctc| linear(ctc.vocabulary)),
            quantizer: config.quantizer.map(|quantizer| quantizer.init(channels, width, device)),
            token_head: config.token_outputs().map(linear),
            ctc_dropout: Dropout::new(config.ctc.map_or(0.0, |ctc| ctc.dropout)),
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &SpeechModelConfig {
        &self.config
    }

    /// How many frames come of so many samples.
    pub fn frames(&self, samples: usize) -> usize {
        self.config.frames(samples)
    }

    /// The block of a parameter, counted from the input, and the number of blocks; `None` outside
    /// blocks.
    pub fn layer_index(&self, parameter: &str) -> Option<(usize, usize)> {
        self.config.layer_index(parameter)
    }

    /// Frames of each clip that are no padding.
    pub fn lengths(&self, batch: &SpeechBatch<B>) -> Vec<usize> {
        batch.samples.iter().map(|samples| self.frames(*samples)).collect()
    }

    /// Frontend and backbone, nothing masked.
    pub fn encode_all(&self, batch: &SpeechBatch<B>) -> Encoded<B> {
        self.encode_masked(batch, Mask::none(), false)
    }

    /// Frontend and backbone; with `causal`, a frame sees only itself and those before it, but for
    /// what convolutions see.
    pub fn encode_masked(&self, batch: &SpeechBatch<B>, mask: Mask<B>, causal: bool) -> Encoded<B> {
        let (features, tokens) = self.embed(batch, mask);
        let causal = causal || self.config.causal;
        Encoded { features, tokens: self.backbone.forward(tokens, causal) }
    }

    /// Frontend alone: its features, and tokens with the mask in them.
    pub(crate) fn embed(&self, batch: &SpeechBatch<B>, mask: Mask<B>) -> (Features<B>, Tokens<B>) {
        let made = self.frontend.features(batch.input.clone());
        let [_, frames, _] = made.normed.dims();
        let mask_pad = self.mask_pad(batch, frames);
        let values = self.frontend.tokens(made.normed.clone(), mask, mask_pad.clone());
        (made, Tokens { values, mask_pad, channels: 1 })
    }

    /// `[batch, frames]`, true where a frame is padding; `None` where none is.
    fn mask_pad(&self, batch: &SpeechBatch<B>, frames: usize) -> Option<Tensor<B, 2, Bool>> {
        let lengths = self.lengths(batch);
        if lengths.iter().all(|length| *length >= frames) {
            return None;
        }
        let row = |length: &usize| (0..frames).map(move |at| at >= *length).collect::<Vec<_>>();
        let mask: Vec<bool> = lengths.iter().flat_map(row).collect();
        let mask = TensorData::new(mask, [lengths.len(), frames]);
        Some(Tensor::from_data(mask, &batch.input.device()))
    }

    /// Scores of the vocabulary, `[batch, frames, vocabulary]`, before any softmax; `None` without a
    /// CTC head.
    pub fn logits(&self, batch: &SpeechBatch<B>) -> Option<Tensor<B, 3>> {
        self.logits_of(self.encode_all(batch).tokens.values)
    }

    /// The same of tokens, `[batch, frames, width]`.
    pub(crate) fn logits_of(&self, tokens: Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        self.ctc.as_ref().map(|ctc| ctc.forward(self.ctc_dropout.forward(tokens)))
    }

    /// The CTC loss of a batch by the configuration's reduction, `[1]`, for logits
    /// `[batch, frames, vocabulary]`: with [`CtcReduction::Sum`] the mean over clips of their
    /// losses. `None` without a CTC head.
    pub fn ctc_loss(
        &self,
        logits: Tensor<B, 3>,
        labels: &Labels<B>,
        lengths: &[usize],
    ) -> Option<Tensor<B, 1>> {
        let ctc = self.config.ctc.as_ref()?;
        let [_, frames, _] = logits.dims();
        let device = logits.device();
        let whole = |values: Vec<i64>| {
            let count = values.len();
            Tensor::<B, 1, Int>::from_data(TensorData::new(values, [count]), &device)
        };
        let frame_counts = lengths.iter().map(|length| *length.min(&frames) as i64).collect();
        let label_counts: Vec<i64> = labels.counts.iter().map(|count| *count as i64).collect();
        let losses = ctc_loss(
            logits,
            labels.ids.clone(),
            whole(frame_counts),
            whole(label_counts.clone()),
            ctc.blank,
            ctc.zero_infinity,
        );
        Some(match ctc.reduction {
            CtcReduction::Sum => losses.mean(),
            CtcReduction::Mean => (losses / whole(label_counts).clamp_min(1).float()).mean(),
        })
    }
}

impl<B: Backend> Adapt<B> for SpeechModel<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("backbone", &mut self.backbone);
    }
}
