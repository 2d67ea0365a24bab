//! Examples, and batches of them.

use crate::{
    batch::{HostText, Text},
    config::{EmbeddingConfig, SpecialIds},
    pointer::Segment,
};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{Backend, HostBatch, Layout};
use std::{ops::Range, sync::Arc};

/// The ignore index: the label of what the loss leaves out.
pub const IGNORED: i64 = -100;

/// A training example: token ids with masks, labels and a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Example {
    /// Token ids, special tokens among them.
    pub ids: Vec<u32>,
    /// Special-tokens mask: true for tokens that are never masked; empty where none is.
    pub special_tokens_mask: Vec<bool>,
    /// Word starts, for whole-word masking; empty where they are not known.
    pub word_starts: Vec<bool>,
    /// Segment ids (`token_type_ids`); empty where all are 0.
    pub types: Vec<u32>,
    /// Offsets of packed documents, the first 0; empty where it is one document.
    pub documents: Vec<u32>,
    /// Loss mask: false where a token is context only, such as a prompt; empty where all count.
    pub loss_mask: Vec<bool>,
    /// Spans of lexicon terms.
    pub lexicon_spans: Vec<Range<usize>>,
    /// Texts that belong to it: an answer to it, one like it, others unlike it. Of them ids,
    /// segments and what counts are used.
    pub others: Vec<Example>,
    /// Name of the task, where it has one.
    pub task: Option<Arc<str>>,
    /// Label of the text, or of the text and its pair.
    pub label: Option<Label>,
    /// Target ids of a sequence-to-sequence example, without a start token, with an end.
    pub target: Option<Vec<u32>>,
}

/// A label.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    /// Its class.
    Class(u32),
    /// Multi-label: for each label whether the text has it.
    Labels(Vec<bool>),
    /// Regression targets.
    Numbers(Vec<f32>),
    /// The tag of each token, [`IGNORED`] where none is asked for.
    Tags(Vec<i64>),
    /// Extractive question answering: the first and the last token of the answer.
    Span(u32, u32),
    /// Its segments and their places.
    Order(Vec<Segment>),
}

/// A batch on the host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextHostBatch {
    /// The input.
    pub text: HostText,
    /// Its layout in tokens.
    pub layout: Layout,
    /// Sentinel tokens of the vocabulary.
    pub sentinels: Vec<u32>,
    /// Name of the task of all, where it has one.
    pub task: Option<Arc<str>>,
    /// Labels of each text, or of each group.
    pub labels: Option<Labels>,
    /// Targets of sequence-to-sequence examples.
    pub target: Option<Target>,
}

/// Labels of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// Class ids, `[batch]`.
    Classes(Vec<u32>),
    /// Multi-label targets, `[batch, labels]`.
    Labels(Vec<Vec<bool>>),
    /// Regression targets, `[batch, numbers]`.
    Numbers(Vec<Vec<f32>>),
    /// Tags of tokens, [`IGNORED`] where none is asked for, `[batch, tokens]`.
    Tags(Vec<i64>),
    /// First and last token of each answer, `[batch]`.
    Spans(Vec<(u32, u32)>),
    /// Segments and their places, of each text.
    Orders(Vec<Vec<Segment>>),
}

/// Sequence-to-sequence targets of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Decoder input: the start token, then the target but its last token (teacher forcing).
    pub decoder_input: HostText,
    /// Labels: the next token at each place, [`IGNORED`] after the end, `[batch, tokens]`.
    pub labels: Vec<i64>,
}

