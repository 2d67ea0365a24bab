//! Text classification and token tagging with a fine-tuned model: `kiln classify` and `kiln tag`.

use crate::{
    embed::{EmbedError, Watch},
    labelled::{Encoder, Words},
    opened,
};
use kiln_core::AutodiffBackend;
use kiln_datasets::{labelled::entities, vectors::Passage};
use kiln_lm::{
    config::{TaskHeadConfig, TaskKind, TextModelConfig},
    examples::Example,
    predict::Prediction,
};
use kiln_metrics::classification::argmax;
use kiln_train::{
    dispatch::{self, OnBackend},
    recipe::Device,
    task::TaskError,
};
use serde::Serialize;
use std::{ops::Range, path::Path, sync::Arc};
use unicode_segmentation::UnicodeSegmentation as _;

/// Texts that are read, and looked at, together, at most, and their bytes.
const TOGETHER: usize = 256;
const BYTES: usize = 1 << 22;
/// Tokens of a text at most, where the model has no limit of its own.
const LONGEST: usize = 512;

/// Whether texts are classified or tokens tagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Text classification or regression: its class, its labels, a number.
    Texts,
    /// Token tagging (NER, POS): a label for words.
    Words,
}

/// The question, and which of a model's heads answers it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The question.
    pub question: Question,
    /// The task that the head was trained for; of the only one that fits if absent.
    pub task: Option<&'a str>,
}

/// A model without a head for the question.
#[derive(Debug, thiserror::Error)]
pub enum AnnotateError {
    /// Its head is for something else.
    #[error(
        "this model has {found}; wanted is one that was fine-tuned for {wanted} \
         (`objective.supervised` over `data.labelled`)"
    )]
    Head {
        /// What is asked.
        wanted: &'static str,
        /// What there is.
        found: &'static str,
    },
    /// It has several heads that could.
    #[error("this model has heads for several tasks; name one with --task: {0}")]
    Several(String),
    /// It has no head of that name.
    #[error("this model has no head for a task `{name}`; it has {heads}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that it has.
        heads: String,
    },
}

impl kiln_core::blame::Blamed for AnnotateError {}

/// The answer for a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Classification: the most probable class, and the probabilities of all.
    Class {
        /// Its name.
        label: String,
        /// From 0 to 1.
        probability: f32,
        /// Of all classes, the likeliest first.
        all: Vec<(String, f32)>,
    },
    /// Multi-label classification: labels above a probability of 0.5, and the probabilities of all.
    Labels {
        /// Their names, the likeliest first.
        labels: Vec<String>,
        /// Of all labels, the likeliest first.
        all: Vec<(String, f32)>,
    },
    /// Regression: numbers, in the order of the head's outputs.
    Numbers {
        /// The numbers.
        values: Vec<f32>,
    },
    /// Tagging: the entities of the text, in its order.
    Mentions {
        /// The mentions.
        mentions: Vec<Mention>,
    },
}

/// An entity mention, or a tagged word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mention {
    /// What it is.
    pub label: String,
    /// How the text has it.
    pub text: String,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
}

/// An input text, alone or as a pair: for entailment, similarity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The text.
    pub passage: Passage,
    /// The other.
    pub second: Option<String>,
}

/// Texts, one after the other.
pub type Texts<'a> = dyn Iterator<Item = Result<Entry, EmbedError>> + 'a;

/// Gets each text back with what is predictions of it.
pub type Take<'a> = dyn FnMut(&Entry, &Answer) -> Result<(), EmbedError> + 'a;

/// How much was annotated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Texts.
    pub texts: usize,
    /// Texts of which the end was left out.
    pub truncated: usize,
}

/// Classifies or tags texts with a fine-tuned model directory.
///
/// # Errors
/// When the model cannot be read or has no such head, a text cannot be read, or someone asks to
/// stop.
pub fn annotate(
    model: &Path,
    device: Device,
    asked: Asked<'_>,
    texts: &mut Texts<'_>,
    take: &mut Take<'_>,
    watch: &mut Watch<'_>,
) -> Result<Summary, TaskError> {
    dispatch::on(device, Work { model, asked, texts, take, watch })?
}

