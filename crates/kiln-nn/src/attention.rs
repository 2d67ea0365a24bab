//! Multi-head attention, <https://arxiv.org/abs/1706.03762>.

use crate::{ConfigError, Dropout, Linear, LinearConfig};
use burn::{
    module::Module,
    tensor::{Bool, Tensor},
};
use kiln_core::{Backend, Tokens};
use kiln_kernels::{AttentionOptions, attention, linear_packed, self_attention};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionConfig {
    /// Features of a token.
    pub width: usize,
    /// Heads; they divide the width.
    pub heads: usize,
    /// The share of attention weights dropped while training, after the softmax.
    pub dropout: f64,
    /// Which projections have biases.
    pub bias: AttentionBias,
}

/// Which projections of attention have biases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionBias {
    /// All four.
    #[default]
    All,
    /// All but that of the keys, whose bias moves all scores of a query alike: Whisper.
    NoKey,
    /// None: T5.
    None,
}

impl AttentionConfig {
    /// Of `heads` heads over `width` features, with all biases and without dropout.
    pub fn new(width: usize, heads: usize) -> Self {
        Self { width, heads, dropout: 0.0, bias: AttentionBias::All }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When the heads do not divide the width or the dropout is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.heads == 0 || !self.width.is_multiple_of(self.heads) {
            let expected = format!("a divisor of the width {}", self.width);
            return Err(ConfigError::new("heads", self.heads, expected));
        }
        ConfigError::dropout("dropout", self.dropout)
    }

    /// Attention with random weights.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Attention<B> {
        let linear = |bias| LinearConfig::new(self.width, self.width).with_bias(bias).init(device);
        let bias = self.bias != AttentionBias::None;
        Attention {
            query: linear(bias),
            key: linear(self.bias == AttentionBias::All),
            value: linear(bias),
            output: linear(bias),
            dropout: Dropout::new(self.dropout),
            heads: self.heads,
        }
    }
}

/// Attention of the tokens of each sequence to each other, or to those of another sequence.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// Projects queries, all heads side by side.
    pub query: Linear<B>,
    /// Projects keys.
    pub key: Linear<B>,
    /// Projects values.
    pub value: Linear<B>,
    /// Projects what the heads gathered.
    pub output: Linear<B>,
    dropout: Dropout,
    heads: usize,
}

impl<B: Backend> Attention<B> {
    /// `[batch, tokens, width]` to the same shape.
    pub fn forward(&self, x: Tensor<B, 3>, sees: &Sees<B>) -> Tensor<B, 3> {
        self.output.forward(self.gather(x, sees))
    }

    /// The same, added to `residual`, `[batch, tokens, width]`, on the way.
    pub fn forward_onto(
        &self,
        x: Tensor<B, 3>,
        sees: &Sees<B>,
        residual: Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        self.output.forward_onto(self.gather(x, sees), residual)
    }

    /// Cross-attention: each token to all tokens of `memory`, `[batch, others, width]`, but its
    /// padding. `[batch, tokens, width]` to the same shape.
    pub fn forward_across(&self, x: Tensor<B, 3>, memory: &Tokens<B>) -> Tensor<B, 3> {
        self.output.forward(self.gather_across(x, memory))
    }

    /// The same, added to `residual`, `[batch, tokens, width]`, on the way.
    pub fn forward_across_onto(
        &self,
        x: Tensor<B, 3>,
        memory: &Tokens<B>,
        residual: Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        self.output.forward_onto(self.gather_across(x, memory), residual)
    }

    fn gather_across(&self, x: Tensor<B, 3>, memory: &Tokens<B>) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let [_, others, _] = memory.dims();
        let device = x.device();
        let heads =
            |x: Tensor<B, 3>, count| x.reshape([batch, count, self.heads, width / self.heads]);
        let queries = heads(self.query.forward(x), tokens);
        let keys = heads(self.key.forward(memory.values.clone()), others);
        let values = heads(self.value.forward(memory.values.clone()), others);
        let options = AttentionOptions {
            mask_pad: memory.mask_pad.clone(),
            dropout: self.dropout.for_attention::<B>(&device),
            ..AttentionOptions::default()
        };
        attention(queries, keys, values, options).reshape([batch, tokens, width])
    }

    /// What the heads gather, side by side: `[batch, tokens, width]`.
    fn gather(&self, x: Tensor<B, 3>, sees: &Sees<B>) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let device = x.device();
        let mut layers = [&self.query, &self.key, &self.value].map(Linear::tensors).to_vec();
        // One packed product has biases everywhere or nowhere.
        if layers.iter().any(|(_, bias)| bias.is_some()) {
            for (_, bias) in &mut layers {
                bias.get_or_insert_with(|| Tensor::zeros([width], &device));
            }
        }
        let packed = linear_packed(x, layers);
        let options = AttentionOptions {
            causal: sees.causal,
            mask_pad: sees.mask_pad.clone(),
            dropout: self.dropout.for_attention::<B>(&device),
            ..AttentionOptions::default()
        };
        let packed = packed.reshape([batch, tokens, 3 * self.heads, width / self.heads]);
        self_attention(packed, options).reshape([batch, tokens, width])
    }
}

