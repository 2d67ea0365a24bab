//! From scaled rows to tokens: patches as in PatchTST, <https://arxiv.org/abs/2211.14730>, with
//! optional class token, register tokens and the resolution prefix of Tiny Time Mixers,
//! <https://arxiv.org/abs/2401.03955>.
//!
//! Tokens stand in this order: class token, registers, resolution prefix, patches.

use crate::patch::{ChannelLinear, patches};
use burn::{
    module::{Initializer, Module, Param},
    nn::{Embedding, EmbeddingConfig},
    tensor::{Bool, Int, Tensor, TensorData, activation::gelu},
};
use kiln_core::Backend;
use kiln_nn::{ConfigError, Dropout, Linear, LinearConfig, Norm, NormConfig, sinusoids};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How tokens are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FrontendConfig {
    /// Rows of a patch.
    pub patch: usize,
    /// Rows from one patch to the next; the patch's length if absent. Rows that fill no patch are
    /// left out at the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// What tells tokens their place.
    pub positions: Positions,
    /// Whether a token holds a patch of all channels, side by side, rather than of one: multivariate
    /// patching, <https://arxiv.org/abs/2501.06386>. Their number is then fixed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub joint: bool,
    /// Whether all channels share one embedding; otherwise each has its own, which fixes their
    /// number.
    pub shared_embedding: bool,
    /// Whether a class token comes first.
    pub class_token: bool,
    /// Learned tokens in front of the patches.
    pub registers: usize,
    /// Ids of resolutions that a prefix token tells apart; 0 for no such token.
    pub resolutions: usize,
    /// Whether all tokens of a sequence are normalised together.
    pub norm: Option<NormConfig>,
    /// The share dropped of embedded patches.
    pub dropout: f64,
    /// What masked patches are filled with, after scaling.
    pub mask_value: f64,
}

impl Default for FrontendConfig {
    fn default() -> Self {
        Self {
            patch: 16,
            stride: None,
            positions: Positions::Sincos,
            joint: false,
            shared_embedding: true,
            class_token: false,
            registers: 0,
            resolutions: 0,
            norm: None,
            dropout: 0.0,
            mask_value: 0.0,
        }
    }
}

/// What tells tokens their place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// Nothing: mixers know it from their weights.
    None,
    /// Fixed sines and cosines.
    #[default]
    Sincos,
    /// A learned vector a position.
    Learned,
}

impl FrontendConfig {
    /// Rows from one patch to the next.
    pub fn stride(&self) -> usize {
        self.stride.unwrap_or(self.patch)
    }

    /// Patches in `context` rows.
    pub fn patches(&self, context: usize) -> usize {
        match context.checked_sub(self.patch) {
            Some(rest) => rest / self.stride().max(1) + 1,
            None => 0,
        }
    }

    /// How many sequences a window of so many channels becomes.
    pub fn sequences(&self, channels: usize) -> usize {
        if self.joint { 1 } else { channels }
    }

    /// Values of a patch, in a model of so many channels.
    pub fn patch_values(&self, channels: usize) -> usize {
        if self.joint { self.patch * channels } else { self.patch }
    }

    /// Tokens in front of the patches.
    pub fn extra_tokens(&self) -> usize {
        usize::from(self.class_token) + self.registers + usize::from(self.resolutions > 0)
    }

    /// Checks the settings for `context` rows.
    ///
    /// # Errors
    /// When the patches do not fit the context, or a dropout is out of range.
    pub fn validate(&self, context: usize) -> Result<(), ConfigError> {
        ConfigError::positive("patch", self.patch)?;
        ConfigError::positive("stride", self.stride())?;
        if self.joint && !self.shared_embedding {
            let expected = "true where a token holds all channels (`joint`)";
            return Err(ConfigError::new("shared_embedding", false, expected));
        }
        if self.patch >= context {
            let expected = format!("less than the context of {context} rows");
            return Err(ConfigError::new("patch", self.patch, expected));
        }
        if !self.mask_value.is_finite() {
            return Err(ConfigError::new("mask_value", self.mask_value, "a finite number"));
        }
        if let Some(norm) = &self.norm {
            norm.validate().map_err(|error| error.within("norm"))?;
        }
        ConfigError::dropout("dropout", self.dropout)
    }

