//! Text samples for the report.

use super::subject::Subject;
use crate::recipe::SampleEvaluation;
use kiln_core::Backend;
use kiln_lm::generate::Verdict;
use kiln_train::{
    results::{Section, SectionBody},
    task::TaskError,
};

impl<B: Backend> Subject<'_, B> {
    /// Generated continuations of prompts.
    pub(super) fn samples(&self, settings: &SampleEvaluation) -> Result<Section, TaskError> {
        let mut shown = String::new();
        let prompts = if settings.prompts.is_empty() {
            vec![String::new()]
        } else {
            settings.prompts.clone()
        };
        for (number, prompt) in prompts.iter().enumerate() {
            let ids = self.tokenizer.encode(prompt, false)?.get_ids().to_vec();
            let seed = self.seed.part("samples").at(number as u64);
            let go_on = |_, _| Verdict::GoOn;
            let found =
                self.model.generate(&[ids], &settings.generation, seed, self.device, go_on)?;
            let generated = found.into_iter().next().unwrap_or_default();
            let text = self.tokenizer.decode(&generated, true)?;
            shown.push_str(&format!("[{prompt}]{text}\n\n"));
        }
        Ok(Section {
            title: self.evaluation.name.clone(),
            caption: "Generated text, after the prompt in brackets.".into(),
            body: SectionBody::Text(shown.trim_end().to_owned()),
        })
    }
}
