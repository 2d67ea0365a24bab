//! Similarity, reranking and preference evaluation.

use super::{retrieval::mean, subject::Subject};
use crate::{
    embed::Reranker,
    labelled::{LabelledTask, Row, Rows},
};
use kiln_core::{Backend, LossMean};
use kiln_lm::examples::Example;
use kiln_metrics::ranking::{Bm25, Gain, Ranked, rank};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};
use std::collections::HashMap;

/// Rank cut-off.
const TOP: usize = 10;

impl<B: Backend> Subject<'_, B> {
    /// Semantic similarity: correlation with the scores of pairs; without scores, retrieval of each
    /// text's other half among those of all and the hard negatives.
    pub(super) fn similarity(
        &self,
        rows: &Rows,
        examples: &[Example],
    ) -> Result<Vec<ResultRow>, TaskError> {
        // The positive of each, then its negatives.
        let mut others: Vec<Example> =
            examples.iter().filter_map(|example| example.others.first().cloned()).collect();
        others.extend(examples.iter().flat_map(|example| example.others.iter().skip(1).cloned()));
        let progress = Progress::new(&self.evaluation.name, examples.len() + others.len(), "texts");
        let watch = |count| progress.advance(count);
        let anchors = self.model.vectors(examples, self.device, watch);
        let others = self.model.vectors(&others, self.device, watch);
        progress.finish();
        let anchors: Vec<Vec<f32>> = anchors.into_iter().map(unit).collect();
        let others: Vec<Vec<f32>> = others.into_iter().map(unit).collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        if examples.iter().all(|example| example.label.is_some()) {
            let cosines = anchors.iter().zip(&others).map(|(a, b)| f64::from(dot(a, b)));
            return self.correlation("similarity", rows, &cosines.collect::<Vec<_>>());
        }
        let halves: Vec<(&str, Vec<&str>)> = rows.test.iter().filter_map(Row::halves).collect();
        let own = halves.iter().filter_map(|(_, others)| others.first().copied());
        let negatives = halves.iter().flat_map(|(_, others)| others.iter().skip(1).copied());
        let texts: Vec<&str> = own.chain(negatives).collect();
        let mut copies: HashMap<&str, usize> = HashMap::new();
        texts.iter().for_each(|text| *copies.entry(text).or_default() += 1);
        let by_words = Bm25::new(texts.iter().copied());
        // Several queries may share a positive: any copy counts as right.
        let grades = |scores: &[f32], own: usize| {
            let right = |other: &usize| u32::from(texts[*other] == texts[own]);
            let grades = rank(scores).iter().map(right).collect();
            Ranked { grades, relevant: vec![1; copies[texts[own]]] }
        };
        let (mut model, mut words) = (Vec::new(), Vec::new());
        for (own, anchor) in anchors.iter().enumerate() {
            let scores: Vec<f32> = others.iter().map(|other| dot(anchor, other)).collect();
            model.push(grades(&scores, own));
            words.push(grades(&by_words.scores(halves[own].0), own));
        }
        let row = |metric: &str, of: &dyn Fn(&Ranked) -> Option<f64>| {
            let beside = [("BM25", mean(&words, of))];
            self.row("retrieval", "test", metric, mean(&model, of), &beside)
        };
        Ok(vec![
            row("mrr@10", &|ranked| ranked.reciprocal_rank(TOP)),
            row("ndcg@10", &|ranked| ranked.ndcg(TOP, Gain::default())),
        ])
    }

    /// Reranking: accuracy and MRR of the relevant candidate of each query.
    pub(super) fn reranking(&self, task: &LabelledTask<'_>) -> Result<Vec<ResultRow>, TaskError> {
        let rows = &task.rows;
        let in_words = task.ranks_in_words().then(|| task.data.ranking.clone());
        let encoder = task.encoder(self.tokenizer);
        let reranker = Reranker::new(self.model.clone(), encoder, in_words, self.device)?;
        let pairs: Vec<(&str, &str)> = rows.test.iter().flat_map(Row::candidates).collect();
        let progress = Progress::new(&self.evaluation.name, pairs.len(), "pairs");
        let scores = reranker.scores(&pairs, |more| progress.advance(more))?;
        progress.finish();
        let mut left = scores.into_iter();
        // Words of a query and of what is looked through, whichever of both there are several of.
        let words = Bm25::new(rows.test.iter().flat_map(|row| match row {
            Row::Queries(row) => vec![&row.anchor[..]],
            row => row.halves().map(|(_, others)| others).unwrap_or_default(),
        }));
        let (mut model, mut by_words, mut chance, mut place) = (Vec::new(), Vec::new(), 0.0, 0);
        for row in &rows.test {
            let Some((text, others)) = row.halves() else { continue };
            let scores: Vec<f32> = left.by_ref().take(others.len()).collect();
            let shared: Vec<f32> = if let Row::Queries(_) = row {
                place += 1;
                others.iter().map(|query| words.scores(query)[place - 1]).collect()
            } else {
                place += others.len();
                words.scores(text)[place - others.len()..place].to_vec()
            };
            chance += 1.0 / others.len() as f64;
            // The positive is last, so that it does not win ties.
            let graded = |scores: &[f32]| {
                let scores: Vec<f32> = scores.iter().rev().copied().collect();
                let answers = |at: &usize| u32::from(at + 1 == scores.len());
                Ranked { grades: rank(&scores).iter().map(answers).collect(), relevant: vec![1] }
            };
            model.push(graded(&scores));
            by_words.push(graded(&shared));
        }
        let first = |ranked: &Ranked| ranked.recall(1);
        let reciprocal = |ranked: &Ranked| ranked.reciprocal_rank(TOP);
        let of = |ranked: &[Ranked]| (mean(ranked, &first), mean(ranked, &reciprocal));
        let ((right, mrr), (shared, shared_mrr)) = (of(&model), of(&by_words));
        let by_chance = chance / model.len() as f64;
        let beside = [("BM25", shared), ("any order", by_chance)];
        Ok(vec![
            self.row("reranking", "test", "accuracy", right, &beside),
            self.row("reranking", "test", "mrr@10", mrr, &[("BM25", shared_mrr)]),
        ])
    }

    /// Correlation of the log-likelihood of texts, a mean over tokens, with their scores.
    pub(super) fn scored_likelihood(
        &self,
        rows: &Rows,
        examples: &[Example],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let progress = Progress::new(&self.evaluation.name, examples.len(), "texts");
        let mut likely = Vec::with_capacity(examples.len());
        for example in examples {
            // Without predicted tokens the likelihood is 1.
            likely.push(-self.nats(example)?.mean().unwrap_or(0.0));
            progress.advance(1);
        }
        progress.finish();
        self.correlation("likelihood", rows, &likely)
    }

    /// The negative log-likelihood of a text's next tokens, in nats.
    fn nats(&self, example: &Example) -> Result<LossMean, TaskError> {
        let mut nats = LossMean::default();
        nats.add(&self.model.next_token_loss(std::slice::from_ref(example), self.device)?);
        Ok(nats)
    }

    /// Preference accuracy: how often the chosen answer is more likely than the rejected one; the
    /// baseline prefers the shorter one.
    pub(super) fn preference(&self, examples: &[Example]) -> Result<Vec<ResultRow>, TaskError> {
        let progress = Progress::new(&self.evaluation.name, examples.len(), "pairs");
        let (mut right, mut shorter) = (0.0, 0.0);
        for example in examples {
            let Some(other) = example.others.first() else { continue };
            let alone = |one: &Example| Example { others: Vec::new(), ..one.clone() };
            let (chosen, rejected) =
                (self.nats(&alone(example))?.sum(), self.nats(&alone(other))?.sum());
            right += f64::from(u8::from(chosen < rejected));
            shorter += f64::from(u8::from(example.ids.len() < other.ids.len()));
            progress.advance(1);
        }
        progress.finish();
        let count = examples.len().max(1) as f64;
        let beside = [("the shorter", shorter / count)];
        Ok(vec![self.row("preference", "test", "accuracy", right / count, &beside)])
    }
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}
