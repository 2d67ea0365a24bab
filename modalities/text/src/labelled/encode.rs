//! From rows to examples.

use super::{Aim, ChatError, ChatTemplate, LabelledData, Row};
use crate::{
    config::TaskKind,
    examples::{Example, IGNORED, Label},
    metrics::is_unspaced,
    tokenizer::{Encoding, TextTokenizer, TokenizerError},
};
use kiln_datasets::{
    DataError,
    labelled::{Label as Told, Labels, Message, Question, Role, to_bio},
};
use std::{ops::Range, sync::Arc};

/// Why a row cannot become an example.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The tokenizer fails.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A label that nobody knows.
    #[error(transparent)]
    Label(#[from] DataError),
    /// A conversation that cannot be written as one text.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// A row of another kind than the first.
    #[error("row {0} is of another kind than those before it")]
    Kind(usize),
    /// Good and bad that cannot be told apart.
    #[error(
        "`control`: {good:?} and {bad:?} become the same ids; name them in \
         `tokenizer.train.additional`"
    )]
    Control {
        /// What is said before good texts.
        good: String,
        /// What is said before the others.
        bad: String,
    },
}

/// Makes examples of texts.
#[derive(Debug, Clone)]
pub struct Encoder {
    pub(super) tokenizer: Arc<TextTokenizer>,
    /// Tokens of an example at most.
    pub(super) length: usize,
    /// The task that examples are of, where it has a name.
    pub(super) task: Option<Arc<str>>,
}

/// A part of a text as an example, and where its tokens stand in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// What the model sees.
    pub example: Example,
    /// For each of its tokens the bytes of the text that it stands for; empty ranges for special
    /// tokens, and for those of another text such as a question.
    pub bytes: Vec<Range<usize>>,
}

impl Encoder {
    /// Examples of `length` tokens at most.
    pub fn new(tokenizer: Arc<TextTokenizer>, length: usize) -> Self {
        Self { tokenizer, length, task: None }
    }

    /// Of the task that has this name.
    #[must_use]
    pub fn of_task(self, name: Option<&str>) -> Self {
        Self { task: name.map(Into::into), ..self }
    }

