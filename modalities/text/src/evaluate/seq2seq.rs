//! Sequence-to-sequence evaluation: generated texts against references.

use super::subject::Subject;
use crate::{labelled::LabelledTask, recipe::TaskEvaluation};
use kiln_core::Backend;
use kiln_lm::generate::Verdict;
use kiln_metrics::{
    generation::{Bleu, BleuTokens, Chrf, rouge_l},
    qa::exact_match,
    words::is_unspaced,
};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};

/// Prompts of a generation batch.
pub(super) const GENERATION_BATCH: usize = 16;

impl<B: Backend> Subject<'_, B> {
    /// BLEU, chrF, ROUGE-L and exact match of generated texts; the baseline copies the source.
    pub(super) fn seq2seq(
        &self,
        task: &LabelledTask<'_>,
        settings: &TaskEvaluation,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let pairs: Vec<(String, String)> = task
            .rows
            .test
            .iter()
            .filter_map(|row| {
                let (source, target) = row.source_and_target()?;
                Some((source.into_owned(), target.to_owned()))
            })
            .collect();
        let (encoder, data) = (task.encoder(self.tokenizer), task.data);
        let progress = Progress::new(&self.evaluation.name, pairs.len(), "texts");
        let chinese = pairs.iter().any(|(_, text)| text.chars().any(is_unspaced));
        let tokens = if chinese { BleuTokens::Chinese } else { BleuTokens::default() };
        let (mut model, mut copied) = (TextScores::new(tokens), TextScores::new(tokens));
        for pairs in pairs.chunks(GENERATION_BATCH) {
            let mut prompts = Vec::with_capacity(pairs.len());
            for (source, _) in pairs {
                prompts.push(encoder.text(&format!("{}{source}", data.prefix), None)?.ids);
            }
            let found = self.model.generate(
                &prompts,
                &settings.generation,
                self.seed.part("written"),
                self.device,
                |_, _| Verdict::GoOn,
            )?;
            for (ids, (source, reference)) in found.iter().zip(pairs) {
                let text = self.tokenizer.decode(ids, true)?;
                model.add(text.trim(), reference);
                copied.add(source.trim(), reference);
            }
            progress.advance(pairs.len());
        }
        progress.finish();
        let row = |metric: &str, of: fn(&TextScores) -> f64| {
            self.row("writing", "test", metric, of(&model), &[("source", of(&copied))])
        };
        Ok(vec![
            row("bleu", |of| of.bleu.score().map_or(f64::NAN, |score| score.score)),
            row("chrf", |of| of.chrf.score().unwrap_or(f64::NAN)),
            row("rouge-l", |of| of.rouge / of.texts.max(1.0)),
            row("exact", |of| of.exact / of.texts.max(1.0)),
        ])
    }
}

/// Scores of generated texts, summed.
struct TextScores {
    bleu: Bleu,
    chrf: Chrf,
    rouge: f64,
    exact: f64,
    texts: f64,
}

impl TextScores {
    fn new(tokens: BleuTokens) -> Self {
        let (bleu, chrf) = (Bleu::new(tokens), Chrf::default());
        Self { bleu, chrf, rouge: 0.0, exact: 0.0, texts: 0.0 }
    }

    fn add(&mut self, text: &str, reference: &str) {
        self.bleu.add(text, &[reference]);
        self.chrf.add(text, &[reference]);
        self.rouge += rouge_l(text, reference).f1;
        self.exact += f64::from(u8::from(exact_match(text, reference)));
        self.texts += 1.0;
    }
}
