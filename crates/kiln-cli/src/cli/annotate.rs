//! What may be typed to have texts labelled.

use super::{Device, DocumentArgs, TextSplit};
use clap::Args;
use std::path::PathBuf;

/// `kiln classify` and `kiln tag`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln classify --model runs/book-reviews --text 'a fine book'
  kiln classify --model organisation/name reviews.jsonl --field body
  kiln tag --model runs/conll-spanish news.txt --split lines

Each document becomes a line of JSON, in the order of the files; standard input has a text a line.
The model has to be fine-tuned for what is asked: a recipe with `data.labelled`.")]
pub struct Annotate {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// Files, folders or patterns: plain text, .jsonl, .parquet, .tsv, .csv, .tar
    /// [default: standard input]
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// A text; repeat for several
    #[arg(long = "text", value_name = "TEXT", conflicts_with = "inputs")]
    pub texts: Vec<String>,
    /// How documents are read
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// What a document of plain text is [default: file; lines of standard input]
    #[arg(long)]
    pub split: Option<TextSplit>,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}
