//! The model of a recipe.

use crate::{architecture::ModelSource, start::resolve, task::TaskError};
use kiln_hub::family::{PublishedConfig, read_config};
use kiln_nn::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The model of a recipe: a preset `P`, a model directory, or a configuration `C`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelSpec<P, C> {
    /// A named configuration.
    Preset(P),
    /// The architecture and weights of a run, a model directory or a hub id; of a text model its
    /// tokenizer, too.
    Directory(String),
    /// Put together from parts. The vocabulary of a text model and its special ids are the
    /// tokenizer's, whatever stands here.
    Parts(Box<C>),
}

impl<P, C: PublishedConfig> ModelSpec<P, C> {
    /// The configuration, checked as it is or as `checked` makes it, and the directory of weights.
    ///
    /// # Errors
    /// When a directory cannot be found or read.
    pub fn source(
        &self,
        preset: impl FnOnce(&P) -> Result<C, ConfigError>,
        checked: impl FnOnce(C) -> C,
    ) -> Result<ModelSource<C>, TaskError> {
        let (key, config, directory) = match self {
            Self::Preset(spec) => ("preset", preset(spec), None),
            Self::Parts(config) => ("parts", Ok(config.as_ref().clone()), None),
            Self::Directory(name) => {
                let dir = resolve(name)?;
                ("directory", Ok(read_config(&dir)?), Some(dir))
            }
        };
        let valid = |config: C| checked(config.clone()).validate().map(|()| config);
        Ok(ModelSource { key, config: config.and_then(valid), directory })
    }
}
