//! PatchTSMixer, <https://arxiv.org/abs/2306.09364>, as transformers stores it.

use super::{
    mixer_names::layer_rules,
    spelling::{
        distribution, distribution_name, mixes_channels, mode, norm, norm_name, plain_norm,
        positions, positions_name, scaler, scaling, sorted,
    },
};
use crate::{
    config::SeriesModelConfig,
    frontend::{FrontendConfig, Positions},
    head::{ForecastConfig, TokenHeadConfig, loss::PointLoss},
    scaler::ScalerKind,
};
use kiln_hub::{
    Rule,
    family::{Family, known_class},
};
use kiln_nn::{Activation, BackboneConfig, ConfigError, MixerConfig, NormKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const PREDICTION: &str = "PatchTSMixerForPrediction";
const PRETRAINING: &str = "PatchTSMixerForPretraining";

/// Its `config.json`, with its own names and defaults; keys that do not matter here are ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented by transformers")]
pub struct PatchTsMixerConfig {
    pub architectures: Option<Vec<String>>,
    pub context_length: usize,
    #[serde(alias = "patch_len")]
    pub patch_length: usize,
    pub num_input_channels: usize,
    #[serde(alias = "stride")]
    pub patch_stride: usize,
    #[serde(alias = "num_features", alias = "hidden_size")]
    pub d_model: usize,
    pub expansion_factor: usize,
    pub num_layers: usize,
    pub dropout: f64,
    pub mode: String,
    pub gated_attn: bool,
    pub norm_mlp: String,
    pub self_attn: bool,
    pub self_attn_heads: usize,
    pub use_positional_encoding: bool,
    pub positional_encoding_type: String,
    pub scaling: Value,
    pub loss: Option<String>,
    pub norm_eps: f64,
    #[serde(serialize_with = "crate::hub::spelling::whole")]
    pub mask_value: f64,
    pub head_dropout: f64,
    pub distribution_output: String,
    #[serde(alias = "forecast_len")]
    pub prediction_length: usize,
    pub prediction_channel_indices: Option<Vec<usize>>,
    #[serde(skip_serializing)]
    pub minimum_scale: Option<f64>,
    #[serde(skip_serializing)]
    pub default_scale: Option<Value>,
}

impl Default for PatchTsMixerConfig {
    fn default() -> Self {
        Self {
            architectures: None,
            context_length: 32,
            patch_length: 8,
            num_input_channels: 1,
            patch_stride: 8,
            d_model: 8,
            expansion_factor: 2,
            num_layers: 3,
            dropout: 0.2,
            mode: "common_channel".into(),
            gated_attn: true,
            norm_mlp: "LayerNorm".into(),
            self_attn: false,
            self_attn_heads: 1,
            use_positional_encoding: false,
            positional_encoding_type: "sincos".into(),
            scaling: json!("std"),
            loss: Some("mse".into()),
            norm_eps: 1e-5,
            mask_value: 0.0,
            head_dropout: 0.2,
            distribution_output: "student_t".into(),
            prediction_length: 16,
            prediction_channel_indices: None,
            minimum_scale: None,
            default_scale: None,
        }
    }
}

/// The family.
#[derive(Debug)]
pub struct PatchTsMixer;

impl Family for PatchTsMixer {
    type Ours = SeriesModelConfig;
    type Theirs = PatchTsMixerConfig;

    fn to_ours(&self, theirs: &PatchTsMixerConfig) -> Result<SeriesModelConfig, ConfigError> {
        let known = [PREDICTION, PRETRAINING];
        let pretraining = known_class(&theirs.architectures, &known)? == PRETRAINING;
        let loss = match theirs.loss.as_deref() {
            Some("mse") => PointLoss::Mse,
            _ if pretraining => PointLoss::Mse,
            Some("nll") => {
                PointLoss::Nll { distribution: distribution(&theirs.distribution_output)? }
            }
            other => return Err(ConfigError::new("loss", other.unwrap_or("null"), "mse or nll")),
        };
        let frontend = FrontendConfig {
            patch: theirs.patch_length,
            stride: Some(theirs.patch_stride),
            positions: positions(theirs.use_positional_encoding, &theirs.positional_encoding_type)?,
            mask_value: theirs.mask_value,
            ..Default::default()
        };
        Ok(SeriesModelConfig {
            context: theirs.context_length,
            horizon: theirs.prediction_length,
            channels: Some(theirs.num_input_channels),
            width: theirs.d_model,
            scaler: scaler(
                &theirs.scaling,
                ScalerKind::Std,
                theirs.minimum_scale,
                &theirs.default_scale,
            )?,
            backbone: BackboneConfig::Mixer(MixerConfig {
                layers: theirs.num_layers,
                adaptive_levels: 0,
                expansion: theirs.expansion_factor,
                norm: norm(&theirs.norm_mlp, theirs.norm_eps),
                activation: Activation::Gelu,
                gated: theirs.gated_attn,
                channel_mixing: mixes_channels("mode", &theirs.mode)?,
                attention_heads: if theirs.self_attn { theirs.self_attn_heads } else { 0 },
                mix_single_token: frontend.patches(theirs.context_length) == 1,
                dropout: theirs.dropout,
            }),
            frontend,
            forecast: (!pretraining).then(|| ForecastConfig {
                dropout: theirs.head_dropout,
                targets: sorted(&theirs.prediction_channel_indices),
                ..Default::default()
            }),
            token: pretraining.then_some(TokenHeadConfig { dropout: theirs.head_dropout }),
            loss,
            ..Default::default()
        })
    }

    fn to_theirs(&self, ours: &SeriesModelConfig) -> Option<(String, PatchTsMixerConfig)> {
        let BackboneConfig::Mixer(mixer) = &ours.backbone else { return None };
        let frontend = &ours.frontend;
        let (architecture, head_dropout, targets) = match (&ours.forecast, &ours.token) {
            (Some(head), None) => {
                let plain = ForecastConfig {
                    dropout: head.dropout,
                    targets: head.targets.clone(),
                    ..Default::default()
                };
                if plain != *head {
                    return None;
                }
                (PREDICTION, head.dropout, head.targets.clone())
            }
            (None, Some(head)) => (PRETRAINING, head.dropout, None),
            _ => return None,
        };
        let plain_frontend = FrontendConfig {
            patch: frontend.patch,
            stride: frontend.stride,
            positions: frontend.positions,
            mask_value: frontend.mask_value,
            ..Default::default()
        };
        let plain = *frontend == plain_frontend
            && ours.decoder.is_none()
            && ours.labels.is_empty()
            && mixer.mix_single_token == (ours.patches() == 1)
            && mixer.adaptive_levels == 0
            && mixer.activation == Activation::Gelu
            && plain_norm(&mixer.norm)
            && matches!(ours.loss, PointLoss::Mse | PointLoss::Nll { .. });
        if !plain || frontend.mask_value.fract() != 0.0 {
            return None;
        }
        let theirs = PatchTsMixerConfig {
            context_length: ours.context,
            patch_length: frontend.patch,
            num_input_channels: ours.built_channels(),
            patch_stride: frontend.stride(),
            d_model: ours.width,
            expansion_factor: mixer.expansion,
            num_layers: mixer.layers,
            dropout: mixer.dropout,
            mode: mode(mixer.channel_mixing),
            gated_attn: mixer.gated,
            norm_mlp: norm_name(&mixer.norm),
            self_attn: mixer.attention_heads > 0,
            self_attn_heads: mixer.attention_heads.max(1),
            use_positional_encoding: frontend.positions != Positions::None,
            positional_encoding_type: positions_name(frontend.positions),
            scaling: scaling(&ours.scaler)?,
            loss: Some(if ours.loss.distribution().is_some() { "nll" } else { "mse" }.into()),
            norm_eps: mixer.norm.epsilon,
            mask_value: frontend.mask_value,
            head_dropout,
            distribution_output: distribution_name(ours.loss.distribution()).into(),
            prediction_length: ours.horizon,
            prediction_channel_indices: targets,
            ..Default::default()
        };
        Some((architecture.into(), theirs))
    }

    fn rules(&self, config: &SeriesModelConfig) -> Vec<Rule> {
        let norm = match &config.backbone {
            BackboneConfig::Mixer(mixer) => mixer.norm.kind,
            BackboneConfig::Transformer(_) => NormKind::Layer,
        };
        let head = if config.loss.distribution().is_some() { HEAD_DISTRIBUTION } else { HEAD };
        let mut rules = vec![head];
        rules.extend(NAMES);
        rules.extend(layer_rules(norm));
        rules
    }
}

pub(super) const HEAD: Rule =
    Rule::Prefix { theirs: "head.base_forecast_block.", ours: "forecast_head.parameters.0." };
pub(super) const HEAD_DISTRIBUTION: Rule =
    Rule::Prefix { theirs: "head.base_forecast_block.proj.", ours: "forecast_head.parameters." };

const NAMES: &[Rule] = &[
    Rule::Prefix { theirs: "model.encoder.patcher.", ours: "frontend.embedding." },
    Rule::Prefix {
        theirs: "model.encoder.positional_encoder.position_enc",
        ours: "frontend.position",
    },
    Rule::Prefix {
        theirs: "model.encoder.mlp_mixer_encoder.mixers.",
        ours: "backbone.stages.0.layers.",
    },
    Rule::Prefix { theirs: "head.base_pt_block.", ours: "token_head.projection." },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        presets::Preset,
        scaler::{MissingFill, ScalerConfig},
    };
    use kiln_hub::family::AnyFamily as _;

    #[test]
    fn our_preset_goes_there_and_back() {
        let ours = Preset::PatchTsMixer.config();
        let back = PatchTsMixer.read(&PatchTsMixer.write("patchtsmixer", &ours).unwrap()).unwrap();
        let scaler = ScalerConfig { missing: MissingFill::Raw, ..ours.scaler };
        assert_eq!(back, SeriesModelConfig { channels: Some(1), scaler, ..ours });
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |theirs: PatchTsMixerConfig| PatchTsMixer.to_ours(&theirs).unwrap_err().key;
        let default = PatchTsMixerConfig::default;
        assert_eq!(refused(PatchTsMixerConfig { mode: "flatten".into(), ..default() }), "mode");
        let distribution_output = "poisson".into();
        let loss = Some("nll".into());
        let theirs = PatchTsMixerConfig { distribution_output, loss, ..default() };
        assert_eq!(refused(theirs), "distribution_output");
    }

    #[test]
    fn what_it_cannot_express_is_not_written() {
        assert!(PatchTsMixer.write("patchtsmixer", &Preset::TinyTimeMixer1m.config()).is_none());
        assert!(PatchTsMixer.write("patchtsmixer", &Preset::PatchTst.config()).is_none());
    }
}
