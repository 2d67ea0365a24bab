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
    HubError, Mode, ModelDir, ModelError, NameMap, Weight, Weights, adapter::Published,
};
use preprocessor::Preprocessor;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// The `model_type` of models that no published family can express.
pub const KILN: &str = "kiln-speech";

/// The `model_type`s that [`SpeechModel::load`] reads.
pub const MODEL_TYPES: [&str; 2] = [wav2vec2::MODEL_TYPE, KILN];

impl<B: Backend> SpeechModel<B> {
    /// Reads a model directory.
    ///
    /// # Errors
    /// When it cannot be read, has options that are not supported, or weights that do not fit.
    pub fn load(dir: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let (config, weights) = read(dir)?;
        let mut model = Self::new(config, device).map_err(ModelError::in_file(dir, CONFIG))?;
        kiln_hub::apply::<B, _>(&mut model, &weights, Mode::Strict)?;
        kiln_hub::adapter::attach(dir, &mut model, device)?;
        Ok(model)
    }

    /// Writes a model directory, which must exist.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let (format, json) = config_json(self.config());
        let mut config = self.config().clone();
        config.format = Some(format);
        let weights = names(&config)?.to_theirs(kiln_hub::collect::<B, _>(self)?)?;
        ModelDir::write(dir, &json, &weights)?;
        Ok(Preprocessor::of(&config).write(dir)?)
    }
}

/// The name of a model's configuration.
pub(crate) const CONFIG: &str = kiln_hub::model_dir::CONFIG;

/// Reads the configuration of a model directory.
///
/// # Errors
/// When it cannot be read or has options that are not supported.
pub fn read_config(dir: &Path) -> Result<SpeechModelConfig, ModelError> {
    config_of(&ModelDir::open(dir)?)
}

/// Reads configuration and weights, the latter in our names: for starting weights that need not
/// match in full, see [`kiln_hub::apply`] and [`Mode::Lenient`].
///
/// # Errors
/// When it cannot be read or has options that are not supported.
pub fn read(dir: &Path) -> Result<(SpeechModelConfig, Weights), ModelError> {
    let model_dir = ModelDir::open(dir)?;
    let config = config_of(&model_dir)?;
    let mut weights = names(&config)?.to_ours(model_dir.weights()?)?;
    // Models that were never masked come without a mask.
    let mask = || Weight::zeros(&[config.width]);
    weights.tensors.entry("frontend.mask".into()).or_insert_with(mask);
    Ok((config, weights))
}

/// The `config.json` of a model, and the format that it is in.
pub fn config_json(config: &SpeechModelConfig) -> (Format, Value) {
    if config.format != Some(Format::KilnSpeech)
        && let Some(mut json) = wav2vec2::to_json(config)
    {
        if let (Some(object), true) = (json.as_object_mut(), config.frontend.gradient_scale != 1.0)
        {
            // The family has no key for it.
            object
                .insert("kiln".into(), json!({ "gradient_scale": config.frontend.gradient_scale }));
        }
        return (Format::Wav2Vec2, json);
    }
    let config = SpeechModelConfig { format: None, ..config.clone() };
    (
        Format::KilnSpeech,
        json!({ "model_type": KILN, "architectures": ["SpeechModel"], "model": config }),
    )
}

/// How the published family of a model would hold it; `None` where none can.
///
/// # Errors
/// When the family's names are wrong.
pub fn published(config: &SpeechModelConfig) -> Result<Option<Published>, HubError> {
    let (format, _) = config_json(config);
    if format == Format::KilnSpeech {
        return Ok(None);
    }
    let config = SpeechModelConfig { format: Some(format), ..config.clone() };
    Ok(Some(Published { names: names(&config)?, task_type: None, decoder_heads: None }))
}

fn config_of(dir: &ModelDir) -> Result<SpeechModelConfig, ModelError> {
    let mut config = match dir.model_type() {
        wav2vec2::MODEL_TYPE => {
            let theirs = dir.parse_config()?;
            let ours =
                wav2vec2::to_ours(&theirs).map_err(ModelError::in_file(&dir.path, CONFIG))?;
            let Extended { kiln } = dir.parse_config()?;
            let mut ours = SpeechModelConfig { format: Some(Format::Wav2Vec2), ..ours };
            ours.frontend.gradient_scale = kiln.gradient_scale;
            ours
        }
        KILN => {
            let own: Own = dir.parse_config()?;
            SpeechModelConfig { format: Some(Format::KilnSpeech), ..own.model }
        }
        found => {
            let mut expected = MODEL_TYPES.join(" or ");
            if found == whisper::config::MODEL_TYPE {
                expected += "; Whisper is read from Rust alone (`kiln_speech::whisper`), no command uses it yet";
            }
            let found = found.to_owned();
            return Err(ModelError::ModelType { path: dir.path.clone(), found, expected });
        }
    };
    if let Some(preprocessor) = dir.extra::<Preprocessor>(preprocessor::FILE)? {
        let wrong = ModelError::in_file(&dir.path, preprocessor::FILE);
        config.audio = preprocessor.audio(config.audio).map_err(wrong)?;
    }
    config.validate().map_err(ModelError::in_file(&dir.path, CONFIG))?;
    Ok(config)
}

/// Our own `config.json`.
#[derive(Deserialize)]
struct Own {
    model: SpeechModelConfig,
}

/// The part of a family's `config.json` that is ours.
#[derive(Deserialize)]
struct Extended {
    #[serde(default)]
    kiln: Extras,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Extras {
    gradient_scale: f64,
}

impl Default for Extras {
    fn default() -> Self {
        Self { gradient_scale: 1.0 }
    }
}

fn names(config: &SpeechModelConfig) -> Result<NameMap, HubError> {
    match config.format {
        Some(Format::Wav2Vec2) => NameMap::new(&wav2vec2::rules(config)),
        Some(Format::KilnSpeech) | None => Ok(NameMap::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{AugmentConfig, CtcConfig, TokenHeadConfig},
        frontend::{MelStemConfig, StemConfig},
        presets::Preset,
        quantiser::QuantiserConfig,
    };
    use burn_flex::Flex;

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
        pretraining.quantiser = Some(QuantiserConfig { entries: 12, ..Default::default() });
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
            assert_eq!(json["model_type"], KILN);
            assert_eq!(read, SpeechModelConfig { format: Some(Format::KilnSpeech), ..config });
        }
    }

    #[test]
    fn what_is_not_ours_or_not_supported_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |json: &str| {
            std::fs::write(dir.path().join("config.json"), json).unwrap();
            read_config(dir.path()).unwrap_err().to_string()
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
