//! Training tokenizers: the same documents give the same tokenizer, whatever the threads do.

use super::{
    chunk::Cut,
    error::{Result, TokenizerError, failed},
    role::Role,
    spec::{Model, Surroundings, TokenizerSpec},
    special::SpecialTokens,
    text_tokenizer::TextTokenizer,
    unigram::{Counted, learn_unigram},
};
use kiln_datasets::{DataError, Document};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, path::Path};
use tokenizers::{
    AddedToken, NormalizedString, Normalizer as _, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer as _, Tokenizer, models::bpe,
    pre_tokenizers::byte_level::ByteLevel,
};

/// Bytes of documents that are counted at once.
const BATCH: usize = 8 << 20;

/// Characters of a word that pieces are learned from, at most: scripts without spaces have words as
/// long as sentences, and the unigram model's lattice must not grow without end.
const WORD: usize = 256;

/// The share of all characters that the alphabet must cover where it is too large to keep whole.
/// SentencePiece's default.
const COVERAGE: f64 = 0.9995;

/// Progress of tokenizer training or encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What: `reading`, `learning`, `encoding`.
    pub stage: &'static str,
    /// Documents so far.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

impl TokenizerSpec {
    /// Trains a tokenizer.
    ///
    /// # Errors
    /// When a document cannot be read, when a setting makes no sense, and when there is too little
    /// text to learn from.
    pub fn train(
        &self,
        documents: impl IntoIterator<Item = std::result::Result<Document, DataError>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<TextTokenizer> {
        let around = self.surroundings()?;
        let model = match self.model {
            Model::Bytes {} => vocabulary_of(
                &around.special,
                alphabet_of_bytes(),
                |vocabulary| json!({"type": "BPE", "vocab": vocabulary, "merges": []}),
            ),
            _ => {
                let words = count(&around.divider()?, documents, progress)?;
                if words.is_empty() {
                    return Err(TokenizerError::Training("there is no text".to_owned()));
                }
                self.learn(&around, words)?
            }
        };
        around.tokenizer(&model)
    }

    /// Learns the model from counted words.
    fn learn(&self, around: &Surroundings<'_>, words: Vec<Counted>) -> Result<Value> {
        let special = &around.special;
        let unk = around.roles.get(&Role::Unk);
        let budget = |vocabulary: usize, least: usize| {
            let least = least + special.len();
            let expected = format!("at least {least}: {} special tokens and more", special.len());
            let found = vocabulary.to_string();
            let wrong = TokenizerError::Setting { key: "vocabulary", found, expected };
            if vocabulary < least { Err(wrong) } else { Ok(vocabulary - special.len()) }
        };
        let pairs = |words: &[Counted], alphabet, vocabulary, prefix| {
            let learner = PairLearner { special, alphabet, vocabulary, prefix, spec: self };
            learner.learn(words)
        };
        match self.model {
            Model::ByteBpe { vocabulary } => {
                budget(vocabulary, 256)?;
                pairs(&words, alphabet_of_bytes(), vocabulary, None)
            }
            Model::Bpe { vocabulary } => {
                let max_chars = budget(vocabulary, 2)?;
                let alphabet = alphabet_with_break(&words, max_chars, vocabulary / 2);
                let mut model = pairs(&words, alphabet, vocabulary, None)?;
                set(&mut model, "unk_token", json!(unk));
                Ok(model)
            }
            Model::WordPiece { vocabulary, .. } => {
                let max_chars = budget(vocabulary, 2)?;
                let mut kept = alphabet(&words, max_chars, vocabulary / 2);
                let behind = continuing(&words, &kept).len();
                if kept.len() + behind > max_chars {
                    // WordPiece has separate tokens for characters that continue a word (`##`).
                    let left = max_chars.saturating_sub(behind).max(max_chars / 2);
                    kept = alphabet(&words, left, vocabulary / 2);
                }
                let model = pairs(&words, kept, vocabulary, Some("##"))?;
                Ok(json!({
                    "type": "WordPiece", "unk_token": unk, "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 100,
                    "vocab": model.get("vocab").cloned().unwrap_or_default(),
                }))
            }
            Model::Unigram { vocabulary } => {
                let max_chars = budget(vocabulary, 2)?;
                let alphabet = alphabet_with_break(&words, max_chars, vocabulary / 2);
                learn_unigram(around, words, &alphabet.into_iter().collect(), vocabulary)
            }
            Model::Characters { vocabulary } => {
                let alphabet = alphabet_with_break(&words, budget(vocabulary, 2)?, usize::MAX);
                Ok(vocabulary_of(
                    special,
                    alphabet,
                    |vocabulary| json!({"type": "WordLevel", "vocab": vocabulary, "unk_token": unk}),
                ))
            }
            Model::Bytes {} => Ok(Value::Null),
        }
    }
}

impl Surroundings<'_> {
    /// A tokenizer that only normalises and divides into words.
    fn divider(&self) -> Result<Tokenizer> {
        let mut file = self.file(&json!({"type": "BPE", "vocab": {}, "merges": []}));
        set(&mut file, "added_tokens", json!([]));
        set(&mut file, "post_processor", Value::Null);
        parse(&file)
    }

