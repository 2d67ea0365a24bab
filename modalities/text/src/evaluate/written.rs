//! Texts that an encoder-decoder writes, beside those that are wanted.

use super::Subject;
use crate::{generate::Verdict, labelled::LabelledTask, recipe::TaskEvaluation};
use kiln_core::Backend;
use kiln_metrics::{
    generation::{Bleu, BleuTokens, Chrf, rouge_l},
    qa::exact_match,
    words::is_unspaced,
};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};

/// Texts that are written together.
pub(super) const WRITTEN: usize = 16;

impl<B: Backend> Subject<'_, B> {
    /// Translations and answers: BLEU, chrF, ROUGE-L, and how often all is right, beside the source
    /// as it is.
    pub(super) fn written(
        &self,
        task: &LabelledTask<'_>,
        settings: &TaskEvaluation,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let pairs: Vec<(String, String)> = task
            .rows
            .test
            .iter()
            .filter_map(|row| {
                let (read, written) = row.read_and_written()?;
                Some((read.into_owned(), written.to_owned()))
            })
            .collect();
        let (encoder, data) = (task.encoder(self.tokenizer), task.data);
        let progress = Progress::new(&self.evaluation.name, pairs.len(), "texts");
        let chinese = pairs.iter().any(|(_, text)| text.chars().any(is_unspaced));
        let tokens = if chinese { BleuTokens::Chinese } else { BleuTokens::default() };
        let (mut model, mut copied) = (Written::new(tokens), Written::new(tokens));
        for pairs in pairs.chunks(WRITTEN) {
            let mut prompts = Vec::with_capacity(pairs.len());
            for (read, _) in pairs {
                prompts.push(encoder.text(&format!("{}{read}", data.prefix), None)?.ids);
            }
            let found = self.model.generate(
                &prompts,
                &settings.generation,
                self.seed.part("written"),
                self.device,
                |_, _| Verdict::GoOn,
            )?;
            for (ids, (read, reference)) in found.iter().zip(pairs) {
                let text = self.tokenizer.decode(ids, true)?;
                model.add(text.trim(), reference);
                copied.add(read.trim(), reference);
            }
            progress.advance(pairs.len());
        }
        progress.finish();
        let row = |metric: &str, of: fn(&Written) -> f64| {
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

/// How good written texts are.
struct Written {
    bleu: Bleu,
    chrf: Chrf,
    rouge: f64,
    exact: f64,
    texts: f64,
}

impl Written {
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
