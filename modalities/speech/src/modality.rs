//! Speech among the modalities.

use crate::{
    SpeechError, SpeechModelConfig, commands::VERBS, data::StageDataError, frontend::StemConfig,
    job::Speech, recipe::MODALITY, transcribe::TranscribeError,
};
use kiln_core::blame::{BlameOf, blame_of};
use kiln_datasets::DataError;
use kiln_hub::family;
use kiln_train::{
    modality::{Facts, Modality},
    task::TaskError,
};
use std::path::Path;

/// Speech.
pub const SPEECH: Modality = Modality {
    verbs: &VERBS,
    errors: &ERRORS,
    log_targets: &["kiln_speech"],
    silent_log_targets: &["symphonia_core"],
    ..Modality::of::<Speech>(MODALITY, facts)
};

/// Errors that say whom they are attributed to.
const ERRORS: [BlameOf; 4] = [
    blame_of::<DataError>,
    blame_of::<SpeechError>,
    blame_of::<StageDataError>,
    blame_of::<TranscribeError>,
];

fn facts(dir: &Path) -> kiln_train::Result<Facts> {
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
