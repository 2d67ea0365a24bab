//! Extractive question answering.

use super::subject::Subject;
use crate::labelled::{LabelledTask, Row};
use kiln_core::Backend;
use kiln_datasets::labelled::Question;
use kiln_lm::{examples::Example, predict::Prediction};
use kiln_metrics::{
    qa::{AnswerScore, score_answer},
    words::jaccard,
};
use kiln_train::{results::ResultRow, task::TaskError};
use ndarray::Array2;
use std::ops::Range;

/// Tokens of an answer at most.
const ANSWER: usize = 30;

impl<B: Backend> Subject<'_, B> {
    /// Extractive question answering: exact match and F1; the baseline is the sentence most similar
    /// to the question.
    pub(super) fn span_qa(&self, task: &LabelledTask<'_>) -> Result<Vec<ResultRow>, TaskError> {
        let encoder = task.encoder(self.tokenizer);
        let questions: Vec<&Question> = task
            .rows
            .test
            .iter()
            .filter_map(|row| match row {
                Row::Question(question) => Some(question),
                _ => None,
            })
            .collect();
        let mut pieces = Vec::new();
        for (number, question) in questions.iter().enumerate() {
            let parts = encoder.question(&question.question, &question.context)?;
            pieces.extend(parts.into_iter().map(|piece| (number, piece)));
        }
        let examples: Vec<Example> =
            pieces.iter().map(|(_, piece)| piece.example.clone()).collect();
        let mut best: Vec<(f32, &str)> = vec![(f32::MIN, ""); questions.len()];
        for (prediction, (number, piece)) in self.predictions(&examples).iter().zip(&pieces) {
            let Prediction::Tokens(scores) = prediction else { continue };
            if let Some((score, first, last)) = span(scores, &piece.bytes)
                && score > best[*number].0
            {
                let bytes = piece.bytes[first].start..piece.bytes[last].end;
                best[*number] = (score, questions[*number].context.get(bytes).unwrap_or_default());
            }
        }
        let (mut model, mut sentence) = (Vec::new(), Vec::new());
        for (question, (_, found)) in questions.iter().zip(&best) {
            let accepted: Vec<&str> = question.answers.iter().map(|one| &one.text[..]).collect();
            model.push(score_answer(found, &accepted));
            let sentences = question.context.split_inclusive(['.', '!', '?', '。', '！', '？']);
            let near = sentences.max_by(|a, b| {
                jaccard(&question.question, a).total_cmp(&jaccard(&question.question, b))
            });
            sentence.push(score_answer(near.unwrap_or_default().trim(), &accepted));
        }
        let row = |metric: &str, of: fn(&AnswerScore) -> f64| {
            let mean = |scores: &[AnswerScore]| {
                scores.iter().map(of).sum::<f64>() / scores.len().max(1) as f64
            };
            self.row(
                "questions",
                "test",
                metric,
                mean(&model),
                &[("likest sentence", mean(&sentence))],
            )
        };
        Ok(vec![row("exact", |score| score.exact), row("f1", |score| score.f1)])
    }
}

/// The likeliest span of a text's tokens, by the sum of the scores `[tokens, 2]` of its ends: only
/// tokens that stand for something, and not too many.
fn span(scores: &Array2<f32>, bytes: &[Range<usize>]) -> Option<(f32, usize, usize)> {
    let inside = |at: &usize| bytes.get(*at).is_some_and(|bytes| !bytes.is_empty());
    let firsts = (0..scores.nrows()).filter(inside);
    let spans = firsts.flat_map(|first| {
        let lasts = (first..scores.nrows().min(first + ANSWER)).filter(inside);
        lasts.map(move |last| (scores[[first, 0]] + scores[[last, 1]], first, last))
    });
    spans.max_by(|a, b| a.0.total_cmp(&b.0))
}