    /// A frontend with random weights for `context` rows of `channels` channels.
    pub fn init<B: Backend>(
        &self,
        context: usize,
        channels: usize,
        width: usize,
        device: &B::Device,
    ) -> Frontend<B> {
        let count = self.patches(context) + self.extra_tokens();
        let position = match self.positions {
            Positions::None => None,
            Positions::Sincos => {
                let data = TensorData::new(sinusoids(count, width), [count, width]);
                Some(Param::from_data(data, device).set_require_grad(false))
            }
            Positions::Learned => {
                // Small beside the embedded patches, which have a deviation of about one.
                let start = Initializer::Normal { mean: 0.0, std: 0.02 };
                Some(start.init([count, width], device))
            }
        };
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        Frontend {
            embedding: ChannelLinear::init(
                self.patch_values(channels),
                width,
                self.shared_embedding || self.joint,
                channels,
                device,
            ),
            position,
            class_token: self.class_token.then(|| small.init([1, 1, 1, width], device)),
            registers: (self.registers > 0).then(|| small.init([self.registers, width], device)),
            resolution: (self.resolutions > 0)
                .then(|| ResolutionPrefix::init(self.resolutions, self.patch, width, device)),
            norm: self.norm.map(|norm| norm.init(count * width, device)),
            dropout: Dropout::new(self.dropout),
            patch: self.patch,
            stride: self.stride(),
            joint: self.joint,
            mask_value: self.mask_value,
        }
    }
}

/// Makes tokens of scaled rows.
#[derive(Module, Debug)]
pub struct Frontend<B: Backend> {
    /// From a patch to a token.
    pub embedding: ChannelLinear<B>,
    /// `[tokens, width]`
    pub position: Option<Param<Tensor<B, 2>>>,
    /// `[1, 1, 1, width]`
    pub class_token: Option<Param<Tensor<B, 4>>>,
    /// `[registers, width]`
    pub registers: Option<Param<Tensor<B, 2>>>,
    /// Tells the distance between rows.
    pub resolution: Option<ResolutionPrefix<B>>,
    /// Over all tokens of a sequence together.
    pub norm: Option<Norm<B>>,
    dropout: Dropout,
    patch: usize,
    stride: usize,
    joint: bool,
    mask_value: f64,
}

impl<B: Backend> Frontend<B> {
    /// Cuts rows into patches: `[batch, rows, channels]` to `[batch * channels, patches, patch]`, or
    /// to `[batch, patches, patch * channels]`, row after row, where tokens hold all channels.
    pub fn patches(&self, rows: Tensor<B, 3>) -> Tensor<B, 3> {
        if !self.joint {
            return patches(rows, self.patch, self.stride);
        }
        let [batch, length, channels] = rows.dims();
        let one = rows.reshape([batch, length * channels, 1]);
        patches(one, self.patch * channels, self.stride * channels)
    }

