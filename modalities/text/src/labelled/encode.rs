//! From rows to examples.

use super::{
    aim::Aim,
    chat::ChatTemplate,
    error::EncodeError,
    room::Tokens,
    row::{Row, grade},
};
use crate::recipe::LabelledData;
use kiln_datasets::{
    DataError,
    labelled::{Label as Told, Labels, Message, Role, to_bio},
};
use kiln_lm::{
    config::TaskKind,
    examples::{Example, IGNORED, Label},
};
use kiln_tokenize::{Role as Token, TextTokenizer, tokenizer::TokenizerError};
use std::sync::Arc;

/// Makes examples of texts.
#[derive(Debug, Clone)]
pub struct Encoder {
    pub(super) tokenizer: Arc<TextTokenizer>,
    /// Tokens of an example at most.
    pub(super) length: usize,
    /// The task that examples are of, where it has a name.
    pub(super) task: Option<Arc<str>>,
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

    /// How texts become ids.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// The task that examples are of, where it has a name.
    pub fn task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    /// One text, or two as one sequence, cut where it is too long: the longer of two first.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn text(&self, text: &str, second: Option<&str>) -> Result<Example, TokenizerError> {
        Ok(self.fitted(text, second)?.0)
    }

    /// The same, and whether it was cut.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn fitted(
        &self,
        text: &str,
        second: Option<&str>,
    ) -> Result<(Example, bool), TokenizerError> {
        let tokens = self.tokens(text, second)?;
        let chosen = tokens.within(self.length);
        Ok((self.example(&tokens, &chosen), chosen.len() < tokens.len()))
    }

    /// All tokens of a text, or of two, and those around them.
    pub(super) fn tokens(
        &self,
        text: &str,
        second: Option<&str>,
    ) -> Result<Tokens, TokenizerError> {
        Ok(Tokens::new(match second {
            Some(second) => self.tokenizer.encode_pair(text, second, true)?,
            None => self.tokenizer.encode(text, true)?,
        }))
    }

    /// Some of the tokens as an example. A text without any has one that stands for nothing, so that
    /// a model has something to look at.
    pub(super) fn example(&self, tokens: &Tokens, chosen: &[usize]) -> Example {
        let task = self.task.clone();
        if chosen.is_empty() {
            let ids = vec![self.nothing()];
            return Example { ids, special_tokens_mask: vec![true], task, ..Example::default() };
        }
        let encoding = tokens.encoding();
        let of = |values: &[u32]| chosen.iter().map(|token| values[*token]).collect::<Vec<u32>>();
        let special = of(encoding.get_special_tokens_mask());
        let types = of(encoding.get_type_ids());
        Example {
            ids: of(encoding.get_ids()),
            special_tokens_mask: special.iter().map(|on| *on == 1).collect(),
            types: if types.iter().any(|id| *id > 0) { types } else { Vec::new() },
            task,
            ..Example::default()
        }
    }

    /// The id of what stands for a text without tokens: what texts begin or end with, if anything.
    fn nothing(&self) -> u32 {
        let tokenizer = &self.tokenizer;
        let role = |role| Some(tokenizer.special().get(role)?.id);
        let ends = tokenizer.begin().or(tokenizer.end());
        ends.or(role(Token::Pad)).or(role(Token::Unk)).unwrap_or(0)
    }

    /// The examples of a row for what is learned of it; several where a question's context is long.
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
                // Places among the segments that were not truncated.
                let place = |own: usize| seen.iter().filter(|(_, other)| *other < own).count();
                let segments = seen.iter().map(|(first, own)| (*first as u32, place(*own) as u32));
                one(Example { label: Some(Label::Order(segments.collect())), ..example })
            }
            (Aim::Head(_, _), Row::Question(question)) => Ok(self.answers(question)?),
            (Aim::Head(_, _), Row::Triplet(_) | Row::Queries(_)) => {
                let read = row.candidates().into_iter();
                let read = read.map(|(query, text)| self.text(query, Some(text)));
                let mut read = read.collect::<Result<Vec<_>, _>>()?.into_iter();
                let first = read.next().ok_or(EncodeError::Kind(number))?;
                one(Example { others: read.collect(), ..first })
            }
            (Aim::Seq2Seq, row) if row.is_query() => {
                Ok(self.ranking(&data.ranking, row, data.target_length)?)
            }
            (Aim::Seq2Seq, row) => {
                let (source, target) = row.source_and_target().ok_or(EncodeError::Kind(number))?;
                let source = self.text(&format!("{}{source}", data.prefix), None)?;
                let target = self.target_ids(target, data.target_length)?;
                one(Example { target: Some(target), ..source })
            }
            (Aim::Completion, Row::Pair(pair)) => {
                let asked = Message::new(Role::User, format!("{}{}", data.prefix, pair.first));
                let reply = Message::new(Role::Assistant, pair.second.clone());
                one(self.talk(&[asked, reply], chat)?)
            }
            (Aim::Completion, Row::Conversation(talk)) => one(self.talk(&talk.messages, chat)?),
            (Aim::Preference, Row::Preference(row)) => {
                let answered = |answer: &str| {
                    let reply = Message::new(Role::Assistant, answer);
                    let messages: Vec<Message> =
                        row.prompt.iter().cloned().chain([reply]).collect();
                    self.talk(&messages, chat)
                };
                let others = vec![answered(&row.rejected)?];
                one(Example { others, ..answered(&row.chosen)? })
            }
            (Aim::RewardWeighted, Row::Labelled(row)) => {
                one(self.graded(row, data.control.as_ref())?)
            }
            (Aim::Similarity, Row::Pair(pair)) => {
                let others = vec![self.text(&pair.second, None)?];
                let label = pair.label.as_ref().and_then(graded);
                one(Example { others, label, ..self.text(&pair.first, None)? })
            }
            (Aim::Similarity, Row::Labelled(row)) => {
                let second = row.second.as_deref().ok_or(EncodeError::Kind(number))?;
                let others = vec![self.text(second, None)?];
                one(Example { others, label: graded(&row.label), ..self.text(&row.text, None)? })
            }
            (Aim::Similarity, row) => {
                let (text, others) = row.halves().ok_or(EncodeError::Kind(number))?;
                let others = others.into_iter().map(|other| self.text(other, None));
                let others = others.collect::<Result<_, _>>()?;
                one(Example { others, ..self.text(text, None)? })
            }
            _ => Err(EncodeError::Kind(number)),
        }
    }

    /// Target ids of a sequence-to-sequence example, with the end token, `most` at most.
    pub(super) fn target_ids(&self, text: &str, most: usize) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.tokenizer.encode(text, false)?.get_ids().to_vec();
        let end = self.tokenizer.end();
        ids.truncate(most.saturating_sub(usize::from(end.is_some())));
        ids.extend(end);
        Ok(ids)
    }

    /// A conversation with a loss mask over the assistant's turns, truncated at the end.
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
            example.loss_mask.resize(example.ids.len(), own);
        }
        if ends
            && let Some(end) = self.tokenizer.end().filter(|end| example.ids.last() != Some(end))
        {
            example.ids.push(end);
            example.loss_mask.push(true);
        }
        example.ids.truncate(self.length);
        example.loss_mask.truncate(self.length);
        Ok(example)
    }
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

