//! Text among the modalities.

use crate::{job::TextJob, recipe::TextParts};
use kiln_hub::family;
use kiln_lm::TextModelConfig;
use kiln_train::{
    modality::{Job, Modality, ModelSummary},
    recipe::{RecipeText, schema},
    task::TaskError,
};
use std::path::Path;

/// Text.
pub static TEXT: TextModality = TextModality;

/// The modality's entry in the binary's list.
#[derive(Debug)]
pub struct TextModality;

impl Modality for TextModality {
    fn name(&self) -> &'static str {
        "text"
    }

    fn job(&self, text: &RecipeText) -> kiln_train::Result<Box<dyn Job>> {
        Ok(Box::new(TextJob::new(text)?))
    }

    fn schema(&self) -> schemars::Schema {
        schema::<TextParts>()
    }

    fn owns(&self, model_type: &str) -> bool {
        family::model_types::<TextModelConfig>().any(|known| known == model_type)
    }

    fn describe_model(&self, dir: &Path) -> kiln_train::Result<ModelSummary> {
        let config = family::read_config::<TextModelConfig>(dir).map_err(TaskError::from)?;
        let opened = kiln_hub::ModelDir::open(dir).map_err(TaskError::from)?;
        let kind = match (&config.decoder, config.causal) {
            (Some(_), _) => "encoder and decoder",
            (None, false) if config.branches.is_some() => "encoder that writes, too",
            (None, true) => "decoder",
            (None, false) => "encoder",
        };
        let mut facts = vec![
            ("kind".into(), kind.to_owned()),
            ("vocabulary".into(), format!("{} tokens", config.vocabulary)),
            ("width".into(), config.width.to_string()),
            ("blocks".into(), config.backbone.layers.to_string()),
        ];
        if let Some(longest) = config.longest() {
            facts.push(("longest text".into(), format!("{longest} tokens")));
        }
        for (name, head) in config.heads() {
            let of = |fact: &str| match name {
                Some(name) => format!("{fact} of {name}"),
                None => fact.to_owned(),
            };
            facts.push((of("head"), format!("{:?}", head.kind).to_lowercase()));
            if !head.names.is_empty() {
                facts.push((of("labels"), head.names.join(", ")));
            }
        }
        Ok(ModelSummary {
            model_type: opened.model_type().to_owned(),
            parameters: opened.parameters().map_err(TaskError::from)?,
            facts,
        })
    }
}