/// Which tokens a token sees.
#[derive(Debug, Clone)]
pub struct Sees<B: Backend> {
    /// Padding, which no token sees: `[batch, tokens]`, true where it is.
    pub mask_pad: Option<Tensor<B, 2, Bool>>,
    /// Only itself and those before it.
    pub causal: bool,
}

impl<B: Backend> Sees<B> {
    /// Every token.
    pub fn all() -> Self {
        Self { mask_pad: None, causal: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;
    use burn_flex::Flex;

    fn rows(x: Tensor<Flex, 3>) -> Vec<f32> {
        x.into_data().to_vec().unwrap()
    }

    #[test]
    fn heads_must_divide_the_width() {
        let config = AttentionConfig::new(8, 3);
        let message = config.validate().unwrap_err().to_string();
        assert_eq!(message, "`heads` is 3; expected a divisor of the width 8");
        assert!(AttentionConfig { heads: 0, ..config }.validate().is_err());
    }

    #[test]
    fn causal_tokens_ignore_what_follows() {
        let device = Default::default();
        let attention = AttentionConfig::new(8, 2).init::<Flex>(&device);
        let x = Tensor::<Flex, 3>::random([2, 4, 8], Distribution::Default, &device);
        let changed = x.clone().slice_fill([0..2, 3..4, 0..8], 9.0);
        let causal = Sees { causal: true, ..Sees::all() };
        let before = rows(attention.forward(x.clone(), &causal).narrow(1, 0, 3));
        let after = rows(attention.forward(changed.clone(), &causal).narrow(1, 0, 3));
        assert_eq!(before, after);
        let seen = rows(attention.forward(changed, &Sees::all()).narrow(1, 0, 3));
        assert_ne!(before, seen, "without the mask the change is seen");
    }

    #[test]
    fn padding_is_not_attended_to() {
        let device = Default::default();
        let attention = AttentionConfig::new(4, 1).init::<Flex>(&device);
        let x = Tensor::<Flex, 3>::random([1, 3, 4], Distribution::Default, &device);
        let pad = Tensor::<Flex, 2, Bool>::from_data([[false, false, true]], &device);
        let sees = Sees { mask_pad: Some(pad), causal: false };
        let padded = rows(attention.forward(x.clone(), &sees).narrow(1, 0, 2));
        let alone = rows(attention.forward(x.narrow(1, 0, 2), &Sees::all()));
        for (a, b) in padded.iter().zip(&alone) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn across_is_self_attention_where_both_are_one() {
        let device = Default::default();
        for bias in [AttentionBias::All, AttentionBias::NoKey, AttentionBias::None] {
            let config = AttentionConfig { bias, ..AttentionConfig::new(8, 2) };
            let attention = config.init::<Flex>(&device);
            assert_eq!(attention.key.bias.is_some(), bias == AttentionBias::All);
            assert_eq!(attention.query.bias.is_some(), bias != AttentionBias::None);
            let x = Tensor::<Flex, 3>::random([2, 3, 8], Distribution::Default, &device);
            let pad = Tensor::<Flex, 2, Bool>::from_data([[false, false, true]; 2], &device);
            let sees = Sees { mask_pad: Some(pad.clone()), causal: false };
            let memory = Tokens { values: x.clone(), mask_pad: Some(pad), channels: 1 };
            let onto = attention.forward_across_onto(x.clone(), &memory, x.clone());
            let across = rows(attention.forward_across(x.clone(), &memory) + x.clone());
            let alone = rows(attention.forward_onto(x.clone(), &sees, x));
            for ((a, b), c) in across.iter().zip(&alone).zip(&rows(onto)) {
                assert!((a - b).abs() < 1e-5 && (a - c).abs() < 1e-5);
            }
        }
    }
}
