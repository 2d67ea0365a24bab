//! Model directories of text models, read and written in the layout of their published family.
//!
//! One file a family: its `config.json` as a type, its translation to and from
//! [`TextModelConfig`], and its names. What no family can express is written as `kiln-text`, with
//! our own configuration and names.

mod bert;
mod falcon;
mod gpt2;
mod llama;
mod modernbert;
mod opt;
mod rope;
mod t5;
mod task;

use crate::{
    config::{Format, SpecialIds, TextModelConfig},
    model::TextModel,
};
use kiln_core::Backend;
use kiln_hub::{
    HubError, Mode, ModelDir, ModelError, NameMap, Rule, Weights,
    adapter::Published,
    model_dir::{CONFIG, write_json},
};
use kiln_nn::{ConfigError, PositionConfig};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// The `model_type` of models that no published family can express.
pub const KILN: &str = "kiln-text";

/// Where ids with a meaning are kept that `config.json` has no room for: those of generation.
const GENERATION: &str = "generation_config.json";

/// A published family.
struct Family {
    format: Format,
    /// The `model_type`s that it reads; it writes the first that fits.
    model_types: &'static [&'static str],
    /// Theirs to ours.
    to_ours: fn(&Value) -> Result<TextModelConfig, Unreadable>,
    /// Ours to theirs; `None` where they cannot express it.
    to_json: fn(&TextModelConfig) -> Option<Value>,
    /// Their names for a model of this configuration.
    rules: fn(&TextModelConfig) -> Vec<Rule>,
}

const FAMILIES: [Family; 10] = [
    bert::BERT,
    bert::ROBERTA,
    bert::MPNET,
    modernbert::FAMILY,
    gpt2::FAMILY,
    opt::FAMILY,
    falcon::FAMILY,
    llama::LLAMA,
    llama::QWEN2,
    t5::FAMILY,
];

/// Why a family's `config.json` cannot be read.
enum Unreadable {
    /// A setting that makes no sense or is not supported.
    Setting(ConfigError),
    /// It is not what the family's classes write.
    Json(serde_json::Error),
}

impl From<ConfigError> for Unreadable {
    fn from(error: ConfigError) -> Self {
        Self::Setting(error)
    }
}

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// Refuses settings that the family knows and we do not.
fn refuse(settings: &[(&str, bool, &str)]) -> Result<(), ConfigError> {
    for (key, fine, expected) in settings {
        if !fine {
            return Err(ConfigError::new(*key, "set otherwise", *expected));
        }
    }
    Ok(())
}

/// What a decoder's head for the vocabulary is called; a tied one has no weights of its own.
fn language_rule(ours: &TextModelConfig) -> Rule {
    if ours.language.is_some_and(|head| head.tied) {
        Rule::Ignored { theirs: r"^lm_head\.weight$" }
    } else {
        Rule::Prefix { theirs: "lm_head.", ours: "language.output." }
    }
}

/// The `model_type`s that [`TextModel::load`] reads.
pub fn model_types() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.model_types).copied().chain([KILN])
}

impl<B: Backend> TextModel<B> {
    /// Reads a model directory.
    ///
    /// # Errors
    /// When it cannot be read, has options that are not supported, or weights that do not fit.
    pub fn load(dir: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let (config, weights) = read(dir)?;
        let mut model = Self::undrawn(config, device).map_err(ModelError::in_file(dir, CONFIG))?;
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
        let config = TextModelConfig { format: Some(format), ..self.config().clone() };
        let weights = names(&config)?.to_theirs(kiln_hub::collect::<B, _>(self)?)?;
        ModelDir::write(dir, &json, &weights)?;
        if config.generates() || config.decoder.is_some() {
            let special = config.special;
            let ids = json!({
                "bos_token_id": special.bos,
                "eos_token_id": special.eos,
                "pad_token_id": special.pad,
                "decoder_start_token_id": special.decoder_start,
            });
            write_json(&dir.join(GENERATION), &ids)?;
        }
        Ok(())
    }
}

/// Reads the configuration of a model directory.
///
/// # Errors
/// When it cannot be read or has options that are not supported.
pub fn read_config(dir: &Path) -> Result<TextModelConfig, ModelError> {
    config_of(&ModelDir::open(dir)?)
}

/// Reads configuration and weights, the latter in our names: for starting weights that need not
/// match in full, see [`kiln_hub::apply`] and [`Mode::Lenient`].
///
/// # Errors
/// When it cannot be read or has options that are not supported.
pub fn read(dir: &Path) -> Result<(TextModelConfig, Weights), ModelError> {
    let model_dir = ModelDir::open(dir)?;
    let mut config = config_of(&model_dir)?;
    let weights = names(&config)?.to_ours(model_dir.weights()?)?;
    // Whether a bare encoder comes with a pooler only its weights tell.
    if !weights.tensors.keys().any(|name| name.starts_with("pooler.")) && config.task.is_none() {
        config.pooler = None;
    }
    Ok((config, weights))
}

