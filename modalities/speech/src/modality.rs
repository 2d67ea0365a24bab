//! Speech among the modalities.

use crate::{
    SpeechError, SpeechModelConfig,
    commands::VERBS,
    data::StageDataError,
    frontend::StemConfig,
    job::SpeechJob,
    recipe::{MODALITY, SpeechSpec},
    transcribe::TranscribeError,
};
use kiln_core::blame::{BlameOf, blame_of};
use kiln_datasets::DataError;
use kiln_hub::family;
use kiln_train::{
    modality::{Job, Modality},
    recipe::{RecipeText, schema},
    task::TaskError,
    verb::Verb,
};
use std::path::Path;

/// Speech.
pub static SPEECH: Speech = Speech;

/// Errors that say whom they are attributed to.
static ERRORS: [BlameOf; 4] = [
    blame_of::<DataError>,
    blame_of::<SpeechError>,
    blame_of::<StageDataError>,
    blame_of::<TranscribeError>,
];

/// The modality's entry in the binary's list.
#[derive(Debug)]
pub struct Speech;

impl Modality for Speech {
    fn name(&self) -> &'static str {
        MODALITY
    }

    fn job(&self, text: &RecipeText) -> kiln_train::Result<Box<dyn Job>> {
        Ok(Box::new(SpeechJob::new(text)?))
    }

    fn schema(&self) -> schemars::Schema {
        schema::<SpeechSpec>()
    }

    fn owns(&self, model_type: &str) -> bool {
        family::model_types::<SpeechModelConfig>().any(|known| known == model_type)
    }

    fn verbs(&self) -> &'static [Verb] {
        &VERBS
    }

    fn errors(&self) -> &'static [BlameOf] {
        &ERRORS
    }

    fn log_targets(&self) -> &'static [&'static str] {
        &["kiln_speech"]
    }

    fn silent_log_targets(&self) -> &'static [&'static str] {
        &["symphonia_core"]
    }

    fn facts(&self, dir: &Path) -> kiln_train::Result<Vec<(String, String)>> {
        let config = family::read_config::<SpeechModelConfig>(dir).map_err(TaskError::from)?;
        let stem = &config.frontend.stem;
        let kind = match stem {
            StemConfig::Wave(wave) => format!("{} convolutions over the wave", wave.layers.len()),
            StemConfig::LogMel(mel) => format!("log-mel, {} bins", mel.spectrogram.bins),
        };
        let milliseconds = 1e3 * stem.stride() as f64 / config.audio.sample_rate as f64;
        let mut facts = vec![
            ("sound".into(), format!("{} Hz", config.audio.sample_rate)),
            ("frontend".into(), format!("{kind}, a frame every {milliseconds} ms")),
            ("width".into(), config.width.to_string()),
            ("blocks".into(), config.backbone.layers.to_string()),
        ];
        if let Some(ctc) = &config.ctc {
            facts.push(("transcribes with".into(), format!("{} tokens", ctc.vocabulary)));
        }
        if let Some(quantizer) = &config.quantizer {
            let size = format!("{} of {} entries", quantizer.groups, quantizer.entries);
            facts.push(("codebooks".into(), size));
        }
        Ok(facts)
    }
}
