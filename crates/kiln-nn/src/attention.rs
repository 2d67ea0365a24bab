//! Multi-head attention, <https://arxiv.org/abs/1706.03762>.

use crate::{
    ConfigError, Dropout, Linear, LinearConfig, Rotation,
    adapt::{Adapt, BranchAdapters, Place, Prefix, Walk},
};
use burn::{
    module::Module,
    tensor::{Int, Tensor},
};
use kiln_core::{Backend, Tokens};
use kiln_kernels::{AttentionOptions, AttentionVisibility, attention, self_attention};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of multi-head attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionConfig {
    /// Features of a token.
    pub width: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Grouped-query attention: heads of keys and values, each shared by as many of queries
    /// (<https://arxiv.org/abs/2305.13245>); as many as of queries if absent.
    pub kv_heads: Option<usize>,
    /// Features of a head; its share of the width if absent.
    pub head_width: Option<usize>,
    /// Softmax scale: what scores are multiplied by; one over the root of a head's features if absent.
    pub scale: Option<f64>,
    /// Attention dropout: the share of weights dropped while training, after the softmax.
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
    /// All but that of what the heads gathered: Qwen2.
    NoOutput,
    /// None: T5, Llama.
    None,
}

impl AttentionConfig {
    /// Of `heads` heads over `width` features, with all biases and without dropout.
    pub fn new(width: usize, heads: usize) -> Self {
        Self {
            width,
            heads,
            kv_heads: None,
            head_width: None,
            scale: None,
            dropout: 0.0,
            bias: AttentionBias::All,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When the heads do not divide the width, those of keys not those of queries, or the dropout
    /// is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("heads", self.heads)?;
        if self.head_width.is_none() && !self.width.is_multiple_of(self.heads) {
            let expected = format!("a divisor of the width {}", self.width);
            return Err(ConfigError::new("heads", self.heads, expected));
        }
        ConfigError::positive("head_width", self.head_width())?;
        let kv_heads = self.kv_heads.unwrap_or(self.heads);
        if kv_heads == 0 || !self.heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of the {} heads", self.heads);
            return Err(ConfigError::new("kv_heads", kv_heads, expected));
        }
        ConfigError::dropout("dropout", self.dropout)
    }

    /// Features of a head.
    pub fn head_width(&self) -> usize {
        self.head_width.unwrap_or(self.width / self.heads.max(1))
    }

    /// Attention with random weights.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Attention<B> {
        let kv_heads = self.kv_heads.unwrap_or(self.heads);
        let [gathered, shared] = [self.heads, kv_heads].map(|heads| heads * self.head_width());
        let linear = |from, to, bias| LinearConfig::new(from, to).with_bias(bias).init(device);
        let bias = self.bias != AttentionBias::None;
        Attention {
            query: linear(self.width, gathered, bias),
            key: linear(self.width, shared, bias && self.bias != AttentionBias::NoKey),
            value: linear(self.width, shared, bias),
            output: linear(gathered, self.width, bias && self.bias != AttentionBias::NoOutput),
            dropout: Dropout::new(self.dropout),
            heads: self.heads,
            kv_heads,
            scale: self.scale,
            prefix: None,
            adapters: BranchAdapters::none(),
        }
    }
}

/// Multi-head attention: self-attention within a sequence, or cross-attention to another one.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// Query projection, all heads side by side.
    pub query: Linear<B>,
    /// Key projection.
    pub key: Linear<B>,
    /// Value projection.
    pub value: Linear<B>,
    /// Output projection of what the heads gathered.
    pub output: Linear<B>,
    dropout: Dropout,
    heads: usize,
    kv_heads: usize,
    scale: Option<f64>,
    /// Prefix tuning: keys and values that all tokens attend to, where it is adapted so.
    pub prefix: Option<Prefix<B>>,
    /// Adapters beside and after it, where it is adapted so.
    pub adapters: BranchAdapters<B>,
}

/// KV cache for incremental decoding: keys and values of past tokens.
#[derive(Debug, Clone, Default)]
pub struct KvCache<B: Backend> {
    /// Keys and values, `[batch, tokens, kv_heads, head_width]` each.
    past: Option<[Tensor<B, 4>; 2]>,
}

impl<B: Backend> KvCache<B> {
    /// Past tokens.
    pub fn len(&self) -> usize {
        self.past.as_ref().map_or(0, |[keys, _]| keys.dims()[1])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.past.is_none()
    }

    /// Selects sequences of the batch, `rows: [new batch]`, as a beam search does.
    pub fn select(&mut self, rows: &Tensor<B, 1, Int>) {
        self.past = self.past.take().map(|past| past.map(|x| x.select(0, rows.clone())));
    }

