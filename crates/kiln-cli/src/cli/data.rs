//! What may be typed to prepare data.

use clap::{Args, Subcommand, ValueEnum, value_parser};
use kiln_datasets::documents::Split;
use std::path::PathBuf;

/// `kiln data`
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Train an n-gram language model by modified Kneser-Ney smoothing
    Ngram(Ngram),
    /// Train a tokenizer
    Tokenizer(Tokenizer),
}

/// `kiln data ngram`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln data ngram transcripts.txt --out lm.arpa
  kiln data ngram news.txt notes.txt --order 4 --min-counts 1,2 --out lm.arpa

A sentence a line. Spelling and case must be those of the transcripts that the recogniser writes.")]
pub struct Ngram {
    /// Text files, a sentence a line
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Words of the longest n-gram
    #[arg(long, default_value = "3", value_parser = value_parser!(u8).range(1..=6))]
    pub order: u8,
    /// How often n-grams of order 2, 3, .. have to occur to be kept
    #[arg(long, value_name = "COUNTS", value_delimiter = ',')]
    pub min_counts: Vec<u64>,
    /// Lower case, without punctuation, as transcripts are by default
    #[arg(long)]
    pub normalise: bool,
    /// The model, in ARPA's format
    #[arg(long, short, value_name = "FILE.arpa")]
    pub out: PathBuf,
}

/// `kiln data tokenizer`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kiln data tokenizer corpus.txt --kind byte-bpe --vocabulary 8000 --out tokenizer
  kiln data tokenizer 'shards/*.jsonl' --field body --kind word-piece --lowercase --out tokenizer
  kiln data tokenizer books/ --kind unigram --split blank-lines --special mask=<hide> --out tokenizer

The folder holds tokenizer.json and tokenizer_config.json, which transformers loads as well.")]
pub struct Tokenizer {
    /// Files, folders or patterns: plain text, .jsonl, .parquet, .tsv, .csv, .tar
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How words are cut into tokens
    #[arg(long, default_value = "byte-bpe")]
    pub kind: TokenizerKind,
    /// Tokens, with the special ones
    #[arg(long, default_value = "8000")]
    pub vocabulary: usize,
    /// Drop case and accents; of word-piece only
    #[arg(long)]
    pub lowercase: bool,
    /// What a document of plain text is
    #[arg(long, default_value = "lines")]
    pub split: TextSplit,
    /// The field or column of the text, of files that have several
    #[arg(long, default_value = "text")]
    pub field: String,
    /// A special token by role (pad, unk, bos, eos, cls, sep, mask); an empty one leaves it out
    #[arg(long = "special", value_name = "ROLE=TOKEN")]
    pub special: Vec<String>,
    /// More special tokens
    #[arg(long = "add", value_name = "TOKEN")]
    pub additional: Vec<String>,
    /// The folder to write
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
}

/// How a tokenizer cuts words into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenizerKind {
    /// Byte-pair encoding of bytes, as in GPT-2
    ByteBpe,
    /// Byte-pair encoding of characters
    Bpe,
    /// WordPiece, as in BERT
    WordPiece,
    /// A unigram language model, as in SentencePiece
    Unigram,
    /// Each character is a token
    Characters,
    /// Each byte is a token
    Bytes,
}

/// What a document of plain text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextSplit {
    /// A file
    File,
    /// A line
    Lines,
    /// Lines up to a blank one
    BlankLines,
}

impl From<TextSplit> for Split {
    fn from(split: TextSplit) -> Self {
        match split {
            TextSplit::File => Self::File,
            TextSplit::Lines => Self::Lines,
            TextSplit::BlankLines => Self::BlankLines,
        }
    }
}
