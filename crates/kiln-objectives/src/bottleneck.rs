//! A sequence is told again from one vector of it, with few of its words to help: the vector has to
//! hold what the sequence says. RetroMAE, <https://arxiv.org/abs/2205.12035>, and MASTER,
//! <https://arxiv.org/abs/2212.07841>, whose several decoders are several views here.

use crate::{
    Masked, ObjectiveError, mixture::together, mixture::weighted, score::score_ids,
    signs::with_token_signs,
};
use kiln_core::{Backend, Loss, StepContext, Targets, TokenModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of bottlenecked masked prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bottleneck {
    /// What is hidden from the backbone, which predicts it, too.
    pub masked: Masked,
    /// What is hidden from the small backbone that has the vector, in each of several views.
    pub views: Vec<Masked>,
}

impl Default for Bottleneck {
    fn default() -> Self {
        let hiding = |ratio| Masked { ratio, ..Masked::default() };
        Self { masked: hiding(0.3), views: vec![hiding(0.5)] }
    }
}

impl Bottleneck {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        if self.views.is_empty() {
            let problem = "is empty; expected at least one".into();
            return Err(ObjectiveError { key: "bottleneck.views", problem });
        }
        self.views.iter().chain([&self.masked]).try_for_each(Masked::validate)
    }

    /// The sum of the mean losses of hidden tokens, of the backbone and the mean over the views; a
    /// model without a second backbone counts nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let nothing = || Loss::nothing(&model.device(batch));
        let Targets::Ids { ids, .. } = model.targets(batch) else { return nothing() };
        let (view, chosen) = self.masked.hide(model, batch, context);
        let encoded = model.encode(batch, view);
        let observe = context.observe;
        let mut loss = score_ids(model, encoded.values.clone(), ids.clone(), &chosen, observe);
        let vectors = model.pooled(&encoded);
        for masked in &self.views {
            let (view, chosen) = masked.hide(model, batch, context);
            let told = model.reconstruct(batch, vectors.clone(), view);
            let Some(told) = told else { return nothing() };
            let again = score_ids(model, told, ids.clone(), &chosen, observe);
            loss = together(loss, weighted(again, 1.0 / self.views.len() as f64));
        }
        if observe { with_token_signs(loss, &encoded) } else { loss }
    }
}
