//! Sequence packing: training sequences of a fixed length from the tokens of a corpus.

use crate::{
    cache::TokenCache,
    tokenizer::{TextTokenizer, TokenizerError},
};
use kiln_host::{Seed, Size, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{ops::Range, sync::Arc};

/// How documents are packed into sequences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Packing {
    /// Tokens of a sequence.
    pub length: usize,
    /// Special tokens around a document.
    pub borders: Borders,
    /// Whether sequences cross document boundaries. If not, the last sequence of a document is
    /// shorter than the others.
    pub cross: bool,
}

impl Default for Packing {
    fn default() -> Self {
        Self { length: 512, borders: Borders::End, cross: true }
    }
}

/// Special tokens around a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Borders {
    /// A token that ends it: `eos`, or else `sep`. For decoders.
    #[default]
    End,
    /// A token that begins it as well, `bos` or else `cls`. For encoders; where sequences do not
    /// cross documents, each sequence has both.
    Around,
}

/// Validation split: which documents are held out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ValidationSplit {
    /// A share of them, 0 to below 1; at least one where it is above 0.
    Share(f64),
    /// So many.
    Documents(u64),
}

impl Default for ValidationSplit {
    fn default() -> Self {
        Self::Share(0.01)
    }
}

impl ValidationSplit {
    /// Splits documents into training and validation, each in order. The same seed gives the same
    /// split.
    ///
    /// # Errors
    /// When nothing would be left to train on.
    pub fn split(self, documents: u64, seed: Seed) -> Result<(Vec<u64>, Vec<u64>), PackingError> {
        let held = match self {
            Self::Documents(held) => held,
            Self::Share(share) if (0.0..1.0).contains(&share) => {
                let least = u64::from(share > 0.0);
                ((share * documents as f64).round() as u64).max(least)
            }
            Self::Share(share) => return Err(PackingError::Share(share)),
        };
        if held >= documents {
            return Err(PackingError::NoTraining { held, documents });
        }
        let seed = seed.part("held out");
        let mut order: Vec<u64> = (0..documents).collect();
        if held > 0 {
            let rank = |document: &u64| (seed.at(*document).value(), *document);
            order.select_nth_unstable_by_key(held as usize - 1, rank);
        }
        let mut training = order.split_off(held as usize);
        training.sort_unstable();
        order.sort_unstable();
        Ok((training, order))
    }
}

/// Why documents cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackingError {
    /// The tokenizer lacks a token that documents need around them.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Sequences that hold nothing.
    #[error("`length` is {found}, expected at least {expected}")]
    Length {
        /// Tokens.
        found: usize,
        /// What is needed.
        expected: usize,
    },
    /// Not enough for one sequence.
    #[error(
        "the documents have {tokens} tokens, a sequence needs {length}: give more text, or shorter \
         sequences"
    )]
    TooShort {
        /// Tokens, with those around documents.
        tokens: u64,
        /// Tokens of a sequence.
        length: usize,
    },
    /// A share that is none.
    #[error("`share` is {0}, expected a number from 0 to below 1")]
    Share(f64),
    /// Nothing is left to train on.
    #[error(
        "{held} of {documents} documents or sequences would be kept for validation, none left to \
         train on: keep less (`data.validation`), or read a file as many documents (`split` of \
         `documents`: \"lines\" or \"blank-lines\")"
    )]
    NoTraining {
        /// To be held out.
        held: u64,
        /// All.
        documents: u64,
    },
    /// A sequence that does not exist.
    #[error("there are {size} sequences, number {index} was asked for")]
    Index {
        /// Counted from 0.
        index: u64,
        /// How many there are.
        size: u64,
    },
}

/// A packed sequence of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The ids, `[tokens]`: as many as asked for, or fewer at the end of a document.
    pub ids: Vec<u32>,
    /// Where documents begin in it. The first token may go on from a document before.
    pub document_starts: Vec<usize>,
    /// Word starts, `[tokens]`; empty where they are not cached. Tokens around a document are some.
    pub word_starts: Vec<bool>,
    /// Loss mask, `[tokens]`: false in the prefix of a document; empty where there are no prefixes.
    pub loss_mask: Vec<bool>,
}

impl Packed {
    /// Document segments: ranges of tokens of one document each, for attention within documents.
    pub fn segments(&self) -> Vec<Range<usize>> {
        let begins = self.document_starts.iter().copied().filter(|start| *start > 0);
        let begins: Vec<usize> = [0].into_iter().chain(begins).collect();
        let ends = begins.iter().copied().skip(1).chain([self.ids.len()]);
        begins.iter().copied().zip(ends).map(|(begin, end)| begin..end).collect()
    }
}

/// A source of packed sequences, in the order of their documents.
#[derive(Clone, Debug)]
pub struct PackedSource {
    cache: Arc<TokenCache>,
    packing: Packing,
    begin: Option<u32>,
    end: u32,
    documents: Vec<u64>,
    /// Where each document begins, and the end of the last: in tokens with those around, or in
    /// sequences where these do not cross documents.
    starts: Vec<u64>,
}

