//! Each token is predicted from those before it: next patch, next id.

use crate::{
    losses::{accuracy, cross_entropy, masked_mean, squared_error},
    signs::{guess_of_ids, guess_of_values, with_token_signs},
};
use kiln_core::{Backend, Loss, Sign, StepContext, Targets, TokenModel, Tokens, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the autoregressive objective: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Autoregressive {}

impl Autoregressive {
    /// The mean loss of predicting token `t + 1` from tokens `0..=t`; padding is not counted.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let encoded = model.encode(batch, View { hide: None, causal: true });
        let [sequences, tokens, width] = encoded.dims();
        if tokens < 2 {
            return Loss::new(encoded.values.sum().mul_scalar(0.0), 0);
        }
        let seen = encoded.values.clone().slice([0..sequences, 0..tokens - 1, 0..width]);
        let decoded = model.decode(seen);
        let [_, _, outputs] = decoded.dims();
        let pad = encoded.mask_pad.clone().map(|mask| mask.slice([0..sequences, 1..tokens]));
        let loss = match model.targets(batch) {
            Targets::Values { values, mask_missing } => {
                let next = [0..sequences, 1..tokens, 0..outputs];
                let values = values.slice(next.clone());
                let missing = mask_missing.map(|mask| mask.slice(next));
                let pad = pad.map(|mask| {
                    mask.unsqueeze_dim::<3>(2).expand([sequences, tokens - 1, outputs])
                });
                let ignore = match (missing, pad) {
                    (Some(missing), Some(pad)) => Some(missing.bool_or(pad)),
                    (missing, pad) => missing.or(pad),
                };
                let error = squared_error(decoded, values.clone(), ignore.as_ref());
                let (value, count) = masked_mean(error, ignore.clone());
                let loss = Loss::new(value, count);
                if context.observe {
                    loss.with_sign(Sign::GuessLoss, guess_of_values(values, ignore))
                } else {
                    loss
                }
            }
            Targets::Ids { ids, .. } => {
                let rows = sequences * (tokens - 1);
                let ids = ids.slice([0..sequences, 1..tokens]).reshape([rows]);
                let logits = decoded.reshape([rows, outputs]);
                let ignore = pad.map(|mask| mask.reshape([rows]));
                let (value, count) = cross_entropy(logits.clone(), ids.clone(), ignore.clone());
                let loss = Loss::new(value, count);
                if context.observe {
                    loss.with_sign(Sign::GuessLoss, guess_of_ids(ids.clone(), ignore.clone()))
                        .with_sign(Sign::Accuracy, accuracy(logits.detach(), ids, ignore))
                } else {
                    loss
                }
            }
        };
        if context.observe {
            with_token_signs(loss, &Tokens { mask_pad: None, ..encoded })
        } else {
            loss
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Toy, context};
    use burn::tensor::Tensor;
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn predicts_the_next_token() {
        let device = Default::default();
        // The toy model passes values through, so the error is next minus current: 1, then 3.
        let batch = Tensor::<Flex, 3>::from_floats([[[0.0], [1.0], [4.0]]], &device);
        let mut rng = Seed::new(0).rng();
        let loss = Autoregressive {}.loss(&Toy, &batch, &mut context(&mut rng));
        assert_eq!((loss.value.into_scalar(), loss.count), ((1.0 + 9.0) / 2.0, 2));
    }

    #[test]
    fn one_token_has_no_next() {
        let batch = Tensor::<Flex, 3>::ones([2, 1, 1], &Default::default());
        let mut rng = Seed::new(0).rng();
        let loss = Autoregressive {}.loss(&Toy, &batch, &mut context(&mut rng));
        assert_eq!((loss.value.into_scalar(), loss.count), (0.0, 0));
    }
}
