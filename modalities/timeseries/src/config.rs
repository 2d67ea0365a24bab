//! The configuration of a series model: parts, put together freely.
//!
//! PatchTST, PatchTSMixer and Tiny Time Mixers are presets and name maps over these parts, and so
//! are combinations that nobody published. See [`crate::presets`] and [`crate::hub`].

use crate::{
    frontend::FrontendConfig,
    head::{
        ForecastConfig, ForecastShape, Pooling, TokenHeadConfig,
        label::LabelConfig,
        loss::{PointLoss, Units},
    },
    scaler::ScalerConfig,
};
use kiln_core::Layout;
use kiln_datasets::Frequency;
use kiln_nn::{BackboneConfig, BackboneShape, ConfigError, TransformerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A series model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SeriesModelConfig {
    /// Rows of history that the model sees.
    pub context: usize,
    /// Rows that it forecasts at most.
    pub horizon: usize,
    /// Channels, covariates included, where the weights fix their number; any number otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Features of a token.
    pub width: usize,
    /// How windows are scaled.
    pub scaler: ScalerConfig,
    /// How tokens are made.
    pub frontend: FrontendConfig,
    /// What tokens pass through.
    pub backbone: BackboneConfig,
    /// A second backbone before the forecast head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder: Option<DecoderConfig>,
    /// A head that forecasts the whole horizon at once. A recipe whose stages only train the token
    /// head leaves it out.
    // `null` must be written: what is absent has the default.
    pub forecast: Option<ForecastConfig>,
    /// A head that predicts a patch from each token: for masked and autoregressive training.
    /// Without a forecast head, forecasts are made with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenHeadConfig>,
    /// Heads that label whole windows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelConfig>,
    /// Whether tokens see only what came before, so that forecasts of the token head are rolled out
    /// patch by patch; otherwise it fills in hidden patches after the end.
    pub causal: bool,
    /// What the point forecast is trained for.
    pub loss: PointLoss,
    /// In which units.
    pub units: Units,
    /// The published family as which model directories are written; whichever can express the
    /// model if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// How a model directory names and orders things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `patchtst` of transformers.
    #[serde(rename = "patchtst")]
    PatchTst,
    /// `patchtsmixer` of transformers.
    #[serde(rename = "patchtsmixer")]
    PatchTsMixer,
    /// `tinytimemixer` of granite-tsfm.
    #[serde(rename = "tinytimemixer")]
    TinyTimeMixer,
    /// Our own, which expresses every model.
    KilnTimeseries,
}

impl Default for SeriesModelConfig {
    fn default() -> Self {
        Self {
            context: 512,
            horizon: 96,
            channels: None,
            width: 128,
            scaler: ScalerConfig::default(),
            frontend: FrontendConfig::default(),
            backbone: BackboneConfig::Transformer(TransformerConfig::default()),
            decoder: None,
            forecast: Some(ForecastConfig::default()),
            token: None,
            labels: Vec::new(),
            causal: false,
            loss: PointLoss::Mse,
            units: Units::Scaled,
            format: None,
        }
    }
}

/// A second backbone, often narrower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Features of a token; a linear layer adapts to them where they differ from the model's.
    pub width: usize,
    /// Whether embedded patches are added to what it is given.
    #[serde(default)]
    pub raw_residual: bool,
    /// What it is made of.
    pub backbone: BackboneConfig,
}

impl SeriesModelConfig {
    /// Patches of the context.
    pub fn patches(&self) -> usize {
        self.frontend.patches(self.context)
    }

    /// The layout of a batch of windows in patches.
    pub fn layout(&self, windows: usize, channels: usize) -> Layout {
        let channels = self.frontend.sequences(channels);
        Layout { channels, ..Layout::new(windows * channels, self.patches()) }
    }

    /// All tokens of a sequence.
    pub fn tokens(&self) -> usize {
        self.patches() + self.frontend.extra_tokens()
    }

