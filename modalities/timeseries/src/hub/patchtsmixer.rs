//! PatchTSMixer, <https://arxiv.org/abs/2306.09364>, as transformers stores it.

use super::{
    keys::{MixerKeys, SeriesKeys},
    mixer_names::layer_rules,
    spelling::plain_norm,
};
use crate::{
    config::SeriesModelConfig,
    frontend::FrontendConfig,
    head::{ForecastConfig, TokenHeadConfig, loss::PointLoss},
    scaler::ScalerKind,
};
use kiln_hub::{Rule, family::Family};
use kiln_nn::{Activation, BackboneConfig, ConfigError, MixerConfig, NormKind};
use serde::{Deserialize, Serialize};

const PREDICTION: &str = "PatchTSMixerForPrediction";
const PRETRAINING: &str = "PatchTSMixerForPretraining";

/// Its `config.json`, with its own names and defaults; keys that do not matter here are ignored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "documented by transformers")]
pub struct PatchTsMixerConfig {
    #[serde(flatten)]
    pub keys: SeriesKeys,
    #[serde(flatten)]
    pub mixer: MixerKeys,
}

/// The family.
#[derive(Debug)]
pub struct PatchTsMixer;

impl Family for PatchTsMixer {
    type Ours = SeriesModelConfig;
    type Theirs = PatchTsMixerConfig;

    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("patch_len", "patch_length"),
        ("stride", "patch_stride"),
        ("num_features", "d_model"),
        ("hidden_size", "d_model"),
        ("forecast_len", "prediction_length"),
    ];

    fn to_ours(&self, theirs: &PatchTsMixerConfig) -> Result<SeriesModelConfig, ConfigError> {
        let PatchTsMixerConfig { keys, mixer } = theirs;
        let pretraining = keys.pretrains([PREDICTION, PRETRAINING])?;
        let ours = keys.ours(ScalerKind::Std)?;
        Ok(SeriesModelConfig {
            backbone: BackboneConfig::Mixer(MixerConfig {
                mix_single_token: ours.patches() == 1,
                ..mixer.ours()?
            }),
            frontend: FrontendConfig { positions: mixer.positions()?, ..ours.frontend },
            forecast: (!pretraining).then(|| ForecastConfig {
                dropout: keys.head_dropout,
                targets: mixer.targets(),
                ..Default::default()
            }),
            token: pretraining.then_some(TokenHeadConfig { dropout: keys.head_dropout }),
            loss: keys.loss(pretraining)?,
            ..ours
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
        if !plain {
            return None;
        }
        let theirs = PatchTsMixerConfig {
            keys: SeriesKeys::of(ours, head_dropout)?,
            mixer: MixerKeys::of(mixer, frontend.positions, &targets),
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
        assert_eq!(
            refused(PatchTsMixerConfig {
                mixer: MixerKeys { mode: "flatten".into(), ..MixerKeys::default() },
                ..default()
            }),
            "mode"
        );
        let distribution_output = "poisson".into();
        let loss = Some("nll".into());
        let keys = SeriesKeys { distribution_output, loss, ..SeriesKeys::default() };
        let theirs = PatchTsMixerConfig { keys, ..default() };
        assert_eq!(refused(theirs), "distribution_output");
    }

    #[test]
    fn what_it_cannot_express_is_not_written() {
        assert!(PatchTsMixer.write("patchtsmixer", &Preset::TinyTimeMixer1m.config()).is_none());
        assert!(PatchTsMixer.write("patchtsmixer", &Preset::PatchTst.config()).is_none());
    }
}
