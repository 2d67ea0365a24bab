//! Text among the modalities.

use crate::{
    annotate::AnnotateError, commands::VERBS, data_error::StageDataError, embed::EmbedError,
    evaluate::TooLong, job::TextArchitecture, labelled::ChatError, opened::OpenError,
    recipe::MODALITY,
};
use kiln_core::blame::{BlameOf, blame_of};
use kiln_datasets::DataError;
use kiln_hub::family;
use kiln_lm::{TextModelConfig, generate::GenerationError};
use kiln_tokenize::tokenizer::TokenizerError;
use kiln_train::{
    modality::{Facts, Modality},
    task::TaskError,
};
use std::path::Path;

/// Text.
pub const TEXT: Modality = Modality {
    verbs: &VERBS,
    errors: &ERRORS,
    log_targets: &["kiln_text"],
    ..Modality::of::<TextArchitecture>(MODALITY, facts)
};

/// Errors that know their cause: user or machine.
const ERRORS: [BlameOf; 9] = [
    blame_of::<DataError>,
    blame_of::<StageDataError>,
    blame_of::<TokenizerError>,
    blame_of::<GenerationError>,
    blame_of::<AnnotateError>,
    blame_of::<ChatError>,
    blame_of::<TooLong>,
    blame_of::<OpenError>,
    blame_of::<EmbedError>,
];

fn facts(dir: &Path) -> kiln_train::Result<Facts> {
    let config = family::read_config::<TextModelConfig>(dir).map_err(TaskError::from)?;
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
    Ok(facts)
}
