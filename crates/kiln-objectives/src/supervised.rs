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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Toy, Views, context};
    use burn::tensor::Tensor;
    use burn_flex::Flex;
    use kiln_core::{Seed, Sign};

    #[test]
    fn the_model_says_what_it_lost_and_signs_are_read_where_wanted() {
        let values =
            Tensor::<Flex, 3>::from_floats([[[1.0], [3.0]], [[4.0], [4.0]]], &Default::default());
        let batch = Views { values, views: 1 };
        let loss = |observe| {
            let mut rng = Seed::new(0).rng();
            let mut context = StepContext { observe, ..context(&mut rng) };
            Supervised {}.loss(&Toy, &batch, &mut context)
        };
        let plain = loss(false);
        assert_eq!((plain.value.into_scalar(), plain.count), (3.0, 4));
        assert!(plain.signs.is_empty());
        // Means of 2 and 4: a deviation of 1 beside a root mean square of the root of 10.
        let seen = loss(true);
        let spread = seen.signs.iter().find(|(sign, _)| *sign == Sign::Spread).unwrap();
        assert!((spread.1.clone().into_scalar() - 10f32.sqrt().recip()).abs() < 1e-5);
        assert_eq!(seen.value.into_scalar(), 3.0);
    }
}
