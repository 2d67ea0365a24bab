//! `kiln classify` and `kiln tag`: what a model was fine-tuned to say of texts.

use super::{
    embed::{Texts, watched},
    text_model,
};
use crate::{cli::Annotate, failure::Result, modalities};
use kiln_datasets::vectors::Passage;
use kiln_text::{
    annotate::{Answer, Asked, Question, annotate},
    embed::EmbedError,
};
use std::io::Write;

/// Prints a line of JSON for each text.
pub fn run(args: &Annotate, question: Question, quiet: bool, out: &mut dyn Write) -> Result<()> {
    let model = text_model(&args.model, "says nothing of texts")?;
    let mut texts = Texts::of(&args.texts)?;
    let mut take = |passage: &Passage, answer: &Answer| {
        #[derive(serde::Serialize)]
        struct Line<'a> {
            source: &'a str,
            id: &'a str,
            text: &'a str,
            #[serde(flatten)]
            answer: &'a Answer,
        }
        let Passage { source, id, text } = passage;
        let line = serde_json::to_string(&Line { source, id, text, answer });
        let line = line.map_err(std::io::Error::other).map_err(EmbedError::Output)?;
        writeln!(out, "{line}").map_err(EmbedError::Output)
    };
    let device = modalities::device(args.device)?;
    let asked = Asked { question, task: args.task.as_deref() };
    let count =
        watched(quiet, |watch| annotate(&model.path, device, asked, &mut texts, &mut take, watch))?;
    tracing::info!("{count} texts");
    Ok(())
}
