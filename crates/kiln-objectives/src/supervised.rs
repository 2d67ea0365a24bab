//! Supervised learning: the model's head and its labels decide the loss.

use crate::{ObjectiveError, ObjectiveSpec, diagnostics::with_token_diagnostics, spec::DynModel};
use kiln_core::{Backend, HostBatch, Lack, Loss, Need, StepContext, TaskLoss};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the supervised objective: none, since the head says what is predicted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Supervised {}

impl ObjectiveSpec for Supervised {
    type Drawn = ();

    fn validate(&self) -> Result<(), ObjectiveError> {
        Ok(())
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Labels]
    }

    fn draw(&self, _: &dyn HostBatch, _: &mut StepContext<'_>) {}

    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        _: (),
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let TaskLoss { loss, tokens } = model.capabilities().labelled()?.supervised(batch, context);
        Ok(match tokens {
            Some(tokens) if context.collect_metrics => with_token_diagnostics(loss, &tokens),
            _ => loss,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Objective, Pretext,
        stochastic::Stochastic,
        toy::{Groups, Toy, context},
    };
    use burn::{backend::Autodiff, tensor::Tensor};
    use burn_flex::Flex;
    use kiln_core::{Diagnostic, Seed};
    use kiln_nn::NormKind;

    #[test]
    fn the_model_says_what_it_lost_and_signs_are_read_where_wanted() {
        let values =
            Tensor::<Flex, 3>::from_floats([[[1.0], [3.0]], [[4.0], [4.0]]], &Default::default());
        let batch = Groups { values, group_size: 1 };
        let loss = |collect_metrics| {
            let mut rng = Seed::new(0).rng();
            let mut context = StepContext { collect_metrics, ..context(&mut rng) };
            Supervised {}.loss(&Toy, None, &batch, &mut context).unwrap()
        };
        let plain = loss(false);
        assert_eq!((plain.value.into_scalar(), plain.count), (3.0, 4));
        assert!(plain.diagnostics.is_empty());
        // Means of 2 and 4: a deviation of 1 beside a root mean square of the root of 10.
        let seen = loss(true);
        let spread = seen
            .diagnostics
            .iter()
            .find(|(name, _)| *name == Diagnostic::RepresentationStd)
            .unwrap();
        assert!((spread.1.clone().into_scalar() - 10f32.sqrt().recip()).abs() < 1e-5);
        assert_eq!(seen.value.into_scalar(), 3.0);
    }

    /// What is logged must not change what is trained.
    #[test]
    fn a_step_that_is_observed_passes_the_model_once() {
        let pretext = Pretext { tasks: [("order".to_owned(), 1.0)].into() };
        for objective in [Objective::Supervised(Supervised {}), Objective::Pretext(pretext)] {
            let model = Stochastic::<Autodiff<Flex>>::new(2, NormKind::Batch, 0.0);
            let values = [[[1.0, 2.0]], [[5.0, 0.0]]];
            let batch = Groups::from(Tensor::from_floats(values, &Default::default()));
            let mut rng = Seed::new(1).rng();
            let mut context = StepContext { collect_metrics: true, ..context(&mut rng) };
            let loss = objective.loss(&model, None, &batch, &mut context).unwrap();
            assert!(
                loss.diagnostics.iter().any(|(name, _)| *name == Diagnostic::RepresentationStd)
            );
            assert_eq!(model.batches(), 1.0, "{}", objective.name());
        }
    }
}
