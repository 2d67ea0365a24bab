//! An image in front of a language model's tokens.

use super::{A, step, train};
use crate::{Grpo, ObjectiveSpec as _, Reward};
use burn::{
    module::Module,
    tensor::{Int, Tensor, TensorData, activation::softmax},
};
use kiln_core::{
    AttentionVisibility, Backend, Capabilities, Completions, Corruption, Encode, HostBatch, Lack,
    Language, Layout, Model, PredictTokens, Seed, TokenTargets, Tokens,
};
use kiln_nn::{Linear, LinearConfig};
use rand::RngExt as _;

/// A language model that sees an image in front of its tokens: the logits of the next token are those
/// of the image, whatever stands before it.
#[derive(Module, Debug)]
struct Captioner<B: Backend> {
    head: Linear<B>,
}

/// Images `[batch, width]`, and the captions, `[batch, tokens]`, whose first token is the prompt.
#[derive(Clone)]
struct Captions<B: Backend> {
    images: Tensor<B, 2>,
    ids: Tensor<B, 2, Int>,
}

impl<B: Backend> HostBatch for Captions<B> {
    fn layout(&self) -> Layout {
        let [rows, tokens] = self.ids.dims();
        let loss_mask = (0..rows * tokens).map(|at| at % tokens > 0).collect();
        Layout { loss_mask: Some(loss_mask), ..Layout::new(rows, tokens) }
    }

    fn token_ids(&self) -> Vec<Vec<u32>> {
        let [_, tokens] = self.ids.dims();
        let ids: Vec<u32> = self.ids.to_data().iter::<i64>().map(|id| id as u32).collect();
        ids.chunks(tokens).map(<[u32]>::to_vec).collect()
    }
}

impl<B: Backend> Model<B> for Captioner<B> {
    type Batch = Captions<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.ids.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        let (encode, language) = (Some(self as _), Some(self as _));
        let predict_tokens = Some(self as _);
        Capabilities { encode, predict_tokens, language, ..Capabilities::none() }
    }
}

impl<B: Backend> Encode<B, Captions<B>> for Captioner<B> {
    fn encode(
        &self,
        batch: &Captions<B>,
        _: &Corruption<B>,
        _: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let [_, tokens] = batch.ids.dims();
        Tokens::new(batch.images.clone().unsqueeze_dim::<3>(1).repeat_dim(1, tokens))
    }
}

impl<B: Backend> PredictTokens<B, Captions<B>> for Captioner<B> {
    fn targets(&self, batch: &Captions<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Ids { ids: batch.ids.clone() }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.head.forward(hidden)
    }
}

impl<B: Backend> Language<B, Captions<B>> for Captioner<B> {
    fn sample_completions(
        &self,
        batch: &Captions<B>,
        num_generations: usize,
        max_new_tokens: usize,
        seed: Seed,
    ) -> Result<Option<Completions<Captions<B>>>, Lack> {
        let mut rng = seed.rng();
        let [rows, width] = batch.images.dims();
        let [_, vocabulary] = self.head.weight.dims();
        // The images go along with their prompts.
        let images = batch.images.clone().unsqueeze_dim::<3>(1).repeat_dim(1, num_generations);
        let images = images.reshape([rows * num_generations, width]);
        let logits = self.head.forward(images.clone()).detach();
        let shares: Vec<f32> = softmax(logits, 1).into_data().iter::<f32>().collect();
        let mut draw = |shares: &[f32]| {
            let mut left: f32 = rng.random();
            let drawn = shares.iter().position(|share| {
                left -= share;
                left < 0.0
            });
            drawn.unwrap_or(0) as u32
        };
        let each = shares.chunks(vocabulary);
        let sampled: Vec<Vec<u32>> =
            each.map(|shares| (0..max_new_tokens).map(|_| draw(shares)).collect()).collect();
        let prompts = batch.token_ids();
        let row = |(at, completion): (usize, &Vec<u32>)| {
            [&prompts[at / num_generations][..1], completion].concat()
        };
        let ids: Vec<u32> = sampled.iter().enumerate().flat_map(row).collect();
        let ids = TensorData::new(ids, [rows * num_generations, 1 + max_new_tokens]);
        let ids = Tensor::from_data(ids.convert::<i64>(), &batch.ids.device());
        let references = prompts.iter().map(|ids| ids[1..].to_vec()).collect();
        let batch = Captions { images, ids };
        Ok(Some(Completions { layout: batch.layout(), batch, sampled, references }))
    }

    fn with_ids(&self, batch: &Captions<B>, ids: Tensor<B, 2, Int>) -> Captions<B> {
        Captions { ids, images: batch.images.clone() }
    }
}

#[test]
fn images_in_a_language_model_survive_sampling() {
    let device = Default::default();
    // Of two images one is of 1, the other of 2; captions say which, after the prompt 0.
    let batch = Captions::<A> {
        images: Tensor::from_floats([[1.0, 0.0], [0.0, 1.0]], &device),
        ids: Tensor::from_ints([[0, 1], [0, 2]], &device),
    };
    let grpo = Grpo { reward: Reward::Exact, max_new_tokens: 1, ..Grpo::default() };
    let loss = |model: &Captioner<A>, seed| {
        step(seed, |context| grpo.loss(model, None, &batch, context)).unwrap()
    };
    let model = Captioner::<A> { head: LinearConfig::new(2, 3).init(&device) };
    let (model, _) = train(model, 0.05, 150, loss);
    let mean =
        (0..20).map(|seed| loss(&model, 1000 + seed).value.into_scalar()).sum::<f32>() / 20.0;
    assert!(mean < -0.9, "a reward of {}: each completion saw its own image", -mean);
}
