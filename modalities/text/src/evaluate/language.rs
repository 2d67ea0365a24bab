//! How well a decoder knows what comes next.

use super::Subject;
use crate::{data, examples::Example, ngram::Ngrams, recipe::LanguageEvaluation};
use kiln_core::{Backend, LossMean, Size};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};

/// Sequences of a batch.
const BATCH: usize = 16;
/// Training sequences that n-grams are counted in, at most.
const COUNTED: u64 = 20_000;

impl<B: Backend> Subject<'_, B> {
    /// Cross-entropy, perplexity and bits a byte of the text kept for validation.
    pub(super) fn language(
        &self,
        settings: &LanguageEvaluation,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let Self { model, seed, device, .. } = *self;
        let all = self.recipe.last_data();
        let one = settings.source.map(|source| all.of_source(source));
        let data = data::open(one.as_ref().unwrap_or(all), self.tokenizer.clone(), 1, seed)?;
        let kept: Vec<&Example> = data.validation.iter().flat_map(|held| &held.examples).collect();
        let step = kept.len().div_ceil(settings.limit.max(1)).max(1);
        let kept: Vec<&Example> = kept.into_iter().step_by(step).collect();
        if kept.is_empty() {
            let name = &self.evaluation.name;
            let problem =
                format!("evaluation `{name}`: `data.validation` keeps nothing to measure on");
            return Err(problem.into());
        }
        let progress = Progress::new(&self.evaluation.name, kept.len(), "sequences");
        let (mut nats, mut bytes) = (LossMean::default(), 0usize);
        for examples in kept.chunks(BATCH) {
            let examples: Vec<Example> = examples.iter().map(|one| (*one).clone()).collect();
            nats.add(&model.next_token_loss(&examples, device));
            for example in &examples {
                // The first token is never predicted.
                let predicted = example.ids.iter().enumerate().skip(1);
                let predicted =
                    predicted.filter(|(at, _)| example.counted.get(*at) != Some(&false));
                let predicted: Vec<u32> = predicted.map(|(_, id)| *id).collect();
                bytes += data.tokenizer.decode(&predicted, true)?.len();
            }
            progress.advance(examples.len());
        }
        progress.finish();

        let counted = match data.train.size() {
            Size::Known(size) => size.min(COUNTED),
            Size::Endless => COUNTED.min(2000),
        };
        let mut ngrams = Ngrams::new(model.config().vocabulary);
        for index in 0..counted {
            ngrams.count(&data.train.example(index)?.ids);
        }
        let guesses: Vec<(&str, f64)> = [("unigram", 1), ("trigram", 3)]
            .map(|(name, order)| {
                let kept = kept.iter().map(|one| (&one.ids[..], &one.counted[..]));
                (name, ngrams.nats(kept, order))
            })
            .to_vec();
        let mean = nats.mean();
        let a_byte = nats.count() as f64 / bytes.max(1) as f64 / std::f64::consts::LN_2;
        let row = |metric: &str, of: &dyn Fn(f64) -> f64| {
            let guesses: Vec<(&str, f64)> =
                guesses.iter().map(|(name, nats)| (*name, of(*nats))).collect();
            self.row("language", "validation", metric, of(mean), &guesses)
        };
        Ok(vec![
            row("cross-entropy", &|nats| nats),
            row("perplexity", &f64::exp),
            row("bits-per-byte", &|nats| nats * a_byte),
        ])
    }
}