    /// Appends those of further tokens; returns all.
    fn extend(&mut self, [keys, values]: [Tensor<B, 4>; 2]) -> [Tensor<B, 4>; 2] {
        let all = match self.past.take() {
            Some([old_keys, old_values]) => {
                [Tensor::cat(vec![old_keys, keys], 1), Tensor::cat(vec![old_values, values], 1)]
            }
            None => [keys, values],
        };
        self.past = Some(all.clone());
        all
    }
}

impl<B: Backend> Attention<B> {
    /// Self-attention, `[batch, tokens, width]` to the same shape.
    pub fn forward(&self, x: Tensor<B, 3>, visibility: &AttentionVisibility<B>) -> Tensor<B, 3> {
        self.forward_onto(x, visibility, None, None, None)
    }

    /// The same with rotary positions, added to `residual`, `[batch, tokens, width]`, on the way;
    /// with a KV cache, tokens also attend to those that it holds, which come before, and join them.
    pub fn forward_onto(
        &self,
        x: Tensor<B, 3>,
        visibility: &AttentionVisibility<B>,
        rotation: Option<&Rotation<B>>,
        cache: Option<&mut KvCache<B>>,
        residual: Option<Tensor<B, 3>>,
    ) -> Tensor<B, 3> {
        let kept = self.adapters.keep(&x);
        self.project_output(kept, self.attend(x, visibility, rotation, cache), residual)
    }

    /// Cross-attention: each token to all tokens of `memory`, `[batch, others, width]`, but its
    /// padding, `[batch, tokens, width]` to the same shape; added to `residual`,
    /// `[batch, tokens, width]`, on the way. A KV cache keeps the keys and values of the memory,
    /// which are computed but once.
    pub fn forward_cross_onto(
        &self,
        x: Tensor<B, 3>,
        memory: &Tokens<B>,
        cache: Option<&mut KvCache<B>>,
        residual: Option<Tensor<B, 3>>,
    ) -> Tensor<B, 3> {
        let kept = self.adapters.keep(&x);
        self.project_output(kept, self.attend_cross(x, memory, cache), residual)
    }

    /// The output projection of what the heads gathered, `[batch, tokens, heads * head_width]`, and
    /// what follows it.
    fn project_output(
        &self,
        kept: Option<Tensor<B, 3>>,
        gathered: Tensor<B, 3>,
        residual: Option<Tensor<B, 3>>,
    ) -> Tensor<B, 3> {
        match residual {
            residual if !self.adapters.is_empty() => {
                let out = self.adapters.forward(kept, self.output.forward(gathered));
                match residual {
                    Some(residual) => residual + out,
                    None => out,
                }
            }
            Some(residual) => self.output.forward_onto(gathered, residual),
            None => self.output.forward(gathered),
        }
    }

    /// `[batch, tokens, heads * head_width]` as `[batch, tokens, heads, head_width]`.
    fn heads(x: Tensor<B, 3>, heads: usize) -> Tensor<B, 4> {
        let [batch, tokens, width] = x.dims();
        x.reshape([batch, tokens, heads, width / heads])
    }

    /// Cross-attention before the output projection: `[batch, tokens, heads * head_width]`.
    fn attend_cross(
        &self,
        x: Tensor<B, 3>,
        memory: &Tokens<B>,
        cache: Option<&mut KvCache<B>>,
    ) -> Tensor<B, 3> {
        let project =
            |linear: &Linear<B>| Self::heads(linear.forward(memory.values.clone()), self.kv_heads);
        let compute = || [project(&self.key), project(&self.value)];
        let past = match cache {
            Some(cache) => cache.past.get_or_insert_with(compute).clone(),
            None => compute(),
        };
        let visibility =
            AttentionVisibility::bidirectional().with_mask_pad(memory.mask_pad.clone());
        self.attend_to(Self::heads(self.query.forward(x), self.heads), past, visibility)
    }

    /// Self-attention before the output projection: `[batch, tokens, heads * head_width]`.
    fn attend(
        &self,
        x: Tensor<B, 3>,
        visibility: &AttentionVisibility<B>,
        rotation: Option<&Rotation<B>>,
        cache: Option<&mut KvCache<B>>,
    ) -> Tensor<B, 3> {
        let device = x.device();
        let (heads, kv_heads) = (self.heads, self.kv_heads);
        let packed = Linear::forward_packed(&[&self.query, &self.key, &self.value], x);
        let mut packed = Self::heads(packed, heads + 2 * kv_heads);
        if let Some(rotation) = rotation {
            packed = rotation.forward(packed, heads + kv_heads);
        }
        if cache.is_none() && self.prefix.is_none() {
            let options = self.options(visibility.clone(), &device);
            return self_attention(packed, options).flatten(2, 3);
        }
        let part = |from, count| packed.clone().narrow(2, from, count);
        let new = [part(heads, kv_heads), part(heads + kv_heads, kv_heads)];
        let past = match cache {
            Some(cache) => cache.extend(new),
            None => new,
        };
        self.attend_to(part(0, heads), past, visibility.clone())
    }

