//! PatchTST, <https://arxiv.org/abs/2211.14730>, as transformers stores it.

use super::{
    keys::SeriesKeys,
    spelling::{plain_norm, positions},
};
use crate::{
    config::SeriesModelConfig,
    frontend::{FrontendConfig, Positions},
    head::{ForecastConfig, Pooling, TokenHeadConfig, loss::PointLoss},
    scaler::ScalerKind,
};
use kiln_hub::{Rule, family::Family};
use kiln_nn::{
    AttentionBias, BackboneConfig, ConfigError, NormConfig, NormKind, TransformerConfig,
    activation_name, activation_named,
};

const PREDICTION: &str = "PatchTSTForPrediction";
const PRETRAINING: &str = "PatchTSTForPretraining";

kiln_hub::family_config! {
    /// Its `config.json`, with its own names and defaults; keys that do not matter here are
    /// ignored.
    #[allow(missing_docs, reason = "documented by transformers")]
    pub struct PatchTstConfig {
        #[serde(flatten)]
        pub keys: SeriesKeys = SeriesKeys {
            patch_length: 1,
            patch_stride: 1,
            prediction_length: 24,
            d_model: 128,
            head_dropout: 0.0,
            ..SeriesKeys::default()
        },
        pub num_hidden_layers: usize = 3,
        pub num_attention_heads: usize = 4,
        pub share_embedding: bool = true,
        pub channel_attention: bool = false,
        pub ffn_dim: usize = 512,
        pub norm_type: String = "batchnorm".into(),
        pub norm_eps: f64 = 1e-5,
        pub attention_dropout: f64 = 0.0,
        pub positional_dropout: f64 = 0.0,
        pub path_dropout: f64 = 0.0,
        pub ff_dropout: f64 = 0.0,
        pub bias: bool = true,
        pub activation_function: String = "gelu".into(),
        pub pre_norm: bool = true,
        pub positional_encoding_type: String = "sincos".into(),
        pub use_cls_token: bool = false,
        pub share_projection: bool = true,
        pub pooling_type: Option<String> = Some("mean".into()),
    }
}

/// The family.
#[derive(Debug)]
pub struct PatchTst;

impl Family for PatchTst {
    type Ours = SeriesModelConfig;
    type Theirs = PatchTstConfig;

    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("stride", "patch_stride"),
        ("encoder_layers", "num_hidden_layers"),
        ("hidden_size", "d_model"),
        ("encoder_attention_heads", "num_attention_heads"),
        ("encoder_ffn_dim", "ffn_dim"),
        ("norm", "norm_type"),
        ("dropout_path", "path_dropout"),
        ("positional_encoding", "positional_encoding_type"),
        ("pooling", "pooling_type"),
    ];

    fn to_ours(&self, theirs: &PatchTstConfig) -> Result<SeriesModelConfig, ConfigError> {
        let pretraining = theirs.keys.pretrains([PREDICTION, PRETRAINING])?;
        let kind = match theirs.norm_type.as_str() {
            "batchnorm" => NormKind::Batch,
            "layernorm" => NormKind::Layer,
            other => return Err(ConfigError::new("norm_type", other, "batchnorm or layernorm")),
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
        let ours = theirs.keys.ours(ScalerKind::Mean)?;
        Ok(SeriesModelConfig {
            frontend: FrontendConfig {
                positions: positions(true, &theirs.positional_encoding_type)?,
                shared_embedding: theirs.share_embedding,
                class_token: theirs.use_cls_token,
                dropout: theirs.positional_dropout,
                ..ours.frontend
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
                dropout: theirs.keys.head_dropout,
                ..Default::default()
            }),
            token: pretraining.then_some(TokenHeadConfig { dropout: theirs.keys.head_dropout }),
            loss: theirs.keys.loss(pretraining)?,
            ..ours
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
        if !plain {
            return None;
        }
        let theirs = PatchTstConfig {
            keys: SeriesKeys::of(ours, head_dropout)?,
            num_hidden_layers: transformer.layers,
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
            pooling_type: match pooling {
                Pooling::Flatten => None,
                Pooling::Mean | Pooling::Class => Some("mean".into()),
                Pooling::Max => Some("max".into()),
            },
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
    Rule::BatchNormBuffers,
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
    Rule::Attention {
        theirs: "self_attn",
        projections: ["q_proj", "k_proj", "v_proj", "out_proj"],
    },
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
        assert_eq!(
            refused(PatchTstConfig {
                keys: SeriesKeys { architectures, ..default().keys },
                ..default()
            }),
            "architectures"
        );
        let norm_type = "groupnorm".into();
        assert_eq!(refused(PatchTstConfig { norm_type, ..default() }), "norm_type");
        let loss = Some("mae".into());
        assert_eq!(
            refused(PatchTstConfig { keys: SeriesKeys { loss, ..default().keys }, ..default() }),
            "loss"
        );
    }

    #[test]
    fn what_it_cannot_express_is_not_written() {
        let ours = SeriesModelConfig { causal: true, ..Preset::PatchTst.config() };
        assert!(PatchTst.write("patchtst", &ours).is_none());
        assert!(PatchTst.write("patchtst", &Preset::Tiny.config()).is_none());
    }
}