pub(super) fn graded(told: &Told) -> Option<Label> {
    grade(told).map(|grade| Label::Numbers(vec![grade as f32]))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::labelled::Shuffled;
    use kiln_datasets::labelled::{Answer, Question};
    use kiln_tokenize::{
        TokenizerSpec,
        tokenizer::{Around, Model},
    };

    fn trained(spec: &TokenizerSpec, length: usize) -> Encoder {
        let texts = ["Anna keeps a red boat in the harbour of Brel.", "我们去北京看海。"];
        let documents =
            texts.iter().cycle().take(40).map(|text| {
                Ok(kiln_datasets::Document { text: (*text).into(), ..Default::default() })
            });
        Encoder::new(Arc::new(spec.train(documents, &mut |_| {}).unwrap()), length)
    }

    /// Tokens of words, with some around a text.
    pub fn encoder(length: usize) -> Encoder {
        let model = Model::WordPiece { vocabulary: 120, lowercase: false };
        trained(&TokenizerSpec::new(model), length)
    }

    /// Tokens of bytes, which know little, and with `around` some around a text.
    pub fn bytes(around: bool, length: usize) -> Encoder {
        let mut spec = TokenizerSpec::new(Model::ByteBpe { vocabulary: 280 });
        if around {
            let roles = [(Token::Cls, "<cls>"), (Token::Sep, "<sep>")];
            spec.special.extend(roles.map(|(role, text)| (role, text.to_owned())));
            spec.around = Some(Around::Both);
        }
        trained(&spec, length)
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
    fn characters_of_several_tokens_are_cut_to_the_length() {
        let text = "🚣 海边的红船 🏖️ 漂亮吗 🙂🙂";
        for around in [false, true] {
            let all = bytes(around, 500).text(text, None).unwrap();
            assert!(all.ids.len() > 2 * text.chars().count(), "{}", all.ids.len());
            for length in 1..all.ids.len() {
                let encoder = bytes(around, length);
                let (cut, was_cut) = encoder.fitted(text, None).unwrap();
                assert!(was_cut && cut.ids.len() == length, "{length}: {}", cut.ids.len());
                if length > 2 {
                    // What is around a text stays.
                    let inner = usize::from(around)..length - usize::from(around);
                    assert_eq!(cut.ids[inner.clone()], all.ids[inner]);
                    assert!(!around || cut.ids.last() == all.ids.last());
                }
                let pair = encoder.text(text, Some(text)).unwrap();
                assert_eq!(pair.ids.len(), length);
            }
            assert!(!bytes(around, all.ids.len()).fitted(text, None).unwrap().1);
        }
    }

    #[test]
    fn a_blank_text_has_a_token() {
        for second in [None, Some("")] {
            let example = bytes(false, 8).text("", second).unwrap();
            assert_eq!((example.ids.len(), &example.special_tokens_mask[..]), (1, &[true][..]));
            assert!(encoder(8).text(" \n ", second).unwrap().ids.len() >= 2);
        }
        let (example, firsts) = bytes(false, 8).words::<&str>(&[]).unwrap();
        assert!(example.ids.len() == 1 && firsts.is_empty());
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
