//! The models of the comparison. PyTorch's side of each has the same name in `benches/compare/`.

mod bert;
mod gpt2;
mod mae;
mod ttm;
mod wav2vec2;

pub use bert::Bert;
pub use gpt2::Gpt2;
pub use mae::Mae;
pub use ttm::TinyTimeMixer;
pub use wav2vec2::Wav2Vec2;

use crate::{Result, tensors::Tensors};
use burn::{module::Module, tensor::Tensor};
use kiln_core::Backend;
use kiln_nn::{Activation, NormConfig, TransformerConfig};

/// A model with its loss and its answer.
pub trait Model<B: Backend>: Module<B> {
    /// What it learns from.
    type Batch: Clone + Send + Sync + 'static;
    /// What it is asked when it does not learn.
    type Query;

    /// With random weights, of the size that is compared.
    fn new(device: &B::Device) -> Self;

    /// The batch of a file.
    ///
    /// # Errors
    /// When a tensor is missing.
    fn batch(tensors: &Tensors, device: &B::Device) -> Result<Self::Batch>;

    /// The question of a file.
    ///
    /// # Errors
    /// When a tensor is missing.
    fn query(tensors: &Tensors, device: &B::Device) -> Result<Self::Query>;

    /// `[1]`
    fn loss(&self, batch: &Self::Batch) -> Tensor<B, 1>;

    /// `[batch, tokens, width]`
    fn infer(&self, query: &Self::Query) -> Tensor<B, 3>;
}

/// A transformer as all of these models have it, but for what differs.
fn transformer(layers: usize, heads: usize, epsilon: f64) -> TransformerConfig {
    TransformerConfig {
        layers,
        heads,
        activation: Activation::Gelu,
        norm: NormConfig { epsilon, ..NormConfig::default() },
        ..TransformerConfig::default()
    }
}