/// A job that waits for its backend.
struct Work<'a, 'b> {
    model: &'a Path,
    asked: Asked<'a>,
    texts: &'a mut Texts<'b>,
    take: &'a mut Take<'b>,
    watch: &'a mut Watch<'b>,
}

impl OnBackend for Work<'_, '_> {
    type Output = Result<Summary, TaskError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let Self { model, asked: Asked { question, task }, texts, take, watch } = self;
        let (tokenizer, model) = opened::open::<B::InnerBackend>(model, &device)?;
        let (name, head) = chosen(model.config(), question, task)?;
        let longest = model.config().longest().unwrap_or(LONGEST);
        let encoder = Encoder::new(Arc::new(tokenizer), longest).of_task(name);
        let mut summary = Summary::default();
        loop {
            let (mut together, mut bytes) = (Vec::new(), 0);
            while together.len() < TOGETHER && bytes < BYTES {
                let Some(entry) = texts.next().transpose()? else { break };
                bytes += entry.passage.text.len();
                together.push(entry);
            }
            if together.is_empty() {
                return Ok(summary);
            }
            let pieces = together
                .iter()
                .map(|entry| pieces(&encoder, entry, question))
                .collect::<Result<Vec<_>, _>>()?;
            let examples: Vec<Example> =
                pieces.iter().flatten().map(|piece| piece.example.clone()).collect();
            let mut predictions = model.predict(&examples, &device, |_| {}).into_iter();
            for (entry, pieces) in together.iter().zip(&pieces) {
                let predictions: Vec<Prediction> =
                    predictions.by_ref().take(pieces.len()).collect();
                take(entry, &answer(head, &entry.passage.text, pieces, &predictions))?;
                summary.texts += 1;
                summary.truncated += usize::from(pieces.iter().any(|piece| piece.truncated));
                if watch(1).is_break() {
                    return Err(EmbedError::Interrupted.into());
                }
            }
        }
    }
}

/// The head that answers the question, with the name of its task where that has one.
fn chosen<'a>(
    config: &'a TextModelConfig,
    question: Question,
    task: Option<&str>,
) -> Result<(Option<&'a str>, &'a TaskHeadConfig), AnnotateError> {
    let heads: Vec<_> = match task {
        Some(_) => config.heads().filter(|(name, _)| *name == task).collect(),
        None => config.heads().collect(),
    };
    if let (Some(name), true) = (task, heads.is_empty()) {
        let heads: Vec<&str> = config.heads().filter_map(|(name, _)| name).collect();
        let heads = if heads.is_empty() { "none with a name".into() } else { heads.join(", ") };
        return Err(AnnotateError::Unknown { name: name.to_owned(), heads });
    }
    let (wanted, fits): (_, fn(TaskKind) -> bool) = match question {
        Question::Words => ("tags", |kind| matches!(kind, TaskKind::Tags(_))),
        Question::Texts => ("classes, labels or numbers", |kind| !kind.is_of_tokens()),
    };
    let fitting: Vec<_> = heads.iter().filter(|(_, head)| fits(head.kind)).collect();
    match fitting[..] {
        [only] => Ok(*only),
        [] => {
            let found = match heads.first().map(|(_, head)| head.kind) {
                Some(TaskKind::Tags(_)) => "a head for tags of words",
                Some(TaskKind::Span) => "a head for answers in a text",
                Some(TaskKind::Order) => "a head for the order of segments",
                Some(_) => "a head for whole texts",
                None => "no head for labels",
            };
            Err(AnnotateError::Head { wanted, found })
        }
        _ => {
            let names: Vec<&str> = fitting.iter().filter_map(|(name, _)| *name).collect();
            Err(AnnotateError::Several(names.join(", ")))
        }
    }
}