impl PackedSource {
    /// Packs documents of a cache.
    ///
    /// # Errors
    /// When the tokenizer lacks a token that is needed, and when there is not enough for a sequence.
    pub fn new(
        cache: Arc<TokenCache>,
        documents: Vec<u64>,
        tokenizer: &TextTokenizer,
        packing: &Packing,
    ) -> Result<Self, PackingError> {
        use crate::tokenizer::Role::{Bos, Eos};
        let need = |id: Option<u32>, role, purpose| match id {
            Some(id) => Ok(id),
            None => tokenizer.need(role, purpose),
        };
        let end = need(tokenizer.end(), Eos, "closing documents")?;
        let begin = match packing.borders {
            Borders::End => None,
            Borders::Around => Some(need(tokenizer.begin(), Bos, "opening documents")?),
        };
        let around = 1 + u64::from(begin.is_some());
        let length = packing.length as u64;
        if length <= around {
            let expected = around as usize + 1;
            return Err(PackingError::Length { found: packing.length, expected });
        }
        let (mut starts, mut sum, mut tokens) = (vec![0], 0, 0);
        for document in &documents {
            let range = cache.range(*document);
            let size = range.end - range.start;
            tokens += size + around;
            sum += match (packing.cross, packing.borders) {
                (true, _) => size + around,
                (false, Borders::End) => (size + 1).div_ceil(length),
                (false, Borders::Around) => size.div_ceil(length - around),
            };
            starts.push(sum);
        }
        if (packing.cross && sum < length) || sum == 0 {
            return Err(PackingError::TooShort { tokens, length: packing.length });
        }
        Ok(Self { cache, packing: packing.clone(), begin, end, documents, starts })
    }

    /// How many sequences there are. Of those that cross documents, tokens that do not fill a last
    /// one are left out.
    pub fn len(&self) -> u64 {
        let sum = self.starts.last().copied().unwrap_or(0);
        if self.packing.cross { sum / self.packing.length as u64 } else { sum }
    }

    /// Whether there is none: never, for one that could be made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the tokens `part` of a document as it stands between its borders.
    fn append(&self, document: u64, part: Range<u64>, packed: &mut Packed) {
        let Range { start, end } = self.cache.range(document);
        let before = u64::from(self.begin.is_some());
        let size = end - start;
        let words = self.cache.has_words();
        let special = |id: Option<u32>, packed: &mut Packed| {
            packed.ids.extend(id);
            packed.word_starts.extend(id.filter(|_| words).map(|_| true));
        };
        if part.start < before {
            special(self.begin, packed);
        }
        let inside = |at: u64| start + at.saturating_sub(before).min(size);
        let range = inside(part.start)..inside(part.end);
        self.cache.append(range.clone(), &mut packed.ids);
        self.cache.append_word_starts(range, &mut packed.word_starts);
        if part.end > before + size {
            special(Some(self.end), packed);
        }
        if self.cache.has_prefixes() {
            let prefix = before..before + self.cache.prefix_len(document);
            packed.loss_mask.extend(part.map(|at| !prefix.contains(&at)));
        }
    }

    /// Tokens of a sequence.
    pub fn length(&self) -> u64 {
        self.packing.length as u64
    }

    /// A sequence that begins at any token, counted with those around documents, and goes on over
    /// documents.
    pub fn window(&self, from: u64) -> Packed {
        let to = from + self.length();
        let mut packed = Packed::default();
        let mut place = self.starts.partition_point(|start| *start <= from).saturating_sub(1);
        while let (Some(document), Some(start), Some(end)) =
            (self.documents.get(place), self.starts.get(place), self.starts.get(place + 1))
            && *start < to
        {
            if *start >= from {
                packed.document_starts.push((start - from) as usize);
            }
            let part = from.saturating_sub(*start)..to.min(*end) - start;
            self.append(*document, part, &mut packed);
            place += 1;
        }
        packed
    }

    /// A sequence of one document.
    fn single(&self, index: u64) -> Packed {
        let place = self.starts.partition_point(|start| *start <= index).saturating_sub(1);
        let (Some(document), Some(first)) = (self.documents.get(place), self.starts.get(place))
        else {
            return Packed::default();
        };
        let (length, piece) = (self.packing.length as u64, index - first);
        let mut packed = Packed::default();
        if piece == 0 {
            packed.document_starts.push(0);
        }
        let range = self.cache.range(*document);
        match self.begin {
            None => {
                let end = ((piece + 1) * length).min(range.end - range.start + 1);
                self.append(*document, piece * length..end, &mut packed);
            }
            Some(begin) => {
                let from = range.start + piece * (length - 2);
                let part = from..(from + length - 2).min(range.end);
                packed.ids.push(begin);
                packed.word_starts.push(true);
                self.cache.append(part.clone(), &mut packed.ids);
                self.cache.append_word_starts(part.clone(), &mut packed.word_starts);
                packed.ids.push(self.end);
                packed.word_starts.push(true);
                if !self.cache.has_words() {
                    packed.word_starts.clear();
                }
                if self.cache.has_prefixes() {
                    let own = range.start + self.cache.prefix_len(*document);
                    let inside = part.map(|at| at >= own);
                    packed.loss_mask.extend([true].into_iter().chain(inside).chain([true]));
                }
            }
        }
        packed
    }
}

impl Source for PackedSource {
    type Example = Packed;
    type Error = PackingError;

    fn size(&self) -> Size {
        Size::Known(self.len())
    }

    fn example(&self, index: u64) -> Result<Packed, PackingError> {
        let size = self.len();
        if index >= size {
            return Err(PackingError::Index { index, size });
        }
        Ok(if self.packing.cross { self.window(index * self.length()) } else { self.single(index) })
    }
}

#[cfg(test)]
mod tests;