/// Collates examples into a batch, padded to the longest.
pub fn collate(examples: &[Example], special: &SpecialIds) -> TextHostBatch {
    let pad = special.pad.unwrap_or(0);
    // The same number of others for each.
    let others = examples.iter().map(|example| example.others.len()).min().unwrap_or(0);
    let rows: Vec<&Example> = examples
        .iter()
        .flat_map(|example| std::iter::once(example).chain(example.others.iter().take(others)))
        .collect();
    let ids: Vec<Vec<u32>> = rows.iter().map(|row| row.ids.clone()).collect();
    let mut text = HostText::of(&ids, pad);
    let tokens = text.tokens;
    let flags = |of: fn(&Example) -> &Vec<bool>, own: bool, missing: bool| {
        if rows.iter().all(|row| of(row).is_empty()) {
            return None;
        }
        let row = |row: &&Example| {
            let mut flags = of(row).clone();
            if flags.is_empty() {
                flags.resize(row.ids.len(), own);
            }
            padded(&flags, tokens, missing)
        };
        Some(rows.iter().flat_map(row).collect())
    };
    if rows.iter().any(|row| !row.types.is_empty()) {
        text.types = rows.iter().flat_map(|row| padded(&row.types, tokens, 0)).collect();
    }
    if rows.iter().any(|row| row.documents.len() > 1) {
        for (number, row) in rows.iter().enumerate() {
            let first = (number * tokens) as u32;
            text.documents.push(first);
            let inside = row.documents.iter().filter(|start| **start > 0);
            text.documents.extend(inside.map(|start| first + start));
        }
        text.documents.push((rows.len() * tokens) as u32);
    }
    let task = examples.first().and_then(|example| example.task.clone());
    // A batch of several tasks has no labels: each head knows one task.
    let of_one = examples.iter().all(|example| example.task == task);
    let labels: Option<Vec<&Label>> =
        examples.iter().map(|example| example.label.as_ref().filter(|_| of_one)).collect();
    let targets: Option<Vec<&Vec<u32>>> =
        examples.iter().map(|example| example.target.as_ref()).collect();
    let start = special.start();
    let lexicon = rows.iter().any(|row| !row.lexicon_spans.is_empty());
    let layout = Layout {
        lengths: (!text.pad.is_empty())
            .then(|| (0..text.batch).map(|row| text.length(row)).collect()),
        special_tokens_mask: flags(|example| &example.special_tokens_mask, false, true),
        word_starts: flags(|example| &example.word_starts, true, true),
        loss_mask: flags(|example| &example.loss_mask, true, false),
        documents: (!text.documents.is_empty())
            .then(|| text.documents.iter().map(|start| *start as usize).collect()),
        lexicon_spans: lexicon.then(|| rows.iter().map(|row| row.lexicon_spans.clone()).collect()),
        group_size: others + 1,
        ..Layout::new(text.batch, tokens)
    };
    TextHostBatch {
        layout,
        sentinels: special.sentinels(),
        task,
        labels: labels.and_then(|labels| together(&labels, tokens)),
        target: targets.map(|targets| shift_right(&targets, start, pad)),
        text,
    }
}

fn padded<T: Copy>(values: &[T], tokens: usize, missing: T) -> Vec<T> {
    let mut values = values.to_vec();
    values.resize(tokens, missing);
    values
}

