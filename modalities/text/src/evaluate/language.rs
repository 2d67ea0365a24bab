//! Language-modelling evaluation: next-token, masked or span-denoising cross-entropy.

use super::subject::Subject;
use crate::{
    data::{self, StageData},
    recipe::LanguageEvaluation,
};
use kiln_core::{Backend, LossMean, Size};
use kiln_lm::examples::Example;
use kiln_metrics::{ngram::DirichletNgrams, perplexity::Perplexity};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};

/// Sequences of a batch.
pub(super) const BATCH: usize = 16;
/// Training sequences for the n-gram baselines, at most.
const COUNTED: u64 = 20_000;

impl<B: Backend> Subject<'_, B> {
    /// Cross-entropy of the validation text: next tokens of a decoder, masked tokens of an encoder,
    /// denoised spans of an encoder-decoder.
    pub(super) fn language(
        &self,
        settings: &LanguageEvaluation,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let all = self.recipe.last_data();
        let one = settings.source.map(|source| all.of_source(source));
        let tokenizer = self.tokenizer.clone();
        let data = data::open(one.as_ref().unwrap_or(all), tokenizer, 1, self.seed)?;
        let kept: Vec<&Example> = data.validation.iter().flat_map(|held| &held.examples).collect();
        let step = kept.len().div_ceil(settings.limit.max(1)).max(1);
        let kept: Vec<Example> = kept.into_iter().step_by(step).cloned().collect();
        let wrong = |problem: &str| {
            TaskError::from(format!("evaluation `{}`: {problem}", self.evaluation.name))
        };
        if kept.is_empty() {
            return Err(wrong("`data.validation` keeps nothing to measure on"));
        }
        if self.model.language.is_none() {
            return Err(wrong("the model has no head that scores the vocabulary"));
        }
        let config = self.model.config();
        if config.decoder.is_some() {
            return self.span_denoising(&data, &kept);
        }
        if config.generates() {
            self.next_token(&data, &kept)
        } else {
            self.masked(&data, &kept, settings.mask_ratio)
        }
    }

    /// The mean of losses, of which there must be any.
    pub(super) fn mean_of(&self, nats: &LossMean) -> Result<f64, TaskError> {
        nats.mean().ok_or_else(|| {
            let name = &self.evaluation.name;
            format!("evaluation `{name}`: there is nothing to predict in what it measures on")
                .into()
        })
    }

    /// Next-token prediction: cross-entropy, perplexity and bits per byte; the baselines are
    /// n-grams.
    fn next_token(&self, data: &StageData, kept: &[Example]) -> Result<Vec<ResultRow>, TaskError> {
        let progress = Progress::new(&self.evaluation.name, kept.len(), "sequences");
        let (mut nats, mut bytes) = (LossMean::default(), 0u64);
        for examples in kept.chunks(BATCH) {
            nats.add(&self.model.next_token_loss(examples, self.device)?);
            for example in examples {
                // The first token is never predicted.
                let predicted = example.ids.iter().enumerate().skip(1);
                let predicted =
                    predicted.filter(|(at, _)| example.loss_mask.get(*at) != Some(&false));
                let predicted: Vec<u32> = predicted.map(|(_, id)| *id).collect();
                bytes += data.tokenizer.decode(&predicted, true)?.len() as u64;
            }
            progress.advance(examples.len());
        }
        progress.finish();
        let ngrams = self.train_ngrams(data, |example| vec![example.ids])?;
        let guess = |order| {
            let kept = kept.iter().map(|one| (&one.ids[..], &one.loss_mask[..]));
            ngrams.nats(kept, order)
        };
        let guesses = [("unigram", guess(1)), ("trigram", guess(3))];
        let mean = self.mean_of(&nats)?;
        let row = |metric: &str, of: &dyn Fn(&Perplexity) -> Option<f64>| {
            let of = |mean: f64| {
                let tokens = nats.count() as u64;
                let nats = mean * tokens as f64;
                of(&Perplexity { nats, tokens, bytes }).unwrap_or(f64::NAN)
            };
            let guesses = guesses.map(|(name, mean)| (name, of(mean)));
            self.row("language", "validation", metric, of(mean), &guesses)
        };
        Ok(vec![
            row("cross-entropy", &Perplexity::cross_entropy),
            row("perplexity", &Perplexity::perplexity),
            row("bits-per-byte", &Perplexity::bits_per_byte),
        ])
    }

    /// N-gram models of ids that `of` makes of training sequences.
    pub(super) fn train_ngrams(
        &self,
        data: &StageData,
        mut of: impl FnMut(Example) -> Vec<Vec<u32>>,
    ) -> Result<DirichletNgrams, TaskError> {
        let limit = match data.train.size() {
            Size::Known(size) => size.min(COUNTED),
            Size::Endless => COUNTED.min(2000),
        };
        let mut ngrams = DirichletNgrams::new(self.model.config().vocabulary);
        for index in 0..limit {
            of(data.train.example(index)?).iter().for_each(|ids| ngrams.count(ids));
        }
        Ok(ngrams)
    }
}