/// The `config.json` of a model, and the format that it is in.
pub fn config_json(config: &TextModelConfig) -> (Format, Value) {
    let plain = comparable(config.clone());
    for family in &FAMILIES {
        let other = config.format.is_some_and(|asked| asked != family.format);
        if other {
            continue;
        }
        // A family can express what it reads as it was written.
        if let Some(json) = (family.to_json)(config)
            && let Ok(read) = (family.to_ours)(&json)
            && comparable(read) == plain
        {
            return (family.format, json);
        }
    }
    let config = TextModelConfig { format: None, ..config.clone() };
    (
        Format::KilnText,
        json!({ "model_type": KILN, "architectures": ["TextModel"], "model": config }),
    )
}

/// How the published family of a model would hold it; `None` where none can.
///
/// # Errors
/// When the family's names are wrong.
pub fn published(config: &TextModelConfig) -> Result<Option<Published>, HubError> {
    let (format, _) = config_json(config);
    if format == Format::KilnText {
        return Ok(None);
    }
    let names = names(&TextModelConfig { format: Some(format), ..config.clone() })?;
    // Newer Falcons repeat their keys for each query before they keep them.
    let turned = matches!(config.backbone.positions, Some(PositionConfig::Rotary(_)))
        && format != Format::Falcon;
    let writes = config.language.is_some();
    Ok(Some(Published {
        names,
        task_type: match (config.causal, &config.decoder) {
            (_, Some(_)) => Some("SEQ_2_SEQ_LM"),
            (true, None) if writes => Some("CAUSAL_LM"),
            _ => None,
        },
        decoder_heads: (config.causal && turned && config.embedding.positions == 0 && writes)
            .then_some(config.backbone.heads),
    }))
}

/// A configuration without what says nothing of the weights of its layers: its start, ids that
/// the tokenizer tells, a pooler that nothing reads; and with the feed-forward's width.
fn comparable(mut config: TextModelConfig) -> TextModelConfig {
    for stack in std::iter::once(&mut config.backbone).chain(&mut config.decoder) {
        stack.hidden.get_or_insert(config.width.saturating_mul(4));
    }
    let pooler = config.pooler.filter(|_| config.task.is_some());
    let special = SpecialIds::default();
    TextModelConfig { format: None, initial_deviation: None, special, pooler, ..config }
}

fn config_of(dir: &ModelDir) -> Result<TextModelConfig, ModelError> {
    let found = dir.model_type();
    let config = if found == KILN {
        let own: Own = dir.parse_config()?;
        TextModelConfig { format: Some(Format::KilnText), ..own.model }
    } else {
        let family = FAMILIES.iter().find(|family| family.model_types.contains(&found));
        let Some(family) = family else {
            let expected = model_types().collect::<Vec<_>>().join(" or ");
            let (path, found) = (dir.path.clone(), found.to_owned());
            return Err(ModelError::ModelType { path, found, expected });
        };
        let ours = (family.to_ours)(&dir.config).map_err(|error| match error {
            Unreadable::Setting(error) => ModelError::in_file(&dir.path, CONFIG)(error),
            Unreadable::Json(error) => ModelError::Hub(HubError::Config {
                path: dir.path.join(CONFIG),
                cause: error.to_string(),
            }),
        })?;
        TextModelConfig { format: Some(family.format), ..ours }
    };
    config.validate().map_err(ModelError::in_file(&dir.path, CONFIG))?;
    Ok(config)
}

/// Our own `config.json`.
#[derive(Deserialize)]
struct Own {
    model: TextModelConfig,
}

fn names(config: &TextModelConfig) -> Result<NameMap, HubError> {
    let family = FAMILIES.iter().find(|family| Some(family.format) == config.format);
    family.map_or_else(|| Ok(NameMap::default()), |family| NameMap::new(&(family.rules)(config)))
}

/// The id of a key that holds one, or the first where it holds several.
fn first_id(value: &Value) -> Option<u32> {
    let id = value.as_u64().or_else(|| value.get(0)?.as_u64());
    id.and_then(|id| id.try_into().ok())
}

/// The class of a configuration, or the default.
fn class<'a>(architectures: &'a Option<Vec<String>>, default: &'a str) -> &'a str {
    kiln_hub::family::class(architectures, default)
}

#[cfg(test)]
mod adapter_tests;
#[cfg(test)]
mod decoder_tests;
#[cfg(test)]
mod tests;
