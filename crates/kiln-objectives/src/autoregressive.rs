//! Each token is predicted from those before it: next patch, next id.

use crate::{
    score::{score, score_ids},
    signs::with_token_signs,
};
use burn::tensor::Tensor;
use kiln_core::{Backend, Layout, Loss, StepContext, Targets, TokenModel, Tokens, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the autoregressive objective.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Autoregressive {
    /// Where targets are values: errors beyond this count straight rather than squared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huber: Option<f64>,
}

impl Autoregressive {
    /// The mean loss of predicting token `t + 1` from tokens `0..=t`; padding is not counted.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let encoded = model.encode(batch, View::causal());
        let [sequences, tokens, width] = encoded.dims();
        if tokens < 2 {
            return Loss::new(encoded.values.sum().mul_scalar(0.0), 0);
        }
        let loss = match model.targets(batch) {
            Targets::Ids { ids, .. } => {
                let chosen = has_next(&model.layout(batch));
                // Each token beside the id of the next; the last has none, and is not chosen.
                let next =
                    Tensor::cat(vec![ids.clone().narrow(1, 1, tokens - 1), ids.narrow(1, 0, 1)], 1);
                score_ids(model, encoded.values.clone(), next, &chosen, context.observe)
            }
            Targets::Values { values, mask_missing } => {
                let seen = encoded.values.clone().slice([0..sequences, 0..tokens - 1, 0..width]);
                let pad = encoded.mask_pad.clone();
                let pad = pad.map(|mask| mask.slice([0..sequences, 1..tokens]));
                let next = Targets::Values {
                    values: values.narrow(1, 1, tokens - 1),
                    mask_missing: mask_missing.map(|mask| mask.narrow(1, 1, tokens - 1)),
                };
                score(model.decode(seen), next, pad, self.huber, context.observe)
            }
        };
        if context.observe {
            with_token_signs(loss, &Tokens { mask_pad: None, ..encoded })
        } else {
            loss
        }
    }
}

/// Which tokens have one after them that is neither padding nor begins another document:
/// `[batch, tokens]` in row-major order.
fn has_next(layout: &Layout) -> Vec<bool> {
    let mut chosen = Vec::with_capacity(layout.batch * layout.tokens);
    for sequence in 0..layout.batch {
        let length = layout.length(sequence);
        chosen.extend((1..=layout.tokens).map(|next| next < length));
    }
    if let Some(documents) = &layout.documents {
        for start in documents.iter().filter(|start| **start > 0) {
            if let Some(before) = chosen.get_mut(start - 1) {
                *before = false;
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Toy, context};
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn predicts_the_next_token() {
        let device = Default::default();
        // The toy model passes values through, so the error is next minus current: 1, then 3.
        let batch = Tensor::<Flex, 3>::from_floats([[[0.0], [1.0], [4.0]]], &device);
        let mut rng = Seed::new(0).rng();
        let loss = Autoregressive::default().loss(&Toy, &batch, &mut context(&mut rng));
        assert_eq!((loss.value.into_scalar(), loss.count), ((1.0 + 9.0) / 2.0, 2));
    }

    #[test]
    fn one_token_has_no_next() {
        let batch = Tensor::<Flex, 3>::ones([2, 1, 1], &Default::default());
        let mut rng = Seed::new(0).rng();
        let loss = Autoregressive::default().loss(&Toy, &batch, &mut context(&mut rng));
        assert_eq!((loss.value.into_scalar(), loss.count), (0.0, 0));
    }
}
