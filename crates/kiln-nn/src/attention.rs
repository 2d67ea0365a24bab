//! Multi-head attention, <https://arxiv.org/abs/1706.03762>.

use crate::{ConfigError, Linear, LinearConfig};
use burn::{
    module::Module,
    nn::{Dropout, DropoutConfig},
    tensor::{Bool, Tensor, TensorData, activation::softmax},
};
use kiln_core::Backend;

/// Stands for minus infinity where attention is hidden: finite, so that a row with nothing to
/// attend to gives an average rather than NaN.
const HIDDEN: f32 = -1e9;

/// Self-attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionConfig {
    /// Features of a token.
    pub width: usize,
    /// Heads; they divide the width.
    pub heads: usize,
    /// The share of attention weights dropped while training, after the softmax.
    pub dropout: f64,
}

impl AttentionConfig {
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
        let linear = || LinearConfig::new(self.width, self.width).init(device);
        Attention {
            query: linear(),
            key: linear(),
            value: linear(),
            output: linear(),
            dropout: DropoutConfig::new(self.dropout).init(),
            heads: self.heads,
        }
    }
}

/// Self-attention over the tokens of each sequence.
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
    /// `[batch, tokens, width]` to the same shape. `mask` is [`attention_mask`]'s.
    pub fn forward(&self, x: Tensor<B, 3>, mask: Option<&Tensor<B, 4, Bool>>) -> Tensor<B, 3> {
        let [batch, tokens, width] = x.dims();
        let depth = width / self.heads;
        let split = |x: Tensor<B, 3>| x.reshape([batch, tokens, self.heads, depth]).swap_dims(1, 2);
        // Scaling the queries costs less than scaling the scores.
        let query = self.query.forward(x.clone()).mul_scalar((depth as f64).powf(-0.5));
        let key = self.key.forward(x.clone());
        let value = self.value.forward(x);
        let mut scores = split(query).matmul(split(key).swap_dims(2, 3));
        if let Some(mask) = mask {
            let mask = mask.clone().expand([batch, self.heads, tokens, tokens]);
            scores = scores.mask_fill(mask, HIDDEN);
        }
        let weights = self.dropout.forward(softmax(scores, 3));
        let gathered = weights.matmul(split(value)).swap_dims(1, 2);
        self.output.forward(gathered.reshape([batch, tokens, width]))
    }
}

/// Who may not attend to whom: `[batch or 1, 1, tokens, tokens]`, true where the token of the row
/// must not see the token of the column. `None` when everything is visible.
///
/// `mask_pad` is `[batch, tokens]`, true where a token is padding.
pub fn attention_mask<B: Backend>(
    tokens: usize,
    mask_pad: Option<&Tensor<B, 2, Bool>>,
    causal: bool,
    device: &B::Device,
) -> Option<Tensor<B, 4, Bool>> {
    let causal = causal.then(|| {
        let hidden = (0..tokens * tokens).map(|i| i % tokens > i / tokens).collect();
        Tensor::<B, 4, Bool>::from_data(
            TensorData::new::<bool, _>(hidden, [1, 1, tokens, tokens]),
            device,
        )
    });
    let pad = mask_pad.map(|pad| {
        let [batch, _] = pad.dims();
        pad.clone().reshape([batch, 1, 1, tokens]).expand([batch, 1, tokens, tokens])
    });
    match (causal, pad) {
        (Some(causal), Some(pad)) => Some(causal.expand(pad.shape()).bool_or(pad)),
        (mask, None) | (None, mask) => mask,
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
        let config = AttentionConfig { width: 8, heads: 3, dropout: 0.0 };
        let message = config.validate().unwrap_err().to_string();
        assert_eq!(message, "`heads` is 3; expected a divisor of the width 8");
        assert!(AttentionConfig { heads: 0, ..config }.validate().is_err());
    }

    #[test]
    fn causal_tokens_ignore_what_follows() {
        let device = Default::default();
        let attention = AttentionConfig { width: 8, heads: 2, dropout: 0.0 }.init::<Flex>(&device);
        let x = Tensor::<Flex, 3>::random([2, 4, 8], Distribution::Default, &device);
        let changed = x.clone().slice_fill([0..2, 3..4, 0..8], 9.0);
        let mask = attention_mask(4, None, true, &device);
        let before = rows(attention.forward(x.clone(), mask.as_ref()).narrow(1, 0, 3));
        let after = rows(attention.forward(changed.clone(), mask.as_ref()).narrow(1, 0, 3));
        assert_eq!(before, after);
        let seen = rows(attention.forward(changed, None).narrow(1, 0, 3));
        assert_ne!(before, seen, "without the mask the change is seen");
    }

    #[test]
    fn padding_is_not_attended_to() {
        let device = Default::default();
        let attention = AttentionConfig { width: 4, heads: 1, dropout: 0.0 }.init::<Flex>(&device);
        let x = Tensor::<Flex, 3>::random([1, 3, 4], Distribution::Default, &device);
        let pad = Tensor::<Flex, 2, Bool>::from_data([[false, false, true]], &device);
        let mask = attention_mask(3, Some(&pad), false, &device);
        let padded = rows(attention.forward(x.clone(), mask.as_ref()).narrow(1, 0, 2));
        let alone = rows(attention.forward(x.narrow(1, 0, 2), None));
        for (a, b) in padded.iter().zip(&alone) {
            assert!((a - b).abs() < 1e-6);
        }
    }
}
