//! The keys of `config.json` that the published families share.

use super::spelling::{
    distribution, distribution_name, mixes_channels, mode, norm, norm_name, positions,
    positions_name, scaler, scaling, sorted, whole,
};
use crate::{
    config::SeriesModelConfig,
    frontend::{FrontendConfig, Positions},
    head::loss::PointLoss,
    scaler::ScalerKind,
};
use kiln_hub::family::known_class;
use kiln_nn::{Activation, ConfigError, MixerConfig};
use serde_json::{Value, json};

kiln_hub::family_config! {
    /// Sizes, scaling, loss and head of all families.
    #[allow(missing_docs, reason = "documented by transformers")]
    pub struct SeriesKeys {
        #[serde(skip_serializing)]
        pub architectures: Option<Vec<String>> = None,
        pub context_length: usize = 32,
        pub patch_length: usize = 8,
        pub patch_stride: usize = 8,
        pub num_input_channels: usize = 1,
        pub prediction_length: usize = 16,
        pub d_model: usize = 8,
        pub scaling: Value = json!("std"),
        pub loss: Option<String> = Some("mse".into()),
        pub distribution_output: String = "student_t".into(),
        #[serde(serialize_with = "whole")]
        pub mask_value: f64 = 0.0,
        pub head_dropout: f64 = 0.2,
        #[serde(skip_serializing)]
        pub minimum_scale: Option<f64> = None,
        #[serde(skip_serializing)]
        pub default_scale: Option<Value> = None,
    }
}

impl SeriesKeys {
    /// The keys of our configuration; `None` where they cannot express it.
    pub(super) fn of(ours: &SeriesModelConfig, head_dropout: f64) -> Option<Self> {
        let distribution = ours.loss.distribution();
        (ours.frontend.mask_value.fract() == 0.0).then_some(Self {
            architectures: None,
            context_length: ours.context,
            patch_length: ours.frontend.patch,
            patch_stride: ours.frontend.stride(),
            num_input_channels: ours.built_channels(),
            prediction_length: ours.horizon,
            d_model: ours.width,
            scaling: scaling(&ours.scaler)?,
            loss: Some(if distribution.is_some() { "nll" } else { "mse" }.into()),
            distribution_output: distribution_name(distribution).into(),
            mask_value: ours.frontend.mask_value,
            head_dropout,
            minimum_scale: None,
            default_scale: None,
        })
    }

    /// Our configuration as far as they say it; `of_true` is the scaler that `true` stands for.
    pub(super) fn ours(&self, of_true: ScalerKind) -> Result<SeriesModelConfig, ConfigError> {
        Ok(SeriesModelConfig {
            context: self.context_length,
            horizon: self.prediction_length,
            channels: Some(self.num_input_channels),
            width: self.d_model,
            scaler: scaler(&self.scaling, of_true, self.minimum_scale, &self.default_scale)?,
            frontend: FrontendConfig {
                patch: self.patch_length,
                stride: Some(self.patch_stride),
                mask_value: self.mask_value,
                ..Default::default()
            },
            ..Default::default()
        })
    }

    /// Whether the class is that for pretraining, the second of the two.
    pub(super) fn pretrains(&self, known: [&'static str; 2]) -> Result<bool, ConfigError> {
        Ok(known_class(&self.architectures, &known)? == known[1])
    }

    /// The loss, which while pretraining is always the squared error.
    pub(super) fn loss(&self, pretraining: bool) -> Result<PointLoss, ConfigError> {
        match self.loss.as_deref() {
            _ if pretraining => Ok(PointLoss::Mse),
            Some("mse") => Ok(PointLoss::Mse),
            Some("nll") => self.nll(),
            other => Err(ConfigError::new("loss", other.unwrap_or("null"), "mse or nll")),
        }
    }

    pub(super) fn nll(&self) -> Result<PointLoss, ConfigError> {
        Ok(PointLoss::Nll { distribution: distribution(&self.distribution_output)? })
    }
}

kiln_hub::family_config! {
    /// The mixer of PatchTSMixer and Tiny Time Mixers.
    #[allow(missing_docs, reason = "documented by transformers")]
    pub struct MixerKeys {
        pub expansion_factor: usize = 2,
        pub num_layers: usize = 3,
        pub dropout: f64 = 0.2,
        pub mode: String = "common_channel".into(),
        pub gated_attn: bool = true,
        pub norm_mlp: String = "LayerNorm".into(),
        pub norm_eps: f64 = 1e-5,
        pub self_attn: bool = false,
        pub self_attn_heads: usize = 1,
        pub use_positional_encoding: bool = false,
        pub positional_encoding_type: String = "sincos".into(),
        pub prediction_channel_indices: Option<Vec<usize>> = None,
    }
}

impl MixerKeys {
    /// The keys of our configuration.
    pub(super) fn of(
        mixer: &MixerConfig,
        positions: Positions,
        targets: &Option<Vec<usize>>,
    ) -> Self {
        Self {
            expansion_factor: mixer.expansion,
            num_layers: mixer.layers,
            dropout: mixer.dropout,
            mode: mode(mixer.channel_mixing),
            gated_attn: mixer.gated,
            norm_mlp: norm_name(&mixer.norm),
            norm_eps: mixer.norm.epsilon,
            self_attn: mixer.attention_heads > 0,
            self_attn_heads: mixer.attention_heads.max(1),
            use_positional_encoding: positions != Positions::None,
            positional_encoding_type: positions_name(positions),
            prediction_channel_indices: targets.clone(),
        }
    }

    /// Our configuration of the mixer.
    pub(super) fn ours(&self) -> Result<MixerConfig, ConfigError> {
        Ok(MixerConfig {
            layers: self.num_layers,
            adaptive_levels: 0,
            expansion: self.expansion_factor,
            norm: norm(&self.norm_mlp, self.norm_eps),
            activation: Activation::Gelu,
            gated: self.gated_attn,
            channel_mixing: mixes_channels("mode", &self.mode)?,
            attention_heads: if self.self_attn { self.self_attn_heads } else { 0 },
            mix_single_token: false,
            dropout: self.dropout,
        })
    }

    pub(super) fn positions(&self) -> Result<Positions, ConfigError> {
        positions(self.use_positional_encoding, &self.positional_encoding_type)
    }

    /// The channels that are forecast, in rising order.
    pub(super) fn targets(&self) -> Option<Vec<usize>> {
        sorted(&self.prediction_channel_indices)
    }
}
