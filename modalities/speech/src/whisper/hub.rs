//! Whisper's model directories, as transformers stores them.

use super::{
    Whisper,
    config::{CLASS, MODEL_TYPE, WhisperConfig},
};
use crate::{hub::preprocessor, log_mel::LogMelConfig};
use kiln_core::Backend;
use kiln_hub::{
    HubError, Mode, ModelDir, ModelError, NameMap, Rule, Weights,
    family::family_json,
    json_file::{CONFIG, write_json},
};
use kiln_nn::ConfigError;
use serde_json::json;
use std::path::Path;

/// Samples a second, Hz, of all its models.
const SAMPLE_RATE: usize = 16_000;

impl<B: Backend> Whisper<B> {
    /// Reads a model directory.
    ///
    /// # Errors
    /// When it cannot be read, has options that are not supported, or weights that do not fit.
    pub fn load(dir: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let (config, weights) = read(dir)?;
        let mut model = Self::new(config, device).map_err(ModelError::in_file(dir, CONFIG))?;
        kiln_hub::apply::<B, _>(&mut model, &weights, Mode::Strict)?;
        Ok(model)
    }

    /// Writes a model directory, which must exist.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        let json = family_json(MODEL_TYPE, CLASS, self.config()).ok_or_else(|| {
            let error = ConfigError::new("dropout", "not finite", "numbers that JSON has");
            ModelError::in_file(dir, CONFIG)(error)
        })?;
        let weights = names()?.to_theirs(kiln_hub::collect::<B, _>(self)?)?;
        ModelDir::write(dir, &json, &weights)?;
        let LogMelConfig { window, hop, .. } = LogMelConfig::default();
        let preprocessor = json!({
            "feature_extractor_type": "WhisperFeatureExtractor",
            "sampling_rate": SAMPLE_RATE,
            "feature_size": self.config().num_mel_bins,
            "n_fft": window,
            "hop_length": hop,
            "chunk_length": 2 * hop * self.config().max_source_positions / SAMPLE_RATE,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": false,
        });
        Ok(write_json(&dir.join(preprocessor::FILE), &preprocessor)?)
    }
}

/// Reads configuration and weights, the latter in our names.
///
/// # Errors
/// When it cannot be read or has options that are not supported.
pub fn read(dir: &Path) -> Result<(WhisperConfig, Weights), ModelError> {
    let model_dir = ModelDir::open(dir)?;
    if model_dir.model_type() != MODEL_TYPE {
        let (found, expected) = (model_dir.model_type().to_owned(), MODEL_TYPE.to_owned());
        return Err(ModelError::ModelType { path: dir.to_owned(), found, expected });
    }
    let config: WhisperConfig = model_dir.parse_config()?;
    config.validate().map_err(ModelError::in_file(dir, CONFIG))?;
    let mut weights = model_dir.weights()?;
    // Tied to the embedding, and not always left out.
    weights.tensors.remove("proj_out.weight");
    Ok((config, names()?.to_ours(weights)?))
}

fn names() -> Result<NameMap, HubError> {
    NameMap::new(NAMES)
}

const NAMES: &[Rule] = &[
    Rule::Regex {
        load: Some((r"^model\.", "")),
        save: Some((r"^(encoder|decoder)\.", "model.$1.")),
    },
    Rule::Prefix { theirs: "encoder.conv", ours: "encoder.stem.conv" },
    Rule::Path { theirs: "encoder.embed_positions.weight", ours: "encoder.positions" },
    Rule::Prefix { theirs: "decoder.embed_tokens.", ours: "decoder.embedding.words." },
    Rule::Prefix { theirs: "decoder.embed_positions.", ours: "decoder.embedding.positions." },
    Rule::Segments { theirs: "self_attn", ours: "attention" },
    Rule::Segments { theirs: "self_attn_layer_norm", ours: "attention_norm" },
    Rule::Segments { theirs: "encoder_attn", ours: "cross_attention.attention" },
    Rule::Segments { theirs: "encoder_attn_layer_norm", ours: "cross_attention.norm" },
    Rule::Segments { theirs: "q_proj", ours: "query" },
    Rule::Segments { theirs: "k_proj", ours: "key" },
    Rule::Segments { theirs: "v_proj", ours: "value" },
    // After `fc2` on the way out, which has an output too.
    Rule::Segments { theirs: "out_proj", ours: "output" },
    Rule::Segments { theirs: "fc1", ours: "feed_forward.hidden" },
    Rule::Segments { theirs: "fc2", ours: "feed_forward.output" },
    Rule::Segments { theirs: "final_layer_norm", ours: "feed_forward_norm" },
    Rule::Path { theirs: "*.layer_norm", ours: "*.transformer.norm" },
    Rule::Path { theirs: "*.layers", ours: "*.transformer.layers" },
];