    /// Patches to tokens: `[batch * channels, patches, patch]` to
    /// `[batch * channels, tokens, width]`.
    ///
    /// `mask` `[batch * channels, patches]` is true where a patch is masked; `resolution` is
    /// `[batch]`. Without it, models with a resolution prefix take resolution 0, the unknown one.
    pub fn forward(
        &self,
        patches: Tensor<B, 3>,
        mask: Option<Tensor<B, 2, Bool>>,
        resolution: Option<Tensor<B, 1, Int>>,
        channels: usize,
    ) -> Tensor<B, 3> {
        let [batch, count, patch] = patches.dims();
        let device = patches.device();
        let patches = match mask {
            Some(mask) => {
                let mask = mask.unsqueeze_dim::<3>(2).expand([batch, count, patch]);
                patches.mask_fill(mask, self.mask_value)
            }
            None => patches,
        };
        let mut parts = Vec::new();
        if let Some(registers) = &self.registers {
            let registers = registers.val();
            let [count, width] = registers.dims();
            parts.push(registers.reshape([1, count, width]).expand([batch, count, width]));
        }
        if let Some(prefix) = &self.resolution {
            let items = batch / channels.max(1);
            let ids = resolution.unwrap_or_else(|| Tensor::zeros([items], &device));
            parts.push(prefix.forward(ids, channels));
        }
        parts.push(self.embedding.forward(patches, channels));
        let mut x = if parts.len() == 1 { parts.swap_remove(0) } else { Tensor::cat(parts, 1) };
        let [_, count, width] = x.dims();
        let first = usize::from(self.class_token.is_some());
        let position = self.position.as_ref().map(Param::val);
        if let Some(position) = &position {
            x = x + position.clone().narrow(0, first, count).unsqueeze();
        }
        x = self.dropout.forward(x);
        if let Some(class) = &self.class_token {
            let mut class = class.val().reshape([1, 1, width]);
            if let Some(position) = position {
                class = class + position.narrow(0, 0, 1).unsqueeze();
            }
            x = Tensor::cat(vec![class.expand([batch, 1, width]), x], 1);
        }
        match &self.norm {
            Some(norm) => {
                let [batch, tokens, width] = x.dims();
                norm.forward(x.reshape([batch, tokens * width])).reshape([batch, tokens, width])
            }
            None => x,
        }
    }
}

/// A token that tells the distance between rows.
#[derive(Module, Debug)]
pub struct ResolutionPrefix<B: Backend> {
    /// One row an id.
    pub embedding: Embedding<B>,
    /// Towards the width.
    pub hidden: Linear<B>,
    /// To the width.
    pub output: Linear<B>,
}

impl<B: Backend> ResolutionPrefix<B> {
    fn init(ids: usize, patch: usize, width: usize, device: &B::Device) -> Self {
        let middle = (patch + width) / 2;
        Self {
            embedding: EmbeddingConfig::new(ids, patch).init(device),
            hidden: LinearConfig::new(patch, middle).init(device),
            output: LinearConfig::new(middle, width).init(device),
        }
    }

    /// `[batch]` ids to `[batch * channels, 1, width]`.
    fn forward(&self, ids: Tensor<B, 1, Int>, channels: usize) -> Tensor<B, 3> {
        let [batch] = ids.dims();
        let embedded = self.embedding.forward(ids.reshape([batch, 1]));
        let token = self.output.forward(gelu(self.hidden.forward(embedded)));
        let width = token.dims()[2];
        token.expand([batch, channels, width]).reshape([batch * channels, 1, width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn all_kinds_of_tokens_are_counted() {
        let config = FrontendConfig {
            patch: 2,
            class_token: true,
            registers: 3,
            resolutions: 5,
            shared_embedding: false,
            norm: Some(NormConfig::default()),
            ..Default::default()
        };
        config.validate(5).unwrap();
        assert_eq!((config.patches(5), config.extra_tokens()), (2, 5));
        let frontend = config.init::<Flex>(5, 2, 4, &Default::default());
        let mask = Tensor::from_data([[true, false], [false, false]], &Default::default());
        let rows = Tensor::<Flex, 3>::ones([1, 5, 2], &Default::default());
        let tokens = frontend.forward(frontend.patches(rows), Some(mask), None, 2);
        assert_eq!(tokens.dims(), [2, 7, 4]);
    }

    #[test]
    fn a_patch_must_fit() {
        let message = FrontendConfig::default().validate(16).unwrap_err().to_string();
        assert_eq!(message, "`patch` is 16; expected less than the context of 16 rows");
    }
}
