//! The tokens of a text, or of two, for which there is room.
//!
//! Tokens are left out, and nothing is encoded again: a part of a text may have other tokens than it
//! has within the whole, and more, above all where it ends inside of a character of several bytes.

use kiln_tokenize::tokenizer::Encoding;
use std::ops::Range;

/// What was encoded, and of which text each token is.
#[derive(Debug)]
pub(super) struct Tokens {
    encoding: Encoding,
    /// Tokens that the tokenizer put around the texts.
    around: Vec<usize>,
    /// The tokens of each text.
    texts: [Vec<usize>; 2],
}

impl Tokens {
    pub fn new(encoding: Encoding) -> Self {
        let (mut around, mut texts) = (Vec::new(), [Vec::new(), Vec::new()]);
        let special = encoding.get_special_tokens_mask();
        for (token, text) in encoding.get_sequence_ids().into_iter().enumerate() {
            let text = text.filter(|_| special[token] == 0);
            text.and_then(|text| texts.get_mut(text)).unwrap_or(&mut around).push(token);
        }
        Self { encoding, around, texts }
    }

    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// All tokens.
    pub fn len(&self) -> usize {
        self.encoding.len()
    }

    /// How many tokens are put around the texts.
    pub fn around(&self) -> usize {
        self.around.len()
    }

    /// The tokens of a text, the first or the second.
    pub fn of(&self, text: usize) -> &[usize] {
        &self.texts[text]
    }

    /// The tokens that stay of so many at most: the longer text is cut first.
    pub fn within(&self, length: usize) -> Vec<usize> {
        let room = length.saturating_sub(self.around());
        let [first, second] = [0, 1].map(|text| self.of(text).len());
        // Half of the length each, and what one leaves to the other.
        let first = first.min(room - second.min(room / 2));
        let second = second.min(room - first);
        self.chosen([0..first, 0..second], length)
    }

    /// The tokens around the texts, and a range of each text's own; no more than `length`.
    pub fn chosen(&self, [first, second]: [Range<usize>; 2], length: usize) -> Vec<usize> {
        let mut chosen = self.around.clone();
        chosen.extend(self.of(0).get(first).unwrap_or_default());
        chosen.extend(self.of(1).get(second).unwrap_or_default());
        chosen.sort_unstable();
        chosen.truncate(length);
        chosen
    }
}
