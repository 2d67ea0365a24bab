//! Lists of utterances, in the layouts that corpora are published in.

mod folder;
mod shard;
mod table;

use crate::{DataError, Result, files::locate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Manifest: where utterances are listed. Paths are looked for here, then in the folder that
/// `KILN_DATA` names; paths inside a manifest start at the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Manifest {
    /// A table with a header, cells separated by tabs. Columns, in any order: `path` (or `audio`,
    /// `file`, `wav`), `text` (or `sentence`, `transcript`), `speaker` (or `client_id`), `duration`,
    /// `start` and `end` in seconds; others are left alone.
    Tsv {
        /// The table.
        path: PathBuf,
    },
    /// A JSON object a line, with the names of `tsv`, or NeMo's: `audio_filepath`, `offset`.
    Jsonl {
        /// The file.
        path: PathBuf,
    },
    /// All recordings under a folder; the transcript of `a.flac` is `a.txt` beside it, if
    /// anywhere.
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// Mozilla Common Voice: `clips/` and a table a split.
    CommonVoice {
        /// The folder of one language.
        path: PathBuf,
        /// The table's name: `train`, `dev`, `test`, `validated`.
        #[serde(default = "train")]
        split: String,
    },
    /// LibriSpeech: `speaker/chapter/speaker-chapter-utterance.flac`, and a `.trans.txt` a chapter.
    #[serde(rename = "librispeech")]
    LibriSpeech {
        /// The folder of a subset, such as `dev-clean`.
        path: PathBuf,
    },
    /// The Free Spoken Digit Dataset: `digit_speaker_n.wav`.
    Fsdd {
        /// The folder.
        path: PathBuf,
    },
    /// WebDataset: tar files whose members `a.flac` and `a.txt` or `a.json` belong together.
    Shards {
        /// The tar files.
        paths: Vec<PathBuf>,
    },
}

fn train() -> String {
    "train".to_owned()
}

/// Utterance: a recording or a part of one, with its transcript.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    /// A name that tells it from the others of its manifest.
    pub id: String,
    /// Where its sound is.
    pub audio: Location,
    /// Transcript, as it was written.
    pub text: Option<String>,
    /// Who speaks.
    pub speaker: Option<String>,
    /// How long it lasts, s, as the manifest says.
    pub duration: Option<f64>,
    /// Where in the recording it begins, s; at its begin without.
    pub start: Option<f64>,
    /// Where in the recording it ends, s; at its end without.
    pub end: Option<f64>,
}

/// Where a recording is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file.
    File(PathBuf),
    /// A member of a tar file.
    Member {
        /// The tar file.
        shard: PathBuf,
        /// The member.
        name: String,
        /// Where its bytes begin.
        offset: u64,
        /// How many they are.
        size: u64,
    },
}

impl Manifest {
    /// The utterances, in the order of the manifest; folders in the order of their names.
    ///
    /// A recording that is missing or damaged is found when it is decoded, not here.
    ///
    /// # Errors
    /// When the manifest is missing or not what its layout says, or lists nothing; the error names
    /// file, line and column.
    pub fn read(&self) -> Result<Vec<Utterance>> {
        let (path, utterances, expected) = match self {
            Self::Tsv { path } => (path, table::tsv(&locate(path)?)?, "a row of the table each"),
            Self::Jsonl { path } => (path, table::jsonl(&locate(path)?)?, "a JSON object a line"),
            Self::Folder { path } => (path, folder::sidecars(&locate(path)?)?, FILES),
            Self::CommonVoice { path, split } => (
                path,
                table::common_voice(&locate(path)?, split)?,
                "a row of the split's table each",
            ),
            Self::LibriSpeech { path } => {
                (path, folder::librispeech(&locate(path)?)?, "lines in files *.trans.txt")
            }
            Self::Fsdd { path } => (path, folder::fsdd(&locate(path)?)?, "digit_speaker_n.wav"),
            Self::Shards { paths } => {
                let Some(first) = paths.first() else {
                    return Err(DataError::config("paths", "empty", "at least one tar file"));
                };
                let mut utterances = Vec::new();
                for path in paths {
                    utterances.extend(shard::members(&locate(path)?)?);
                }
                (first, utterances, FILES)
            }
        };
        if utterances.is_empty() {
            return Err(DataError::NoRecordings { path: path.clone(), expected });
        }
        Ok(utterances)
    }
}

const FILES: &str = "names that end in .wav, .flac, .mp3, .ogg, .m4a or .aac";

/// Extensions of recordings, LibriSpeech's first.
const EXTENSIONS: [&str; 8] = ["flac", "wav", "mp3", "ogg", "oga", "m4a", "mp4", "aac"];

/// Whether a file's name is that of a recording.
fn is_recording(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

impl Utterance {
    /// All of a file, nothing else being known.
    fn of_file(id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            id: id.into(),
            audio: Location::File(path.into()),
            text: None,
            speaker: None,
            duration: None,
            start: None,
            end: None,
        }
    }
}

#[cfg(test)]
mod tests;
