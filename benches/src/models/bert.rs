//! BERT of base width with 6 layers, <https://arxiv.org/abs/1810.04805>, on masked words alone.
//!
//! Logits are computed where words are masked; sentences, of which there is one, have no types.

use super::{Model, transformer};
use crate::{Result, cross_entropy::tied_cross_entropy, tensors::Tensors};
use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor},
};
use kiln_core::{Backend, Tokens};
use kiln_nn::{
    Activation, Embedding, EmbeddingConfig, Linear, LinearConfig, Norm, NormConfig, Transformer,
    TransformerConfig,
};

const VOCABULARY: usize = 30_522;
const TOKENS: usize = 512;
const WIDTH: usize = 768;
const EPSILON: f64 = 1e-12;

/// BERT with its masked-word head.
#[derive(Module, Debug)]
pub struct Bert<B: Backend> {
    word: Embedding<B>,
    position: Embedding<B>,
    norm: Norm<B>,
    encoder: Transformer<B>,
    head: Linear<B>,
    head_norm: Norm<B>,
    /// `[vocabulary]`
    decoder_bias: Param<Tensor<B, 1>>,
}

/// Sentences of which some words are masked.
#[derive(Debug, Clone)]
pub struct MaskedWords<B: Backend> {
    /// `[batch, tokens]`
    ids: Tensor<B, 2, Int>,
    /// `[masked]`, rows among all tokens of the batch.
    masked: Tensor<B, 1, Int>,
    /// `[masked]`, the words there.
    labels: Tensor<B, 1, Int>,
}

impl<B: Backend> Model<B> for Bert<B> {
    type Batch = MaskedWords<B>;
    type Query = Tensor<B, 2, Int>;

    fn new(device: &B::Device) -> Self {
        let norm = NormConfig { epsilon: EPSILON, ..NormConfig::default() };
        let encoder = TransformerConfig { pre_norm: false, ..transformer(6, 12, EPSILON) };
        Self {
            word: EmbeddingConfig::new(VOCABULARY, WIDTH).init(device),
            position: EmbeddingConfig::new(TOKENS, WIDTH).init(device),
            norm: norm.init(WIDTH, device),
            encoder: encoder.init(WIDTH, device),
            head: LinearConfig::new(WIDTH, WIDTH).init(device),
            head_norm: norm.init(WIDTH, device),
            decoder_bias: Initializer::Zeros.init([VOCABULARY], device),
        }
    }

    fn batch(tensors: &Tensors, device: &B::Device) -> Result<Self::Batch> {
        Ok(MaskedWords {
            ids: tensors.ints("ids", device)?,
            masked: tensors.ints("masked", device)?,
            labels: tensors.ints("labels", device)?,
        })
    }

    fn query(tensors: &Tensors, device: &B::Device) -> Result<Self::Query> {
        tensors.ints("ids", device)
    }

    fn loss(&self, batch: &Self::Batch) -> Tensor<B, 1> {
        let x = self.infer(&batch.ids);
        let [sentences, tokens, width] = x.dims();
        let x = x.reshape([sentences * tokens, width]).select(0, batch.masked.clone());
        let x = self.head_norm.forward(Activation::Gelu.forward(self.head.forward(x)));
        tied_cross_entropy(x, &self.word, Some(self.decoder_bias.val()), batch.labels.clone())
    }

    /// All words encoded.
    fn infer(&self, ids: &Self::Query) -> Tensor<B, 3> {
        let [_, tokens] = ids.dims();
        let x = self.word.forward(ids.clone()) + self.position.first(tokens);
        self.encoder.forward(Tokens::new(self.norm.forward(x)), false).values
    }
}
