//! Beam-search decoder: settings, language model, lexicon.

use super::{
    lexicon::{Place, WordTrie},
    prefixes::Memory,
};
use crate::{Result, SpeechError, vocabulary::Vocabulary};
use kiln_metrics::ngram::{NgramError, NgramModel, State, WordId};
use kiln_nn::ConfigError;
use rustc_hash::FxHashSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{f64::consts::LN_10, sync::Arc};
use unicode_normalization::UnicodeNormalization as _;

/// Beam-search settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BeamConfig {
    /// Prefixes kept from frame to frame.
    pub width: usize,
    /// The size of the n-best list, at most.
    pub nbest: usize,
    /// Tokens tried in a frame, at most: the most probable ones.
    pub max_tokens: usize,
    /// Tokens less probable than this are not tried in a frame.
    pub min_probability: f64,
    /// Prefixes whose score is this much below the best one's are dropped; natural logarithm.
    pub max_distance: f64,
    /// Whether the language model is asked if a sentence may end where the audio does.
    pub sentence_end: bool,
}

impl Default for BeamConfig {
    fn default() -> Self {
        Self {
            width: 64,
            nbest: 1,
            max_tokens: 32,
            min_probability: 1e-4,
            max_distance: 16.0,
            sentence_end: true,
        }
    }
}

/// Shallow fusion weights of the language model: with natural logarithms,
/// `acoustic + alpha * language + beta * units`, <https://arxiv.org/abs/1408.2873>.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LanguageWeights {
    /// The language model's weight.
    pub alpha: f64,
    /// What every word, or token, is given, against the model's liking for short transcripts.
    pub beta: f64,
    /// What every unknown word is given on top, as a rule less than zero; natural logarithm.
    pub unknown: f64,
    /// What the model's n-grams consist of.
    pub unit: LanguageUnit,
}

impl Default for LanguageWeights {
    fn default() -> Self {
        Self { alpha: 0.5, beta: 1.5, unknown: -10.0, unit: LanguageUnit::Word }
    }
}

/// What n-grams consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LanguageUnit {
    /// Words.
    Word,
    /// Tokens of the vocabulary, the word delimiter among them.
    Token,
}

/// Prefix beam search decoder, Hannun et al. 2014, <https://arxiv.org/abs/1408.2873>.
///
/// A prefix's score is the probability of all CTC paths that lead to it, and what the language
/// model says of its complete words. A decoder is made once and used from many threads.
#[derive(Clone, Debug)]
pub struct Decoder {
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) config: BeamConfig,
    /// By token; none for those that are not part of words.
    letters: Vec<Vec<char>>,
    /// The lexicon, or the language model's words where there is no lexicon.
    trie: Option<WordTrie>,
    lexicon: Option<Vec<String>>,
    language: Option<Language>,
}

#[derive(Clone, Debug)]
struct Language {
    model: Arc<NgramModel>,
    weights: LanguageWeights,
    /// By token, for a model of tokens.
    tokens: Vec<WordId>,
}

