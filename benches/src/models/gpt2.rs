//! GPT-2 of small width with 6 layers,
//! <https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf>.

use super::{Model, transformer};
use crate::{Result, cross_entropy::tied_cross_entropy, tensors::Tensors};
use burn::{
    module::Module,
    tensor::{Int, Tensor},
};
use kiln_core::{Backend, Tokens};
use kiln_nn::{Activation, Embedding, EmbeddingConfig, Transformer, TransformerConfig};

const VOCABULARY: usize = 50_257;
const TOKENS: usize = 1024;
const WIDTH: usize = 768;

/// GPT-2.
#[derive(Module, Debug)]
pub struct Gpt2<B: Backend> {
    word: Embedding<B>,
    position: Embedding<B>,
    decoder: Transformer<B>,
}

/// Text and what follows each of its words.
#[derive(Debug, Clone)]
pub struct Text<B: Backend> {
    /// `[batch, tokens]`
    ids: Tensor<B, 2, Int>,
    /// `[batch * tokens]`
    labels: Tensor<B, 1, Int>,
}

impl<B: Backend> Model<B> for Gpt2<B> {
    type Batch = Text<B>;
    type Query = Tensor<B, 2, Int>;

    fn new(device: &B::Device) -> Self {
        let decoder = TransformerConfig {
            final_norm: true,
            activation: Activation::GeluTanh,
            ..transformer(6, 12, 1e-5)
        };
        Self {
            word: EmbeddingConfig::new(VOCABULARY, WIDTH).init(device),
            position: EmbeddingConfig::new(TOKENS, WIDTH).init(device),
            decoder: decoder.init(WIDTH, device),
        }
    }

    fn batch(tensors: &Tensors, device: &B::Device) -> Result<Self::Batch> {
        Ok(Text { ids: tensors.ints("ids", device)?, labels: tensors.ints("labels", device)? })
    }

    fn query(tensors: &Tensors, device: &B::Device) -> Result<Self::Query> {
        tensors.ints("ids", device)
    }

    fn loss(&self, batch: &Self::Batch) -> Tensor<B, 1> {
        let x = self.decode(&batch.ids);
        let [texts, tokens, width] = x.dims();
        let x = x.reshape([texts * tokens, width]);
        tied_cross_entropy(x, &self.word, None, batch.labels.clone())
    }

    /// The logits of the next word.
    fn infer(&self, ids: &Self::Query) -> Tensor<B, 3> {
        let x = self.decode(ids);
        let [texts, tokens, width] = x.dims();
        self.word.logits(x.narrow(1, tokens - 1, 1).reshape([texts, width]), None).unsqueeze_dim(1)
    }
}

impl<B: Backend> Gpt2<B> {
    fn decode(&self, ids: &Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [_, tokens] = ids.dims();
        let x = self.word.forward(ids.clone()) + self.position.first(tokens);
        self.decoder.forward(Tokens::new(x), true).values
    }
}
