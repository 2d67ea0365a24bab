//! Heads: language model, pooler and tasks.

use crate::{
    attention_pooling::AttentionPooling,
    config::{LanguageHeadConfig, PoolerConfig, Pooling, TaskHeadConfig, TaskKind},
};
use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor},
};
use kiln_core::{Backend, Tokens};
use kiln_kernels::{
    CrossEntropyOptions, activate, gather_tokens, linear, linear_cross_entropy, linear_tied,
};
use kiln_nn::{
    Activation, Dropout, Embedding, Linear, LinearConfig, Norm, NormConfig, TransformerConfig,
};

/// Language-model head: logits of the vocabulary, tied to the embedding or not.
#[derive(Module, Debug)]
pub struct LanguageHead<B: Backend> {
    /// Transform before the output layer.
    pub dense: Option<Linear<B>>,
    /// Norm after the transform.
    pub norm: Option<Norm<B>>,
    /// Output bias, `[vocabulary]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// Output vectors where the head is not tied, `[vocabulary, width]`.
    pub output: Option<Embedding<B>>,
    #[module(skip)]
    config: LanguageHeadConfig,
}

impl<B: Backend> LanguageHead<B> {
    pub(crate) fn new(
        config: LanguageHeadConfig,
        [vocabulary, width]: [usize; 2],
        norm: NormConfig,
        device: &B::Device,
    ) -> Self {
        let dense = LinearConfig::new(width, width).with_bias(config.transform_bias);
        Self {
            dense: config.transform.map(|_| dense.init(device)),
            norm: config.transform.map(|_| norm.init(width, device)),
            bias: config.bias.then(|| Initializer::Zeros.init([vocabulary], device)),
            output: (!config.tied)
                .then(|| kiln_nn::EmbeddingConfig::new(vocabulary, width).init(device)),
            config,
        }
    }

    /// `[.., width]` to `[rows, width]`, ready for products with the vectors of the ids.
    fn features<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, 2> {
        let width = x.dims()[D - 1];
        let rows = x.shape().num_elements() / width.max(1);
        let mut x = x.reshape([rows, width]);
        if let (Some(dense), Some(activation)) = (&self.dense, self.config.transform) {
            x = dense_activated(dense, x, activation);
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(x);
        }
        if self.config.scale == 1.0 { x } else { x.mul_scalar(self.config.scale) }
    }

    fn vectors(&self, words: &Embedding<B>) -> Tensor<B, 2> {
        self.output.as_ref().unwrap_or(words).weight.val()
    }

    /// Logits: `[batch, tokens, width]` to `[batch, tokens, vocabulary]`; `words` is the token
    /// embedding.
    pub fn forward(&self, x: Tensor<B, 3>, words: &Embedding<B>) -> Tensor<B, 3> {
        let [batch, tokens, _] = x.dims();
        let bias = self.bias.as_ref().map(Param::val);
        let scores = linear_tied(self.features(x), self.vectors(words), bias);
        let [_, vocabulary] = scores.dims();
        scores.reshape([batch, tokens, vocabulary])
    }

    /// Cross-entropy per token, `[rows, width]` and `[rows]` to `[rows]`, in nats; logits are kept for gradients only where they are few.
    pub fn losses(
        &self,
        x: Tensor<B, 2>,
        ids: Tensor<B, 1, Int>,
        words: &Embedding<B>,
    ) -> Tensor<B, 1> {
        let bias = self.bias.as_ref().map(Param::val);
        let (x, vectors) = (self.features(x), self.vectors(words));
        linear_cross_entropy(x, vectors, true, bias, ids, CrossEntropyOptions::default())
    }
}

/// Pooler: one vector per text.
#[derive(Module, Debug)]
pub struct Pooler<B: Backend> {
    /// Attention pooling, in place of the pooling.
    pub attention: Option<AttentionPooling<B>>,
    /// After the pooling.
    pub dense: Option<Linear<B>>,
    /// After that.
    pub norm: Option<Norm<B>>,
    #[module(skip)]
    config: PoolerConfig,
}

impl<B: Backend> Pooler<B> {
    pub(crate) fn new(
        config: PoolerConfig,
        width: usize,
        backbone: &TransformerConfig,
        device: &B::Device,
    ) -> Self {
        let dense = LinearConfig::new(width, width).with_bias(config.bias);
        Self {
            attention: config
                .attention
                .map(|pooling| AttentionPooling::new(pooling, width, backbone, device)),
            dense: config.transform.map(|_| dense.init(device)),
            norm: config.norm.then(|| backbone.norm.init(width, device)),
            config,
        }
    }