    /// The channels that the weights were made for; 1 where any number will do.
    pub fn built_channels(&self) -> usize {
        self.channels.unwrap_or(1)
    }

    /// Whether the weights fix how many channels there are.
    pub fn fixes_channels(&self) -> bool {
        !self.frontend.shared_embedding
            || self.frontend.joint
            || self.backbone.fixes_channels()
            || self.decoder.as_ref().is_some_and(|decoder| decoder.backbone.fixes_channels())
            || self.forecast.as_ref().is_some_and(ForecastConfig::fixes_channels)
    }

    /// Rows that [`crate::SeriesModel::predict`] forecasts.
    pub fn rows(&self) -> usize {
        self.forecast.as_ref().map_or(self.horizon, |forecast| forecast.rows(self.horizon))
    }

    /// The levels of quantile forecasts, rising.
    pub fn quantiles(&self) -> &[f64] {
        self.forecast.as_ref().map_or(&[], |forecast| &forecast.quantiles)
    }

    /// The tokens that the backbone is built for.
    pub(crate) fn backbone_shape(&self) -> BackboneShape {
        let channels = self.frontend.sequences(self.built_channels());
        BackboneShape { width: self.width, tokens: self.tokens(), channels }
    }

    /// What the forecast head is built for.
    pub(crate) fn forecast_shape(&self) -> ForecastShape {
        ForecastShape {
            tokens: self.tokens(),
            width: self.decoder.as_ref().map_or(self.width, |decoder| decoder.width),
            horizon: self.horizon,
            channels: self.built_channels(),
            joint: self.frontend.joint,
            distribution: self.loss.distribution(),
        }
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// When a setting is out of range or two contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("context", self.context)?;
        ConfigError::positive("horizon", self.horizon)?;
        ConfigError::positive("width", self.width)?;
        if self.channels == Some(0) || (self.channels.is_none() && self.fixes_channels()) {
            let found = self.channels.map_or("absent".into(), |channels| channels.to_string());
            let expected = "the number of channels: these parts fix it in their weights";
            return Err(ConfigError::new("channels", found, expected));
        }
        self.scaler.validate().map_err(|error| error.within("scaler"))?;
        self.frontend.validate(self.context).map_err(|error| error.within("frontend"))?;
        self.loss.validate().map_err(|error| error.within("loss"))?;
        self.backbone.validate(self.backbone_shape(), self.causal).map_err(|error| {
            if error.key == "causal" { error } else { error.within("backbone") }
        })?;
        if let Some(decoder) = &self.decoder {
            let shape = BackboneShape { width: decoder.width, ..self.backbone_shape() };
            decoder.backbone.validate(shape, false).map_err(|error| error.within("decoder"))?;
        }
        for label in &self.labels {
            if self.frontend.joint && matches!(label, LabelConfig::MovingAverage(_)) {
                let expected = "false: moving averages are those of a channel";
                return Err(ConfigError::new("frontend.joint", true, expected));
            }
            label.validate(self.context).map_err(|error| error.within("labels"))?;
        }
        match (&self.forecast, &self.token) {
            (None, None) => {
                Err(ConfigError::new("forecast", "absent", "a forecast or a token head"))
            }
            (Some(forecast), _) => forecast
                .validate(self.forecast_shape(), self.frontend.class_token)
                .map_err(|error| error.within("forecast")),
            (None, Some(_)) => self.validate_token_forecast(),
        }
    }

    /// What only the token head cannot do.
    fn validate_token_forecast(&self) -> Result<(), ConfigError> {
        if self.loss.distribution().is_some() {
            return Err(ConfigError::new("loss", "nll", "another one without a forecast head"));
        }
        // With overlapping patches the next patch was partly seen already.
        if self.causal && self.frontend.stride() != self.frontend.patch {
            let expected =
                format!("the patch length {}, to roll out patch by patch", self.frontend.patch);
            return Err(ConfigError::new("frontend.stride", self.frontend.stride(), expected));
        }
        Ok(())
    }

