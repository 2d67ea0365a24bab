//! The objectives, as recipes name them.

use crate::{
    Autoregressive, Cosent, CrossEncoder, Denoising, Diffusion, Dpo, Grpo, InfoNce, Masked,
    Mixture, ObjectiveError, ObjectiveSpec, PermutedLm, Pretext, RefusedObjective,
    ReplacedTokenDetection, Retromae, RewardWeighted, SelfDistillation, Supervised,
    Wav2vec2Contrastive,
};
use kiln_core::{
    Backend, Capabilities, HostBatch, Lack, Loss, Model, Need, Provide, StepContext, Teacher,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The enum of all objectives and every dispatch on it, from one list of settings with the name that
/// recipes have for each.
macro_rules! objectives {
    ($($(#[$doc:meta])* $name:literal $objective:ident,)*) => {
        /// A training objective, as a recipe names it.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub enum Objective {
            $($(#[$doc])* #[serde(rename = $name)] $objective($objective),)*
        }

        /// What an objective drew for a batch, see [`ObjectiveSpec::draw`].
        #[derive(Debug, Clone)]
        pub enum Drawn {
            $($(#[$doc])* $objective(<$objective as ObjectiveSpec>::Drawn),)*
        }

        /// The names of all objectives, in the order in which they are listed.
        pub const NAMES: &[&str] = &[$($name),*];

        impl Objective {
            /// The name in recipes and listings.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$objective(_) => $name,)*
                }
            }

            /// Checks the settings.
            ///
            /// # Errors
            /// When a setting is out of range.
            pub fn validate(&self) -> Result<(), ObjectiveError> {
                match self {
                    $(Self::$objective(objective) => objective.validate(),)*
                }
            }

            /// What it needs of the model and the data.
            pub fn needs(&self) -> Vec<Need> {
                match self {
                    $(Self::$objective(objective) => objective.needs(),)*
                }
            }

            /// The teacher that it needs, if any.
            pub fn teacher(&self) -> Option<Teacher> {
                match self {
                    $(Self::$objective(objective) => objective.teacher(),)*
                }
            }

            /// Draws what is random in a step, see [`ObjectiveSpec::draw`].
            pub fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> Drawn {
                match self {
                    $(Self::$objective(objective) => {
                        Drawn::$objective(objective.draw(batch, context))
                    })*
                }
            }

            /// The loss of `model` on `batch`, see [`ObjectiveSpec::loss_of_drawn`].
            ///
            /// # Errors
            /// When the model lacks a capability that the objective needs, or another objective drew.
            pub fn loss_of_drawn<B: Backend, T>(
                &self,
                model: &dyn Model<B, Batch = T>,
                teacher: Option<&dyn Model<B, Batch = T>>,
                batch: &T,
                drawn: Drawn,
                context: &mut StepContext<'_>,
            ) -> Result<Loss<B>, Lack> {
                let loss = match (self, drawn) {
                    $((Self::$objective(objective), Drawn::$objective(drawn)) => {
                        objective.loss_of_drawn(model, teacher, batch, drawn, context)
                    })*
                    _ => Err(Lack::new("needs what it draws itself")),
                };
                loss.map_err(|lack| lack.of(self.name()))
            }
        }
    };
}

objectives! {
    /// Supervised learning: the model's own task with labels, such as forecasting, transcription or
    /// classification.
    "supervised" Supervised,
    /// Masked prediction: masked tokens are predicted from the rest (BERT, PatchTST, HuBERT).
    "masked" Masked,
    /// Autoregressive prediction: each token is predicted from those before it.
    "autoregressive" Autoregressive,
    /// Contrastive prediction of quantized features (wav2vec 2.0).
    "wav2vec2-contrastive" Wav2vec2Contrastive,
    /// Contrastive embeddings of whole sequences with in-batch negatives (InfoNCE; SimCSE, CLIP).
    "info-nce" InfoNce,
    /// Embeddings whose cosines are ordered as pairs are rated (CoSENT).
    "cosent" Cosent,
    /// Cross-encoder: the candidates of a query, each read together with it, are ranked.
    "cross-encoder" CrossEncoder,
    /// Self-distillation: masked tokens are predicted as an averaged teacher encodes them (data2vec).
    "self-distillation" SelfDistillation,
    /// Span corruption and UL2's mixture of denoisers, sequence to sequence.
    "denoising" Denoising,
    /// Masked and permuted language modelling (MPNet).
    "permuted-lm" PermutedLm,
    /// Replaced-token detection with a generator and a discriminator (ELECTRA).
    "replaced-token-detection" ReplacedTokenDetection,
    /// Bottlenecked reconstruction of a sequence from one vector (RetroMAE, MASTER).
    "retromae" Retromae,
    /// Direct preference optimisation (DPO).
    "dpo" Dpo,
    /// Group relative policy optimisation (GRPO).
    "grpo" Grpo,
    /// Reward-weighted language modelling: filtering, unlikelihood, RWR or AWR training on rated
    /// texts.
    "reward-weighted" RewardWeighted,
    /// Pretext tasks of the modality's own whose labels cost nothing.
    "pretext" Pretext,
    /// Denoising diffusion and flow matching.
    "diffusion" Diffusion,
    /// A mixture of several objectives.
    "mixture" Mixture,
}

impl Objective {
    /// Draws, and computes the loss: for batches that no thread made ahead.
    ///
    /// # Errors
    /// As [`Self::loss_of_drawn`].
    pub fn loss<B: Backend, T: HostBatch>(
        &self,
        model: &dyn Model<B, Batch = T>,
        teacher: Option<&dyn Model<B, Batch = T>>,
        batch: &T,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let drawn = self.draw(batch, context);
        self.loss_of_drawn(model, teacher, batch, drawn, context)
    }

    /// The objectives that it is made of: itself, or the parts of a mixture.
    pub fn each(&self) -> Vec<&Self> {
        match self {
            Self::Mixture(mixture) => mixture.parts.iter().map(|part| &part.objective).collect(),
            other => vec![other],
        }
    }

    /// The objectives that a step may have, with their weights.
    pub(crate) fn weighted(&self, step: u64) -> Vec<(&Self, f64)> {
        match self {
            Self::Mixture(mixture) => mixture.weighted(step),
            other => vec![(other, 1.0)],
        }
    }

    /// Whether some part of it is of a kind.
    pub fn has(&self, kind: impl Fn(&Self) -> bool) -> bool {
        self.each().into_iter().any(kind)
    }

    /// Whether it, or a part of it, needs this.
    pub fn has_need(&self, kind: impl Fn(&Need) -> bool) -> bool {
        self.needs().iter().any(kind)
    }

    /// Whether it, or a part of it, is supervised: learns from labels.
    pub fn is_supervised(&self) -> bool {
        self.has_need(|need| *need == Need::Labels)
    }

    /// Checks that a model has the capabilities that its plan promised.
    ///
    /// # Errors
    /// When it lacks one.
    pub fn check_capabilities<B: Backend, T>(
        &self,
        model: &Capabilities<'_, B, T>,
    ) -> Result<(), Lack> {
        let missing = self.needs().into_iter().find(|need| !need.is_met(model));
        match missing {
            Some(need) => {
                Err(Lack::new(format!("lacks what was planned: {need:?}")).of(self.name()))
            }
            None => Ok(()),
        }
    }

    /// Checks its settings, and has the plan of a model provide what it needs.
    ///
    /// # Errors
    /// The key, and what is wrong or missing and how to get it.
    pub fn prepare(&self, plan: &mut dyn Provide) -> Result<(), RefusedObjective> {
        self.validate().map_err(|ObjectiveError { key, problem }| RefusedObjective {
            key: format!("objective.{key}"),
            of_recipe: false,
            problem,
        })?;
        for objective in self.each() {
            for need in objective.needs() {
                plan.provide(&need).map_err(|lack| {
                    let problem = format!("`{}` {}", objective.name(), lack.reason);
                    let of_recipe = lack.key.is_some();
                    let key = lack.key.unwrap_or_else(|| "objective".into());
                    RefusedObjective { key, of_recipe, problem }
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MixturePart, Views};

    /// Has tokens, and one pretext task.
    struct Stones;

    impl Provide for Stones {
        fn provide(&mut self, need: &Need) -> Result<(), Lack> {
            match need {
                Need::TokenTargets | Need::MaskTokens | Need::Bidirectional => Ok(()),
                Need::GroupsOrMasking | Need::Embeddings => Ok(()),
                Need::Causal { ahead } if *ahead > 1 => Ok(()),
                Need::PretextTask(task) if task == "order" => Ok(()),
                Need::GroupsOrDropout => Err(Lack::at("model.dropout", "needs dropout")),
                other => Err(Lack::new(format!("needs {other:?}"))),
            }
        }
    }

    #[test]
    fn what_is_missing_is_said_with_the_key_to_change() {
        let masked = Views::Masked(Masked::default());
        let masked = InfoNce { views: masked, ..InfoNce::default() };
        assert_eq!(Objective::InfoNce(masked).prepare(&mut Stones), Ok(()));
        let dropout = Objective::InfoNce(InfoNce::default());
        let refused = dropout.prepare(&mut Stones).unwrap_err();
        assert_eq!(refused.problem, "`info-nce` needs dropout");
        assert_eq!((refused.key.as_str(), refused.of_recipe), ("model.dropout", true));
        let part = |objective| MixturePart { objective, weight: 1.0, from: 0 };
        let parts = vec![part(Objective::Masked(Masked::default())), part(dropout)];
        let mixture = Objective::Mixture(Mixture { parts, sum: true });
        assert_eq!(mixture.prepare(&mut Stones).unwrap_err().problem, "`info-nce` needs dropout");
        let next = |ahead| {
            Objective::Autoregressive(Autoregressive { ahead, ..Autoregressive::default() })
        };
        assert!(next(2).prepare(&mut Stones).is_ok() && next(1).prepare(&mut Stones).is_err());
        let wrong = next(0).prepare(&mut Stones).unwrap_err();
        assert_eq!(
            (wrong.key.as_str(), wrong.of_recipe),
            ("objective.autoregressive.ahead", false)
        );
        let task = |name: &str| Objective::Pretext(Pretext { tasks: [(name.into(), 1.0)].into() });
        assert!(task("order").prepare(&mut Stones).is_ok());
        assert!(task("other").prepare(&mut Stones).is_err());
    }

    #[test]
    fn recipes_know_objectives_by_the_names_of_papers() {
        assert_eq!(NAMES.len(), 18);
        let dpo = Objective::Dpo(Dpo::default());
        assert_eq!(dpo.name(), "dpo");
        let schema = serde_json::to_string(&schemars::schema_for!(Objective)).unwrap();
        assert!(NAMES.iter().all(|name| schema.contains(&format!("\"{name}\""))), "{schema}");
    }
}