    /// `[batch, tokens, width]` to `[batch, width]`.
    pub fn forward(&self, tokens: &Tokens<B>) -> Tensor<B, 2> {
        let mut x = match &self.attention {
            Some(query) => query.forward(tokens),
            None => pool(tokens, self.config.pooling),
        };
        if let (Some(dense), Some(activation)) = (&self.dense, self.config.transform) {
            x = dense_activated(dense, x, activation);
        }
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}

fn dense_activated<B: Backend>(
    dense: &Linear<B>,
    x: Tensor<B, 2>,
    activation: Activation,
) -> Tensor<B, 2> {
    let (weight, bias) = dense.tensors();
    activate(linear(x, weight, None, None), bias, activation)
}

/// Pooled vectors, one per text: `[batch, tokens, width]` to `[batch, width]`.
pub fn pool<B: Backend>(tokens: &Tokens<B>, pooling: Pooling) -> Tensor<B, 2> {
    let [batch, count, width] = tokens.dims();
    let x = tokens.values.clone();
    let places = || Tensor::<B, 1, Int>::arange(0..count as i64, &x.device());
    // Values of padding replaced.
    let fill = |x: Tensor<B, 3>, value: f32| match &tokens.mask_pad {
        Some(pad) => {
            let blank = pad.clone().unsqueeze_dim::<3>(2).expand([batch, count, width]);
            x.mask_fill(blank, value)
        }
        None => x,
    };
    match (pooling, &tokens.mask_pad) {
        (Pooling::First, None) => x.narrow(1, 0, 1).reshape([batch, width]),
        (Pooling::Last, None) => x.narrow(1, count - 1, 1).reshape([batch, width]),
        (Pooling::First | Pooling::Last, Some(pad)) => {
            // The index of the first or last token that is not padding.
            let places = places().unsqueeze::<2>().expand([batch, count]);
            let at = if pooling == Pooling::First {
                places.mask_fill(pad.clone(), count as i64 - 1).min_dim(1)
            } else {
                places.mask_fill(pad.clone(), 0).max_dim(1)
            };
            gather_tokens(x, at).reshape([batch, width])
        }
        (Pooling::Max, _) => fill(x, f32::NEG_INFINITY).max_dim(1).reshape([batch, width]),
        (Pooling::Mean, _) => tokens.mean(),
        (Pooling::MeanRoot, Some(pad)) => {
            let seen = pad.clone().bool_not().int().sum_dim(1).float();
            tokens.mean() * seen.sqrt()
        }
        (Pooling::MeanRoot, None) => tokens.mean().mul_scalar((count as f64).sqrt()),
        (Pooling::WeightedMean, _) => {
            let weights = places().float().add_scalar(1.0).unsqueeze::<2>().expand([batch, count]);
            let weights = match &tokens.mask_pad {
                Some(pad) => weights.mask_fill(pad.clone(), 0.0),
                None => weights,
            };
            let all = weights.clone().sum_dim(1).clamp_min(1.0);
            let sum = (fill(x, 0.0) * weights.unsqueeze_dim(2)).sum_dim(1);
            sum.reshape([batch, width]) / all
        }
    }
}

/// Task head: classification, regression, tagging, span or pointer.
#[derive(Module, Debug)]
pub struct TaskHead<B: Backend> {
    /// To what is predicted; of what points, to what it points with.
    pub output: Linear<B>,
    /// Of what points, from a segment and its place to what is pointed to.
    pub places: Option<Linear<B>>,
    dropout: Dropout,
}

impl<B: Backend> TaskHead<B> {
    pub(crate) fn new(config: &TaskHeadConfig, width: usize, device: &B::Device) -> Self {
        let points = config.kind == TaskKind::Order;
        let outputs = if points { width } else { config.kind.outputs() };
        let linear = |outputs| LinearConfig::new(width, outputs).with_bias(config.bias);
        Self {
            output: linear(outputs).init(device),
            places: points.then(|| linear(width).init(device)),
            dropout: Dropout::new(config.dropout),
        }
    }

    pub(crate) fn dropped<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        self.dropout.forward(x)
    }

    /// `[.., width]` to `[.., outputs]`.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        self.output.forward(self.dropped(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Bool;
    use burn_flex::Flex;

    #[test]
    fn pooling_does_not_see_padding() {
        let device = Default::default();
        let values = Tensor::<Flex, 3>::from_floats(
            [[[9.0], [1.0], [3.0]], [[2.0], [4.0], [9.0]], [[1.0], [2.0], [3.0]]],
            &device,
        );
        let pad = [[true, false, false], [false, false, true], [false, false, false]];
        let pad = Tensor::<Flex, 2, Bool>::from_data(pad, &device);
        let tokens = Tokens { values, mask_pad: Some(pad), channels: 1 };
        let found = |pooling| pool(&tokens, pooling).into_data().to_vec::<f32>().unwrap();
        assert_eq!(found(Pooling::First), [1.0, 2.0, 1.0]);
        assert_eq!(found(Pooling::Last), [3.0, 4.0, 3.0]);
        assert_eq!(found(Pooling::Mean), [2.0, 3.0, 2.0]);
        assert_eq!(found(Pooling::Max), [3.0, 4.0, 3.0]);
        // The weights of the first are 2 and 3, those of the second 1 and 2.
        let expected = [11.0 / 5.0, 10.0 / 3.0, 14.0 / 6.0];
        assert_eq!(found(Pooling::WeightedMean), expected);
        let expected = [4.0 / 2f32.sqrt(), 6.0 / 2f32.sqrt(), 6.0 / 3f32.sqrt()];
        for (one, other) in found(Pooling::MeanRoot).iter().zip(expected) {
            assert!((one - other).abs() < 1e-6, "{one} is not {other}");
        }
    }
}
