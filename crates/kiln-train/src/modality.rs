//! What a modality gives the binary: recipes of its own, jobs made from them, commands, and what its
//! model directories hold.

use crate::{
    architecture::Architecture,
    failure::{Failure, Result},
    job::Job,
    recipe::{RecipeText, schema},
    stage_job::StageJob,
    verb::Verb,
};
use kiln_core::blame::BlameOf;
use kiln_hub::{
    ModelDir,
    family::{PublishedConfig, model_types},
};
use std::path::Path;

/// Facts of a model directory by name.
pub type Facts = Vec<(String, String)>;

/// A modality: time series, speech, text.
#[derive(Clone, Copy, Debug)]
pub struct Modality {
    /// As recipes name it: `timeseries`.
    pub name: &'static str,
    /// Reads a recipe of this modality; an error points at the mistake in it.
    pub job: fn(&RecipeText) -> crate::Result<Box<dyn Job>>,
    /// The JSON Schema of this modality's recipes.
    pub schema: fn() -> schemars::Schema,
    /// Whether a model directory's `model_type` is one of this modality's.
    pub owns: fn(&str) -> bool,
    /// Facts worth showing of a model directory: context length, horizon, vocabulary.
    pub facts: fn(&Path) -> crate::Result<Facts>,
    /// The commands of the binary that use its models and prepare its data.
    pub verbs: &'static [Verb],
    /// Its error types that are attributed to the user, or to the machine.
    pub errors: &'static [BlameOf],
    /// Log targets of its own, which say as much as Kiln's.
    pub log_targets: &'static [&'static str],
    /// Log targets below it that say nothing unless asked.
    pub silent_log_targets: &'static [&'static str],
}

impl Modality {
    /// The modality of an architecture, which has no commands, error types and log targets yet.
    pub const fn of<A: Architecture>(
        name: &'static str,
        facts: fn(&Path) -> crate::Result<Facts>,
    ) -> Self
    where
        A::Config: PublishedConfig,
    {
        Self {
            name,
            job: job::<A>,
            schema: schema::<A::Spec>,
            owns: owns::<A::Config>,
            facts,
            verbs: &[],
            errors: &[],
            log_targets: &[],
            silent_log_targets: &[],
        }
    }
}

fn job<A: Architecture>(text: &RecipeText) -> crate::Result<Box<dyn Job>> {
    Ok(Box::new(StageJob::<A>::new(text)?))
}

fn owns<C: PublishedConfig>(model_type: &str) -> bool {
    model_types::<C>().any(|known| known == model_type)
}

/// The modality that a model belongs to.
///
/// # Errors
/// When none reads models of its type.
pub fn owner(modalities: &'static [Modality], model: &ModelDir) -> Result<&'static Modality> {
    let model_type = model.model_type();
    modalities.iter().find(|modality| (modality.owns)(model_type)).ok_or_else(|| {
        let what = if model_type.is_empty() {
            "its config.json has no `model_type`".to_owned()
        } else {
            format!("nothing here reads models of type `{model_type}`")
        };
        Failure::user(
            format!("{} cannot be used: {what}", model.path.display()),
            format!("modalities of this build: {}", names(modalities)),
        )
    })
}

/// The names of modalities, for messages.
pub fn names(modalities: &[Modality]) -> String {
    modalities.iter().map(|modality| modality.name).collect::<Vec<_>>().join(", ")
}
