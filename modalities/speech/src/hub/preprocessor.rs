//! `preprocessor_config.json`: how sound is prepared for a model.

use crate::{
    config::{AudioConfig, SpeechModelConfig},
    frontend::StemConfig,
};
use kiln_hub::HubError;
use kiln_nn::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file's name.
pub const FILE: &str = "preprocessor_config.json";

/// `Wav2Vec2FeatureExtractor` of transformers, its keys that matter here; absent ones leave things
/// as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented by transformers")]
pub struct Preprocessor {
    pub feature_extractor_type: Option<String>,
    pub sampling_rate: Option<usize>,
    pub do_normalize: Option<bool>,
    pub return_attention_mask: Option<bool>,
    pub feature_size: Option<usize>,
    pub padding_side: Option<String>,
    pub padding_value: Option<f64>,
}

impl Preprocessor {
    /// Of a model.
    pub fn of(config: &SpeechModelConfig) -> Self {
        let AudioConfig { sample_rate, normalise, padding_mask } = config.audio;
        let name = match &config.frontend.stem {
            StemConfig::Wave(_) => "Wav2Vec2FeatureExtractor",
            StemConfig::LogMel(_) => "WhisperFeatureExtractor",
        };
        let feature_size = match &config.frontend.stem {
            StemConfig::Wave(_) => 1,
            StemConfig::LogMel(mel) => mel.spectrogram.bins,
        };
        Self {
            feature_extractor_type: Some(name.into()),
            sampling_rate: Some(sample_rate),
            do_normalize: Some(normalise),
            return_attention_mask: Some(padding_mask),
            feature_size: Some(feature_size),
            padding_side: Some("right".into()),
            padding_value: Some(0.0),
        }
    }

    /// What it says of sound, `otherwise` where it says nothing.
    ///
    /// # Errors
    /// When an option is not supported.
    pub fn audio(&self, otherwise: AudioConfig) -> Result<AudioConfig, ConfigError> {
        if let Some(side) = self.padding_side.as_deref().filter(|side| *side != "right") {
            return Err(ConfigError::new("padding_side", side, "right"));
        }
        if let Some(value) = self.padding_value.filter(|value| *value != 0.0) {
            return Err(ConfigError::new("padding_value", value, "0"));
        }
        let sample_rate = self.sampling_rate.unwrap_or(otherwise.sample_rate);
        ConfigError::positive("sampling_rate", sample_rate)?;
        Ok(AudioConfig {
            sample_rate,
            normalise: self.do_normalize.unwrap_or(otherwise.normalise),
            padding_mask: self.return_attention_mask.unwrap_or(otherwise.padding_mask),
        })
    }

    /// Writes the file into a model directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), HubError> {
        kiln_hub::json_file::write_json(&dir.join(FILE), self)
    }
}
