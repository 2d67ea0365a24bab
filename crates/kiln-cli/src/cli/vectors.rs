//! What may be typed to make vectors of texts, and to search by them.

use super::{Device, TextSplit};
use clap::{Args, ValueEnum, value_parser};
use std::path::PathBuf;

/// `kiln embed`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln embed --model organisation/name reviews.jsonl --out reviews.parquet --with-text
  kiln embed --model runs/encoder notes/ --split blank-lines --out notes.npy
  kiln embed --model organisation/name --text 'How warm is it?' --prompt query

Each document has a row, in the order of the files; standard input has a text a line. Directories of
sentence-transformers are understood: their pooling, layers behind it, prompts and longest text.")]
pub struct Embed {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// The texts
    #[command(flatten)]
    pub texts: TextArgs,
    /// A NumPy array or a Parquet table (source, id, embedding) [default: prints JSON lines]
    #[arg(long, short, visible_alias = "output", value_name = "FILE.npy|FILE.parquet")]
    pub out: Option<PathBuf>,
    /// Write the texts into the Parquet table, too
    #[arg(long, requires = "out")]
    pub with_text: bool,
    /// How vectors are made
    #[command(flatten)]
    pub vectors: VectorArgs,
    /// Scale vectors to length one, also where the model does not
    #[arg(long, visible_alias = "normalize")]
    pub normalise: bool,
    /// A prompt of the model, by name, before each text
    #[arg(long, value_name = "NAME")]
    pub prompt: Option<String>,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

/// `kiln search`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln search --model organisation/name --in notes/ 'what was decided about the roof'
  kiln search --model runs/encoder --in mails.jsonl --field body --index mails.parquet --top 3 invoice
  kiln search --model runs/encoder --rerank runs/cross-encoder --in notes/ 'who mends the roof'

All documents are compared with the query, so none is missed. A cross-encoder (--rerank) then reads the
best of them together with the query and puts them in order. With --index their vectors are kept,
and only those of files that changed are made anew. Where the model has prompts for queries and
documents, they are used.")]
pub struct Search {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// What to look for
    pub query: String,
    /// Where: files, folders or patterns; repeat for several
    #[arg(long = "in", required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How many to show
    #[arg(long, short = 'k', value_name = "N", default_value = "10", value_parser = value_parser!(u32).range(1..))]
    pub top: u32,
    /// A cross-encoder that puts the best in order: a run, a model directory, or a hub id
    #[arg(long, value_name = "MODEL")]
    pub rerank: Option<String>,
    /// How many it reads
    #[arg(long, value_name = "N", default_value = "50", requires = "rerank", value_parser = value_parser!(u32).range(1..))]
    pub rerank_among: u32,
    /// Keep the vectors in this file, and take them from there
    #[arg(long, value_name = "FILE.parquet")]
    pub index: Option<PathBuf>,
    /// How documents are read
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// What a document of plain text is
    #[arg(long, default_value = "blank-lines")]
    pub split: TextSplit,
    /// How vectors are made
    #[command(flatten)]
    pub vectors: VectorArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

/// Which texts are taken.
#[derive(Debug, Args)]
pub struct TextArgs {
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
}

/// How documents are read.
#[derive(Debug, Args)]
pub struct DocumentArgs {
    /// The field or column of the text, of files that have several
    #[arg(long, default_value = "text")]
    pub field: String,
    /// The field or column that names a document [default: its number in the file]
    #[arg(long, value_name = "FIELD")]
    pub id: Option<String>,
}

/// How texts become vectors.
#[derive(Debug, Args)]
pub struct VectorArgs {
    /// Tokens of a text at most; the rest is left out [default: as the model says]
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Tokens computed at once [default: 1024 on the CPU, whose caches hold them, 32768 elsewhere]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub batch_tokens: Option<u32>,
    /// Which tokens a vector is made of [default: as the model says]
    #[arg(long)]
    pub pooling: Option<TextPooling>,
}

/// Which tokens a vector is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextPooling {
    /// The first: BERT's [CLS]
    First,
    /// The mean of all
    Mean,
    /// The last: decoders
    Last,
    /// The greatest value of each feature
    Max,
}
