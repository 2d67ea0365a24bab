//! Encoding of texts for embedding: prompt, special tokens, truncation.

use super::EmbedError;
use kiln_tokenize::{
    TextTokenizer,
    tokenizer::{Encoded, IdEncoder, TokenizerError},
};
use rayon::prelude::*;

/// Bytes for a token, more than texts have: of a long text no more than this is encoded where that
/// gives tokens enough.
const BYTES: usize = 48;

/// Texts that a thread encodes one after the other.
const RUN: usize = 256;

/// Encodes texts with prompt and special tokens.
pub(super) struct Reader<'a> {
    tokenizer: &'a TextTokenizer,
    /// Special tokens before a text and behind it.
    before: Vec<u32>,
    behind: Vec<u32>,
    prompt: String,
    lowercase: bool,
    /// Tokens of a text, special ones among them.
    longest: usize,
}

/// The ids of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub ids: Vec<u32>,
    /// Whether the text was truncated.
    pub truncated: bool,
}

impl<'a> Reader<'a> {
    /// A reader of texts of `longest` tokens at most.
    pub fn new(
        tokenizer: &'a TextTokenizer,
        prompt: &str,
        lowercase: bool,
        longest: usize,
    ) -> Result<Self, EmbedError> {
        // The special tokens around a text are the same for any text.
        let example = tokenizer.encode("a", true)?;
        let special = example.get_special_tokens_mask();
        let ids = example.get_ids();
        let first = special.iter().position(|special| *special == 0).unwrap_or(special.len());
        let last = special.iter().rposition(|special| *special == 0).map_or(first, |at| at + 1);
        let part = |range: std::ops::Range<usize>| ids.get(range).unwrap_or_default().to_vec();
        let (before, behind) = (part(0..first), part(last..ids.len()));
        let around = before.len() + behind.len();
        if longest <= around {
            return Err(EmbedError::TooShort { longest, around });
        }
        let prompt = prompt.to_owned();
        Ok(Self { tokenizer, before, behind, prompt, lowercase, longest })
    }

    /// Whether nothing is put around texts.
    pub fn is_bare(&self) -> bool {
        self.before.is_empty() && self.behind.is_empty()
    }

    /// Tokens that the prompt and what is before it take up.
    pub fn prompt_tokens(&self) -> Result<usize, EmbedError> {
        if self.prompt.is_empty() {
            return Ok(0);
        }
        let read = self.encode(&mut IdEncoder::new(self.tokenizer, false), "")?;
        Ok(read.ids.len() - self.behind.len())
    }

    /// Ids of texts, in their order, on all cores.
    pub fn read<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Read>, EmbedError> {
        let runs = texts.par_chunks(RUN).map(|texts| {
            let mut encoder = IdEncoder::new(self.tokenizer, false);
            let read = texts.iter().map(|text| self.encode(&mut encoder, text.as_ref().trim()));
            read.collect::<Result<Vec<Read>, EmbedError>>()
        });
        Ok(runs.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn encode(&self, encoder: &mut IdEncoder<'_>, text: &str) -> Result<Read, EmbedError> {
        let max_tokens = self.longest - self.before.len() - self.behind.len();
        let mut encoded = Encoded::default();
        let head = head(text, max_tokens.saturating_mul(BYTES));
        self.append(encoder, head, &mut encoded)?;
        // The last tokens of a prefix may differ from those of the whole text.
        if head.len() < text.len() && encoded.ids.len() < max_tokens + 16 {
            encoded = Encoded::default();
            self.append(encoder, text, &mut encoded)?;
        }
        let truncated = encoded.ids.len() > max_tokens;
        encoded.ids.truncate(max_tokens);
        let ids = [&self.before, &encoded.ids, &self.behind].into_iter().flatten().copied();
        Ok(Read { ids: ids.collect(), truncated })
    }

    fn append(
        &self,
        encoder: &mut IdEncoder<'_>,
        text: &str,
        into: &mut Encoded,
    ) -> Result<(), TokenizerError> {
        match (self.prompt.is_empty(), self.lowercase) {
            (true, false) => encoder.encode(text, into),
            (_, false) => encoder.encode(&format!("{}{text}", self.prompt), into),
            (_, true) => encoder.encode(&format!("{}{text}", self.prompt).to_lowercase(), into),
        }
    }
}

/// The beginning of a text, of about so many bytes, up to white space; all of it where it is short
/// or has none.
fn head(text: &str, bytes: usize) -> &str {
    let Some(end) = text.len().checked_sub(1).filter(|last| *last > bytes).map(|_| bytes) else {
        return text;
    };
    let place = text.as_bytes().iter().take(end).rposition(u8::is_ascii_whitespace);
    place.and_then(|end| text.get(..end)).filter(|head| !head.is_empty()).unwrap_or(text)
}
