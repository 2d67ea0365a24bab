//! Language models as backbones of series models.

use crate::{SeriesModelConfig, recipe::LanguageSpec};
use kiln_hub::{ModelDir, ModelError, Weights, family};
use kiln_lm::TextModelConfig;
use kiln_nn::{BackboneConfig, TransformerConfig};
use std::path::Path;

impl LanguageSpec {
    /// The series model around the language model of a directory.
    ///
    /// # Errors
    /// When the directory cannot be read or holds something else.
    pub(crate) fn config(&self, dir: &Path) -> Result<SeriesModelConfig, ModelError> {
        let language = family::read_config::<TextModelConfig>(dir)?;
        let layers = self.layers.unwrap_or(language.backbone.layers).min(language.backbone.layers);
        let backbone = TransformerConfig { layers, ..language.backbone };
        Ok(SeriesModelConfig {
            width: language.width,
            backbone: BackboneConfig::Transformer(backbone),
            causal: language.causal,
            ..self.parts.as_ref().clone()
        })
    }
}

/// The weights of a directory that a series model may start from, in our names: all of a series
/// model's, or a language model's blocks.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn start(dir: &Path, config: &SeriesModelConfig) -> Result<Weights, ModelError> {
    let found = ModelDir::open(dir)?;
    if !family::model_types::<TextModelConfig>().any(|known| known == found.model_type()) {
        return Ok(family::read::<SeriesModelConfig>(dir)?.1);
    }
    let (_, mut weights) = family::read::<TextModelConfig>(dir)?;
    let layers = match &config.backbone {
        BackboneConfig::Transformer(transformer) => transformer.layers,
        BackboneConfig::Mixer(_) => 0,
    };
    weights.tensors.retain(|name, _| {
        let Some(part) = name.strip_prefix("backbone.") else { return false };
        let layer = part.strip_prefix("layers.").and_then(|layer| layer.split('.').next());
        layer.is_none_or(|layer| layer.parse().is_ok_and(|layer: usize| layer < layers))
    });
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeriesModel;
    use burn_flex::Flex;
    use kiln_hub::Mode;
    use kiln_lm::TextModel;

    #[test]
    fn blocks_are_taken_over_and_nothing_else() {
        let device = Default::default();
        let dir = tempfile::tempdir().unwrap();
        let text = TextModelConfig::default();
        let language = TextModel::<Flex>::new(text.clone(), &device).unwrap();
        language.save(dir.path()).unwrap();
        let spec = LanguageSpec {
            directory: String::new(),
            layers: Some(1),
            parts: Box::new(SeriesModelConfig { context: 48, horizon: 8, ..Default::default() }),
        };
        let config = spec.config(dir.path()).unwrap();
        config.validate().unwrap();
        assert_eq!((config.width, config.causal), (text.width, true));
        let mut model = SeriesModel::<Flex>::new(config.clone(), &device).unwrap();
        let weights = start(dir.path(), &config).unwrap();
        let report = kiln_hub::apply::<Flex, _>(&mut model, &weights, Mode::Lenient).unwrap();
        assert!(report.unused.is_empty() && report.mismatched.is_empty(), "{report:?}");
        assert!(report.missing.iter().all(|name| !name.starts_with("backbone.")), "{report:?}");
        let ours = kiln_hub::collect::<Flex, _>(&model).unwrap();
        let theirs = kiln_hub::collect::<Flex, _>(&language).unwrap();
        let name = "backbone.layers.0.attention.query.weight";
        assert_eq!(ours.tensors[name], theirs.tensors[name]);
    }
}
