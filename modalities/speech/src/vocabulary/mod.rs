//! CTC vocabularies: characters, graphemes or subwords (BPE).
//!
//! The blank of CTC is the padding token, words are divided by `|`, as in Hugging Face's
//! `Wav2Vec2CTCTokenizer`, whose files are read and written ([`Vocabulary::read`]).
//!
//! Transcripts are given in NFC, already normalised ([`kiln_metrics::error_rate::Normalisation`]).

mod build;
mod files;
mod pieces;

pub use pieces::{Bpe, Units};

use crate::{Result, SpeechError};
use pieces::Pieces;
use rustc_hash::FxHashMap;
use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

/// Special tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specials {
    /// The blank of CTC, which is also the padding token.
    pub blank: String,
    /// The unknown token.
    pub unknown: Option<String>,
    /// The word delimiter.
    pub delimiter: Option<String>,
    /// The start of a sentence; never predicted.
    pub start: Option<String>,
    /// The end of a sentence; never predicted.
    pub end: Option<String>,
}

impl Default for Specials {
    fn default() -> Self {
        Self {
            blank: "<pad>".into(),
            unknown: Some("<unk>".into()),
            delimiter: Some("|".into()),
            start: Some("<s>".into()),
            end: Some("</s>".into()),
        }
    }
}

impl Specials {
    fn names(&self) -> impl Iterator<Item = &str> {
        let rest = [&self.start, &self.end, &self.unknown, &self.delimiter];
        std::iter::once(&self.blank).chain(rest.into_iter().flatten()).map(String::as_str)
    }
}

/// A CTC vocabulary: which id is which token.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    tokens: Vec<String>,
    ids: FxHashMap<String, u32>,
    specials: Specials,
    blank: u32,
    unknown: Option<u32>,
    delimiter: Option<u32>,
    /// How words are cut where tokens are pieces of words.
    pieces: Option<Pieces>,
}

/// An encoded transcript.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The label, without blanks.
    pub ids: Vec<u32>,
    /// Characters that the vocabulary lacks, in order. In `ids` they are the unknown token, or
    /// missing where there is none.
    pub unknown: Vec<String>,
}

impl Vocabulary {
    /// A vocabulary of these tokens, whose ids are their positions.
    ///
    /// # Errors
    /// When a token occurs twice or is empty, or the blank is missing.
    pub fn new(tokens: Vec<String>, specials: Specials) -> Result<Self> {
        let mut ids = FxHashMap::default();
        for (id, token) in tokens.iter().enumerate() {
            if token.is_empty() {
                return Err(SpeechError::vocabulary(format!("token {id} is empty")));
            }
            let id = u32::try_from(id).map_err(|_| SpeechError::vocabulary("too many tokens"))?;
            if let Some(first) = ids.insert(token.clone(), id) {
                return Err(SpeechError::vocabulary(format!(
                    "`{token}` has the ids {first} and {id}"
                )));
            }
        }
        let blank = *ids.get(&specials.blank).ok_or_else(|| {
            SpeechError::vocabulary(format!(
                "the padding token `{}`, CTC's blank, is missing",
                specials.blank
            ))
        })?;
        let id = |name: &Option<String>| name.as_ref().and_then(|name| ids.get(name)).copied();
        let (unknown, delimiter) = (id(&specials.unknown), id(&specials.delimiter));
        Ok(Self { tokens, ids, specials, blank, unknown, delimiter, pieces: None })
    }

    /// How many tokens there are: the width of the CTC head.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Never: the blank is always there.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens by id.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// A token's id.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The id of the CTC blank.
    pub fn blank(&self) -> u32 {
        self.blank
    }

    /// The unknown token.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The id of the word delimiter.
    pub fn delimiter(&self) -> Option<u32> {
        self.delimiter
    }

    /// The special tokens by name.
    pub fn specials(&self) -> &Specials {
        &self.specials
    }

    /// Whether a token is part of a transcript: neither the blank nor a sentence's start or end.
    pub fn is_written(&self, id: u32) -> bool {
        let Some(token) = self.tokens.get(id as usize) else { return false };
        let silent = |name: &Option<String>| name.as_ref() == Some(token);
        id != self.blank && !silent(&self.specials.start) && !silent(&self.specials.end)
    }

    /// Encodes a transcript as ids. Runs of white space are one delimiter; without a delimiter they
    /// are left out.
    pub fn encode(&self, text: &str) -> Encoded {
        let text: String = text.nfc().collect();
        let mut encoded = Encoded::default();
        for (index, word) in text.split_whitespace().enumerate() {
            if index > 0 {
                encoded.ids.extend(self.delimiter);
            }
            match &self.pieces {
                Some(pieces) => self.encode_pieces(pieces, word, &mut encoded),
                None => self.encode_word(word, &mut encoded),
            }
        }
        encoded
    }

