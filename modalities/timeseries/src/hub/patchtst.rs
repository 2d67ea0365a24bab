//! PatchTST, <https://arxiv.org/abs/2211.14730>, as transformers stores it.

use super::spelling::{distribution, distribution_name, plain_norm, scaler, scaling};
use crate::{
    config::SeriesModelConfig,
    frontend::{FrontendConfig, Positions},
    head::{ForecastConfig, Pooling, TokenHeadConfig, loss::PointLoss},
    scaler::ScalerKind,
};
use kiln_hub::{
    Rule,
    family::{Family, known_class},
};
use kiln_nn::{
    AttentionBias, BackboneConfig, ConfigError, NormConfig, NormKind, TransformerConfig,
    activation_name, activation_named,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const PREDICTION: &str = "PatchTSTForPrediction";
const PRETRAINING: &str = "PatchTSTForPretraining";

/// Its `config.json`, with its own names and defaults; keys that do not matter here are ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented by transformers")]
pub struct PatchTstConfig {
    pub architectures: Option<Vec<String>>,
    pub num_input_channels: usize,
    pub context_length: usize,
    pub distribution_output: String,
    pub loss: Option<String>,
    pub patch_length: usize,
    #[serde(alias = "stride")]
    pub patch_stride: usize,
    #[serde(alias = "encoder_layers")]
    pub num_hidden_layers: usize,
    #[serde(alias = "hidden_size")]
    pub d_model: usize,
    #[serde(alias = "encoder_attention_heads")]
    pub num_attention_heads: usize,
    pub share_embedding: bool,
    pub channel_attention: bool,
    #[serde(alias = "encoder_ffn_dim")]
    pub ffn_dim: usize,
    #[serde(alias = "norm")]
    pub norm_type: String,
    pub norm_eps: f64,
    pub attention_dropout: f64,
    pub positional_dropout: f64,
    #[serde(alias = "dropout_path")]
    pub path_dropout: f64,
    pub ff_dropout: f64,
    pub bias: bool,
    pub activation_function: String,
    pub pre_norm: bool,
    #[serde(alias = "positional_encoding")]
    pub positional_encoding_type: String,
    pub use_cls_token: bool,
    pub share_projection: bool,
    pub scaling: Value,
    #[serde(serialize_with = "crate::hub::spelling::whole")]
    pub mask_value: f64,
    #[serde(alias = "pooling")]
    pub pooling_type: Option<String>,
    pub head_dropout: f64,
    pub prediction_length: usize,
    #[serde(skip_serializing)]
    pub minimum_scale: Option<f64>,
    #[serde(skip_serializing)]
    pub default_scale: Option<Value>,
}

impl Default for PatchTstConfig {
    fn default() -> Self {
        Self {
            architectures: None,
            num_input_channels: 1,
            context_length: 32,
            distribution_output: "student_t".into(),
            loss: Some("mse".into()),
            patch_length: 1,
            patch_stride: 1,
            num_hidden_layers: 3,
            d_model: 128,
            num_attention_heads: 4,
            share_embedding: true,
            channel_attention: false,
            ffn_dim: 512,
            norm_type: "batchnorm".into(),
            norm_eps: 1e-5,
            attention_dropout: 0.0,
            positional_dropout: 0.0,
            path_dropout: 0.0,
            ff_dropout: 0.0,
            bias: true,
            activation_function: "gelu".into(),
            pre_norm: true,
            positional_encoding_type: "sincos".into(),
            use_cls_token: false,
            share_projection: true,
            scaling: json!("std"),
            mask_value: 0.0,
            pooling_type: Some("mean".into()),
            head_dropout: 0.0,
            prediction_length: 24,
            minimum_scale: None,
            default_scale: None,
        }
    }
}

/// The family.
#[derive(Debug)]
pub struct PatchTst;

impl Family for PatchTst {
    type Ours = SeriesModelConfig;
    type Theirs = PatchTstConfig;

    fn to_ours(&self, theirs: &PatchTstConfig) -> Result<SeriesModelConfig, ConfigError> {
        let known = [PREDICTION, PRETRAINING];
        let pretraining = known_class(&theirs.architectures, &known)? == PRETRAINING;
        let kind = match theirs.norm_type.as_str() {
            "batchnorm" => NormKind::Batch,
            "layernorm" => NormKind::Layer,
            other => return Err(ConfigError::new("norm_type", other, "batchnorm or layernorm")),
        };
        let positions = match theirs.positional_encoding_type.as_str() {
            "sincos" => Positions::Sincos,
            "random" => Positions::Learned,
            other => {
                return Err(ConfigError::new(
                    "positional_encoding_type",
                    other,
                    "sincos or random",
                ));
            }
        };
        let pooling = match theirs.pooling_type.as_deref() {
            _ if theirs.use_cls_token => Pooling::Class,
            None => Pooling::Flatten,
            Some("mean") => Pooling::Mean,
            Some("max") => Pooling::Max,
            Some(other) => {
                return Err(ConfigError::new("pooling_type", other, "mean, max or null"));
            }
        };
        let loss = match theirs.loss.as_deref() {
            Some("mse") => PointLoss::Mse,
            Some("nll") => {
                PointLoss::Nll { distribution: distribution(&theirs.distribution_output)? }
            }
            // While pretraining the loss is always the squared error.
            _ if pretraining => PointLoss::Mse,
            other => return Err(ConfigError::new("loss", other.unwrap_or("null"), "mse or nll")),
        };
        Ok(SeriesModelConfig {
            context: theirs.context_length,
            horizon: theirs.prediction_length,
            channels: Some(theirs.num_input_channels),
            width: theirs.d_model,
            scaler: scaler(
                &theirs.scaling,
                ScalerKind::Mean,
                theirs.minimum_scale,
                &theirs.default_scale,
            )?,
            frontend: FrontendConfig {
                patch: theirs.patch_length,
                stride: Some(theirs.patch_stride),
                positions,
                shared_embedding: theirs.share_embedding,
                class_token: theirs.use_cls_token,
                dropout: theirs.positional_dropout,
                mask_value: theirs.mask_value,
                ..Default::default()
            },
            backbone: BackboneConfig::Transformer(TransformerConfig {
                layers: theirs.num_hidden_layers,
                heads: theirs.num_attention_heads,
                hidden: Some(theirs.ffn_dim),
                activation: activation_named("activation_function", &theirs.activation_function)?,
                norm: NormConfig { epsilon: theirs.norm_eps, ..NormConfig::new(kind) },
                pre_norm: theirs.pre_norm,
                final_norm: false,
                channel_attention: theirs.channel_attention,
                bias: theirs.bias,
                attention_dropout: theirs.attention_dropout,
                hidden_dropout: theirs.ff_dropout,
                residual_dropout: theirs.path_dropout,
                ..Default::default()
            }),
            forecast: (!pretraining).then(|| ForecastConfig {
                pooling,
                shared: theirs.share_projection,
                dropout: theirs.head_dropout,
                ..Default::default()
            }),
            token: pretraining.then_some(TokenHeadConfig { dropout: theirs.head_dropout }),
            loss: if pretraining { PointLoss::Mse } else { loss },
            ..Default::default()
        })
    }

    fn to_theirs(&self, ours: &SeriesModelConfig) -> Option<(String, PatchTstConfig)> {
        let BackboneConfig::Transformer(transformer) = &ours.backbone else { return None };
        let frontend = &ours.frontend;
        let positional_encoding_type = match frontend.positions {
            Positions::None => return None,
            Positions::Sincos => "sincos",
            Positions::Learned => "random",
        };
        let (architecture, head_dropout, pooling, shared) = match (&ours.forecast, &ours.token) {
            (Some(head), None) => {
                let plain = ForecastConfig {
                    pooling: head.pooling,
                    shared: head.shared,
                    dropout: head.dropout,
                    ..Default::default()
                };
                let class = head.pooling == Pooling::Class;
                if plain != *head || class != frontend.class_token {
                    return None;
                }
                (PREDICTION, head.dropout, head.pooling, head.shared)
            }
            (None, Some(head)) => (PRETRAINING, head.dropout, Pooling::Mean, true),
            _ => return None,
        };
        let plain_frontend =
            frontend.registers == 0 && frontend.resolutions == 0 && frontend.norm.is_none();
        let plain = plain_frontend
            && ours.decoder.is_none()
            && ours.labels.is_empty()
            && !ours.causal
            && !transformer.final_norm
            && transformer.is_plain()
            && transformer.attention_bias == AttentionBias::All
            && transformer.layer_drop == 0.0
            && plain_norm(&transformer.norm)
            && matches!(ours.loss, PointLoss::Mse | PointLoss::Nll { .. });
        if !plain || frontend.mask_value.fract() != 0.0 {
            return None;
        }
        let theirs = PatchTstConfig {
            num_input_channels: ours.built_channels(),
            context_length: ours.context,
            distribution_output: distribution_name(ours.loss.distribution()).into(),
            loss: Some(if ours.loss.distribution().is_some() { "nll" } else { "mse" }.into()),
            patch_length: frontend.patch,
            patch_stride: frontend.stride(),
            num_hidden_layers: transformer.layers,
            d_model: ours.width,
            num_attention_heads: transformer.heads,
            share_embedding: frontend.shared_embedding,
            channel_attention: transformer.channel_attention,
            ffn_dim: transformer.hidden.unwrap_or(4 * ours.width),
            norm_type: if transformer.norm.kind == NormKind::Batch {
                "batchnorm"
            } else {
                "layernorm"
            }
            .into(),
            norm_eps: transformer.norm.epsilon,
            attention_dropout: transformer.attention_dropout,
            positional_dropout: frontend.dropout,
            path_dropout: transformer.residual_dropout,
            ff_dropout: transformer.hidden_dropout,
            bias: transformer.bias,
            activation_function: activation_name(transformer.activation).into(),
            pre_norm: transformer.pre_norm,
            positional_encoding_type: positional_encoding_type.into(),
            use_cls_token: frontend.class_token,
            share_projection: shared,
            scaling: scaling(&ours.scaler)?,
            mask_value: frontend.mask_value,
            pooling_type: match pooling {
                Pooling::Flatten => None,
                Pooling::Mean | Pooling::Class => Some("mean".into()),
                Pooling::Max => Some("max".into()),
            },
            head_dropout,
            prediction_length: ours.horizon,
            ..Default::default()
        };
        Some((architecture.into(), theirs))
    }

    fn rules(&self, config: &SeriesModelConfig) -> Vec<Rule> {
        let batch = matches!(
            &config.backbone,
            BackboneConfig::Transformer(transformer) if transformer.norm.kind == NormKind::Batch
        );
        let shared = config.forecast.as_ref().is_none_or(|head| head.shared);
        let head = match (config.loss.distribution().is_some(), shared) {
            (false, true) => HEAD_SHARED,
            (true, true) => HEAD_SHARED_DISTRIBUTION,
            (false, false) => HEAD_EACH,
            (true, false) => HEAD_EACH_DISTRIBUTION,
        };
        let norms = if batch { BATCH } else { LAYER };
        [head].iter().chain(norms).chain(NAMES).copied().collect()
    }
}

const HEAD_SHARED: Rule =
    Rule::Prefix { theirs: "head.projection.", ours: "forecast_head.parameters.0." };
const HEAD_SHARED_DISTRIBUTION: Rule =
    Rule::Prefix { theirs: "head.projection.proj.", ours: "forecast_head.parameters." };
const HEAD_EACH: Rule =
    Rule::Prefix { theirs: "head.projections.", ours: "forecast_head.parameters.0." };
const HEAD_EACH_DISTRIBUTION: Rule = Rule::Regex {
    load: Some((
        r"^head\.projections\.(\d+)\.proj\.(\d+)\.",
        "forecast_head.parameters.${2}.${1}.",
    )),
    save: Some((r"^forecast_head\.parameters\.(\d+)\.(\d+)\.", "head.projections.${2}.proj.${1}.")),
};

const LAYER: &[Rule] = &[
    Rule::Segments { theirs: "norm_sublayer1", ours: "attention_norm" },
    Rule::Segments { theirs: "norm_sublayer2", ours: "channel_norm" },
    Rule::Segments { theirs: "norm_sublayer3", ours: "feed_forward_norm" },
];

const BATCH: &[Rule] = &[
    Rule::Segments { theirs: "norm_sublayer1.batchnorm", ours: "attention_norm" },
    Rule::Segments { theirs: "norm_sublayer2.batchnorm", ours: "channel_norm" },
    Rule::Segments { theirs: "norm_sublayer3.batchnorm", ours: "feed_forward_norm" },
    Rule::Segments { theirs: "running_mean", ours: "running.mean" },
    Rule::Segments { theirs: "running_var", ours: "running.variance" },
    Rule::Segments { theirs: "num_batches_tracked", ours: "running.batches" },
];

const NAMES: &[Rule] = &[
    Rule::Prefix { theirs: "model.encoder.embedder.input_embedding.", ours: "frontend.embedding." },
    Rule::Prefix {
        theirs: "model.encoder.positional_encoder.position_enc",
        ours: "frontend.position",
    },
    Rule::Prefix {
        theirs: "model.encoder.positional_encoder.cls_token",
        ours: "frontend.class_token",
    },
    Rule::Prefix { theirs: "model.encoder.layers.", ours: "backbone.layers." },
    Rule::Prefix { theirs: "head.linear.", ours: "token_head.projection." },
    Rule::Segments { theirs: "self_attn.q_proj", ours: "attention.query" },
    Rule::Segments { theirs: "self_attn.k_proj", ours: "attention.key" },
    Rule::Segments { theirs: "self_attn.v_proj", ours: "attention.value" },
    Rule::Segments { theirs: "self_attn.out_proj", ours: "attention.output" },
    Rule::Segments { theirs: "ff.0", ours: "feed_forward.hidden" },
    Rule::Segments { theirs: "ff.3", ours: "feed_forward.output" },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Format,
        presets::Preset,
        scaler::{MissingFill, ScalerConfig},
    };
    use kiln_hub::family::AnyFamily as _;

    #[test]
    fn our_preset_goes_there_and_back() {
        let ours = Preset::PatchTst.config();
        let json = PatchTst.write("patchtst", &ours).unwrap();
        assert_eq!(json["norm_type"], "batchnorm");
        assert!(json["mask_value"].is_i64());
        let back = PatchTst.read(&json).unwrap();
        let ours = SeriesModelConfig {
            channels: Some(1),
            scaler: ScalerConfig { missing: MissingFill::Raw, ..ours.scaler },
            format: None,
            ..ours
        };
        assert_eq!(back, ours);
        assert_ne!(Some(Format::PatchTst), back.format, "the caller sets it");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |theirs: PatchTstConfig| PatchTst.to_ours(&theirs).unwrap_err().key;
        let default = PatchTstConfig::default;
        let architectures = Some(vec!["PatchTSTForRegression".to_owned()]);
        assert_eq!(refused(PatchTstConfig { architectures, ..default() }), "architectures");
        let norm_type = "groupnorm".into();
        assert_eq!(refused(PatchTstConfig { norm_type, ..default() }), "norm_type");
        let loss = Some("mae".into());
        assert_eq!(refused(PatchTstConfig { loss, ..default() }), "loss");
    }

    #[test]
    fn what_it_cannot_express_is_not_written() {
        let ours = SeriesModelConfig { causal: true, ..Preset::PatchTst.config() };
        assert!(PatchTst.write("patchtst", &ours).is_none());
        assert!(PatchTst.write("patchtst", &Preset::Tiny.config()).is_none());
    }
}
