//! What may be typed to have texts labelled.

use super::{Device, TextArgs};
use clap::Args;

/// `kiln classify`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln classify --model runs/book-reviews --text 'a fine book'
  kiln classify --model organisation/name reviews.jsonl --field body
  kiln classify --model runs/entailment --text 'It rains.' --pair 'The street is wet.'
  kiln classify --model runs/entailment pairs.tsv --field premise --pair-field hypothesis

Each document becomes a line of JSON, in the order of the files; standard input has a text a line.
The model has to be fine-tuned for what is asked: a recipe with `data.labelled`.")]
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

/// `kiln tag`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln tag --model runs/conll-spanish news.txt --split lines
  kiln tag --model organisation/name --text 'Ada Lovelace wrote to Charles Babbage.'

Each document becomes a line of JSON, in the order of the files; standard input has a text a line.
Documents of more than a mebibyte come in pieces, each a line with the document's id.
The model has to be fine-tuned for it: a recipe with `data.labelled.train.tagged`.")]
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
