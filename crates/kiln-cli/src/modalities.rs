//! The modalities of this binary: to add one, add a line.

use crate::{
    cli::Device,
    failure::{Failure, Result},
};
use kiln_hub::ModelDir;
use kiln_timeseries::forecaster::Forecaster;
use kiln_train::{
    modality::{Job, Modality},
    recipe::{self, RecipeError, RecipeText},
};

/// Every modality, in the order in which they are listed.
const MODALITIES: &[&dyn Modality] = &[];

/// Every modality.
pub fn all() -> &'static [&'static dyn Modality] {
    MODALITIES
}

/// Their names, for messages.
pub fn names() -> String {
    all().iter().map(|modality| modality.name()).collect::<Vec<_>>().join(", ")
}

/// A modality by name.
pub fn by_name(name: &str) -> Result<&'static dyn Modality> {
    all().iter().find(|modality| modality.name() == name).copied().ok_or_else(|| {
        Failure::user(
            format!("there is no modality `{name}`"),
            format!("modalities of this build: {}", names()),
        )
    })
}

/// Understands a recipe, whatever its modality.
pub fn job(text: &RecipeText) -> Result<Box<dyn Job>> {
    let name = recipe::modality(text)?;
    match all().iter().find(|modality| modality.name() == name) {
        Some(modality) => Ok(modality.job(text)?),
        None => Err(RecipeError::at(text, "modality", format!("there is no modality `{name}`"))
            .with_help(format!("modalities of this build: {}", names()))
            .into()),
    }
}
