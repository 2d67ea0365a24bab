//! What a model of series provides for objectives.

use crate::SeriesModelConfig;
use kiln_core::{Lack, Need, Provide, check_bidirectional};
use kiln_nn::BackboneConfig;

/// The plan of a model of series: its heads are those of its configuration.
pub(crate) struct SeriesPlan<'a>(pub &'a SeriesModelConfig);

impl Provide for SeriesPlan<'_> {
    fn provide(&mut self, need: &Need) -> Result<(), Lack> {
        let config = self.0;
        match need {
            Need::Labels => Lack::unless(
                config.forecast.is_some(),
                "trains a forecast head, and the model has none (`model.parts.forecast`)",
            ),
            Need::TokenTargets => Lack::unless(
                config.token.is_some(),
                "trains a token head, and the model has none (`model.parts.token`, or \
                 `model.preset.token_head = true`)",
            ),
            Need::MaskTokens | Need::Embeddings | Need::GroupsOrMasking => Ok(()),
            Need::Bidirectional => check_bidirectional(config.causal, "model.parts.causal"),
            Need::Causal { .. } if !config.backbone.supports_causal() => Err(Lack::new(format!(
                "needs a backbone whose tokens can be kept from seeing later ones; a {} sees all of \
                 them",
                config.backbone.name()
            ))),
            Need::Causal { .. } => Lack::unless(
                config.scaler.is_causal(),
                "needs a scaler that does not look ahead: set `model.parts.scaler.kind.prefix` to \
                 the number of patches it may look at",
            ),
            Need::HiddenStates => Lack::unless(
                matches!(config.backbone, BackboneConfig::Transformer(_)),
                "predicts the hidden states of a teacher's blocks, which only transformers show \
                 (`model.parts.backbone.transformer`)",
            ),
            Need::GroupsOrDropout => Lack::unless(
                config.backbone.drops(),
                "encodes a window twice, which is the same without dropout: set some in \
                 `model.parts.backbone`, or `views.masked`",
            ),
            Need::PretextTask(task) => {
                let tasks: Vec<&str> = config.labels.iter().map(|label| label.task()).collect();
                let known = if tasks.is_empty() { "none".into() } else { tasks.join(", ") };
                let problem = format!("needs a head for the task `{task}`; the model has {known}");
                Lack::unless(tasks.contains(&task.as_str()), &problem)
            }
            other => Err(other.lack("series")),
        }
    }
}
