//! What may be typed to have texts labelled.

use super::{Device, TextArgs};
use clap::Args;

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
