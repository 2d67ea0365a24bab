//! The model's own task: its head and its labels decide the loss.

use crate::signs::with_token_signs;
use kiln_core::{Backend, Loss, StepContext, TokenModel, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the supervised objective: none, since the head says what is predicted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Supervised {}

impl Supervised {
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let loss = model.supervised(batch, context);
        if context.observe {
            // A second pass through the backbone, on observed steps only.
            with_token_signs(loss, &model.encode(batch, View::default()))
        } else {
            loss
        }
    }
}