/// A part of a text as an example.
struct Piece {
    example: Example,
    /// Its words in the text, with the first token of each; none where it is seen as a whole.
    words: Vec<(Range<usize>, usize)>,
    /// Whether its end was left out.
    truncated: bool,
}

/// A text in as many pieces as its words need; as a whole, cut where it is too long, where that is
/// what is asked for.
fn pieces(encoder: &Encoder, entry: &Entry, question: Question) -> Result<Vec<Piece>, EmbedError> {
    let text = &entry.passage.text;
    if question == Question::Texts {
        let (example, truncated) = encoder.fitted(text, entry.second.as_deref())?;
        return Ok(vec![Piece { example, words: Vec::new(), truncated }]);
    }
    let bounds = text.split_word_bound_indices().filter(|(_, word)| !word.trim().is_empty());
    let bounds: Vec<(usize, &str)> = bounds.collect();
    let words: Vec<&str> = bounds.iter().map(|(_, word)| *word).collect();
    let piece = |Words { example, words, firsts }: Words| {
        let here = bounds[words].iter().zip(firsts);
        let words =
            here.filter_map(|((start, word), first)| Some((*start..start + word.len(), first?)));
        Piece { words: words.collect(), example, truncated: false }
    };
    Ok(encoder.pieces(&words)?.into_iter().map(piece).collect())
}

fn answer(
    head: &TaskHeadConfig,
    text: &str,
    pieces: &[Piece],
    predictions: &[Prediction],
) -> Answer {
    let ranked = |values: Vec<f32>| {
        let mut all: Vec<(String, f32)> =
            values.into_iter().enumerate().map(|(at, value)| (head.name(at), value)).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    };
    match predictions.first() {
        Some(Prediction::Text(scores)) => match head.kind {
            TaskKind::Labels(_) => {
                let all = ranked(scores.iter().map(|score| 1.0 / (1.0 + (-score).exp())).collect());
                let likely = all.iter().take_while(|(_, probability)| *probability > 0.5);
                Answer::Labels { labels: likely.map(|(name, _)| name.clone()).collect(), all }
            }
            TaskKind::Numbers(_) => Answer::Numbers { values: scores.clone() },
            _ => {
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
                let sum: f32 = powers.iter().sum();
                let all = ranked(powers.into_iter().map(|power| power / sum).collect());
                let (label, probability) = all.first().cloned().unwrap_or_default();
                Answer::Class { label, probability, all }
            }
        },
        _ => Answer::Mentions { mentions: mentions(head, text, pieces, predictions) },
    }
}

/// Entities of BIO tags; where tags are plain, each word with its tag.
fn mentions(
    head: &TaskHeadConfig,
    text: &str,
    pieces: &[Piece],
    predictions: &[Prediction],
) -> Vec<Mention> {
    let (mut words, mut tags) = (Vec::new(), Vec::new());
    for (piece, prediction) in pieces.iter().zip(predictions) {
        let Prediction::Tokens(scores) = prediction else { continue };
        for (place, first) in &piece.words {
            let row = scores.outer_iter().nth(*first);
            let best = row.map_or(0, |row| argmax(row.iter().copied()));
            words.push(place.clone());
            tags.push(head.name(best));
        }
    }
    let mention = |label: &str, first: usize, last: usize| {
        let (start, end) = (words[first].start, words[last].end);
        let text = text.get(start..end).unwrap_or_default().to_owned();
        Mention { label: label.to_owned(), text, start, end }
    };
    let begins = (0..head.kind.outputs()).any(|tag| head.name(tag).starts_with("B-"));
    if begins {
        let found = entities(&tags).into_iter();
        return found
            .filter(|entity| !entity.tokens.is_empty())
            .map(|entity| mention(entity.kind, entity.tokens.start, entity.tokens.end - 1))
            .collect();
    }
    tags.iter().enumerate().map(|(at, tag)| mention(tag, at, at)).collect()
}

#[cfg(test)]
mod tests;
