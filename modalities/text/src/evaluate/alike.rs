//! Which texts belong together, and which are likelier.

use super::{Subject, baseline::Bm25};
use crate::{
    examples::Example,
    labelled::{Row, Rows},
    metrics::{Gain, Ranked, rank},
};
use kiln_core::{Backend, LossMean};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};

/// How far down a ranking is looked.
const TOP: usize = 10;

impl<B: Backend> Subject<'_, B> {
    /// Likeness: the order of graded pairs; otherwise whether the other half is found among all.
    pub(super) fn alike(
        &self,
        rows: &Rows,
        examples: &[Example],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let progress = Progress::new(&self.evaluation.name, 2 * examples.len(), "texts");
        let watch = |count| progress.advance(count);
        let anchors = self.model.vectors(examples, self.device, watch);
        let others: Vec<Example> =
            examples.iter().filter_map(|example| example.others.first().cloned()).collect();
        let others = self.model.vectors(&others, self.device, watch);
        progress.finish();
        let anchors: Vec<Vec<f32>> = anchors.into_iter().map(unit).collect();
        let others: Vec<Vec<f32>> = others.into_iter().map(unit).collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        if examples.iter().all(|example| example.label.is_some()) {
            let cosines = anchors.iter().zip(&others).map(|(a, b)| f64::from(dot(a, b)));
            return self.order("similarity", rows, &cosines.collect::<Vec<_>>());
        }
        let texts: Vec<(&str, &str)> = rows
            .test
            .iter()
            .filter_map(|row| match row {
                Row::Pair(pair) => Some((&pair.first[..], &pair.second[..])),
                Row::Triplet(row) => Some((&row.anchor[..], &row.positive[..])),
                _ => None,
            })
            .collect();
        let by_words = Bm25::new(texts.iter().map(|(_, second)| *second));
        // Several queries may have the same answer: any of its copies is right.
        let grades = |scores: &[f32], own: usize| {
            let right = |other: &usize| u32::from(texts[*other].1 == texts[own].1);
            Ranked { grades: rank(scores).iter().map(right).collect(), relevant: vec![1] }
        };
        let (mut model, mut words) = (Vec::new(), Vec::new());
        for (own, anchor) in anchors.iter().enumerate() {
            let scores: Vec<f32> = others.iter().map(|other| dot(anchor, other)).collect();
            model.push(grades(&scores, own));
            words.push(grades(&by_words.scores(texts[own].0), own));
        }
        let row = |metric: &str, of: &dyn Fn(&Ranked) -> Option<f64>| {
            let mean = |ranked: &[Ranked]| {
                ranked.iter().filter_map(of).sum::<f64>() / ranked.len().max(1) as f64
            };
            self.row("retrieval", "test", metric, mean(&model), &[("BM25", mean(&words))])
        };
        Ok(vec![
            row("mrr@10", &|ranked| ranked.reciprocal_rank(TOP)),
            row("ndcg@10", &|ranked| ranked.ndcg(TOP, Gain::default())),
        ])
    }

    /// Whether texts are the likelier the better they are graded: by their mean loss a token.
    pub(super) fn graded(
        &self,
        rows: &Rows,
        examples: &[Example],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let progress = Progress::new(&self.evaluation.name, examples.len(), "texts");
        let likely = examples.iter().map(|example| {
            let mut nats = LossMean::default();
            nats.add(&self.model.next_token_loss(std::slice::from_ref(example), self.device));
            progress.advance(1);
            // Where nothing is predicted, nothing is unlikely.
            -nats.mean().unwrap_or(0.0)
        });
        let likely: Vec<f64> = likely.collect();
        progress.finish();
        self.order("likelihood", rows, &likely)
    }

    /// How often the better answer is the likelier one, beside the shorter one.
    pub(super) fn preferred(&self, examples: &[Example]) -> Result<Vec<ResultRow>, TaskError> {
        let progress = Progress::new(&self.evaluation.name, examples.len(), "pairs");
        let (mut right, mut shorter) = (0.0, 0.0);
        for example in examples {
            let Some(other) = example.others.first() else { continue };
            let [better, worse] = [example, other].map(|one| {
                let alone = Example { others: Vec::new(), ..one.clone() };
                let mut nats = LossMean::default();
                nats.add(&self.model.next_token_loss(&[alone], self.device));
                nats.sum()
            });
            right += f64::from(u8::from(better < worse));
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