    /// Encodes a transcript, where every character has to be known.
    ///
    /// # Errors
    /// For the first character that is not, with the name given to the transcript.
    pub fn encode_known(&self, transcript: &str, text: &str) -> Result<Vec<u32>> {
        let Encoded { ids, unknown } = self.encode(text);
        let Some(character) = unknown.into_iter().next() else { return Ok(ids) };
        let code: Vec<_> = character.chars().map(|c| format!("U+{:04X}", c as u32)).collect();
        let transcript = transcript.to_owned();
        Err(SpeechError::UnknownCharacter { transcript, character, code: code.join(" ") })
    }

    /// Decodes ids to a transcript; repeats are not collapsed. What is not part of a transcript is
    /// left out, and so are ids beyond the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        for id in ids.iter().copied().filter(|id| self.is_written(*id)) {
            if Some(id) == self.delimiter {
                text.push(' ');
            } else if let Some(token) = self.tokens.get(id as usize) {
                text.push_str(token);
            }
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The vocabulary for a head of `size` outputs.
    ///
    /// Hugging Face's tokenizers add sentence starts and ends that a head may not have: those at
    /// the end are dropped.
    ///
    /// # Errors
    /// When the sizes still differ.
    pub fn fit(mut self, size: usize) -> Result<Self> {
        let found = self.len();
        while self.len() > size {
            let last = (self.len() - 1) as u32;
            if self.is_written(last) || last == self.blank {
                break;
            }
            if let Some(token) = self.tokens.pop() {
                self.ids.remove(&token);
            }
        }
        if self.len() != size {
            return Err(SpeechError::vocabulary(format!(
                "has {found} tokens; the model's head has {size}"
            )));
        }
        Ok(self)
    }

    /// This vocabulary with the tokens of others behind its own, so that the outputs of a trained
    /// head keep their meaning. Special tokens of the others are taken for this one's.
    ///
    /// Pieces of words stay cut as before where the first vocabulary knows how.
    ///
    /// # Errors
    /// When only some of the vocabularies cut words into pieces.
    pub fn union<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Result<Self> {
        let mut tokens = self.tokens.clone();
        let mut pieces = self.pieces.clone();
        for other in others {
            let special: Vec<&str> = other.specials.names().collect();
            for token in &other.tokens {
                let new = !special.contains(&token.as_str()) && self.id(token).is_none();
                if new && !tokens[self.len()..].contains(token) {
                    tokens.push(token.clone());
                }
            }
            pieces = match (pieces, &other.pieces) {
                (Some(ours), Some(theirs)) => Some(ours.union(theirs)),
                (None, None) => None,
                _ => {
                    return Err(SpeechError::vocabulary(
                        "pieces of words cannot be united with characters",
                    ));
                }
            };
        }
        let mut union = Self::new(tokens, self.specials.clone())?;
        union.pieces = pieces.map(|pieces| pieces.with_ids(&union.ids)).transpose()?;
        Ok(union)
    }

    /// Characters or graphemes: the longest token that starts a grapheme cluster's rest, so that
    /// both kinds of vocabulary are read alike.
    fn encode_word(&self, word: &str, encoded: &mut Encoded) {
        for grapheme in word.graphemes(true) {
            let start = encoded.ids.len();
            let mut rest = grapheme;
            while !rest.is_empty() {
                let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
                let longest =
                    ends.filter_map(|end| self.written(&rest[..end]).map(|id| (id, end))).next();
                let Some((id, end)) = longest else { break };
                encoded.ids.push(id);
                rest = &rest[end..];
            }
            if !rest.is_empty() {
                encoded.ids.truncate(start);
                self.encode_unknown(grapheme, encoded);
            }
        }
    }

    /// Pieces of words: byte-pair encoding of each run of known characters.
    fn encode_pieces(&self, pieces: &Pieces, word: &str, encoded: &mut Encoded) {
        let mut start = 0;
        for (at, character) in word.char_indices() {
            let end = at + character.len_utf8();
            if self.written(&word[at..end]).is_none() {
                encoded.ids.extend(pieces.cut(&word[start..at]));
                self.encode_unknown(&word[at..end], encoded);
                start = end;
            }
        }
        encoded.ids.extend(pieces.cut(&word[start..]));
    }

    fn encode_unknown(&self, character: &str, encoded: &mut Encoded) {
        encoded.unknown.push(character.to_owned());
        encoded.ids.extend(self.unknown);
    }

    /// The id of a token that can be part of a word.
    fn written(&self, token: &str) -> Option<u32> {
        self.id(token).filter(|id| self.is_written(*id) && Some(*id) != self.delimiter)
    }
}

#[cfg(test)]
mod tests;
