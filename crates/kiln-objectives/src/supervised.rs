//! The model's own task: its head and its labels decide the loss.

use crate::signs::with_token_signs;
use kiln_core::{Backend, Loss, StepContext, TaskLoss, TokenModel};
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
        let TaskLoss { loss, tokens } = model.supervised(batch, context);
        match tokens {
            Some(tokens) if context.observe => with_token_signs(loss, &tokens),
            _ => loss,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Objective, Pretext,
        lively::Lively,
        toy::{Toy, Views, context},
    };
    use burn::{backend::Autodiff, tensor::Tensor};
    use burn_flex::Flex;
    use kiln_core::{Seed, Sign};
    use kiln_nn::NormKind;

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

    /// What is logged must not change what is trained.
    #[test]
    fn a_step_that_is_observed_passes_the_model_once() {
        let pretext = Pretext { tasks: [("order".to_owned(), 1.0)].into() };
        for objective in [Objective::Supervised(Supervised {}), Objective::Pretext(pretext)] {
            let model = Lively::<Autodiff<Flex>>::new(2, NormKind::Batch, 0.0);
            let values = [[[1.0, 2.0]], [[5.0, 0.0]]];
            let batch = Tensor::from_floats(values, &Default::default()).into();
            let mut rng = Seed::new(1).rng();
            let mut context = StepContext { observe: true, ..context(&mut rng) };
            let loss = objective.loss(&model, None, &batch, &mut context);
            assert!(loss.signs.iter().any(|(sign, _)| *sign == Sign::Spread));
            assert_eq!(model.batches(), 1.0, "{}", objective.name());
        }
    }
}