    fn tokenizer(&self, model: &Value) -> Result<TextTokenizer> {
        let tokenizer = parse(&self.file(model))?;
        let roles = self.roles.iter();
        let roles: Map<String, Value> =
            roles.map(|(role, text)| (role.key().to_owned(), text.clone().into())).collect();
        let special = SpecialTokens::find(&tokenizer, Some((Path::new("recipe"), &roles)))?;
        TextTokenizer::new(tokenizer, special, None, Map::new())
    }
}

/// Counts words. Pieces of text are counted first and divided into words once.
fn count(
    divider: &Tokenizer,
    documents: impl IntoIterator<Item = std::result::Result<Document, DataError>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Counted>> {
    let json = serde_json::to_value(divider).map_err(|error| failed(error.into()))?;
    let cut = Cut::of(divider, &json);
    let mut done = Progress { stage: "reading", documents: 0, bytes: 0 };
    let mut chunks: FxHashMap<String, u64> = FxHashMap::default();
    let (mut batch, mut size) = (Vec::new(), 0);
    let mut documents = documents.into_iter();
    loop {
        let document = documents.next().transpose()?;
        if size > BATCH || document.is_none() {
            let counted = batch.par_iter().fold(FxHashMap::default, |mut counts, text: &String| {
                cut.chunks(text).for_each(|chunk| *counts.entry(chunk).or_default() += 1);
                counts
            });
            for (chunk, count) in counted.reduce(FxHashMap::default, merged) {
                match chunks.get_mut(chunk) {
                    Some(sum) => *sum += count,
                    None => drop(chunks.insert(chunk.to_owned(), count)),
                }
            }
            batch.clear();
            done.bytes += size as u64;
            size = 0;
            progress(done);
        }
        let Some(document) = document else { break };
        done.documents += u64::from(!document.continues);
        size += document.text.len();
        batch.push(document.text);
    }
    progress(Progress { stage: "learning", ..done });
    let words = chunks.par_iter().try_fold(FxHashMap::default, |mut counts, (chunk, count)| {
        for word in divide(divider, chunk)? {
            *counts.entry(word).or_default() += count;
        }
        Ok::<_, TokenizerError>(counts)
    });
    let words = words.try_reduce(FxHashMap::default, |a, b| Ok(merged(a, b)))?;
    let mut words: Vec<Counted> = words.into_iter().collect();
    words.par_sort_unstable();
    Ok(words)
}

/// The words of a text, long ones cut.
fn divide(divider: &Tokenizer, text: &str) -> Result<Vec<String>> {
    let mut text = NormalizedString::from(text);
    if let Some(normalizer) = divider.get_normalizer() {
        normalizer.normalize(&mut text).map_err(failed)?;
    }
    let mut text = PreTokenizedString::from(text);
    if let Some(words) = divider.get_pre_tokenizer() {
        words.pre_tokenize(&mut text).map_err(failed)?;
    }
    let splits = text.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    let mut words = Vec::new();
    for (word, ..) in splits.into_iter().filter(|(word, ..)| !word.is_empty()) {
        if word.len() <= WORD {
            words.push(word.to_owned());
        } else {
            let characters: Vec<char> = word.chars().collect();
            words.extend(characters.chunks(WORD).map(|part| part.iter().collect::<String>()));
        }
    }
    Ok(words)
}

fn merged<K: std::hash::Hash + Eq>(
    mut a: FxHashMap<K, u64>,
    mut b: FxHashMap<K, u64>,
) -> FxHashMap<K, u64> {
    if a.len() < b.len() {
        std::mem::swap(&mut a, &mut b);
    }
    for (key, count) in b {
        *a.entry(key).or_default() += count;
    }
    a
}

/// The alphabet: the characters of the words, at most `max_chars`, sorted. Of more than `many` those
/// that cover nearly all of the text.
fn alphabet(words: &[Counted], max_chars: usize, many: usize) -> Vec<char> {
    let mut counts: FxHashMap<char, u64> = FxHashMap::default();
    for (word, count) in words {
        word.chars().for_each(|character| *counts.entry(character).or_default() += count);
    }
    let mut counts: Vec<(char, u64)> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(character, count)| (std::cmp::Reverse(*count), *character));
    if counts.len() > many {
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let mut covered = 0;
        let kept = counts.iter().take_while(|(_, count)| {
            let wanted = (covered as f64) < COVERAGE * total as f64;
            covered += count;
            wanted
        });
        let kept = kept.count();
        counts.truncate(kept);
    }
    counts.truncate(max_chars);
    let mut alphabet: Vec<char> = counts.into_iter().map(|(character, _)| character).collect();
    alphabet.sort_unstable();
    alphabet
}