    /// One text, or two as one sequence, cut where it is too long: the longer of two first.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn text(&self, text: &str, second: Option<&str>) -> Result<Example, TokenizerError> {
        Ok(self.example(&self.encoded(text, second)?))
    }

    fn encoded(&self, text: &str, second: Option<&str>) -> Result<Encoding, TokenizerError> {
        let tokenizer = &self.tokenizer;
        let Some(second) = second else {
            let all = tokenizer.encode(text, true)?;
            let over = all.get_ids().len().saturating_sub(self.length);
            if over == 0 {
                return Ok(all);
            }
            let room = self.length.saturating_sub(self.around(false)?);
            return tokenizer.encode(self.cut(text, room)?, true);
        };
        let all = tokenizer.encode_pair(text, second, true)?;
        if all.get_ids().len() <= self.length {
            return Ok(all);
        }
        let room = self.length.saturating_sub(self.around(true)?);
        let count = |text: &str| Ok::<_, TokenizerError>(tokenizer.encode(text, false)?.len());
        let (first_count, second_count) = (count(text)?, count(second)?);
        // Half of the room each, and what one leaves to the other.
        let first = first_count.min(room - second_count.min(room / 2));
        let second = self.cut(second, second_count.min(room - first))?;
        let first = self.cut(text, first)?;
        tokenizer.encode_pair(first, second, true)
    }

    /// The beginning of a text that has so many tokens.
    fn cut<'a>(&self, text: &'a str, tokens: usize) -> Result<&'a str, TokenizerError> {
        let encoding = self.tokenizer.encode(text, false)?;
        if encoding.len() <= tokens {
            return Ok(text);
        }
        let end = encoding.get_offsets()[..tokens].iter().map(|(_, end)| *end).max().unwrap_or(0);
        Ok(text.get(..end).unwrap_or(text))
    }

    /// Special tokens around a text, or two.
    fn around(&self, two: bool) -> Result<usize, TokenizerError> {
        let empty = if two {
            self.tokenizer.encode_pair("", "", true)?
        } else {
            self.tokenizer.encode("", true)?
        };
        Ok(empty.len())
    }

    fn example(&self, encoding: &Encoding) -> Example {
        let fixed: Vec<bool> =
            encoding.get_special_tokens_mask().iter().map(|on| *on == 1).collect();
        let types = encoding.get_type_ids();
        Example {
            ids: encoding.get_ids().to_vec(),
            fixed,
            types: if types.iter().any(|id| *id > 0) { types.to_vec() } else { Vec::new() },
            task: self.task.clone(),
            ..Example::default()
        }
    }

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
        let encoding = self.encoded(&text, None)?;
        let mut firsts = vec![None; words.len()];
        let special = encoding.get_special_tokens_mask();
        for (token, (start, end)) in encoding.get_offsets().iter().enumerate() {
            if special[token] == 1 || start >= end {
                continue;
            }
            // A token may begin with the space before its word: its last byte tells.
            let word = places.partition_point(|place| place.end < *end);
            if let Some(first @ None) = firsts.get_mut(word) {
                *first = Some(token);
            }
        }
        Ok((self.example(&encoding), firsts))
    }

    /// A question before each part of a context: parts overlap by half.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn question(&self, question: &str, context: &str) -> Result<Vec<Piece>, TokenizerError> {
        let question = self.cut(question, self.length / 3)?;
        let asked = self.tokenizer.encode(question, false)?.len();
        let room = self.length.saturating_sub(self.around(true)? + asked).max(1);
        let all = self.tokenizer.encode(context, false)?;
        let offsets = all.get_offsets();
        let mut pieces = Vec::new();
        let mut from = 0;
        loop {
            let until = (from + room).min(offsets.len());
            let start = offsets.get(from).map_or(0, |(start, _)| *start);
            let end = offsets[from..until].iter().map(|(_, end)| *end).max().unwrap_or(start);
            let part = context.get(start..end).unwrap_or_default();
            let encoding = self.tokenizer.encode_pair(question, part, true)?;
            let belongs = encoding.get_sequence_ids();
            let bytes = encoding.get_offsets().iter().zip(&belongs);
            let bytes = bytes.map(|((first, last), belongs)| match belongs {
                Some(1) => start + first..start + last,
                _ => 0..0,
            });
            pieces.push(Piece { bytes: bytes.collect(), example: self.example(&encoding) });
            if until >= offsets.len() {
                return Ok(pieces);
            }
            from += room.div_ceil(2);
        }
    }

    /// The examples of a row for an aim; several where a question's context is long.
    ///
    /// # Errors
    /// When the tokenizer fails, a label is not known, or the row is of another kind.
    pub(crate) fn row(
        &self,
        number: usize,
        row: &Row,
        aim: &Aim,
        data: &LabelledData,
        chat: Option<&ChatTemplate>,
    ) -> Result<Vec<Example>, EncodeError> {
        let one = |example: Example| Ok(vec![example]);
        match (aim, row) {
            (Aim::Head(kind, labels), Row::Labelled(_) | Row::Pair(_)) => {
                let (text, second, told) = row.labelled().ok_or(EncodeError::Kind(number))?;
                let example = self.text(text, second)?;
                one(Example { label: label(*kind, told, labels)?, ..example })
            }
            (Aim::Head(_, labels), Row::Tagged(row)) => {
                let (example, firsts) = self.words(&row.tokens)?;
                let mut tags = vec![IGNORED; example.ids.len()];
                for (tag, first) in to_bio(&row.tags).iter().zip(firsts) {
                    if let Some(place) = first.and_then(|first| tags.get_mut(first)) {
                        *place = labels.expect_id(tag)? as i64;
                    }
                }
                one(Example { label: Some(Label::Tags(tags)), ..example })
            }
            (Aim::Head(_, _), Row::Shuffled(row)) => {
                let (example, firsts) = self.words(&row.segments)?;
                let seen = firsts.iter().zip(&row.places);
                let seen: Vec<(usize, usize)> =
                    seen.filter_map(|(first, place)| Some(((*first)?, *place))).collect();
                // Places among the segments that were not cut off.
                let place = |own: usize| seen.iter().filter(|(_, other)| *other < own).count();
                let segments = seen.iter().map(|(first, own)| (*first as u32, place(*own) as u32));
                one(Example { label: Some(Label::Order(segments.collect())), ..example })
            }
            (Aim::Head(_, _), Row::Question(question)) => Ok(self.answers(question)?),
            (Aim::Write, row) => {
                let (read, write) = row.read_and_written().ok_or(EncodeError::Kind(number))?;
                one(self.written(&format!("{}{read}", data.prefix), write, data.written)?)
            }
            (Aim::Answer, Row::Pair(pair)) => {
                let asked = Message::new(Role::User, format!("{}{}", data.prefix, pair.first));
                let said = Message::new(Role::Assistant, pair.second.clone());
                one(self.talk(&[asked, said], chat)?)
            }
            (Aim::Answer, Row::Conversation(talk)) => one(self.talk(&talk.messages, chat)?),
            (Aim::Prefer, Row::Preference(row)) => {
                let answered = |answer: &str| {
                    let said = Message::new(Role::Assistant, answer);
                    let messages: Vec<Message> = row.prompt.iter().cloned().chain([said]).collect();
                    self.talk(&messages, chat)
                };
                let others = vec![answered(&row.rejected)?];
                one(Example { others, ..answered(&row.chosen)? })
            }
            (Aim::Graded, Row::Labelled(row)) => one(self.graded(row, data.control.as_ref())?),
            (Aim::Alike, Row::Pair(pair)) => {
                let others = vec![self.text(&pair.second, None)?];
                let label = pair.label.as_ref().and_then(graded);
                one(Example { others, label, ..self.text(&pair.first, None)? })
            }
            (Aim::Alike, Row::Labelled(row)) => {
                let second = row.second.as_deref().ok_or(EncodeError::Kind(number))?;
                let others = vec![self.text(second, None)?];
                one(Example { others, label: graded(&row.label), ..self.text(&row.text, None)? })
            }
            (Aim::Alike, Row::Triplet(row)) => {
                let others = std::iter::once(&row.positive).chain(&row.negatives);
                let others = others.map(|text| self.text(text, None)).collect::<Result<_, _>>()?;
                one(Example { others, ..self.text(&row.anchor, None)? })
            }
            _ => Err(EncodeError::Kind(number)),
        }
    }

    /// What an encoder-decoder reads and writes.
    fn written(&self, read: &str, write: &str, most: usize) -> Result<Example, TokenizerError> {
        let mut ids = self.tokenizer.encode(write, false)?.get_ids().to_vec();
        let end = self.tokenizer.end();
        ids.truncate(most.saturating_sub(usize::from(end.is_some())));
        ids.extend(end);
        Ok(Example { written: Some(ids), ..self.text(read, None)? })
    }

    /// A conversation of which the assistant's part counts; what is too long loses its end.
    fn talk(
        &self,
        messages: &[Message],
        chat: Option<&ChatTemplate>,
    ) -> Result<Example, EncodeError> {
        let mut example = Example { task: self.task.clone(), ..Example::default() };
        let pieces = chat.map_or_else(|| Ok(Vec::new()), |chat| chat.pieces(messages))?;
        let ends = pieces.last().is_some_and(|(_, own)| *own);
        for (text, own) in pieces {
            let ids = self.tokenizer.encode(&text, false)?;
            example.ids.extend(ids.get_ids());
            example.counted.resize(example.ids.len(), own);
        }
        if ends
            && let Some(end) = self.tokenizer.end().filter(|end| example.ids.last() != Some(end))
        {
            example.ids.push(end);
            example.counted.push(true);
        }
        example.ids.truncate(self.length);
        example.counted.truncate(self.length);
        Ok(example)
    }

    /// The pieces of a question with the place of its answer; with the first token where a piece
    /// does not hold it.
    fn answers(&self, question: &Question) -> Result<Vec<Example>, TokenizerError> {
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

fn label(kind: TaskKind, told: &Told, labels: &Labels) -> Result<Option<Label>, DataError> {
    Ok(match (kind, told) {
        (TaskKind::Labels(count), Told::Classes(names)) => {
            let mut has = vec![false; count];
            for name in names {
                has[labels.expect_id(name)?] = true;
            }
            Some(Label::Labels(has))
        }
        (TaskKind::Numbers(_), Told::Value(value)) => Some(Label::Numbers(vec![*value as f32])),
        (TaskKind::Classes(_), Told::Class(name)) => {
            Some(Label::Class(labels.expect_id(name)? as u32))
        }
        _ => None,
    })
}

/// A grade: a number, or a class that is one.
pub(super) fn grade(told: &Told) -> Option<f64> {
    match told {
        Told::Value(value) => Some(*value),
        Told::Class(name) => name.parse().ok(),
        Told::Classes(_) => None,
    }
}

pub(super) fn graded(told: &Told) -> Option<Label> {
    grade(told).map(|grade| Label::Numbers(vec![grade as f32]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        labelled::Shuffled,
        tokenizer::{Model, TokenizerSpec},
    };
    use kiln_datasets::labelled::Answer;

    fn encoder(length: usize) -> Encoder {
        let texts = ["Anna keeps a red boat in the harbour of Brel.", "我们去北京看海。"];
        let documents =
            texts.iter().cycle().take(40).map(|text| {
                Ok(kiln_datasets::Document { text: (*text).into(), ..Default::default() })
            });
        let spec = TokenizerSpec::new(Model::WordPiece { vocabulary: 120, lowercase: false });
        Encoder::new(Arc::new(spec.train(documents, &mut |_| {}).unwrap()), length)
    }

    #[test]
    fn words_know_their_first_tokens() {
        let encoder = encoder(64);
        let words = ["Anna", "keeps", "北", "京", "boat"];
        assert_eq!(joined(&words).0, "Anna keeps北京boat");
        let (example, firsts) = encoder.words(&words).unwrap();
        let found: Vec<usize> = firsts.iter().map(|first| first.unwrap()).collect();
        assert!(found.is_sorted() && found[0] == 1 && example.fixed[0] && !example.fixed[1]);
        let short = Encoder { length: 4, ..encoder };
        let (example, firsts) = short.words(&words).unwrap();
        assert_eq!(example.ids.len(), 4);
        assert!(firsts[0].is_some() && firsts[4].is_none());
    }

    #[test]
    fn places_are_those_among_the_segments_that_are_seen() {
        let rows = ["Anna keeps a red boat.", "The harbour of Brel.", "Anna keeps a boat."];
        let row = Row::Shuffled(Shuffled {
            segments: rows.map(str::to_owned).to_vec(),
            places: vec![2, 0, 1],
        });
        let aim = Aim::Head(TaskKind::Order, Labels::default());
        let data: LabelledData =
            toml::from_str("train.derived = { task.segment-order = 3, source.stories = {} }")
                .unwrap();
        let label = |length: usize| {
            let examples = encoder(length).row(0, &row, &aim, &data, None).unwrap();
            match examples[0].label.clone() {
                Some(Label::Order(segments)) => segments,
                other => panic!("{other:?} is no order"),
            }
        };
        let whole = label(64);
        assert_eq!(whole.iter().map(|(_, place)| *place).collect::<Vec<_>>(), [2, 0, 1]);
        let cut = label(whole[2].0 as usize + 1);
        assert_eq!(cut, [(whole[0].0, 1), (whole[1].0, 0)]);
    }

    #[test]
    fn two_texts_are_cut_the_longer_first() {
        let encoder = encoder(16);
        let long = "Anna keeps a red boat in the harbour of Brel. ".repeat(3);
        let one = encoder.text("Anna", Some(&long)).unwrap();
        assert!(one.ids.len() <= 16 && one.types.contains(&1));
        let both = encoder.text(&long, Some(&long)).unwrap();
        let second = both.types.iter().filter(|id| **id == 1).count();
        assert!(both.ids.len() <= 16 && (7..=9).contains(&second), "{:?}", both.types);
        assert_eq!(encoder.text(&long, None).unwrap().ids.len(), 16);
    }

    #[test]
    fn answers_are_found_in_one_of_the_pieces() {
        let encoder = encoder(24);
        let context =
            format!("{}Anna sails to Brel.", "A red boat keeps in the harbour. ".repeat(4));
        let start = context.find("Brel").unwrap();
        let question = Question {
            question: "Where to?".into(),
            answers: vec![Answer { text: "Brel".into(), span: Some(start..start + 4) }],
            context: context.clone(),
            ..Question::default()
        };
        let pieces = encoder.question(&question.question, &context).unwrap();
        let examples = encoder.answers(&question).unwrap();
        assert!(pieces.len() > 2 && pieces.len() == examples.len());
        let found: Vec<&str> = pieces
            .iter()
            .zip(&examples)
            .filter_map(|(piece, example)| match example.label {
                Some(Label::Span(first, last)) if first > 0 => Some(
                    &context[piece.bytes[first as usize].start..piece.bytes[last as usize].end],
                ),
                _ => None,
            })
            .collect();
        assert!(!found.is_empty() && found.iter().all(|text| *text == "Brel"), "{found:?}");
    }
}
