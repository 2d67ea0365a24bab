//! What a speech model provides for objectives.

use crate::{
    SpeechModelConfig,
    config::{CtcConfig, TokenHeadConfig},
    frontend::StemConfig,
    vocabulary::Vocabulary,
};
use kiln_core::{Lack, Need, Provide, check_bidirectional};
use kiln_objectives::{Objective, RefusedObjective};

/// The plan of a speech model: it has the heads that are needed, and no other.
pub(crate) struct SpeechPlan<'a> {
    recipe: &'a SpeechModelConfig,
    /// The vocabulary of the transcripts, once they are read.
    vocabulary: Option<&'a Vocabulary>,
    config: SpeechModelConfig,
}

impl<'a> SpeechPlan<'a> {
    /// The model of a stage, with the heads that its objective needs.
    ///
    /// # Errors
    /// When something is missing.
    pub fn config(
        recipe: &'a SpeechModelConfig,
        objective: &Objective,
        vocabulary: Option<&'a Vocabulary>,
    ) -> Result<SpeechModelConfig, RefusedObjective> {
        let config =
            SpeechModelConfig { ctc: None, quantizer: None, token: None, ..recipe.clone() };
        let mut plan = Self { recipe, vocabulary, config };
        objective.prepare(&mut plan)?;
        Ok(plan.config)
    }
}

impl Provide for SpeechPlan<'_> {
    fn provide(&mut self, need: &Need) -> Result<(), Lack> {
        let recipe = self.recipe;
        match need {
            Need::Labels => {
                let ctc = recipe.ctc.unwrap_or_default();
                // Before the transcripts are read, a vocabulary of the usual size stands in.
                self.config.ctc = Some(match self.vocabulary {
                    Some(vocabulary) => CtcConfig {
                        vocabulary: vocabulary.len(),
                        blank: vocabulary.blank() as usize,
                        ..ctc
                    },
                    None => ctc,
                });
                Ok(())
            }
            Need::TokenTargets => {
                let token = recipe.token.filter(|token| *token != TokenHeadConfig::Teacher);
                self.config.token = token;
                Lack::unless(
                    token.is_some(),
                    "trains a head that predicts units or spectrograms, and the model has none: set \
                     `model.*.token`",
                )
            }
            Need::Quantizer => {
                self.config.quantizer = Some(recipe.quantizer.unwrap_or_default());
                Ok(())
            }
            Need::HiddenStates => {
                self.config.token = Some(TokenHeadConfig::Teacher);
                Ok(())
            }
            Need::MaskTokens | Need::Embeddings | Need::GroupsOrMasking => Ok(()),
            Need::Bidirectional => check_bidirectional(recipe.causal, "model.*.causal"),
            Need::Causal { ahead } => {
                let mel = matches!(recipe.frontend.stem, StemConfig::LogMel(_));
                Lack::unless(
                    mel && recipe.is_one_way(),
                    "needs frames that do not depend on what follows them: a stem of log-mel \
                     spectrograms (`model.parts.frontend.stem.log-mel`), and no convolution over \
                     positions (`model.parts.frontend.positions.kernel` of 1)",
                )?;
                // The stem's second layer reads half of the next frame.
                let problem = format!(
                    "has `ahead` of {ahead}; a frame of this model shows what the next stands for: \
                     expected 2 or more"
                );
                Lack::unless(*ahead >= 2, &problem)
            }
            Need::GroupsOrDropout => Lack::unless(
                recipe.backbone.drops() || recipe.frontend.dropout > 0.0,
                "encodes a recording twice, which is the same without dropout: set some in \
                 `model.parts.backbone`, or `views.masked`",
            ),
            other => Err(other.lack("recordings")),
        }
    }
}