/// The same, the line break always being one: documents that are lines of a file have none, those
/// that the tokenizer meets later may.
fn alphabet_with_break(words: &[Counted], max_chars: usize, many: usize) -> Vec<char> {
    let mut alphabet = alphabet(words, max_chars - 1, many);
    if let Err(place) = alphabet.binary_search(&'\n') {
        alphabet.insert(place, '\n');
    }
    alphabet
}

/// Those of the alphabet that stand behind the begin of a word.
fn continuing(words: &[Counted], alphabet: &[char]) -> BTreeSet<char> {
    let known: FxHashSet<char> = alphabet.iter().copied().collect();
    let behind = words.iter().flat_map(|(word, _)| word.chars().skip(1));
    behind.filter(|character| known.contains(character)).collect()
}

/// The characters that stand for bytes, as in GPT-2.
fn alphabet_of_bytes() -> Vec<char> {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    alphabet
}

/// A model whose tokens are the special ones and single characters.
fn vocabulary_of(
    special: &[String],
    alphabet: Vec<char>,
    model: impl FnOnce(Value) -> Value,
) -> Value {
    let mut vocabulary = Map::new();
    let characters = alphabet.into_iter().map(String::from);
    for token in special.iter().cloned().chain(characters) {
        let id = vocabulary.len();
        vocabulary.entry(token).or_insert(id.into());
    }
    model(vocabulary.into())
}

/// Learns pairs to merge.
struct PairLearner<'a> {
    special: &'a [String],
    alphabet: Vec<char>,
    vocabulary: usize,
    /// What a token begins with that does not begin its word.
    prefix: Option<&'a str>,
    spec: &'a TokenizerSpec,
}

impl PairLearner<'_> {
    fn learn(&self, words: &[Counted]) -> Result<Value> {
        let mut reserved: Vec<String> = self.special.to_vec();
        reserved.extend(self.alphabet.iter().map(char::to_string));
        if let Some(prefix) = self.prefix {
            let behind = continuing(words, &self.alphabet);
            reserved.extend(behind.into_iter().map(|character| format!("{prefix}{character}")));
        }
        // The library gives ids in the order of a randomly seeded map, and ids break ties between
        // pairs: single characters are reserved, as if they were special, in an order of ours.
        let reserved = reserved.into_iter().map(|token| AddedToken::from(token, true)).collect();
        let mut builder = bpe::BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(self.vocabulary)
            .min_frequency(self.spec.min_count)
            .special_tokens(reserved)
            .limit_alphabet(self.alphabet.len())
            .initial_alphabet(self.alphabet.iter().copied().collect());
        if let Some(prefix) = self.prefix {
            builder = builder.continuing_subword_prefix(prefix.to_owned());
        }
        let counts = words.iter().map(|(word, count)| (word.as_str().into(), *count)).collect();
        let mut model = bpe::BPE::default();
        builder.build().do_train(&counts, &mut model).map_err(failed)?;
        serde_json::to_value(&model).map_err(|error| failed(error.into()))
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn parse(file: &Value) -> Result<Tokenizer> {
    file.to_string().parse().map_err(failed)
}
