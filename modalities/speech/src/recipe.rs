//! What a speech recipe is made of.

use crate::{
    SpeechModelConfig,
    config::{AugmentConfig, TokenHeadConfig},
    decode::{BeamConfig, LanguageWeights},
    presets::Preset,
    quantizer::QuantizerConfig,
    spec_augment::SpecAugmentConfig,
    vocabulary::Units,
};
use kiln_datasets::audio::{Augmentation, Bucketing, Manifest};
use kiln_metrics::error_rate::Normalisation;
use kiln_nn::ConfigError;
use kiln_objectives::Objective;
use kiln_synthetic::speech::{Espeak, Spoken};
use kiln_train::{model_spec::ModelSpec, recipe::ModalitySpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The modality of speech recipes: `modality = "speech"`.
pub(crate) const MODALITY: &str = "speech";

/// The parts of speech recipes.
#[derive(Debug, Clone)]
pub struct SpeechSpec;

impl ModalitySpec for SpeechSpec {
    type Data = SpeechData;
    type Model = ModelSpec<Box<PresetSpec>, SpeechModelConfig>;
    type Objective = Objective;
    type Evaluation = SpeechEvaluation;
}

/// Recordings to train on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpeechData {
    /// Where they come from, all together.
    pub sources: Vec<SpeechSource>,
    /// Recordings that the model which the stage starts from transcribes itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_training: Option<SelfTraining>,
    /// How transcripts are spelt, and what the tokens of a new vocabulary are.
    pub transcripts: Transcripts,
    /// Augmentation of recordings, drawn again each time they are read.
    pub augmentation: Augmentation,
    /// Augmentation of their spectrograms, for models that take those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_augment: Option<SpecAugmentConfig>,
    /// The share of the recordings that is used, drawn by the recipe's seed: 0.1 for a tenth of
    /// the labels.
    pub share: f64,
    /// At most so many recordings of each transcript are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_transcript: Option<usize>,
    /// Recordings set aside for validation.
    pub validation: usize,
    /// Shorter recordings are left out, s.
    pub shortest: f64,
    /// Longer recordings are left out where they have to be transcribed and cut, at a random place,
    /// where not, s.
    pub longest: f64,
    /// Recordings of similar length together, as many as a length allows: each example of a stage's
    /// `batch` is then such a bucket. Otherwise it is a recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Bucketing>,
    /// A recording that cannot be used (damaged, with letters that the vocabulary lacks, too short
    /// for its transcript) is passed over; above this share of them, the run stops.
    pub bad_share: f64,
}

impl Default for SpeechData {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            self_training: None,
            transcripts: Transcripts::default(),
            augmentation: Augmentation::default(),
            spec_augment: None,
            share: 1.0,
            per_transcript: None,
            validation: 64,
            shortest: 0.0,
            longest: 20.0,
            buckets: None,
            bad_share: 0.05,
        }
    }
}

/// Recordings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpeechSource {
    /// Spoken by a small synthesizer that comes with Kiln.
    Spoken(Spoken),
    /// Spoken by `espeak-ng`, where that is installed.
    Espeak(Espeak),
    /// Files, as a manifest lists them.
    Manifest(ManifestSource),
}

/// Recordings of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestSource {
    /// The list.
    pub list: Manifest,
    /// Only these speakers; all of them if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speakers: Vec<String>,
    /// Not these speakers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

/// How transcripts become labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Transcripts {
    /// How they are spelt.
    pub normalisation: Normalisation,
    /// What a token of a new vocabulary is.
    pub units: Units,
}

impl Transcripts {
    /// Transcripts as labels spell them; recordings without one are left out.
    pub fn normalised(&self, texts: &[Option<String>]) -> Vec<String> {
        texts.iter().flatten().map(|text| self.normalisation.apply(text)).collect()
    }
}

/// Recordings that the model which a stage starts from transcribes itself, to be learned from as
/// well, <https://arxiv.org/abs/2010.11430>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelfTraining {
    /// Where they come from; what is known of their transcripts is not looked at.
    pub sources: Vec<SpeechSource>,
    /// How the transcripts are found.
    #[serde(default)]
    pub decoding: Decoding,
    /// Transcripts of which the model is less sure are left out, 0 to 1.
    #[serde(default = "sure")]
    pub confidence: f64,
    /// For recordings of commands or digits: only whole transcripts of the stage's labelled
    /// recordings are found, each as often in all as it is among those. What a voice makes sound
    /// like something else is then not lost. Takes the place of `decoding`.
    #[serde(default)]
    pub balanced: bool,
}

fn sure() -> f64 {
    0.9
}

/// A preset with changes. Heads follow from the objectives of the stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PresetSpec {
    /// Which.
    pub name: Preset,
    /// Samples a second, Hz: 8000 for telephones. Strides stay what they are in samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<usize>,
    /// Blocks of the backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// The share dropped, wherever the preset drops any; 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// SpecAugment while transcription is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentConfig>,
    /// The codebooks of contrastive stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantizer: Option<QuantizerConfig>,
    /// What masked stages predict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenHeadConfig>,
}

impl PresetSpec {
    /// The preset's configuration with the changes made.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn config(&self) -> Result<SpeechModelConfig, ConfigError> {
        let mut config = self.name.config();
        config.audio.sample_rate = self.sample_rate.unwrap_or(config.audio.sample_rate);
        config.backbone.layers = self.layers.unwrap_or(config.backbone.layers);
        if let Some(share) = self.dropout {
            let backbone = &mut config.backbone;
            for dropout in [
                &mut backbone.attention_dropout,
                &mut backbone.hidden_dropout,
                &mut backbone.residual_dropout,
                &mut backbone.layer_drop,
                &mut config.frontend.dropout,
            ] {
                if *dropout > 0.0 {
                    *dropout = share;
                }
            }
        }
        config.augment = self.augment.or(config.augment);
        config.quantizer = self.quantizer.or(config.quantizer);
        config.token = self.token.or(config.token);
        config.validate()?;
        Ok(config)
    }
}

/// How a finished model is measured: the error rates of its transcripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpeechEvaluation {
    /// The name in tables.
    pub name: String,
    /// What is transcribed.
    pub sources: Vec<SpeechSource>,
    /// What both sides go through before they are compared.
    #[serde(default)]
    pub normalisation: Normalisation,
    /// At most so many recordings, drawn by the recipe's seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How transcripts are found.
    #[serde(default)]
    pub decoding: Decoding,
}

/// How transcripts are found in what a model says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decoding {
    /// The best token of each frame.
    #[default]
    Greedy,
    /// The best prefixes, where asked for with a language model or a list of words.
    Beam(BeamDecoding),
}

/// A beam search.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BeamDecoding {
    /// How wide it is.
    pub beam: BeamConfig,
    /// What is likely to be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_model: Option<LanguageModel>,
    /// How much the language model counts.
    pub weights: LanguageWeights,
    /// Only these words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lexicon: Option<Lexicon>,
}

/// The words that a beam search may find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lexicon {
    /// Those of a file, white space between them.
    File(PathBuf),
    /// Those of the transcripts of the recipe's data.
    Transcripts,
}

/// A language model of a beam search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LanguageModel {
    /// A file in ARPA's format.
    Arpa(PathBuf),
    /// N-grams of this order, of the transcripts of the recipe's data.
    Transcripts(usize),
}
