//! `kiln classify` and `kiln tag`: predictions of fine-tuned models.

use super::{
    arguments::{TextArgs, text_model},
    embed::{Texts, watched},
};
use crate::{
    annotate::{Answer, Asked, Entry, Question, annotate},
    embed::{EmbedError, Passages},
};
use clap::{Args, Parser};
use kiln_datasets::vectors::Passage;
use kiln_train::{
    dispatch,
    failure::{Failure, Result},
    recipe::Device,
    verb::{RunVerb, VerbContext},
};

/// Classify texts, or score them: classes, labels, numbers
#[derive(Debug, Parser)]
#[command(
    name = "classify",
    after_help = "\
Examples:
  kiln classify --model runs/book-reviews --text 'a fine book'
  kiln classify --model organisation/name reviews.jsonl --field body
  kiln classify --model runs/entailment --text 'It rains.' --pair 'The street is wet.'
  kiln classify --model runs/entailment pairs.tsv --field premise --pair-field hypothesis

Each document becomes a line of JSON, in the order of the files; standard input has a text a line.
The model has to be fine-tuned for what is asked: a recipe with `data.labelled`."
)]
pub struct Classify {
    /// Which model, and the texts
    #[command(flatten)]
    pub asked: Annotate,
    /// The second text of a pair, of models that compare two; one for each --text
    #[arg(long = "pair", value_name = "TEXT", requires = "texts")]
    pub pairs: Vec<String>,
    /// The field or column of the second text of a pair
    #[arg(long, value_name = "FIELD", conflicts_with = "texts")]
    pub pair_field: Option<String>,
}

/// Tag tokens (NER, POS)
#[derive(Debug, Parser)]
#[command(
    name = "tag",
    after_help = "\
Examples:
  kiln tag --model runs/conll-spanish news.txt --split lines
  kiln tag --model organisation/name --text 'Ada Lovelace wrote to Charles Babbage.'

Each document becomes a line of JSON, in the order of the files; standard input has a text a line.
Documents of more than a mebibyte come in pieces, each a line with the document's id.
The model has to be fine-tuned for it: a recipe with `data.labelled.train.tagged`."
)]
pub struct Tag {
    /// Which model, and the texts
    #[command(flatten)]
    pub asked: Annotate,
}

/// What both of them take.
#[derive(Debug, Args)]
pub struct Annotate {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// The task that is asked for, of a model that was fine-tuned for several
    #[arg(long)]
    pub task: Option<String>,
    /// The texts
    #[command(flatten)]
    pub texts: TextArgs,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

impl RunVerb for Classify {
    /// Classifies or scores texts, or pairs of them.
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()> {
        let Classify { asked, pairs, pair_field } = self;
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
        run(asked, Question::Texts, (texts, pairs), context)
    }
}

impl RunVerb for Tag {
    /// Tags the words of texts; of long documents piece by piece.
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()> {
        let texts = Texts::of(&self.asked.texts)?.map(Passages::with_rest);
        run(&self.asked, Question::Words, (texts, &[]), context)
    }
}

/// Prints a line of JSON for each text.
fn run(
    args: &Annotate,
    question: Question,
    (mut texts, pairs): (Texts<'_>, &[String]),
    context: &mut VerbContext<'_>,
) -> Result<()> {
    let model = text_model(context, &args.model, "says nothing of texts")?;
    let bar = context.spinner();
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
        writeln!(context.out, "{line}").map_err(EmbedError::Output)
    };
    let device = dispatch::available(args.device)?;
    let mut typed = pairs.iter();
    let mut entries = std::iter::from_fn(|| {
        let next = texts.advance().map(|found| {
            let (passage, second) = found?;
            Some(Entry { passage, second: second.or_else(|| typed.next().cloned()) })
        });
        next.transpose()
    });
    let asked = Asked { question, task: args.task.as_deref() };
    let summary = watched(&bar, |watch| {
        annotate(&model.path, device, asked, &mut entries, &mut take, watch)
    })?;
    texts.tell();
    if summary.truncated > 0 {
        tracing::warn!("{} texts were too long: only their beginnings count", summary.truncated);
    }
    tracing::info!("{} texts", summary.texts);
    Ok(())
}
