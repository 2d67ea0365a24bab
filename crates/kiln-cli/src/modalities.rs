//! The modalities of this binary: to add one, add a line.

use kiln_core::blame::BlameOf;
use kiln_train::{
    dispatch::NO_CUDA,
    failure::{Failure, Result},
    job::Job,
    modality::{self, Modality},
    recipe::{self, Device, RecipeError, RecipeText},
    verb::Verb,
};

/// Every modality, in the order in which they are listed.
static MODALITIES: [Modality; 3] =
    [kiln_timeseries::TIMESERIES, kiln_speech::SPEECH, kiln_text::TEXT];

/// Every modality.
pub fn all() -> &'static [Modality] {
    &MODALITIES
}

/// Their names, for messages.
pub fn names() -> String {
    modality::names(all())
}

/// A modality by name.
pub fn by_name(name: &str) -> Result<&'static Modality> {
    all().iter().find(|modality| modality.name == name).ok_or_else(|| {
        Failure::user(
            format!("there is no modality `{name}`"),
            format!("modalities of this build: {}", names()),
        )
    })
}

/// Understands a recipe, whatever its modality.
pub fn job(text: &RecipeText) -> Result<Box<dyn Job>> {
    let name = recipe::modality(text)?;
    let Some(modality) = all().iter().find(|modality| modality.name == name) else {
        let error = RecipeError::at(text, "modality", format!("there is no modality `{name}`"));
        return Err(error.with_help(format!("modalities of this build: {}", names())).into());
    };
    let job = (modality.job)(text)?;
    if job.common().device == Device::Cuda && !cfg!(feature = "cuda") {
        let [message, help] = NO_CUDA;
        return Err(RecipeError::at(text, "device", message).with_help(help).into());
    }
    Ok(job)
}

/// The error types of this binary that say whom they are attributed to.
pub fn errors() -> Vec<BlameOf> {
    let own = all().iter().flat_map(|modality| modality.errors);
    kiln_train::ERRORS.iter().chain(own).copied().collect()
}

/// The verbs of all modalities.
pub fn verbs() -> impl Iterator<Item = &'static Verb> {
    all().iter().flat_map(|modality| modality.verbs)
}
