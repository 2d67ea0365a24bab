//! The units of a vocabulary, and byte-pair encoding (BPE) of words into subwords, <https://arxiv.org/abs/1508.07909>.

use crate::{Result, SpeechError};
use kiln_nn::ConfigError;
use rustc_hash::{FxHashMap, FxHashSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use tokenizers::{Model as _, Trainer as _, models::bpe};

/// The units of a vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Units {
    /// A Unicode character, in NFC: `ế` is one, but letters without a composed form are several.
    #[default]
    Characters,
    /// A letter with all its diacritics: an extended grapheme cluster,
    /// <https://unicode.org/reports/tr29/>.
    Graphemes,
    /// A subword, by byte-pair encoding (BPE), <https://arxiv.org/abs/1508.07909>.
    Bpe(Bpe),
}

/// Byte-pair encoding settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bpe {
    /// Pieces, single characters included, special tokens not. Fewer where the transcripts give no
    /// more.
    pub size: usize,
    /// A pair of pieces has to occur this often to become one.
    pub min_count: u64,
}

impl Default for Bpe {
    fn default() -> Self {
        Self { size: 500, min_count: 2 }
    }
}

/// The pieces, their ids and the merges that lead to them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pieces {
    table: Table,
    model: bpe::BPE,
}

/// `model` of a `tokenizer.json`, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Table {
    vocab: BTreeMap<String, u32>,
    merges: Vec<(String, String)>,
}

impl Pieces {
    /// Learns pieces; their ids count from 0.
    pub(super) fn train(bpe: &Bpe, transcripts: impl Iterator<Item = String>) -> Result<Self> {
        let mut trainer = bpe::BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(bpe.size)
            .min_frequency(bpe.min_count)
            .build();
        // The trainer wants to send the iterator to threads: hand it words, not the iterator.
        let words: Vec<String> = transcripts
            .flat_map(|text| text.split_whitespace().map(String::from).collect::<Vec<_>>())
            .collect();
        let characters: FxHashSet<char> = words.iter().flat_map(|word| word.chars()).collect();
        if characters.len() > bpe.size {
            let expected =
                format!("at least the {} characters of the transcripts", characters.len());
            return Err(ConfigError::new("bpe.size", bpe.size, expected).into());
        }
        let mut model = bpe::BPE::default();
        trainer.feed(words.iter(), |word| Ok(vec![word.to_owned()])).map_err(failed)?;
        trainer.train(&mut model).map_err(failed)?;
        Self::from_model(model)
    }

    /// Reads a `tokenizer.json` of byte-pair encoding.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let file: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| SpeechError::vocabulary(error.to_string()))?;
        let model = file.get("model").cloned().unwrap_or_default();
        match model.get("type").and_then(|kind| kind.as_str()) {
            Some("BPE") => {}
            other => {
                let found = other.unwrap_or("nothing");
                return Err(SpeechError::vocabulary(format!(
                    "expected a model of type BPE, found {found}"
                )));
            }
        }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if let Some(affix) = model.get(key).and_then(|affix| affix.as_str())
                && !affix.is_empty()
            {
                return Err(SpeechError::vocabulary(format!(
                    "`{key}` is `{affix}`; expected none"
                )));
            }
        }
        Self::from_table(
            serde_json::from_value(model)
                .map_err(|error| SpeechError::vocabulary(error.to_string()))?,
        )
    }

    /// As a `tokenizer.json`: words are divided by white space, then cut.
    pub(super) fn file(&self) -> serde_json::Value {
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": null,
            "decoder": null,
            "model": self.table.model(),
        })
    }

    /// In the order of their ids.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        let mut tokens: Vec<_> = self.table.vocab.iter().collect();
        tokens.sort_by_key(|(_, id)| **id);
        tokens.into_iter().map(|(token, _)| token.as_str())
    }

    /// The same pieces with the ids of a vocabulary that holds them.
    pub(super) fn with_ids(&self, ids: &FxHashMap<String, u32>) -> Result<Self> {
        let mut table = self.table.clone();
        for (token, id) in &mut table.vocab {
            *id = *ids.get(token).ok_or_else(|| {
                SpeechError::vocabulary(format!("the piece `{token}` is not in vocab.json"))
            })?;
        }
        Self::from_table(table)
    }

    /// Merges of both, ours first. Ids are ours where there are some, and new ones behind.
    pub(super) fn union(mut self, other: &Self) -> Self {
        let next = self.table.vocab.values().max().map_or(0, |id| id + 1);
        let vocab = &mut self.table.vocab;
        for (token, id) in (next..).zip(other.tokens()).map(|(id, token)| (token, id)) {
            vocab.entry(token.to_owned()).or_insert(id);
        }
        let known: FxHashSet<_> = self.table.merges.iter().cloned().collect();
        let new = other.table.merges.iter().filter(|merge| !known.contains(*merge));
        self.table.merges.extend(new.cloned());
        self
    }

    /// A word of known characters as ids.
    pub(super) fn cut(&self, word: &str) -> Vec<u32> {
        // Only dropout and a broken unknown token can fail; neither is set.
        let tokens = self.model.tokenize(word).unwrap_or_default();
        tokens.into_iter().map(|token| token.id).collect()
    }

    fn from_model(model: bpe::BPE) -> Result<Self> {
        let value = serde_json::to_value(&model)
            .map_err(|error| SpeechError::vocabulary(error.to_string()))?;
        let table = serde_json::from_value(value)
            .map_err(|error| SpeechError::vocabulary(error.to_string()))?;
        Ok(Self { table, model })
    }

    fn from_table(table: Table) -> Result<Self> {
        let model = serde_json::from_str(&table.model().to_string());
        Ok(Self {
            model: model.map_err(|error| SpeechError::vocabulary(error.to_string()))?,
            table,
        })
    }
}

impl Table {
    /// As `model` of a `tokenizer.json`. The library's own way of writing it warns of ids that are
    /// not pieces, which is what special tokens have here.
    fn model(&self) -> serde_json::Value {
        json!({"type": "BPE", "vocab": self.vocab, "merges": self.merges})
    }
}

fn failed(error: tokenizers::Error) -> SpeechError {
    SpeechError::vocabulary(format!("byte-pair encoding failed: {error}"))
}
