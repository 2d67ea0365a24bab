//! Texts that a model goes on with.

use super::Subject;
use crate::recipe::SampleEvaluation;
use kiln_core::Backend;
use kiln_lm::generate::Verdict;
use kiln_train::{
    results::{Section, SectionBody},
    task::TaskError,
};

impl<B: Backend> Subject<'_, B> {
    /// Texts that the model goes on with.
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
            let written = found.into_iter().next().unwrap_or_default();
            let text = self.tokenizer.decode(&written, true)?;
            shown.push_str(&format!("[{prompt}]{text}\n\n"));
        }
        Ok(Section {
            title: self.evaluation.name.clone(),
            caption: "What the model goes on with, after what stands in brackets.".into(),
            body: SectionBody::Text(shown.trim_end().to_owned()),
        })
    }
}
