//! Model directories of text models, read and written in the layout of their published family.
//!
//! One file a family: its `config.json` as a type, its translation to and from
//! [`TextModelConfig`], and its names. What no family can express is written as `kiln-text`, with
//! our own configuration and names.

mod bert;
mod decoder;
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
    ModelError, Weights,
    adapter::Published,
    family::{self, NoExtras, PublishedConfig, Row},
    json_file::write_json,
};
use kiln_nn::{ConfigError, PositionConfig};
use serde_json::json;
use std::path::Path;

/// The `model_type` of models that no published family can express.
pub const KILN: &str = "kiln-text";

/// Where ids with a meaning are kept that `config.json` has no room for: those of generation.
const GENERATION: &str = "generation_config.json";

impl PublishedConfig for TextModelConfig {
    type Format = Format;
    type Extras = NoExtras;

    const OWN: [&'static str; 2] = [KILN, "TextModel"];
    const OWN_FORMAT: Format = Format::KilnText;
    const FAMILIES: &'static [Row<Self>] = &[
        Row { format: Format::Bert, model_types: &["bert"], family: &bert::BERT },
        Row {
            format: Format::Roberta,
            model_types: &["roberta", "xlm-roberta"],
            family: &bert::ROBERTA,
        },
        Row { format: Format::Mpnet, model_types: &["mpnet"], family: &bert::MPNET },
        Row {
            format: Format::ModernBert,
            model_types: &["modernbert"],
            family: &modernbert::ModernBert,
        },
        Row { format: Format::Gpt2, model_types: &["gpt2"], family: &gpt2::Gpt2 },
        Row { format: Format::Opt, model_types: &["opt"], family: &opt::Opt },
        Row { format: Format::Falcon, model_types: &["falcon"], family: &falcon::Falcon },
        Row { format: Format::Llama, model_types: &["llama"], family: &llama::LLAMA },
        Row { format: Format::Qwen2, model_types: &["qwen2"], family: &llama::QWEN2 },
        Row { format: Format::T5, model_types: &["t5", "mt5", "umt5"], family: &t5::T5 },
    ];

    fn format(&mut self) -> &mut Option<Format> {
        &mut self.format
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn is_expressed_by(&self, read: Self) -> bool {
        comparable(read) == comparable(self.clone())
    }

    fn write_files(&self, dir: &Path) -> kiln_hub::Result<()> {
        if !self.generates() && self.decoder.is_none() {
            return Ok(());
        }
        let special = self.special;
        let ids = json!({
            "bos_token_id": special.bos,
            "eos_token_id": special.eos,
            "pad_token_id": special.pad,
            "decoder_start_token_id": special.decoder_start,
        });
        write_json(&dir.join(GENERATION), &ids)
    }

    /// Whether a bare encoder comes with a pooler only its weights tell.
    fn complete(&mut self, weights: &mut Weights) {
        if !weights.tensors.keys().any(|name| name.starts_with("pooler.")) && self.task.is_none() {
            self.pooler = None;
        }
    }

    fn published(&self, published: Published) -> Published {
        // Falcon of the newer architecture caches keys repeated for each query head.
        let rotary = matches!(self.backbone.positions, Some(PositionConfig::Rotary(_)))
            && self.format != Some(Format::Falcon);
        let generates = self.language.is_some();
        Published {
            task_type: match (self.causal, &self.decoder) {
                (_, Some(_)) => Some("SEQ_2_SEQ_LM"),
                (true, None) if generates => Some("CAUSAL_LM"),
                _ => None,
            },
            decoder_heads: (self.causal && rotary && self.embedding.positions == 0 && generates)
                .then_some(self.backbone.heads),
            ..published
        }
    }
}

impl<B: Backend> TextModel<B> {
    /// Reads a model directory.
    ///
    /// # Errors
    /// When it cannot be read, has options that are not supported, or weights that do not fit.
    pub fn load(dir: &Path, device: &B::Device) -> Result<Self, ModelError> {
        Ok(family::load(dir, device, |config| Self::undrawn(config, device))?.0)
    }

    /// Writes a model directory, which must exist.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), ModelError> {
        family::save::<B, _>(dir, self.config(), self)
    }
}

/// A configuration reduced to what determines its weights: without initialisation, special ids and
/// an unused pooler, and with the feed-forward width filled in.
fn comparable(mut config: TextModelConfig) -> TextModelConfig {
    for stack in std::iter::once(&mut config.backbone).chain(&mut config.decoder) {
        stack.hidden.get_or_insert(config.width.saturating_mul(4));
    }
    let pooler = config.pooler.filter(|_| config.task.is_some());
    let special = SpecialIds::default();
    TextModelConfig { format: None, initial_deviation: None, special, pooler, ..config }
}

#[cfg(test)]
mod adapter_tests;
#[cfg(test)]
mod decoder_tests;
#[cfg(test)]
mod tests;
