//! A Tiny Time Mixer of about a million weights, <https://arxiv.org/abs/2401.03955>: the preset
//! `tiny-time-mixer-1m` of kiln-timeseries without dropout.

use super::Model;
use crate::{Result, tensors::Tensors};
use burn::{module::Module, tensor::Tensor};
use kiln_core::{Backend, Tokens};
use kiln_nn::{BackboneShape, Linear, LinearConfig, Mixer, MixerConfig};

const CONTEXT: usize = 512;
const PATCH: usize = 64;
const COUNT: usize = CONTEXT / PATCH;
const WIDTH: usize = 192;
const DECODER_WIDTH: usize = 128;
const HORIZON: usize = 96;

/// A Tiny Time Mixer.
#[derive(Module, Debug)]
pub struct TinyTimeMixer<B: Backend> {
    patch: Linear<B>,
    encoder: Mixer<B>,
    adapter: Linear<B>,
    decoder: Mixer<B>,
    head: Linear<B>,
}

/// Windows of multivariate series.
#[derive(Debug, Clone)]
pub struct Windows<B: Backend> {
    /// `[batch, context, channels]`
    past: Tensor<B, 3>,
    /// `[batch, horizon, channels]`
    future: Tensor<B, 3>,
}

impl<B: Backend> Model<B> for TinyTimeMixer<B> {
    type Batch = Windows<B>;
    type Query = Tensor<B, 3>;

    fn new(device: &B::Device) -> Self {
        let shape = |width| BackboneShape { width, tokens: COUNT, channels: 1 };
        let mixer = MixerConfig { layers: 2, ..MixerConfig::default() };
        let encoder = MixerConfig { adaptive_levels: 3, ..mixer.clone() };
        Self {
            patch: LinearConfig::new(PATCH, WIDTH).init(device),
            encoder: encoder.init(shape(WIDTH), device),
            adapter: LinearConfig::new(WIDTH, DECODER_WIDTH).init(device),
            decoder: mixer.init(shape(DECODER_WIDTH), device),
            head: LinearConfig::new(COUNT * DECODER_WIDTH, HORIZON).init(device),
        }
    }

    fn batch(tensors: &Tensors, device: &B::Device) -> Result<Self::Batch> {
        Ok(Windows {
            past: tensors.floats("past", device)?,
            future: tensors.floats("future", device)?,
        })
    }

    fn query(tensors: &Tensors, device: &B::Device) -> Result<Self::Query> {
        tensors.floats("past", device)
    }

    fn loss(&self, batch: &Self::Batch) -> Tensor<B, 1> {
        self.infer(&batch.past).sub(batch.future.clone()).square().mean()
    }

    /// The forecast, `[batch, horizon, channels]`.
    fn infer(&self, past: &Self::Query) -> Tensor<B, 3> {
        let [batch, context, channels] = past.dims();
        let mean = past.clone().mean_dim(1);
        let centred = past.clone() - mean.clone();
        let scale = centred.clone().square().mean_dim(1).add_scalar(1e-5).sqrt();
        let series = (centred / scale.clone()).swap_dims(1, 2);
        let x = self.patch.forward(series.reshape([batch * channels, context / PATCH, PATCH]));
        let tokens = self.encoder.forward(Tokens { values: x, mask_pad: None, channels });
        let x = self.adapter.forward(tokens.values.clone());
        let x = self.decoder.forward(tokens.with_values(x)).values;
        let x = self.head.forward(x.reshape([batch, channels, COUNT * DECODER_WIDTH]));
        x.swap_dims(1, 2) * scale + mean
    }
}
