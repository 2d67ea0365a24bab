//! How well a decoder answers: how likely it finds right answers, and what it writes itself.

use super::{Subject, baseline::most_frequent, written::WRITTEN};
use kiln_core::{Backend, LossMean, SourceTarget};
use kiln_lm::{
    examples::Example,
    generate::{Generation, Verdict},
};
use kiln_objectives::Reward;
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};

/// Tokens by which an answer may be longer than the longest right one.
const LONGER: usize = 8;

impl<B: Backend> Subject<'_, B> {
    /// The cross-entropy of right answers, beside that of any token; and how often the likeliest
    /// answer is the right one, and what they share, beside the answer that is right most often.
    pub(super) fn answered(
        &self,
        taught: &[Example],
        asked: &[Example],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let mut nats = LossMean::default();
        for examples in asked.chunks(WRITTEN) {
            nats.add(&self.model.next_token_loss(examples, self.device)?);
        }
        let nats = self.mean_of(&nats)?;
        let even = (self.model.config().vocabulary as f64).ln();
        let mut rows =
            vec![self.row("answers", "test", "cross-entropy", nats, &[("any token", even)])];
        let answer =
            |example: &Example| SourceTarget::last_completion(&example.ids, &example.loss_mask);
        let asked: Vec<SourceTarget> = asked.iter().filter_map(answer).collect();
        let usual = most_frequent(taught.iter().filter_map(answer).map(|one| one.target));
        let usual = usual.unwrap_or_default();
        let said = self.say_answers(&asked)?;
        for (name, reward) in [("exact", Reward::Exact), ("token-f1", Reward::Overlap)] {
            let mean = |said: &mut dyn Iterator<Item = &Vec<u32>>| {
                let worth = said.zip(&asked).map(|(said, asked)| reward.of(said, &asked.target));
                worth.map(f64::from).sum::<f64>() / asked.len().max(1) as f64
            };
            let model = mean(&mut said.iter());
            let same = mean(&mut std::iter::repeat(&usual));
            rows.push(self.row("answers", "test", name, model, &[("one answer to all", same)]));
        }
        Ok(rows)
    }

    /// The likeliest answers, with their ends.
    fn say_answers(&self, asked: &[SourceTarget]) -> Result<Vec<Vec<u32>>, TaskError> {
        let longest = asked.iter().map(|one| one.target.len()).max().unwrap_or(0);
        let generation = Generation { max_new_tokens: longest + LONGER, ..Generation::default() };
        let progress = Progress::new(&self.evaluation.name, asked.len(), "answers");
        let mut said = Vec::with_capacity(asked.len());
        for asked in asked.chunks(WRITTEN) {
            let read: Vec<Vec<u32>> = asked.iter().map(|one| one.source.clone()).collect();
            let go_on = |_, _| Verdict::GoOn;
            let written = self.model.generate(&read, &generation, self.seed, self.device, go_on)?;
            for mut ids in written {
                if ids.len() < generation.max_new_tokens {
                    ids.extend(self.model.config().special.eos);
                }
                said.push(ids);
            }
            progress.advance(asked.len());
        }
        progress.finish();
        Ok(said)
    }
}