impl Decoder {
    /// A decoder without language model and lexicon.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn new(vocabulary: Arc<Vocabulary>, config: BeamConfig) -> Result<Self> {
        for (key, value) in
            [("width", config.width), ("nbest", config.nbest), ("max_tokens", config.max_tokens)]
        {
            ConfigError::positive(key, value)?;
        }
        if !(0.0..1.0).contains(&config.min_probability) {
            let expected = "at least 0 and below 1";
            return Err(
                ConfigError::new("min_probability", config.min_probability, expected).into()
            );
        }
        if config.max_distance.is_nan() || config.max_distance <= 0.0 {
            return Err(ConfigError::new("max_distance", config.max_distance, "more than 0").into());
        }
        let letters = (0..).zip(vocabulary.tokens()).map(|(id, token)| {
            let silent = !vocabulary.is_written(id) || vocabulary.delimiter() == Some(id);
            if silent { Vec::new() } else { token.nfc().collect() }
        });
        let letters = letters.collect();
        Ok(Self { vocabulary, config, letters, trie: None, lexicon: None, language: None })
    }

    /// The same decoder with a language model.
    ///
    /// # Errors
    /// When a weight is no number, the model is one of words and the vocabulary has no delimiter,
    /// or the vocabulary can write none of the model's words: mostly a matter of case.
    pub fn with_language_model(
        mut self,
        model: Arc<NgramModel>,
        weights: LanguageWeights,
    ) -> Result<Self> {
        for (key, value) in
            [("alpha", weights.alpha), ("beta", weights.beta), ("unknown", weights.unknown)]
        {
            if !value.is_finite() {
                return Err(ConfigError::new(key, value, "a number").into());
            }
        }
        if weights.alpha < 0.0 {
            return Err(ConfigError::new("alpha", weights.alpha, "at least 0").into());
        }
        let mut tokens = Vec::new();
        match weights.unit {
            LanguageUnit::Word => {
                self.need_delimiter("a language model of words")?;
                self.check_words("language model", model.words().map(|(_, word)| word))?;
            }
            LanguageUnit::Token => {
                tokens.extend(self.vocabulary.tokens().iter().map(|token| model.id(token)));
                if tokens.iter().all(|id| *id == WordId::UNKNOWN) {
                    let cause = "it has none of the vocabulary's tokens".into();
                    return Err(NgramError::Model { cause }.into());
                }
            }
        }
        self.language = Some(Language { model, weights, tokens });
        self.plant();
        Ok(self)
    }

    /// The same decoder, kept to these words. Those that the vocabulary cannot write are never
    /// found.
    ///
    /// # Errors
    /// When the vocabulary has no delimiter or can write none of the words.
    pub fn with_lexicon<S: Into<String>>(
        mut self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        self.need_delimiter("a lexicon")?;
        self.check_words("lexicon", words.iter().map(String::as_str))?;
        self.lexicon = Some(words);
        self.plant();
        Ok(self)
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The initial state.
    pub(super) fn start(&self) -> Memory {
        let state = self.language.as_ref().map(|language| language.model.start());
        Memory { state, place: Place::START, language: 0.0 }
    }

    /// The most that a token can add to the score by language model and bonuses.
    pub(super) fn optimism(&self) -> f64 {
        let most = |l: &Language| l.weights.beta.max(0.0) + l.weights.unknown.max(0.0);
        self.language.as_ref().map_or(0.0, most)
    }

    /// The state after one more token; `None` where the lexicon forbids it.
    pub(super) fn extend(&self, memory: &Memory, token: u32) -> Option<Memory> {
        let mut next = *memory;
        if let Some(trie) = &self.trie {
            if self.vocabulary.delimiter() == Some(token) {
                self.end_word(trie, &mut next)?;
            } else {
                next.place = trie.walk(next.place, &self.letters[token as usize]);
                if next.place == Place::LOST && self.lexicon.is_some() {
                    return None;
                }
            }
        }
        if let Some(language) = self.language.as_ref().filter(|l| !l.tokens.is_empty()) {
            language.score(&mut next, language.tokens[token as usize]);
        }
        Some(next)
    }

    /// The final state; `None` where a word has not ended.
    pub(super) fn end(&self, memory: &Memory) -> Option<Memory> {
        let mut next = *memory;
        if let Some(trie) = &self.trie {
            self.end_word(trie, &mut next)?;
        }
        if let Some((language, state)) = self.language.as_ref().zip(next.state)
            && self.config.sentence_end
            && language.model.end() != WordId::UNKNOWN
        {
            let (log10, _) = language.model.score(state, language.model.end());
            next.language += language.weights.alpha * LN_10 * f64::from(log10);
        }
        Some(next)
    }

    /// Ends the word at hand, where there is one.
    fn end_word(&self, trie: &WordTrie, memory: &mut Memory) -> Option<()> {
        if memory.place == Place::START {
            return Some(());
        }
        let word = trie.word(memory.place);
        if word.is_none() && self.lexicon.is_some() {
            return None;
        }
        memory.place = Place::START;
        if let Some(language) = self.language.as_ref().filter(|l| l.tokens.is_empty()) {
            language.score(memory, word.unwrap_or(WordId::UNKNOWN));
        }
        Some(())
    }

    /// Builds the trie again.
    fn plant(&mut self) {
        let of_words = |l: &&Language| l.weights.unit == LanguageUnit::Word;
        let model = self.language.as_ref().filter(of_words).map(|language| &language.model);
        let id = |word: &str| model.map_or(WordId::UNKNOWN, |model| model.id(word));
        self.trie = match (&self.lexicon, model) {
            (Some(words), _) => {
                Some(WordTrie::new(words.iter().map(|word| (word.as_str(), id(word)))))
            }
            (None, Some(model)) => Some(WordTrie::new(model.words().map(|(id, word)| (word, id)))),
            (None, None) => None,
        };
    }

    fn need_delimiter(&self, what: &str) -> Result<()> {
        if self.vocabulary.delimiter().is_some() {
            return Ok(());
        }
        let cause = format!("{what} needs a token between words, and there is none");
        Err(SpeechError::vocabulary(cause))
    }

    /// Checks that letters suffice for at least one word.
    fn check_words<'a>(
        &self,
        what: &str,
        mut words: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<()> {
        let letters: FxHashSet<char> = self.letters.iter().flatten().copied().collect();
        let first = words.clone().next().unwrap_or("nothing").to_owned();
        if words.any(|word| word.nfc().all(|letter| letters.contains(&letter))) {
            return Ok(());
        }
        let cause = format!(
            "cannot write a single word of the {what}, which starts with `{first}`; compare case \
             and Unicode form"
        );
        Err(SpeechError::vocabulary(cause))
    }
}

impl Language {
    fn score(&self, memory: &mut Memory, word: WordId) {
        let state: State = memory.state.unwrap_or(self.model.empty());
        let (log10, state) = self.model.score(state, word);
        memory.state = Some(state);
        memory.language += self.weights.alpha * LN_10 * f64::from(log10) + self.weights.beta;
        if word == WordId::UNKNOWN {
            memory.language += self.weights.unknown;
        }
    }
}
