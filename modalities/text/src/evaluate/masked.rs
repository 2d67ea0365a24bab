//! Masked-token and span-denoising evaluation. Pseudo-perplexity is after
//! <https://arxiv.org/abs/1910.14659>, which masks one token at a time; here a share of all.

use super::{language::BATCH, subject::Subject};
use crate::data::StageData;
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{Backend, Encode as _, LossMean, PredictTokens, Rng, StepContext};
use kiln_lm::examples::{Example, TextBatch, collate};
use kiln_objectives::{Denoising, Masked, Objective, ObjectiveSpec as _};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};

impl<B: Backend> Subject<'_, B> {
    /// Cross-entropy, pseudo-perplexity and accuracy of masked tokens.
    pub(super) fn masked(
        &self,
        data: &StageData,
        kept: &[Example],
        mask_ratio: f64,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let masked = Masked { ratio: mask_ratio, ..Masked::default() };
        let name = &self.evaluation.name;
        let objective = Objective::Masked(masked.clone());
        objective.validate().map_err(|error| format!("evaluation `{name}`: {error}"))?;
        let progress = Progress::new(name, kept.len(), "sequences");
        let ngrams = self.train_ngrams(data, |example| vec![example.ids])?;
        let special = self.tokenizer.special().ids();
        let frequent = ngrams.most_frequent(|id| !special.contains(&id));
        let (mut count, mut nats, mut right, mut often) = (0usize, 0.0, 0.0, 0usize);
        let mut guesses = [("unigram", 1, 0.0), ("trigram", 3, 0.0)];
        for (number, examples) in kept.chunks(BATCH).enumerate() {
            let batch = self.batch(examples);
            let mut rng = self.drawn("hidden", number);
            let drawn = masked.draw(&batch, &mut StepContext::new(&mut rng));
            let chosen = &drawn.chosen;
            let tokens = batch.host.text.tokens;
            for at in (0..chosen.len()).filter(|at| chosen[*at]) {
                let ids = &examples[at / tokens].ids;
                often += usize::from(ids.get(at % tokens).copied() == frequent);
                for (_, order, sum) in &mut guesses {
                    *sum += ngrams.nats_at(ids, at % tokens, *order);
                }
            }
            let values = self.model.encode(&batch, &drawn.corruption(self.device), None).values;
            let [rows, _, width] = values.dims();
            let at: Vec<i64> =
                (0..chosen.len()).filter(|at| chosen[*at]).map(|at| at as i64).collect();
            progress.advance(examples.len());
            if at.is_empty() {
                continue;
            }
            let asked = at.len();
            let at = Tensor::<B, 1, Int>::from_data(TensorData::new(at, [asked]), self.device);
            let ids = batch.text.ids.clone().reshape([rows * tokens]).select(0, at.clone());
            let values = values.reshape([rows * tokens, width]).select(0, at);
            let logits = PredictTokens::predict(self.model, 0, values.clone().unsqueeze_dim(0));
            let found = logits.argmax(2).reshape([asked]).equal(ids.clone()).int().sum();
            right += found.into_data().iter::<f64>().sum::<f64>();
            let losses = self.model.token_nll(0, values, ids);
            nats += losses.sum().into_data().iter::<f64>().sum::<f64>();
            count += asked;
        }
        progress.finish();
        let mean = |sum: f64| sum / count.max(1) as f64;
        let guesses = guesses.map(|(name, _, sum)| (name, mean(sum)));
        let frequent = [("most frequent", mean(often as f64))];
        let row = |metric: &str, value: f64, beside: &[(&str, f64)]| {
            self.row("language", "validation", metric, value, beside)
        };
        let perplexities = guesses.map(|(name, nats)| (name, nats.exp()));
        Ok(vec![
            row("masked-cross-entropy", mean(nats), &guesses),
            row("pseudo-perplexity", mean(nats).exp(), &perplexities),
            row("masked-accuracy", mean(right), &frequent),
        ])
    }

    /// T5 span denoising: cross-entropy and perplexity of the target spans with their sentinels.
    pub(super) fn span_denoising(
        &self,
        data: &StageData,
        kept: &[Example],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let name = &self.evaluation.name;
        let special = &self.model.config().special;
        if special.sentinels.is_none() {
            let problem = "the tokenizer has no sentinels that stand for what is taken out";
            return Err(format!("evaluation `{name}`: {problem}").into());
        }
        let denoising = Denoising::default();
        let objective = Objective::Denoising(denoising.clone());
        // The targets, after the decoder's start token.
        let start = special.start();
        let targets = |batch: &TextBatch<B>, rng: &mut Rng| {
            let pairs = denoising.draw(batch, &mut StepContext::new(rng));
            let whole = |write: Vec<u32>| [&[start][..], &write, special.eos.as_slice()].concat();
            pairs.into_iter().map(|one| whole(one.target)).collect::<Vec<_>>()
        };
        let mut number = 0;
        let ngrams = self.train_ngrams(data, |example| {
            number += 1;
            targets(&self.batch(&[example]), &mut self.drawn("counted spans", number))
        })?;
        let progress = Progress::new(name, kept.len(), "sequences");
        let (mut nats, mut all) = (LossMean::default(), Vec::new());
        for (number, examples) in kept.chunks(BATCH).enumerate() {
            let batch = self.batch(examples);
            let mut rng = self.drawn("spans", number);
            let mut context = StepContext::new(&mut rng);
            nats.add(&objective.loss(self.model, None, &batch, &mut context)?);
            all.extend(targets(&batch, &mut self.drawn("spans", number)));
            progress.advance(examples.len());
        }
        progress.finish();
        let guess = |order| ngrams.nats(all.iter().map(|ids| (&ids[..], &[][..])), order);
        let guesses = [("unigram", guess(1)), ("trigram", guess(3))];
        let mean = self.mean_of(&nats)?;
        let row = |metric: &str, of: &dyn Fn(f64) -> f64| {
            let guesses = guesses.map(|(name, nats)| (name, of(nats)));
            self.row("language", "validation", metric, of(mean), &guesses)
        };
        Ok(vec![row("span-cross-entropy", &|nats| nats), row("span-perplexity", &f64::exp)])
    }

    fn batch(&self, examples: &[Example]) -> TextBatch<B> {
        let config = self.model.config();
        collate(examples, &config.special).upload(&config.embedding, self.device)
    }

    /// Random numbers of a batch, the same for each model.
    fn drawn(&self, what: &str, number: usize) -> Rng {
        self.seed.part(what).at(number as u64).rng()
    }
}
