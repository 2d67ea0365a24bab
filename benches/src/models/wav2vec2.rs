//! The encoder of wav2vec 2.0 base, with all 12 layers or 4 of them, <https://arxiv.org/abs/2006.11477>.
//!
//! The loss is the mean square of what comes out: it is the encoder that is compared, not an
//! objective. The weights of the positional convolution stand for themselves, where the paper's
//! code normalises them.

use super::{Model, transformer};
use crate::{Result, tensors::Tensors};
use burn::{module::Module, tensor::Tensor};
use kiln_core::{Backend, Tokens};
use kiln_nn::{
    Activation, Conv1d, Conv1dConfig, Linear, LinearConfig, Norm, NormConfig, Transformer,
    TransformerConfig, WaveEncoder, WaveEncoderConfig,
};

const WIDTH: usize = 768;
const KERNEL: usize = 128;

/// The encoder of wav2vec 2.0.
#[derive(Module, Debug)]
pub struct Wav2Vec2<B: Backend, const LAYERS: usize> {
    wave: WaveEncoder<B>,
    wave_norm: Norm<B>,
    projection: Linear<B>,
    position: Conv1d<B>,
    norm: Norm<B>,
    encoder: Transformer<B>,
}

impl<B: Backend, const LAYERS: usize> Model<B> for Wav2Vec2<B, LAYERS> {
    /// Samples at 16 kHz, `[batch, samples]`.
    type Batch = Tensor<B, 2>;
    type Query = Tensor<B, 2>;

    fn new(device: &B::Device) -> Self {
        let wave = WaveEncoderConfig::default();
        let position = Conv1dConfig::new(WIDTH, WIDTH, KERNEL);
        let position = Conv1dConfig { padding: KERNEL / 2, groups: 16, ..position };
        let encoder = TransformerConfig { pre_norm: false, ..transformer(LAYERS, 12, 1e-5) };
        Self {
            wave: wave.init(device),
            wave_norm: NormConfig::default().init(wave.width(), device),
            projection: LinearConfig::new(wave.width(), WIDTH).init(device),
            position: position.init(device),
            norm: NormConfig::default().init(WIDTH, device),
            encoder: encoder.init(WIDTH, device),
        }
    }

    fn batch(tensors: &Tensors, device: &B::Device) -> Result<Self::Batch> {
        tensors.floats("samples", device)
    }

    fn query(tensors: &Tensors, device: &B::Device) -> Result<Self::Query> {
        tensors.floats("samples", device)
    }

    fn loss(&self, samples: &Self::Batch) -> Tensor<B, 1> {
        self.infer(samples).square().mean()
    }

    /// All frames encoded.
    fn infer(&self, samples: &Self::Query) -> Tensor<B, 3> {
        let x = self.wave_norm.forward(self.wave.forward(samples.clone()));
        let x = self.projection.forward(x);
        let [_, frames, _] = x.dims();
        // An even kernel padded on both sides gives a frame too many.
        let place = self.position.forward(x.clone()).narrow(1, 0, frames);
        let x = self.norm.forward(x + Activation::Gelu.forward(place));
        self.encoder.forward(Tokens::new(x), false).values
    }
}
