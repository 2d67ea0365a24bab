//! `kiln classify` and `kiln tag`: what a model was fine-tuned to say of texts.

use super::{
    embed::{Texts, watched},
    text_model,
};
use crate::{
    cli::{Annotate, Classify, Tag},
    failure::{Failure, Result},
    modalities,
};
use kiln_datasets::vectors::Passage;
use kiln_text::{
    annotate::{Answer, Asked, Entry, Question, annotate},
    embed::{EmbedError, Passages},
};
use std::io::Write;

/// Says what texts are, or pairs of them.
pub fn classify(args: &Classify, quiet: bool, out: &mut dyn Write) -> Result<()> {
    let Classify { asked, pairs, pair_field } = args;
    if !pairs.is_empty() && pairs.len() != asked.texts.texts.len() {
        return Err(Failure::user(
            format!("{} texts and {} pairs", asked.texts.texts.len(), pairs.len()),
            "give a --pair for each --text, in the same order",
        ));
    }
    let mut texts = Texts::of(&asked.texts)?;
    if let Some(field) = pair_field {
        texts = texts.map(|passages| passages.with_second(field));
    }
    run(asked, Question::Texts, (texts, pairs), quiet, out)
}

/// Says what the words of texts are; of long documents piece by piece.
pub fn tag(args: &Tag, quiet: bool, out: &mut dyn Write) -> Result<()> {
    let texts = Texts::of(&args.asked.texts)?.map(Passages::with_rest);
    run(&args.asked, Question::Words, (texts, &[]), quiet, out)
}

/// Prints a line of JSON for each text.
fn run(
    args: &Annotate,
    question: Question,
    (mut texts, pairs): (Texts<'_>, &[String]),
    quiet: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let model = text_model(&args.model, "says nothing of texts")?;
    let mut take = |entry: &Entry, answer: &Answer| {
        #[derive(serde::Serialize)]
        struct Line<'a> {
            source: &'a str,
            id: &'a str,
            text: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            pair: Option<&'a str>,
            #[serde(flatten)]
            answer: &'a Answer,
        }
        let Entry { passage: Passage { source, id, text }, second } = entry;
        let line = Line { source, id, text, pair: second.as_deref(), answer };
        let line = serde_json::to_string(&line);
        let line = line.map_err(std::io::Error::other).map_err(EmbedError::Output)?;
        writeln!(out, "{line}").map_err(EmbedError::Output)
    };
    let device = modalities::device(args.device)?;
    let mut typed = pairs.iter();
    let mut entries = std::iter::from_fn(|| {
        let next = texts.advance().map(|found| {
            let (passage, second) = found?;
            Some(Entry { passage, second: second.or_else(|| typed.next().cloned()) })
        });
        next.transpose()
    });
    let asked = Asked { question, task: args.task.as_deref() };
    let summary = watched(quiet, |watch| {
        annotate(&model.path, device, asked, &mut entries, &mut take, watch)
    })?;
    texts.tell();
    if summary.truncated > 0 {
        tracing::warn!("{} texts were too long: only their beginnings count", summary.truncated);
    }
    tracing::info!("{} texts", summary.texts);
    Ok(())
}
