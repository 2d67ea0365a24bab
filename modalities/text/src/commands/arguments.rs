//! Arguments that several commands share: which texts, and how they become vectors.

use crate::recipe::MODALITY;
use clap::{Args, ValueEnum, value_parser};
use kiln_datasets::documents::Split;
use kiln_hub::ModelDir;
use kiln_train::{failure::Result, verb::VerbContext};
use std::path::PathBuf;

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

/// Finds a text model; `lacks` is what the error says that models of other modalities lack.
pub(super) fn text_model(context: &VerbContext<'_>, spec: &str, lacks: &str) -> Result<ModelDir> {
    context.model(spec, MODALITY, lacks, "text")
}