/// Labels of one kind; `None` where there are several.
fn together(labels: &[&Label], tokens: usize) -> Option<Labels> {
    macro_rules! all {
        ($kind:path, $found:pat => $value:expr) => {
            labels
                .iter()
                .map(|label| match label {
                    $found => Some($value),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
                .map($kind)
        };
    }
    match labels.first()? {
        Label::Class(_) => all!(Labels::Classes, Label::Class(class) => *class),
        Label::Labels(_) => all!(Labels::Labels, Label::Labels(labels) => labels.clone()),
        Label::Numbers(_) => all!(Labels::Numbers, Label::Numbers(numbers) => numbers.clone()),
        Label::Span(..) => all!(Labels::Spans, Label::Span(first, last) => (*first, *last)),
        Label::Order(_) => all!(Labels::Orders, Label::Order(segments) => segments.clone()),
        Label::Tags(_) => {
            let rows = labels.iter().map(|label| match label {
                Label::Tags(tags) => Some(padded(tags, tokens, IGNORED)),
                _ => None,
            });
            let rows: Option<Vec<Vec<i64>>> = rows.collect();
            rows.map(|rows| Labels::Tags(rows.concat()))
        }
    }
}

/// Targets as decoder input and labels (teacher forcing).
fn shift_right(targets: &[&Vec<u32>], start: u32, pad: u32) -> Target {
    let shifted = |text: &&Vec<u32>| {
        let before = text.iter().take(text.len().saturating_sub(1));
        std::iter::once(start).chain(before.copied()).collect::<Vec<u32>>()
    };
    let decoder_input = HostText::of(&targets.iter().map(shifted).collect::<Vec<_>>(), pad);
    let labels = |text: &&Vec<u32>| {
        let ids: Vec<i64> = text.iter().map(|id| i64::from(*id)).collect();
        padded(&ids, decoder_input.tokens, IGNORED)
    };
    Target { labels: targets.iter().flat_map(labels).collect(), decoder_input }
}

impl HostBatch for TextHostBatch {
    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn token_ids(&self) -> Vec<Vec<u32>> {
        (0..self.text.batch).map(|row| self.text.text(row).collect()).collect()
    }

    fn sentinels(&self) -> Vec<u32> {
        self.sentinels.clone()
    }

    fn split_half(&self) -> Option<[Layout; 2]> {
        let halves = self.halves()?;
        Some(halves.map(|half| collate(&half, &SpecialIds::default()).layout))
    }
}

impl TextHostBatch {
    /// Number of tokens without padding, targets included.
    pub fn tokens(&self) -> usize {
        let seen = |text: &HostText| (0..text.batch).map(|row| text.length(row)).sum::<usize>();
        let target = self.target.as_ref();
        seen(&self.text) + target.map_or(0, |target| seen(&target.decoder_input))
    }

    /// The first and the second halves of its texts; the former are the longer. `None` where no text
    /// is long enough.
    pub(crate) fn halves(&self) -> Option<[Vec<Example>; 2]> {
        let tokens = self.text.tokens;
        let part = |row: usize, part: Range<usize>| {
            let part = row * tokens + part.start..row * tokens + part.end;
            let flags = |flags: &Option<Vec<bool>>| {
                let flags = flags.as_ref().and_then(|flags| flags.get(part.clone()));
                flags.unwrap_or_default().to_vec()
            };
            Example {
                ids: self.text.ids[part.clone()].to_vec(),
                special_tokens_mask: flags(&self.layout.special_tokens_mask),
                word_starts: flags(&self.layout.word_starts),
                types: self.text.types.get(part.clone()).unwrap_or_default().to_vec(),
                ..Example::default()
            }
        };
        let rows = 0..self.text.batch;
        let length = |row: usize| self.text.length(row);
        let half = |row: usize| length(row).div_ceil(2);
        let first = rows.clone().map(|row| part(row, 0..half(row))).collect();
        let second = rows.clone().map(|row| part(row, half(row)..length(row))).collect();
        rows.into_iter().any(|row| half(row) < length(row)).then_some([first, second])
    }

    /// Uploads it for a model with this embedding.
    pub fn upload<B: Backend>(
        self,
        embedding: &EmbeddingConfig,
        device: &B::Device,
    ) -> TextBatch<B> {
        let target = self.target.as_ref();
        let decoder_input = target.map(|target| target.decoder_input.upload(embedding, device));
        TextBatch { text: self.text.upload(embedding, device), decoder_input, host: self }
    }
}

/// A batch on a device.
#[derive(Debug, Clone)]
pub struct TextBatch<B: Backend> {
    /// The input.
    pub text: Text<B>,
    /// Decoder input.
    pub decoder_input: Option<Text<B>>,
    /// The batch on the host.
    pub host: TextHostBatch,
}

impl<B: Backend> HostBatch for TextBatch<B> {
    fn layout(&self) -> Layout {
        self.host.layout()
    }

    fn token_ids(&self) -> Vec<Vec<u32>> {
        self.host.token_ids()
    }

    fn sentinels(&self) -> Vec<u32> {
        self.host.sentinels()
    }

    fn split_half(&self) -> Option<[Layout; 2]> {
        self.host.split_half()
    }
}

impl<B: Backend> TextBatch<B> {
    /// Its device.
    pub fn device(&self) -> B::Device {
        self.text.ids.device()
    }

    /// Rows whose label is counted, and their labels.
    pub(crate) fn counted(&self, labels: &[i64]) -> (Tensor<B, 1, Int>, Tensor<B, 1, Int>, usize) {
        let rows = (0..labels.len()).filter(|row| labels[*row] != IGNORED);
        let rows: Vec<i64> = rows.map(|row| row as i64).collect();
        let kept: Vec<i64> = labels.iter().copied().filter(|label| *label != IGNORED).collect();
        let count = rows.len();
        let upload =
            |values: Vec<i64>| Tensor::from_data(TensorData::new(values, [count]), &self.device());
        (upload(rows), upload(kept), count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_texts_are_padded_and_documents_counted_through() {
        let special = SpecialIds { pad: Some(9), bos: Some(1), ..SpecialIds::default() };
        let long = Example {
            ids: vec![1, 2, 3, 4],
            special_tokens_mask: vec![true, false, false, true],
            documents: vec![0, 3],
            label: Some(Label::Tags(vec![0, 1, 2, 3])),
            target: Some(vec![5, 6, 7]),
            ..Example::default()
        };
        let short = Example {
            ids: vec![5, 6],
            label: Some(Label::Tags(vec![4, 5])),
            target: Some(vec![8]),
            ..Example::default()
        };
        let batch = collate(&[long.clone(), short.clone()], &special);
        assert_eq!(batch.text.ids, [1, 2, 3, 4, 5, 6, 9, 9]);
        let mask = [true, false, false, true, false, false, true, true];
        assert_eq!(batch.layout.special_tokens_mask, Some(mask.to_vec()));
        assert_eq!(batch.text.documents, [0, 3, 4, 8]);
        assert_eq!(batch.labels, Some(Labels::Tags(vec![0, 1, 2, 3, 4, 5, IGNORED, IGNORED])));
        let target = batch.target.clone().unwrap();
        assert_eq!(target.decoder_input.ids, [1, 5, 6, 1, 9, 9]);
        assert_eq!(target.labels, [5, 6, 7, 8, IGNORED, IGNORED]);
        assert_eq!(batch.tokens(), 6 + 4);
        let [first, second] = batch.halves().unwrap();
        assert_eq!((&first[0].ids[..], &first[1].ids[..]), (&[1, 2][..], &[5][..]));
        assert_eq!((&second[0].ids[..], &second[1].ids[..]), (&[3, 4][..], &[6][..]));
        assert_eq!(
            (&second[0].special_tokens_mask[..], &second[1].special_tokens_mask[..]),
            (&[false, true][..], &[false][..])
        );
        let other = Example { label: Some(Label::Class(0)), ..short.clone() };
        assert_eq!(collate(&[long.clone(), other], &special).labels, None);
        let elsewhere = Example { task: Some("other".into()), ..short };
        assert_eq!(collate(&[long, elsewhere], &special).labels, None);
    }
}
