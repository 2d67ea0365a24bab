//! Fast encoding of much text to token ids, with a cache of chunks.

use super::{
    chunk::Cut,
    error::{Result, encoding},
    merges::Parts,
    text_tokenizer::TextTokenizer,
    words::{byte_characters, line_words, words},
};
use rustc_hash::FxHashMap;

/// Pieces that are remembered, at most.
const REMEMBERED: usize = 1 << 17;

/// Bytes of a piece that is remembered, at most: longer ones seldom come again.
const LONGEST: usize = 64;

/// The bit of a remembered id that says that its token begins a word.
const WORD_START: u32 = 1 << 31;

/// Token ids of text with their word starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The ids.
    pub ids: Vec<u32>,
    /// Whether the token begins a word, for each id, as the tokenizer divides text into words;
    /// empty where that is not asked for.
    pub word_starts: Vec<bool>,
}

/// Fast encoder of text to ids without special tokens, identical to the tokenizer. It caches the
/// chunks it has met; give each thread its own.
#[derive(Debug)]
pub struct IdEncoder<'a> {
    tokenizer: &'a TextTokenizer,
    words: bool,
    /// Where the ids of a piece are in `ids`.
    known: FxHashMap<Box<str>, (u32, u32)>,
    ids: Vec<u32>,
    /// The texts of added tokens: they are found anywhere, also within a word.
    added: Vec<String>,
    /// The bytes that they begin with.
    first: [bool; 256],
    /// The characters that stand for bytes, and a word spelt in them.
    characters: [char; 256],
    spelt: String,
    parts: Parts,
}

impl<'a> IdEncoder<'a> {
    /// An encoder with an empty cache; with `words` it also gives word starts.
    pub fn new(tokenizer: &'a TextTokenizer, words: bool) -> Self {
        let added = tokenizer.inner().get_added_tokens_decoder();
        let added: Vec<String> = added.into_values().map(|token| token.content).collect();
        let mut first = [false; 256];
        for byte in added.iter().filter_map(|token| token.bytes().next()) {
            first[usize::from(byte)] = true;
        }
        Self {
            tokenizer,
            words,
            known: FxHashMap::default(),
            ids: Vec::new(),
            added,
            first,
            characters: byte_characters(),
            spelt: String::new(),
            parts: Parts::new(),
        }
    }

    /// Appends the ids of a text.
    ///
    /// # Errors
    /// When the tokenizer has no unknown token and needs one.
    pub fn encode(&mut self, text: &str, into: &mut Encoded) -> Result<()> {
        if self.has_added(text) {
            return self.look_up(text, into);
        }
        for chunk in self.tokenizer.cut.chunks(text) {
            if self.recall(chunk, into) {
                continue;
            }
            let before = into.ids.len();
            if !self.by_words(chunk, into)? {
                self.look_up(chunk, into)?;
            }
            self.remember(chunk, before, into);
        }
        Ok(())
    }

    /// Appends the ids of a piece, if it is remembered.
    fn recall(&self, piece: &str, into: &mut Encoded) -> bool {
        let Some((start, end)) = self.known.get(piece) else { return false };
        let ids = self.ids.get(*start as usize..*end as usize).unwrap_or_default();
        into.ids.extend(ids.iter().map(|id| id & !WORD_START));
        if self.words {
            into.word_starts.extend(ids.iter().map(|id| id & WORD_START != 0));
        }
        true
    }

    /// Remembers the ids of a piece, which are the last from `before` on.
    fn remember(&mut self, piece: &str, before: usize, encoded: &Encoded) {
        if piece.len() > LONGEST || self.known.len() >= REMEMBERED {
            return;
        }
        let start = self.ids.len();
        self.ids.extend(encoded.ids.iter().skip(before));
        let new = self.ids.iter_mut().skip(start).zip(encoded.word_starts.iter().skip(before));
        new.filter(|(_, begins)| **begins).for_each(|(id, _)| *id |= WORD_START);
        self.known.insert(piece.into(), (start as u32, self.ids.len() as u32));
    }

    /// Appends the ids of a piece whose words are known; says whether they are.
    fn by_words(&mut self, piece: &str, into: &mut Encoded) -> Result<bool> {
        let tokenizer = self.tokenizer;
        let Some(merges) = &tokenizer.merges else { return Ok(false) };
        let found = match tokenizer.cut {
            Cut::Bytes => words(piece),
            Cut::Lines => line_words(piece),
            _ => None,
        };
        let Some(words) = found else { return Ok(false) };
        let model = tokenizer.inner().get_model();
        for (number, word) in words.iter().enumerate() {
            self.spelt.clear();
            if tokenizer.cut == Cut::Bytes {
                let character = |byte: u8| self.characters.get(usize::from(byte));
                self.spelt.extend(word.bytes().filter_map(character));
            } else {
                // The first word of a text is written as if a space stood before it.
                let behind = word.strip_prefix(' ');
                self.spelt.extend((number == 0 || behind.is_some()).then_some('▁'));
                self.spelt.push_str(behind.unwrap_or(word));
            }
            let before = into.ids.len();
            merges.append(&self.spelt, model, &mut self.parts, &mut into.ids)?;
            if self.words {
                into.word_starts.extend((before..into.ids.len()).map(|at| at == before));
            }
        }
        Ok(true)
    }

    fn look_up(&self, text: &str, into: &mut Encoded) -> Result<()> {
        let tokenizer = self.tokenizer.inner();
        if !self.words {
            // Neither offsets nor words are worked out.
            let encoded = tokenizer.encode_fast(text, false).map_err(encoding)?;
            into.ids.extend(encoded.get_ids());
            return Ok(());
        }
        let encoded = tokenizer.encode(text, false).map_err(encoding)?;
        into.ids.extend(encoded.get_ids());
        let mut last = None;
        into.word_starts.extend(encoded.get_word_ids().iter().map(|word| {
            let begins = word.is_none() || *word != last;
            last = *word;
            begins
        }));
        Ok(())
    }

    /// Whether an added token stands anywhere in a text.
    fn has_added(&self, text: &str) -> bool {
        let may_begin = |byte: &u8| self.first.get(usize::from(*byte)) == Some(&true);
        let places = text.as_bytes().iter().enumerate().filter(|(_, byte)| may_begin(byte));
        places
            .filter_map(|(at, _)| text.get(at..))
            .any(|rest| self.added.iter().any(|token| rest.starts_with(token.as_str())))
    }
}