    /// How windows are pooled for labels.
    pub(crate) fn label_pooling(&self) -> Pooling {
        if self.frontend.class_token { Pooling::Class } else { Pooling::Mean }
    }
}

/// The id of a resolution among `vocabulary` of them, for models with a resolution prefix: that of
/// Tiny Time Mixers up to weeks, then months, quarters and years. 0 stands for all others.
pub fn resolution_id(frequency: Frequency, vocabulary: usize) -> u32 {
    let id = match frequency {
        Frequency::Seconds(60) => 1,
        Frequency::Seconds(120) => 2,
        Frequency::Seconds(300) => 3,
        Frequency::Seconds(600) => 4,
        Frequency::Seconds(900) => 5,
        Frequency::Seconds(1800) => 6,
        Frequency::HOURLY => 7,
        Frequency::DAILY => 8,
        Frequency::WEEKLY => 9,
        Frequency::MONTHLY => 10,
        Frequency::QUARTERLY => 11,
        Frequency::YEARLY => 12,
        _ => 0,
    };
    if (id as usize) < vocabulary { id } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{head::reconcile::ReconcileConfig, scaler::ScalerKind};
    use kiln_nn::MixerConfig;

    fn key(config: SeriesModelConfig) -> String {
        config.validate().unwrap_err().key
    }

    #[test]
    fn defaults_fit_together() {
        let config = SeriesModelConfig::default();
        config.validate().unwrap();
        assert_eq!((config.patches(), config.rows()), (32, 96));
    }

    #[test]
    fn a_few_keys_make_a_model() {
        let text = "context = 96\nhorizon = 24\nbackbone.mixer = { layers = 2 }\n\
                    forecast.quantiles = [0.1, 0.9]\nloss.huber = { delta = 2.0 }";
        let config: SeriesModelConfig = toml_of(text);
        config.validate().unwrap();
        assert_eq!(config.backbone.name(), "mixer");
        assert_eq!(config.loss, PointLoss::Huber { delta: 2.0 });
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SeriesModelConfig>(&json).unwrap(), config);
    }

    fn toml_of(text: &str) -> SeriesModelConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = toml::from_str::<SeriesModelConfig>("contxt = 3").unwrap_err().to_string();
        assert!(error.contains("unknown field `contxt`"), "{error}");
    }

    #[test]
    fn contradictions_name_the_key() {
        let default = SeriesModelConfig::default;
        let mixer = || BackboneConfig::Mixer(MixerConfig::default());
        assert_eq!(
            key(SeriesModelConfig { causal: true, backbone: mixer(), ..default() }),
            "causal"
        );
        assert_eq!(key(SeriesModelConfig { context: 16, ..default() }), "frontend.patch");
        assert_eq!(key(SeriesModelConfig { width: 12, ..default() }), "backbone.transformer.heads");
        assert_eq!(key(SeriesModelConfig { forecast: None, ..default() }), "forecast");
        let reconcile = Some(ReconcileConfig::default());
        let forecast = Some(ForecastConfig { reconcile, ..Default::default() });
        assert_eq!(key(SeriesModelConfig { forecast, ..default() }), "channels");
        let scaler = ScalerConfig { kind: ScalerKind::Prefix(0), ..Default::default() };
        assert_eq!(key(SeriesModelConfig { scaler, ..default() }), "scaler.kind.prefix");
    }

    #[test]
    fn resolutions_beyond_the_vocabulary_are_unknown() {
        assert_eq!(resolution_id(Frequency::HOURLY, 13), 7);
        assert_eq!(resolution_id(Frequency::YEARLY, 13), 12);
        assert_eq!(resolution_id(Frequency::HOURLY, 5), 0);
        assert_eq!(resolution_id(Frequency::Unknown, 5), 0);
    }
}
