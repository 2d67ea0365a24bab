//! Texts in as many pieces as they need: words to be tagged, and contexts of questions.

use super::{encode::Encoder, room::Tokens};
use kiln_datasets::labelled::Question;
use kiln_lm::examples::{Example, Label};
use kiln_metrics::words::is_unspaced;
use kiln_tokenize::tokenizer::TokenizerError;
use std::ops::Range;

/// A part of a context behind its question, and where its tokens stand in the context.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The input of the model.
    pub example: Example,
    /// For each of its tokens the bytes of the context that it stands for; empty ranges for special
    /// tokens, and for those of the question.
    pub bytes: Vec<Range<usize>>,
}

/// Some of the words of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// The input of the model.
    pub example: Example,
    /// Which words.
    pub words: Range<usize>,
    /// The first token of each; none of a word without any.
    pub firsts: Vec<Option<usize>>,
}

impl Encoder {
    /// Words as one text: what the model sees, and for each word its first token, where it was not
    /// cut off.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn words<T: AsRef<str>>(
        &self,
        words: &[T],
    ) -> Result<(Example, Vec<Option<usize>>), TokenizerError> {
        let (text, places) = joined(words);
        let tokens = self.tokens(&text, None)?;
        let chosen = tokens.within(self.length);
        Ok((self.example(&tokens, &chosen), firsts(&tokens, &chosen, &places)))
    }

    /// Words as one text in pieces, one after the other, that divide no word: but for one that is
    /// longer than a piece, whose end is left out.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn pieces<T: AsRef<str>>(&self, words: &[T]) -> Result<Vec<Words>, TokenizerError> {
        let (text, places) = joined(words);
        let tokens = self.tokens(&text, None)?;
        let all = tokens.of(0).len();
        let room = self.length.saturating_sub(tokens.around()).max(1);
        // The tokens of a word end where those of the next begin.
        let own: Vec<Option<usize>> = firsts(&tokens, tokens.of(0), &places);
        let mut ends = vec![all; words.len()];
        for word in (1..words.len()).rev() {
            ends[word - 1] = own[word].unwrap_or(ends[word]);
        }
        let (mut pieces, mut word, mut from) = (Vec::new(), 0, 0);
        while word < words.len() {
            let fit = ends[word..].partition_point(|end| *end <= from + room).max(1);
            let words = word..word + fit;
            let until = ends[words.end - 1];
            let range = from..until.min(from + room);
            let chosen = tokens.chosen([range, 0..0], self.length);
            let firsts = firsts(&tokens, &chosen, &places[words.clone()]);
            pieces.push(Words { example: self.example(&tokens, &chosen), words, firsts });
            (word, from) = (word + fit, until);
        }
        Ok(pieces)
    }

    /// A question before each part of a context: parts overlap by half.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn question(&self, question: &str, context: &str) -> Result<Vec<Piece>, TokenizerError> {
        let tokens = self.tokens(question, Some(context))?;
        let asked = tokens.of(0).len().min(self.length / 3);
        let room = self.length.saturating_sub(tokens.around() + asked).max(1);
        let all = tokens.of(1).len();
        let offsets = tokens.encoding().get_offsets();
        let (mut pieces, mut from) = (Vec::new(), 0);
        loop {
            let until = (from + room).min(all);
            let part = tokens.of(1).get(from..until).unwrap_or_default();
            let chosen = tokens.chosen([0..asked, from..until], self.length);
            let bytes = chosen.iter().map(|token| match part.binary_search(token) {
                Ok(_) => offsets[*token].0..offsets[*token].1,
                Err(_) => 0..0,
            });
            pieces.push(Piece { bytes: bytes.collect(), example: self.example(&tokens, &chosen) });
            if until >= all {
                return Ok(pieces);
            }
            from += room.div_ceil(2);
        }
    }

    /// The pieces of a question with the place of its answer; with the first token where a piece
    /// does not hold it.
    pub(super) fn answers(&self, question: &Question) -> Result<Vec<Example>, TokenizerError> {
        let answer = question.answers.iter().find_map(|answer| answer.span.clone());
        let pieces = self.question(&question.question, &question.context)?;
        let place = |piece: &Piece| {
            let answer = answer.as_ref()?;
            let inside =
                |bytes: &Range<usize>| bytes.start < answer.end && answer.start < bytes.end;
            let first = piece.bytes.iter().position(inside)?;
            let last = piece.bytes.iter().rposition(inside)?;
            let whole =
                piece.bytes[first].start <= answer.start && answer.end <= piece.bytes[last].end;
            whole.then_some(Label::Span(first as u32, last as u32))
        };
        Ok(pieces
            .into_iter()
            .map(|piece| {
                let label = place(&piece).unwrap_or(Label::Span(0, 0));
                Example { label: Some(label), ..piece.example }
            })
            .collect())
    }
}

