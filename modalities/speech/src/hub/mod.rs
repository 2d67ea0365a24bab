//! Model directories of speech models, read and written in the layout of their published family.
//!
//! What no family can express is written as `kiln-speech`, with our own configuration and names.

pub mod preprocessor;
pub mod wav2vec2;

use crate::{
    config::{Format, SpeechModelConfig},
    model::SpeechModel,
    whisper,
};
use kiln_core::Backend;
use kiln_hub::{
    ModelDir, ModelError, Weight, Weights,
    family::{self, PublishedConfig, Row},
};
use kiln_nn::ConfigError;
use preprocessor::Preprocessor;
use serde::{Deserialize, Serialize};
use std::path::Path;

impl PublishedConfig for SpeechModelConfig {
    type Format = Format;
    type Extras = Extras;

    const OWN: [&'static str; 2] = ["kiln-speech", "SpeechModel"];
    const OWN_FORMAT: Format = Format::KilnSpeech;
    const FAMILIES: &'static [Row<Self>] = &[Row {
        format: Format::Wav2Vec2,
        model_types: &["wav2vec2"],
        family: &wav2vec2::Wav2Vec2,
    }];

    fn format(&mut self) -> &mut Option<Format> {
        &mut self.format
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn extras(&self) -> Extras {
        Extras { gradient_scale: self.frontend.gradient_scale }
    }

    fn with_extras(mut self, extras: Extras) -> Self {
        self.frontend.gradient_scale = extras.gradient_scale;
        self
    }

    fn read_files(&mut self, dir: &ModelDir) -> Result<(), ModelError> {
        if let Some(preprocessor) = dir.extra::<Preprocessor>(preprocessor::FILE)? {
            let wrong = ModelError::in_file(&dir.path, preprocessor::FILE);
            self.audio = preprocessor.audio(self.audio).map_err(wrong)?;
        }
        Ok(())
    }

    fn write_files(&self, dir: &Path) -> kiln_hub::Result<()> {
        Preprocessor::of(self).write(dir)
    }

    /// Models that were never masked come without a mask.
    fn complete(&mut self, weights: &mut Weights) {
        let mask = || Weight::zeros(&[self.width]);
        weights.tensors.entry("frontend.mask".into()).or_insert_with(mask);
    }

    fn elsewhere(model_type: &str) -> &'static str {
        if model_type == whisper::config::MODEL_TYPE {
            "; Whisper is read from Rust alone (`kiln_speech::whisper`), no command uses it yet"
        } else {
            ""
        }
    }
}

/// What the family has no key for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Extras {
    gradient_scale: f64,
}

impl Default for Extras {
    fn default() -> Self {
        Self { gradient_scale: 1.0 }
    }
}

impl<B: Backend> SpeechModel<B> {
    /// Reads a model directory.
    ///
    /// # Errors
    /// When it cannot be read, has options that are not supported, or weights that do not fit.
    pub fn load(dir: &Path, device: &B::Device) -> Result<Self, ModelError> {
        Ok(family::load(dir, device, |config| Self::new(config, device))?.0)
    }

    /// Writes a model directory, which must exist.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        family::save::<B, _>(dir, self.config(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{AugmentConfig, CtcConfig, TokenHeadConfig},
        frontend::{MelStemConfig, StemConfig},
        presets::Preset,
        quantizer::QuantizerConfig,
    };
    use burn_flex::Flex;
    use serde_json::{Value, json};

    /// Writes and reads a model; its `config.json` and what was read of it.
    fn there_and_back(config: SpeechModelConfig) -> (Value, SpeechModelConfig) {
        let dir = tempfile::tempdir().unwrap();
        let model = SpeechModel::<Flex>::new(config, &Default::default()).unwrap();
        model.save(dir.path()).unwrap();
        let again = SpeechModel::<Flex>::load(dir.path(), &Default::default()).unwrap();
        assert_eq!(
            kiln_hub::collect::<Flex, _>(&model).unwrap(),
            kiln_hub::collect::<Flex, _>(&again).unwrap()
        );
        (ModelDir::open(dir.path()).unwrap().config, again.config().clone())
    }

    #[test]
    fn wave_models_are_written_as_wav2vec2() {
        let plain = Preset::Tiny.config();
        let mut ctc = plain.clone();
        ctc.ctc = Some(CtcConfig { vocabulary: 7, dropout: 0.1, ..CtcConfig::default() });
        ctc.augment = Some(AugmentConfig::default());
        ctc.audio.sample_rate = 8000;
        let mut pretraining = plain.clone();
        pretraining.quantizer = Some(QuantizerConfig { entries: 12, ..Default::default() });
        pretraining.frontend.gradient_scale = 0.1;
        for (config, class) in [
            (plain, "Wav2Vec2Model"),
            (ctc, "Wav2Vec2ForCTC"),
            (pretraining, "Wav2Vec2ForPreTraining"),
        ] {
            let (json, read) = there_and_back(config.clone());
            assert_eq!(
                (&json["model_type"], &json["architectures"][0]),
                (&json!("wav2vec2"), &json!(class))
            );
            assert_eq!(read, SpeechModelConfig { format: Some(Format::Wav2Vec2), ..config });
        }
    }

    #[test]
    fn what_the_family_cannot_express_is_written_as_ours() {
        let mut units = Preset::Tiny.config();
        units.token = Some(TokenHeadConfig::Units(9));
        let mut mel = Preset::Tiny.config();
        mel.frontend.stem =
            StemConfig::LogMel(MelStemConfig { channels: 16, ..MelStemConfig::default() });
        for config in [units, mel] {
            let (json, read) = there_and_back(config.clone());
            assert_eq!(json["model_type"], "kiln-speech");
            assert_eq!(read, SpeechModelConfig { format: Some(Format::KilnSpeech), ..config });
        }
    }

    #[test]
    fn what_is_not_ours_or_not_supported_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |json: &str| {
            std::fs::write(dir.path().join("config.json"), json).unwrap();
            family::read_config::<SpeechModelConfig>(dir.path()).unwrap_err().to_string()
        };
        let message = error(r#"{"model_type": "bert"}"#);
        assert!(message.contains("`bert`; expected wav2vec2 or kiln-speech"), "{message}");
        assert!(error(r#"{"model_type": "whisper"}"#).contains("no command uses it yet"));
        let message = error(r#"{"model_type": "wav2vec2", "add_adapter": true}"#);
        assert!(message.contains("config.json: `add_adapter` is true"), "{message}");
        let good = r#"{"model_type": "wav2vec2"}"#;
        std::fs::write(dir.path().join("preprocessor_config.json"), r#"{"sampling_rate": 0}"#)
            .unwrap();
        let message = error(good);
        assert!(message.contains("preprocessor_config.json: `sampling_rate` is 0"), "{message}");
    }
}
