//! Vocabularies as Hugging Face's `Wav2Vec2CTCTokenizer` stores them: `vocab.json`,
//! `tokenizer_config.json`, `special_tokens_map.json`; `tokenizer.json` where tokens are pieces.

use super::{Specials, Vocabulary, pieces::Pieces};
use crate::{Result, SpeechError};
use kiln_hub::{
    ModelDir,
    json_file::{read_json, write_json},
};
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

const VOCAB: &str = "vocab.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIALS: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";
const PIECES: &str = "tokenizer.json";

impl Vocabulary {
    /// Whether a model directory has a vocabulary.
    pub fn is_in(dir: &Path) -> bool {
        ModelDir::home(dir, VOCAB).join(VOCAB).exists()
    }

    /// Reads a vocabulary from a model directory.
    ///
    /// Where `vocab.json` holds several languages, `language` chooses one, else the directory's
    /// `target_lang` does.
    ///
    /// # Errors
    /// When a file is missing or damaged, ids have gaps, or the language is not there.
    pub fn read(dir: &Path, language: Option<&str>) -> Result<Self> {
        let dir = &ModelDir::home(dir, VOCAB);
        let config: Map<String, Value> = optional(&dir.join(CONFIG))?;
        let map: Map<String, Value> = optional(&dir.join(SPECIALS))?;
        let path = dir.join(VOCAB);
        let vocab: Map<String, Value> = read_json(&path)?;
        let language = language.or_else(|| config.get("target_lang").and_then(Value::as_str));
        let mut entries = ids(&path, &one_language(&path, vocab, language)?)?;
        entries.extend(ids(&dir.join(ADDED), &optional(&dir.join(ADDED))?)?);
        entries.extend(declared(&config));
        entries.sort_unstable();
        entries.dedup();
        let at = |error| located(error, &path);
        for (position, (id, token)) in entries.iter().enumerate() {
            if *id != position as u64 {
                let cause = format!("`{token}` has the id {id}; expected {position}");
                return Err(at(SpeechError::vocabulary(cause)));
            }
        }
        // As Hugging Face's tokenizer: its own file of special tokens before the configuration.
        let special = |key: &str, default: &str| match map.get(key).or_else(|| config.get(key)) {
            Some(value) => content(value),
            None => Some(default.to_owned()),
        };
        let specials = Specials {
            blank: special("pad_token", "<pad>").unwrap_or_default(),
            unknown: special("unk_token", "<unk>"),
            delimiter: special("word_delimiter_token", "|"),
            start: special("bos_token", "<s>"),
            end: special("eos_token", "</s>"),
        };
        let tokens = entries.into_iter().map(|(_, token)| token).collect();
        let mut vocabulary = Self::new(tokens, specials).map_err(at)?;
        let path = dir.join(PIECES);
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(SpeechError::io("read", &path))?;
            let pieces = Pieces::parse(&text).and_then(|pieces| pieces.with_ids(&vocabulary.ids));
            vocabulary.pieces = Some(pieces.map_err(|error| located(error, &path))?);
        }
        Ok(vocabulary)
    }

    /// Writes the vocabulary into an existing model directory.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let vocab: Map<String, Value> =
            self.tokens.iter().zip(0..).map(|(token, id)| (token.clone(), json!(id))).collect();
        let specials = json!({
            "bos_token": self.specials.start,
            "eos_token": self.specials.end,
            "pad_token": self.specials.blank,
            "unk_token": self.specials.unknown,
        });
        let mut config = json!({
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "do_lower_case": false,
            "replace_word_delimiter_char": " ",
            "target_lang": null,
            "word_delimiter_token": self.specials.delimiter,
        });
        if let (Some(config), Some(specials)) = (config.as_object_mut(), specials.as_object()) {
            config.extend(specials.clone());
        }
        write_json(&dir.join(VOCAB), &vocab)?;
        write_json(&dir.join(CONFIG), &config)?;
        write_json(&dir.join(SPECIALS), &specials)?;
        if let Some(pieces) = &self.pieces {
            write_json(&dir.join(PIECES), &pieces.file())?;
        }
        Ok(())
    }
}

/// An object of ids by token, of the one language chosen where there are several.
fn one_language(
    path: &Path,
    vocab: Map<String, Value>,
    language: Option<&str>,
) -> Result<Map<String, Value>> {
    if vocab.is_empty() || !vocab.values().all(Value::is_object) {
        return Ok(vocab);
    }
    let known = || vocab.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let Some(language) = language else {
        let cause = format!("holds several languages; name one of {}", known());
        return Err(located(SpeechError::vocabulary(cause), path));
    };
    match vocab.get(language) {
        Some(Value::Object(tokens)) => Ok(tokens.clone()),
        _ => {
            let cause = format!("has no language `{language}`; it has {}", known());
            Err(located(SpeechError::vocabulary(cause), path))
        }
    }
}

fn ids(path: &Path, tokens: &Map<String, Value>) -> Result<Vec<(u64, String)>> {
    let entry = |(token, id): (&String, &Value)| match id.as_u64() {
        Some(id) => Ok((id, token.clone())),
        None => {
            let cause = format!("`{token}` has {id} for an id; expected a number");
            Err(located(SpeechError::vocabulary(cause), path))
        }
    };
    tokens.iter().map(entry).collect()
}

/// Tokens by id that `tokenizer_config.json` adds.
fn declared(config: &Map<String, Value>) -> Vec<(u64, String)> {
    let Some(Value::Object(added)) = config.get("added_tokens_decoder") else { return vec![] };
    let entry = |(id, token): (&String, &Value)| Some((id.parse().ok()?, content(token)?));
    added.iter().filter_map(entry).collect()
}

/// A special token: a string, or an object that describes one.
fn content(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(String::from)
}

fn optional(path: &Path) -> Result<Map<String, Value>> {
    if path.exists() { Ok(read_json(path)?) } else { Ok(Map::new()) }
}

fn located(error: SpeechError, path: &Path) -> SpeechError {
    match error {
        SpeechError::Vocabulary { cause, .. } => {
            SpeechError::Vocabulary { path: Some(path.to_path_buf()), cause }
        }
        other => other,
    }
}
