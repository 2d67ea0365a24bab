//! How files of documents are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// File format of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// By the file's extension; plain text where it says nothing.
    #[default]
    Auto,
    /// Plain text.
    Text,
    /// A JSON object a line.
    Jsonl,
    /// Parquet.
    Parquet,
    /// A table with a header, cells separated by tabs and taken as they are.
    Tsv,
    /// A table with a header, cells separated by commas or semicolons and quoted where needed.
    Csv,
    /// WebDataset: `.txt` and `.json` members, those of one key being one document.
    Tar,
}

impl Format {
    /// What a file's extension says.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "txt" | "text" | "md" => Self::Text,
            "jsonl" | "ndjson" | "json" => Self::Jsonl,
            "parquet" => Self::Parquet,
            "tsv" => Self::Tsv,
            "csv" => Self::Csv,
            "tar" => Self::Tar,
            _ => return None,
        })
    }
}

/// Document boundaries in plain text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// A file, or a member of a tar file.
    #[default]
    File,
    /// A line.
    Lines,
    /// Lines up to a blank one.
    BlankLines,
}

/// Policy for text that is not UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Invalid {
    /// U+FFFD stands for what is not.
    #[default]
    Replace,
    /// The document is left out.
    Skip,
    /// An error.
    Stop,
}
