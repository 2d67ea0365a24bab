//! Series models by name.

use crate::{
    config::{DecoderConfig, SeriesModelConfig},
    frontend::{FrontendConfig, Positions},
    head::ForecastConfig,
};
use kiln_nn::{BackboneConfig, MixerConfig, NormConfig, NormKind, TransformerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A series model by name; context, horizon and the rest can be changed afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// About a million weights: adaptive patching, a light decoder,
    /// <https://arxiv.org/abs/2401.03955>.
    #[serde(rename = "tiny-time-mixer-1m")]
    TinyTimeMixer1m,
    /// A patched transformer with batch norm, <https://arxiv.org/abs/2211.14730>.
    #[serde(rename = "patchtst")]
    PatchTst,
    /// A patched mixer, <https://arxiv.org/abs/2306.09364>.
    #[serde(rename = "patchtsmixer")]
    PatchTsMixer,
    /// A few thousand weights, for tests.
    #[serde(rename = "tiny")]
    Tiny,
}

impl Preset {
    /// Its configuration.
    pub fn config(self) -> SeriesModelConfig {
        match self {
            Self::TinyTimeMixer1m => tiny_time_mixer(),
            Self::PatchTst => patchtst(),
            Self::PatchTsMixer => patchtsmixer(),
            Self::Tiny => tiny(),
        }
    }
}

fn tiny_time_mixer() -> SeriesModelConfig {
    let mixer = MixerConfig { layers: 2, dropout: 0.2, ..Default::default() };
    SeriesModelConfig {
        width: 192,
        frontend: FrontendConfig { patch: 64, positions: Positions::None, ..Default::default() },
        backbone: BackboneConfig::Mixer(MixerConfig { adaptive_levels: 3, ..mixer.clone() }),
        decoder: Some(DecoderConfig {
            width: 128,
            raw_residual: false,
            backbone: BackboneConfig::Mixer(mixer),
        }),
        forecast: Some(ForecastConfig { dropout: 0.2, ..Default::default() }),
        ..Default::default()
    }
}

fn patchtst() -> SeriesModelConfig {
    SeriesModelConfig {
        width: 128,
        frontend: FrontendConfig {
            stride: Some(8),
            positions: Positions::Learned,
            ..Default::default()
        },
        backbone: BackboneConfig::Transformer(TransformerConfig {
            heads: 16,
            hidden: Some(256),
            norm: NormConfig::new(NormKind::Batch),
            pre_norm: false,
            hidden_dropout: 0.2,
            residual_dropout: 0.2,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn patchtsmixer() -> SeriesModelConfig {
    SeriesModelConfig {
        width: 48,
        frontend: FrontendConfig {
            stride: Some(8),
            positions: Positions::None,
            ..Default::default()
        },
        backbone: BackboneConfig::Mixer(MixerConfig {
            layers: 8,
            dropout: 0.2,
            ..Default::default()
        }),
        forecast: Some(ForecastConfig { dropout: 0.2, ..Default::default() }),
        ..Default::default()
    }
}

fn tiny() -> SeriesModelConfig {
    SeriesModelConfig {
        context: 32,
        horizon: 8,
        width: 16,
        frontend: FrontendConfig { patch: 8, positions: Positions::None, ..Default::default() },
        backbone: BackboneConfig::Mixer(MixerConfig { layers: 1, ..Default::default() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeriesModel;
    use burn::module::Module as _;
    use burn_flex::Flex;

    #[test]
    fn presets_are_valid_and_named() {
        for (preset, name) in [
            (Preset::TinyTimeMixer1m, "tiny-time-mixer-1m"),
            (Preset::PatchTst, "patchtst"),
            (Preset::PatchTsMixer, "patchtsmixer"),
            (Preset::Tiny, "tiny"),
        ] {
            preset.config().validate().unwrap();
            assert_eq!(serde_json::to_value(preset).unwrap(), name);
            assert_eq!(serde_json::from_value::<Preset>(name.into()).unwrap(), preset);
        }
        assert!(serde_json::from_value::<Preset>("huge".into()).is_err());
    }

    #[test]
    fn the_tiny_time_mixer_has_about_a_million_weights() {
        let model = SeriesModel::<Flex>::new(Preset::TinyTimeMixer1m.config(), &Default::default());
        let count = model.unwrap().num_params();
        assert!((600_000..1_200_000).contains(&count), "{count}");
    }
}
