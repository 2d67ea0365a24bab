//! Generative question answering: likelihood of right answers, exact match and F1 of generated
//! ones.

use super::{seq2seq::GENERATION_BATCH, subject::Subject};
use kiln_core::{Backend, LossMean, SourceTarget};
use kiln_lm::{
    examples::Example,
    generate::{Generation, Verdict},
};
use kiln_metrics::classification::most_frequent;
use kiln_objectives::Reward;
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};

/// Tokens that an answer may have beyond the longest reference.
const MARGIN: usize = 8;

impl<B: Backend> Subject<'_, B> {
    /// Cross-entropy of reference answers, with a uniform guess as the baseline; exact match and
    /// token F1 of greedy answers, with the most frequent training answer as the baseline.
    pub(super) fn qa(
        &self,
        train: &[Example],
        test: &[Example],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let mut nats = LossMean::default();
        for examples in test.chunks(GENERATION_BATCH) {
            nats.add(&self.model.next_token_loss(examples, self.device)?);
        }
        let nats = self.mean_of(&nats)?;
        let uniform = (self.model.config().vocabulary as f64).ln();
        let mut rows =
            vec![self.row("answers", "test", "cross-entropy", nats, &[("any token", uniform)])];
        let answer =
            |example: &Example| SourceTarget::last_completion(&example.ids, &example.loss_mask);
        let asked: Vec<SourceTarget> = test.iter().filter_map(answer).collect();
        let usual = most_frequent(train.iter().filter_map(answer).map(|one| one.target));
        let usual = usual.unwrap_or_default();
        let answers = self.generate_answers(&asked)?;
        for (name, reward) in [("exact", Reward::Exact), ("token-f1", Reward::Overlap)] {
            let mean = |answers: &mut dyn Iterator<Item = &Vec<u32>>| {
                let scores =
                    answers.zip(&asked).map(|(answer, asked)| reward.of(answer, &asked.target));
                scores.map(f64::from).sum::<f64>() / asked.len().max(1) as f64
            };
            let model = mean(&mut answers.iter());
            let same = mean(&mut std::iter::repeat(&usual));
            rows.push(self.row("answers", "test", name, model, &[("one answer to all", same)]));
        }
        Ok(rows)
    }

    /// Greedy answers, each with its end token.
    fn generate_answers(&self, asked: &[SourceTarget]) -> Result<Vec<Vec<u32>>, TaskError> {
        let longest = asked.iter().map(|one| one.target.len()).max().unwrap_or(0);
        let generation = Generation { max_new_tokens: longest + MARGIN, ..Generation::default() };
        let progress = Progress::new(&self.evaluation.name, asked.len(), "answers");
        let mut answers = Vec::with_capacity(asked.len());
        for asked in asked.chunks(GENERATION_BATCH) {
            let prompts: Vec<Vec<u32>> = asked.iter().map(|one| one.source.clone()).collect();
            let go_on = |_, _| Verdict::GoOn;
            let generated =
                self.model.generate(&prompts, &generation, self.seed, self.device, go_on)?;
            for mut ids in generated {
                if ids.len() < generation.max_new_tokens {
                    ids.extend(self.model.config().special.eos);
                }
                answers.push(ids);
            }
            progress.advance(asked.len());
        }
        progress.finish();
        Ok(answers)
    }
}
