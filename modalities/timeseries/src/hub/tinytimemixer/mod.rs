//! Tiny Time Mixers, <https://arxiv.org/abs/2401.03955>, as granite-tsfm stores them.

mod config;
mod names;

pub use config::TinyTimeMixerConfig;

use super::{
    keys::{MixerKeys, SeriesKeys},
    spelling::{mixes_channels, mode, plain_norm, sorted},
};
use crate::{
    config::{DecoderConfig, SeriesModelConfig},
    frontend::FrontendConfig,
    head::{ForecastConfig, loss::PointLoss, reconcile::ReconcileConfig},
    scaler::ScalerKind,
};
use kiln_hub::{
    Rule,
    family::{Family, known_class},
};
use kiln_nn::{Activation, BackboneConfig, ConfigError, MixerConfig, NormConfig};

const PREDICTION: &str = "TinyTimeMixerForPrediction";

impl TinyTimeMixerConfig {
    /// Names the first option that is not supported.
    fn refuse(&self) -> Result<(), ConfigError> {
        known_class(&self.keys.architectures, &[PREDICTION])?;
        let SeriesKeys { patch_length, patch_stride, .. } = self.keys;
        if patch_length != patch_stride {
            let expected = format!("the patch length {patch_length}");
            return Err(ConfigError::new("patch_stride", patch_stride, expected));
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
        Ok(match self.keys.loss.as_deref() {
            Some("mse") | None => PointLoss::Mse,
            Some("mae") => PointLoss::Mae,
            Some("huber") => PointLoss::Huber { delta: self.huber_delta },
            Some("pinball") => PointLoss::Quantile { level: self.quantile },
            Some("nll") if self.prediction_filter_length.is_none() => self.keys.nll()?,
            Some(other) => {
                return Err(ConfigError::new(
                    "loss",
                    other,
                    "mse, mae, huber, pinball, or nll for the whole horizon",
                ));
            }
        })
    }
}

/// The family.
#[derive(Debug)]
pub struct TinyTimeMixer;

impl Family for TinyTimeMixer {
    type Ours = SeriesModelConfig;
    type Theirs = TinyTimeMixerConfig;

    fn to_ours(&self, theirs: &TinyTimeMixerConfig) -> Result<SeriesModelConfig, ConfigError> {
        theirs.refuse()?;
        let ours = theirs.keys.ours(ScalerKind::Std)?;
        let mixer = MixerConfig {
            adaptive_levels: theirs.adaptive_patching_levels,
            ..theirs.mixer.ours()?
        };
        let covariates = sorted(&theirs.exogenous_channel_indices).unwrap_or_default();
        let targets = theirs.mixer.targets().or_else(|| {
            let rest =
                (0..theirs.keys.num_input_channels).filter(|channel| !covariates.contains(channel));
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
                    dropout: theirs.keys.head_dropout,
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
                dropout: theirs.keys.head_dropout,
                ..mixer.clone()
            }),
            prepend_past: theirs.fcm_prepend_past,
            skip_past: theirs.fcm_prepend_past_offset.unwrap_or(0),
            raw_values: true,
        });
        let norm = NormConfig { epsilon: theirs.mixer.norm_eps, ..NormConfig::default() };
        Ok(SeriesModelConfig {
            context: theirs.masked_context_length.unwrap_or(ours.context),
            frontend: FrontendConfig {
                stride: None,
                positions: theirs.mixer.positions()?,
                registers: theirs.register_tokens,
                resolutions: if theirs.resolution_prefix_tuning {
                    theirs.frequency_token_vocab_size
                } else {
                    0
                },
                norm: theirs.enable_base_norm_always.then_some(norm),
                ..ours.frontend
            },
            backbone: BackboneConfig::Mixer(mixer),
            decoder: decoder.transpose()?,
            forecast: Some(ForecastConfig {
                dropout: theirs.keys.head_dropout,
                keep: theirs.prediction_filter_length,
                targets,
                reconcile,
                ..Default::default()
            }),
            loss: theirs.loss()?,
            ..ours
        })
    }

    fn to_theirs(&self, ours: &SeriesModelConfig) -> Option<(String, TinyTimeMixerConfig)> {
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
            keys: SeriesKeys::of(ours, head.dropout)?,
            mixer: MixerKeys::of(mixer, frontend.positions, &head.targets),
            adaptive_patching_levels: mixer.adaptive_levels,
            resolution_prefix_tuning: frontend.resolutions > 0,
            frequency_token_vocab_size: if frontend.resolutions > 0 {
                frontend.resolutions
            } else {
                5
            },
            use_decoder: ours.decoder.is_some(),
            prediction_filter_length: head.keep,
            register_tokens: frontend.registers,
            enable_base_norm_always: frontend.norm.is_some(),
            ..Default::default()
        };
        theirs.keys.loss = Some(
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
        Some((PREDICTION.into(), theirs))
    }

    fn rules(&self, config: &SeriesModelConfig) -> Vec<Rule> {
        names::rules(config)
    }
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
    // Without gate and context, granite-tsfm does not change the forecast.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        presets::Preset,
        scaler::{MissingFill, ScalerConfig},
    };
    use kiln_hub::family::AnyFamily as _;
    use serde_json::json;

    fn back(ours: &SeriesModelConfig) -> SeriesModelConfig {
        TinyTimeMixer.read(&TinyTimeMixer.write("tinytimemixer", ours).unwrap()).unwrap()
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
        let refused = |theirs: TinyTimeMixerConfig| TinyTimeMixer.to_ours(&theirs).unwrap_err();
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
            ("patch_stride", {
                let keys = SeriesKeys { patch_stride: 4, ..SeriesKeys::default() };
                TinyTimeMixerConfig { keys, ..default() }
            }),
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