/// The first token of each word among those chosen, counted there.
fn firsts(tokens: &Tokens, chosen: &[usize], words: &[Range<usize>]) -> Vec<Option<usize>> {
    let mut firsts = vec![None; words.len()];
    let special = tokens.encoding().get_special_tokens_mask();
    let offsets = tokens.encoding().get_offsets();
    for (place, token) in chosen.iter().enumerate() {
        let (start, end) = offsets[*token];
        if special[*token] == 1 || start >= end {
            continue;
        }
        // A token may begin with the space before its word: its last byte decides.
        let word = words.partition_point(|word| word.end < end);
        if let Some(first @ None) = firsts.get_mut(word) {
            *first = Some(place);
        }
    }
    firsts
}

/// Words as one text, with spaces but between characters of scripts that have none, and the bytes
/// of each.
fn joined<T: AsRef<str>>(words: &[T]) -> (String, Vec<Range<usize>>) {
    let mut text = String::new();
    let mut places = Vec::with_capacity(words.len());
    for word in words.iter().map(AsRef::as_ref) {
        let dense = |c: Option<char>| c.is_none_or(is_unspaced);
        if !dense(text.chars().next_back()) && !dense(word.chars().next()) {
            text.push(' ');
        }
        let start = text.len();
        text.push_str(word);
        places.push(start..text.len());
    }
    (text, places)
}

#[cfg(test)]
mod tests {
    use super::{
        super::encode::tests::{bytes, encoder},
        *,
    };

    #[test]
    fn words_know_their_first_tokens() {
        let words = ["Anna", "keeps", "北", "京", "boat"];
        assert_eq!(joined(&words).0, "Anna keeps北京boat");
        let (example, firsts) = encoder(64).words(&words).unwrap();
        let found: Vec<usize> = firsts.iter().map(|first| first.unwrap()).collect();
        assert!(
            found.is_sorted()
                && found[0] == 1
                && example.special_tokens_mask[0]
                && !example.special_tokens_mask[1]
        );
        let (example, firsts) = encoder(4).words(&words).unwrap();
        assert_eq!(example.ids.len(), 4);
        assert!(firsts[0].is_some() && firsts[4].is_none());
    }

    #[test]
    fn pieces_hold_all_words_once() {
        let long = "x".repeat(60);
        let text = "Anna keeps a red boat in the harbour . 我 们 去 北 京 看 海 🚣 🙂";
        let mut words: Vec<&str> = text.split(' ').cycle().take(90).collect();
        words[40] = &long;
        for encoder in [encoder(12), bytes(false, 12), bytes(true, 12)] {
            let whole = encoder.words(&words[..2]).unwrap();
            let pieces = encoder.pieces(&words).unwrap();
            assert!(pieces.len() > 8);
            let mut next = 0;
            for piece in &pieces {
                assert!(piece.example.ids.len() <= 12 && piece.words.start == next);
                next = piece.words.end;
                assert_eq!(piece.firsts.len(), piece.words.len());
                let found: Vec<usize> = piece.firsts.iter().flatten().copied().collect();
                assert!(found.is_sorted() && found.iter().all(|first| *first < 12));
                // No token stands before the first of the first word, but special ones.
                let first = piece.firsts[0].unwrap();
                assert_eq!(first, usize::from(piece.example.special_tokens_mask[0]));
            }
            assert_eq!(next, words.len());
            assert_eq!(pieces[0].example.ids[1], whole.0.ids[1]);
        }
        assert!(encoder(12).pieces::<&str>(&[]).unwrap().is_empty());
    }

    #[test]
    fn parts_of_a_context_overlap_and_fit() {
        let context = "🚣 海边的红船 🏖️ 漂亮吗 🙂🙂 and a red boat".repeat(3);
        for around in [false, true] {
            let pieces = bytes(around, 21).question("红船🙂吗?", &context).unwrap();
            assert!(pieces.len() > 4);
            let mut seen = 0;
            for piece in &pieces {
                assert!(piece.example.ids.len() <= 21);
                assert_eq!(piece.bytes.len(), piece.example.ids.len());
                let own: Vec<&Range<usize>> =
                    piece.bytes.iter().filter(|bytes| !bytes.is_empty()).collect();
                assert!(own[0].start <= seen, "parts leave something out");
                assert!(own.iter().all(|bytes| context.get((*bytes).clone()).is_some()));
                seen = own[own.len() - 1].end;
            }
            assert_eq!(seen, context.len());
        }
    }
}
