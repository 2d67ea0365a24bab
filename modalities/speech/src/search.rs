//! Transcripts of recordings as a recipe wants them searched for.

use crate::{
    decode::{Decoded, Decoder, FrameTimes, greedy},
    recipe::{BeamDecoding, Decoding, LanguageModel, Lexicon},
    recogniser::Recogniser,
};
use kiln_datasets::files::locate;
use kiln_metrics::ngram::{KneserNey, NgramModel};
use kiln_train::task::TaskError;
use ndarray::Array2;
use rayon::prelude::*;
use std::{collections::BTreeSet, sync::Arc};

/// The beam search that a recipe describes, where it describes one. `transcripts` are those that
/// the model was trained on; they are asked for where lexicon or language model follow from them.
///
/// # Errors
/// When a file cannot be read, or does not fit the vocabulary.
pub fn decoder(
    recogniser: &Recogniser,
    decoding: &Decoding,
    mut transcripts: impl FnMut() -> Result<Vec<String>, TaskError>,
) -> Result<Option<Decoder>, TaskError> {
    let settings = match decoding {
        Decoding::Greedy => return Ok(None),
        Decoding::Beam(settings) => settings,
    };
    let BeamDecoding { beam, language_model, weights, lexicon } = settings;
    let mut decoder = Decoder::new(recogniser.vocabulary.clone(), beam.clone())?;
    if let Some(model) = language_model {
        let model = match model {
            LanguageModel::Arpa(path) => NgramModel::read_arpa(&locate(path)?)?,
            LanguageModel::Transcripts(order) => {
                KneserNey { order: *order, ..KneserNey::default() }
                    .train(transcripts()?.iter().map(String::as_str))?
                    .model
            }
        };
        decoder = decoder.with_language_model(Arc::new(model), weights.clone())?;
    }
    if let Some(lexicon) = lexicon {
        let texts = match lexicon {
            Lexicon::Transcripts => transcripts()?,
            Lexicon::File(path) => {
                let path = locate(path)?;
                let text = std::fs::read_to_string(&path);
                vec![text.map_err(|error| format!("{}: {error}", path.display()))?]
            }
        };
        let words = texts.iter().flat_map(|text| text.split_whitespace());
        decoder = decoder.with_lexicon(words.collect::<BTreeSet<_>>())?;
    }
    Ok(Some(decoder))
}

/// Transcripts by a beam search, or without one by the best token of each frame.
///
/// # Errors
/// When the log-probabilities are not of the recogniser's vocabulary.
pub fn decode_all(
    recogniser: &Recogniser,
    decoder: Option<&Decoder>,
    log_probs: &[Array2<f32>],
) -> Result<Vec<Decoded>, TaskError> {
    let times = FrameTimes::new(recogniser.stride());
    let views: Vec<_> = log_probs.iter().map(|one| one.view()).collect();
    let found: Result<Vec<_>, _> = match decoder {
        Some(decoder) => decoder.decode_all(&views, times).into_iter().collect(),
        None => {
            let plain = |view| greedy(&recogniser.vocabulary, view, times);
            views.into_par_iter().map(plain).collect()
        }
    };
    Ok(found?)
}
