//! Tiny Time Mixers, <https://arxiv.org/abs/2401.03955>, as granite-tsfm stores them.

use super::{
    class, family_json,
    mixer_names::layer_rules,
    patchtsmixer::{
        HEAD, HEAD_DISTRIBUTION, mixes_channels, mode, norm, norm_name, positions, positions_name,
        sorted,
    },
    patchtst::{distribution, distribution_name, scaler, scaling, whole_numbers},
    plain_norm,
};
use crate::{
    config::{DecoderConfig, SeriesModelConfig},
    frontend::{FrontendConfig, Positions},
    head::{ForecastConfig, loss::PointLoss, reconcile::ReconcileConfig},
    scaler::ScalerKind,
};
use kiln_hub::Rule;
use kiln_nn::{Activation, BackboneConfig, ConfigError, MixerConfig, NormConfig, NormKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Its `model_type`.
pub const MODEL_TYPE: &str = "tinytimemixer";

const PREDICTION: &str = "TinyTimeMixerForPrediction";

/// Its `config.json`, with its own names and defaults; keys that do not matter here are ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented by granite-tsfm")]
pub struct TinyTimeMixerConfig {
    pub architectures: Option<Vec<String>>,
    pub context_length: usize,
    pub patch_length: usize,
    pub num_input_channels: usize,
    pub prediction_length: usize,
    pub patch_stride: usize,
    pub prediction_channel_indices: Option<Vec<usize>>,
    pub exogenous_channel_indices: Option<Vec<usize>>,
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
    pub adaptive_patching_levels: usize,
    pub resolution_prefix_tuning: bool,
    pub frequency_token_vocab_size: usize,
    pub head_dropout: f64,
    pub distribution_output: String,
    pub decoder_num_layers: usize,
    pub decoder_d_model: usize,
    pub decoder_adaptive_patching_levels: usize,
    pub decoder_raw_residual: bool,
    pub decoder_mode: String,
    pub use_decoder: bool,
    pub enable_forecast_channel_mixing: bool,
    pub fcm_gated_attn: bool,
    pub fcm_context_length: usize,
    pub fcm_use_mixer: bool,
    pub fcm_mix_layers: usize,
    pub fcm_prepend_past: bool,
    pub fcm_prepend_past_offset: Option<usize>,
    pub prediction_filter_length: Option<usize>,
    pub quantile: f64,
    pub huber_delta: f64,
    pub mask_value: f64,
    pub register_tokens: usize,
    pub enable_base_norm_always: bool,
    #[serde(skip_serializing)]
    pub masked_context_length: Option<usize>,
    #[serde(skip_serializing)]
    pub minimum_scale: Option<f64>,
    #[serde(skip_serializing)]
    pub default_scale: Option<Value>,
    // Options that are refused.
    #[serde(skip_serializing)]
    pub categorical_vocab_size_list: Option<Value>,
    #[serde(skip_serializing)]
    pub multi_scale: bool,
    #[serde(skip_serializing)]
    pub fft_length: usize,
    #[serde(skip_serializing)]
    pub multi_quantile_head: bool,
    #[serde(skip_serializing)]
    pub decompose: bool,
    #[serde(skip_serializing)]
    pub gate_mode: Option<String>,
    #[serde(skip_serializing)]
    pub use_register_context_gating: Option<bool>,
}

impl Default for TinyTimeMixerConfig {
    fn default() -> Self {
        Self {
            architectures: None,
            context_length: 64,
            patch_length: 8,
            num_input_channels: 1,
            prediction_length: 16,
            patch_stride: 8,
            prediction_channel_indices: None,
            exogenous_channel_indices: None,
            d_model: 16,
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
            adaptive_patching_levels: 0,
            resolution_prefix_tuning: false,
            frequency_token_vocab_size: 5,
            head_dropout: 0.2,
            distribution_output: "student_t".into(),
            decoder_num_layers: 8,
            decoder_d_model: 8,
            decoder_adaptive_patching_levels: 0,
            decoder_raw_residual: false,
            decoder_mode: "common_channel".into(),
            use_decoder: true,
            enable_forecast_channel_mixing: false,
            fcm_gated_attn: true,
            fcm_context_length: 1,
            fcm_use_mixer: false,
            fcm_mix_layers: 2,
            fcm_prepend_past: true,
            fcm_prepend_past_offset: None,
            prediction_filter_length: None,
            quantile: 0.5,
            huber_delta: 1.0,
            mask_value: 0.0,
            register_tokens: 0,
            enable_base_norm_always: false,
            masked_context_length: None,
            minimum_scale: None,
            default_scale: None,
            categorical_vocab_size_list: None,
            multi_scale: false,
            fft_length: 0,
            multi_quantile_head: false,
            decompose: false,
            gate_mode: None,
            use_register_context_gating: None,
        }
    }
}

impl TinyTimeMixerConfig {
    /// Names the first option that is not supported.
    fn refuse(&self) -> Result<(), ConfigError> {
        let architecture = class(&self.architectures, PREDICTION);
        if architecture != PREDICTION {
            return Err(ConfigError::new("architectures", architecture, PREDICTION));
        }
        if self.patch_length != self.patch_stride {
            let expected = format!("the patch length {}", self.patch_length);
            return Err(ConfigError::new("patch_stride", self.patch_stride, expected));
        }
        let off = [
            ("multi_scale", self.multi_scale),
            ("multi_quantile_head", self.multi_quantile_head),
            ("decompose", self.decompose),
            ("use_register_context_gating", self.use_register_context_gating == Some(true)),
        ];
        if let Some((key, _)) = off.into_iter().find(|(_, on)| *on) {
            return Err(ConfigError::new(key, true, "false: it is not supported"));
        }
        if self.fft_length > 0 {
            return Err(ConfigError::new("fft_length", self.fft_length, "0: it is not supported"));
        }
        if let Some(gate) = self.gate_mode.as_deref().filter(|gate| *gate != "softmax") {
            return Err(ConfigError::new("gate_mode", gate, "softmax: others are not supported"));
        }
        match self.categorical_vocab_size_list.as_ref().filter(|list| !list.is_null()) {
            Some(list) => Err(ConfigError::new(
                "categorical_vocab_size_list",
                list,
                "null: it is not supported",
            )),
            None => Ok(()),
        }
    }

    fn loss(&self) -> Result<PointLoss, ConfigError> {
        Ok(match self.loss.as_deref() {
            Some("mse") | None => PointLoss::Mse,
            Some("mae") => PointLoss::Mae,
            Some("huber") => PointLoss::Huber { delta: self.huber_delta },
            Some("pinball") => PointLoss::Quantile { level: self.quantile },
            Some("nll") if self.prediction_filter_length.is_none() => {
                PointLoss::Nll { distribution: distribution(&self.distribution_output)? }
            }
            Some(other) => {
                return Err(ConfigError::new(
                    "loss",
                    other,
                    "mse, mae, huber, pinball, or nll for the whole horizon",
                ));
            }
        })
    }

    fn mixer(&self) -> Result<MixerConfig, ConfigError> {
        Ok(MixerConfig {
            layers: self.num_layers,
            adaptive_levels: self.adaptive_patching_levels,
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
}

/// Their configuration as ours.
///
/// # Errors
/// When an option is not supported.
pub fn to_ours(theirs: &TinyTimeMixerConfig) -> Result<SeriesModelConfig, ConfigError> {
    theirs.refuse()?;
    let mixer = theirs.mixer()?;
    let covariates = sorted(&theirs.exogenous_channel_indices).unwrap_or_default();
    let targets = sorted(&theirs.prediction_channel_indices).or_else(|| {
        let rest = (0..theirs.num_input_channels).filter(|channel| !covariates.contains(channel));
        (!covariates.is_empty()).then(|| rest.collect())
    });
    let decoder = theirs.use_decoder.then(|| -> Result<_, ConfigError> {
        Ok(DecoderConfig {
            width: theirs.decoder_d_model,
            raw_residual: theirs.decoder_raw_residual,
            backbone: BackboneConfig::Mixer(MixerConfig {
                layers: theirs.decoder_num_layers,
                adaptive_levels: theirs.decoder_adaptive_patching_levels,
                channel_mixing: mixes_channels("decoder_mode", &theirs.decoder_mode)?,
                dropout: theirs.head_dropout,
                ..mixer.clone()
            }),
        })
    });
    let reconcile = theirs.enable_forecast_channel_mixing.then(|| ReconcileConfig {
        covariates,
        context: theirs.fcm_context_length,
        gated: theirs.fcm_gated_attn,
        mixer: theirs.fcm_use_mixer.then(|| MixerConfig {
            layers: theirs.fcm_mix_layers,
            adaptive_levels: 0,
            gated: theirs.fcm_gated_attn,
            channel_mixing: false,
            dropout: theirs.head_dropout,
            ..mixer.clone()
        }),
        prepend_past: theirs.fcm_prepend_past,
        skip_past: theirs.fcm_prepend_past_offset.unwrap_or(0),
        raw_values: true,
    });
    let norm = NormConfig { epsilon: theirs.norm_eps, ..NormConfig::default() };
    Ok(SeriesModelConfig {
        context: theirs.masked_context_length.unwrap_or(theirs.context_length),
        horizon: theirs.prediction_length,
        channels: Some(theirs.num_input_channels),
        width: theirs.d_model,
        scaler: scaler(
            &theirs.scaling,
            ScalerKind::Std,
            theirs.minimum_scale,
            &theirs.default_scale,
        )?,
        frontend: FrontendConfig {
            patch: theirs.patch_length,
            positions: positions(theirs.use_positional_encoding, &theirs.positional_encoding_type)?,
            registers: theirs.register_tokens,
            resolutions: if theirs.resolution_prefix_tuning {
                theirs.frequency_token_vocab_size
            } else {
                0
            },
            norm: theirs.enable_base_norm_always.then_some(norm),
            mask_value: theirs.mask_value,
            ..Default::default()
        },
        backbone: BackboneConfig::Mixer(mixer),
        decoder: decoder.transpose()?,
        forecast: Some(ForecastConfig {
            dropout: theirs.head_dropout,
            keep: theirs.prediction_filter_length,
            targets,
            reconcile,
            ..Default::default()
        }),
        loss: theirs.loss()?,
        ..Default::default()
    })
}

/// Our configuration as theirs; `None` where they cannot express it.
pub fn to_json(ours: &SeriesModelConfig) -> Option<Value> {
    let (BackboneConfig::Mixer(mixer), Some(head)) = (&ours.backbone, &ours.forecast) else {
        return None;
    };
    let frontend = &ours.frontend;
    let base = NormConfig { epsilon: mixer.norm.epsilon, ..NormConfig::default() };
    let plain_frontend = FrontendConfig {
        patch: frontend.patch,
        stride: frontend.stride.filter(|stride| *stride == frontend.patch),
        positions: frontend.positions,
        registers: frontend.registers,
        resolutions: frontend.resolutions,
        norm: frontend.norm.map(|_| base),
        mask_value: frontend.mask_value,
        ..Default::default()
    };
    let plain_head = ForecastConfig {
        dropout: head.dropout,
        keep: head.keep,
        targets: head.targets.clone(),
        reconcile: head.reconcile.clone(),
        ..Default::default()
    };
    let plain = *frontend == plain_frontend
        && *head == plain_head
        && ours.token.is_none()
        && ours.labels.is_empty()
        && mixer.activation == Activation::Gelu
        && !mixer.mix_single_token
        && plain_norm(&mixer.norm)
        && !(head.keep.is_some() && ours.loss.distribution().is_some());
    if !plain {
        return None;
    }
    let mut theirs = TinyTimeMixerConfig {
        context_length: ours.context,
        patch_length: frontend.patch,
        num_input_channels: ours.built_channels(),
        prediction_length: ours.horizon,
        patch_stride: frontend.patch,
        prediction_channel_indices: head.targets.clone(),
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
        norm_eps: mixer.norm.epsilon,
        adaptive_patching_levels: mixer.adaptive_levels,
        resolution_prefix_tuning: frontend.resolutions > 0,
        frequency_token_vocab_size: if frontend.resolutions > 0 { frontend.resolutions } else { 5 },
        head_dropout: head.dropout,
        distribution_output: distribution_name(ours.loss.distribution()).into(),
        use_decoder: ours.decoder.is_some(),
        prediction_filter_length: head.keep,
        mask_value: frontend.mask_value,
        register_tokens: frontend.registers,
        enable_base_norm_always: frontend.norm.is_some(),
        ..Default::default()
    };
    theirs.loss = Some(
        match ours.loss {
            PointLoss::Mse => "mse",
            PointLoss::Mae => "mae",
            PointLoss::Huber { delta } => {
                theirs.huber_delta = delta;
                "huber"
            }
            PointLoss::Quantile { level } => {
                theirs.quantile = level;
                "pinball"
            }
            PointLoss::Nll { .. } => "nll",
        }
        .into(),
    );
    if let Some(decoder) = &ours.decoder {
        write_decoder(&mut theirs, decoder, mixer, head.dropout)?;
    }
    if let Some(reconcile) = &head.reconcile {
        write_reconcile(&mut theirs, reconcile, mixer, head.dropout)?;
    }
    let mut json = family_json(MODEL_TYPE, PREDICTION, &theirs)?;
    whole_numbers(&mut json, &["mask_value"])?;
    Some(json)
}

/// Their decoder differs from the encoder in few things only.
fn write_decoder(
    theirs: &mut TinyTimeMixerConfig,
    decoder: &DecoderConfig,
    encoder: &MixerConfig,
    head_dropout: f64,
) -> Option<()> {
    let BackboneConfig::Mixer(mixer) = &decoder.backbone else { return None };
    let like_encoder = MixerConfig {
        layers: mixer.layers,
        adaptive_levels: mixer.adaptive_levels,
        channel_mixing: mixer.channel_mixing,
        dropout: head_dropout,
        ..encoder.clone()
    };
    if like_encoder != *mixer {
        return None;
    }
    theirs.decoder_num_layers = mixer.layers;
    theirs.decoder_adaptive_patching_levels = mixer.adaptive_levels;
    theirs.decoder_mode = mode(mixer.channel_mixing);
    theirs.decoder_d_model = decoder.width;
    theirs.decoder_raw_residual = decoder.raw_residual;
    Some(())
}

fn write_reconcile(
    theirs: &mut TinyTimeMixerConfig,
    reconcile: &ReconcileConfig,
    encoder: &MixerConfig,
    head_dropout: f64,
) -> Option<()> {
    if let Some(mixer) = &reconcile.mixer {
        let like_encoder = MixerConfig {
            layers: mixer.layers,
            adaptive_levels: 0,
            gated: reconcile.gated,
            channel_mixing: false,
            dropout: head_dropout,
            ..encoder.clone()
        };
        if like_encoder != *mixer {
            return None;
        }
        theirs.fcm_mix_layers = mixer.layers;
    }
    // They leave the forecast as it is without gate and context.
    if reconcile.context == 0 && !reconcile.gated {
        return None;
    }
    theirs.enable_forecast_channel_mixing = true;
    theirs.exogenous_channel_indices = reconcile.covariates().map(<[usize]>::to_vec);
    theirs.fcm_use_mixer = reconcile.mixer.is_some();
    theirs.fcm_context_length = reconcile.context;
    theirs.fcm_gated_attn = reconcile.gated;
    theirs.fcm_prepend_past = reconcile.prepend_past;
    theirs.fcm_prepend_past_offset = (reconcile.skip_past > 0).then_some(reconcile.skip_past);
    Some(())
}

/// Their names and ours.
pub fn rules(config: &SeriesModelConfig) -> Vec<Rule> {
    let mixer = |backbone: &BackboneConfig| match backbone {
        BackboneConfig::Mixer(mixer) => (mixer.adaptive_levels > 0, mixer.norm.kind),
        BackboneConfig::Transformer(_) => (false, NormKind::Layer),
    };
    let (adaptive, norm) = mixer(&config.backbone);
    let adaptive_decoder =
        config.decoder.as_ref().is_some_and(|decoder| mixer(&decoder.backbone).0);
    let head = if config.loss.distribution().is_some() { HEAD_DISTRIBUTION } else { HEAD };
    let mut rules = vec![
        head,
        if adaptive { ENCODER_ADAPTIVE } else { ENCODER },
        if adaptive_decoder { DECODER_ADAPTIVE } else { DECODER },
    ];
    rules.extend(NAMES);
    rules.extend(layer_rules(norm));
    rules
}

const ENCODER: Rule = Rule::Prefix {
    theirs: "backbone.encoder.mlp_mixer_encoder.mixers.",
    ours: "backbone.stages.0.layers.",
};
const ENCODER_ADAPTIVE: Rule = Rule::Regex {
    load: Some((
        r"^backbone\.encoder\.mlp_mixer_encoder\.mixers\.(\d+)\.mixer_layers\.",
        "backbone.stages.${1}.layers.",
    )),
    save: Some((
        r"^backbone\.stages\.(\d+)\.layers\.",
        "backbone.encoder.mlp_mixer_encoder.mixers.${1}.mixer_layers.",
    )),
};
const DECODER: Rule = Rule::Prefix {
    theirs: "decoder.decoder_block.mixers.",
    ours: "decoder.backbone.stages.0.layers.",
};
const DECODER_ADAPTIVE: Rule = Rule::Regex {
    load: Some((
        r"^decoder\.decoder_block\.mixers\.(\d+)\.mixer_layers\.",
        "decoder.backbone.stages.${1}.layers.",
    )),
    save: Some((
        r"^decoder\.backbone\.stages\.(\d+)\.layers\.",
        "decoder.decoder_block.mixers.${1}.mixer_layers.",
    )),
};

const NAMES: &[Rule] = &[
    Rule::Prefix { theirs: "backbone.encoder.patcher.", ours: "frontend.embedding." },
    Rule::Prefix {
        theirs: "backbone.encoder.positional_encoder.position_enc",
        ours: "frontend.position",
    },
    Rule::Prefix { theirs: "backbone.encoder.add_tokens.patch_tokens", ours: "frontend.registers" },
    Rule::Prefix { theirs: "backbone.encoder.base_norm.", ours: "frontend.norm." },
    Rule::Prefix { theirs: "backbone.encoder.freq_mod.0.", ours: "frontend.resolution.embedding." },
    Rule::Prefix { theirs: "backbone.encoder.freq_mod.1.", ours: "frontend.resolution.hidden." },
    Rule::Prefix { theirs: "backbone.encoder.freq_mod.3.", ours: "frontend.resolution.output." },
    Rule::Prefix { theirs: "decoder.decoder_raw_embedding.", ours: "decoder.raw." },
    Rule::Prefix {
        theirs: "head.fcm_block.exog_mixer.mixers.",
        ours: "forecast_head.reconcile.mixer.stages.0.layers.",
    },
    Rule::Prefix {
        theirs: "head.fcm_block.fcm_embedding.",
        ours: "forecast_head.reconcile.window_embedding.",
    },
    Rule::Prefix {
        theirs: "head.fcm_block.fcm_gating_block.attn_layer.",
        ours: "forecast_head.reconcile.window_gate.",
    },
    Rule::Prefix { theirs: "head.fcm_block.mlp.", ours: "forecast_head.reconcile.output." },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        presets::Preset,
        scaler::{MissingFill, ScalerConfig},
    };

    fn back(ours: &SeriesModelConfig) -> SeriesModelConfig {
        to_ours(&serde_json::from_value(to_json(ours).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn our_preset_goes_there_and_back() {
        let ours = Preset::TinyTimeMixer1m.config();
        let scaler = ScalerConfig { missing: MissingFill::Raw, ..ours.scaler };
        assert_eq!(back(&ours), SeriesModelConfig { channels: Some(1), scaler, ..ours });
    }

    #[test]
    fn covariates_go_there_and_back() {
        let mut ours = Preset::TinyTimeMixer1m.config();
        ours.channels = Some(3);
        ours.scaler.missing = MissingFill::Raw;
        ours.loss = PointLoss::Huber { delta: 2.0 };
        if let Some(head) = &mut ours.forecast {
            head.targets = Some(vec![0, 2]);
            head.keep = Some(24);
            let covariates = vec![1];
            head.reconcile =
                Some(ReconcileConfig { covariates, raw_values: true, ..Default::default() });
        }
        ours.validate().unwrap();
        assert_eq!(back(&ours), ours);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |theirs: TinyTimeMixerConfig| to_ours(&theirs).unwrap_err();
        let default = TinyTimeMixerConfig::default;
        let error = refused(TinyTimeMixerConfig { multi_quantile_head: true, ..default() });
        assert_eq!(
            error.to_string(),
            "`multi_quantile_head` is true; expected false: it is not supported"
        );
        for (key, theirs) in [
            ("multi_scale", TinyTimeMixerConfig { multi_scale: true, ..default() }),
            ("decompose", TinyTimeMixerConfig { decompose: true, ..default() }),
            ("fft_length", TinyTimeMixerConfig { fft_length: 3, ..default() }),
            ("patch_stride", TinyTimeMixerConfig { patch_stride: 4, ..default() }),
            ("gate_mode", TinyTimeMixerConfig { gate_mode: Some("glu".into()), ..default() }),
            (
                "categorical_vocab_size_list",
                TinyTimeMixerConfig { categorical_vocab_size_list: Some(json!([3])), ..default() },
            ),
        ] {
            assert_eq!(refused(theirs).key, key);
        }
    }
}