    /// Attention of queries to keys and values, behind the prefix where there is one.
    fn attend_to(
        &self,
        queries: Tensor<B, 4>,
        past: [Tensor<B, 4>; 2],
        visibility: AttentionVisibility<B>,
    ) -> Tensor<B, 3> {
        let device = queries.device();
        let ([keys, values], visibility) = match &self.prefix {
            Some(prefix) => prefix.join(past, queries.dims()[1], visibility),
            None => (past, visibility),
        };
        attention(queries, keys, values, self.options(visibility, &device)).flatten(2, 3)
    }

    fn options(
        &self,
        visibility: AttentionVisibility<B>,
        device: &B::Device,
    ) -> AttentionOptions<B> {
        AttentionOptions {
            visibility,
            scale: self.scale,
            kv_heads: Some(self.kv_heads),
            dropout: self.dropout.for_attention::<B>(device),
        }
    }
}

impl<B: Backend> Attention<B> {
    /// Heads of keys and values, and the features of each.
    pub(crate) fn shared(&self) -> [usize; 2] {
        let [_, gathered] = self.query.weight.dims();
        [self.kv_heads, gathered / self.heads.max(1)]
    }
}

impl<B: Backend> Adapt<B> for Attention<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.show(Place::Attention(self));
        walk.enter("query", &mut self.query);
        walk.enter("key", &mut self.key);
        walk.enter("value", &mut self.value);
        walk.enter("output", &mut self.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Bool, Distribution};
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
        let causal = AttentionVisibility::causal();
        let before = rows(attention.forward(x.clone(), &causal).narrow(1, 0, 3));
        let after = rows(attention.forward(changed.clone(), &causal).narrow(1, 0, 3));
        assert_eq!(before, after);
        let seen =
            rows(attention.forward(changed, &AttentionVisibility::bidirectional()).narrow(1, 0, 3));
        assert_ne!(before, seen, "without the mask the change is seen");
    }

    #[test]
    fn padding_is_not_attended_to() {
        let device = Default::default();
        let attention = AttentionConfig::new(4, 1).init::<Flex>(&device);
        let x = Tensor::<Flex, 3>::random([1, 3, 4], Distribution::Default, &device);
        let pad = Tensor::<Flex, 2, Bool>::from_data([[false, false, true]], &device);
        let visibility = AttentionVisibility::bidirectional().with_mask_pad(pad);
        let padded = rows(attention.forward(x.clone(), &visibility).narrow(1, 0, 2));
        let alone =
            rows(attention.forward(x.narrow(1, 0, 2), &AttentionVisibility::bidirectional()));
        for (a, b) in padded.iter().zip(&alone) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn cross_attention_is_self_attention_where_both_are_one() {
        let device = Default::default();
        for bias in [AttentionBias::All, AttentionBias::NoKey, AttentionBias::None] {
            let config = AttentionConfig { bias, ..AttentionConfig::new(8, 2) };
            let attention = config.init::<Flex>(&device);
            assert_eq!(attention.key.bias.is_some(), bias == AttentionBias::All);
            assert_eq!(attention.query.bias.is_some(), bias != AttentionBias::None);
            let x = Tensor::<Flex, 3>::random([2, 3, 8], Distribution::Default, &device);
            let pad = Tensor::<Flex, 2, Bool>::from_data([[false, false, true]; 2], &device);
            let visibility = AttentionVisibility::bidirectional().with_mask_pad(pad.clone());
            let memory = Tokens { values: x.clone(), mask_pad: Some(pad), channels: 1 };
            let onto = attention.forward_cross_onto(x.clone(), &memory, None, Some(x.clone()));
            let cross =
                rows(attention.forward_cross_onto(x.clone(), &memory, None, None) + x.clone());
            let alone = rows(attention.forward_onto(x.clone(), &visibility, None, None, Some(x)));
            for ((a, b), c) in cross.iter().zip(&alone).zip(&rows(onto)) {
                assert!((a - b).abs() < 1e-5 && (a - c).abs() < 1e-5);
            }
        }
    }
}
