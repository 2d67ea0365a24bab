//! Tasks of the modality's own whose labels cost nothing: which series a window was cut from,
//! which group the series belongs to, its moving average (as in pre-training on stock data,
//! <https://arxiv.org/abs/2506.16746>).

use crate::{
    ObjectiveError,
    mixture::{together, weighted},
    signs::with_token_signs,
};
use kiln_core::{Backend, Loss, StepContext, TaskLoss, TokenModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which tasks, and how much each weighs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretext {
    /// A weight for each task by name, such as `series`, `group`, `moving-average`.
    pub tasks: BTreeMap<String, f64>,
}

impl Pretext {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        if self.tasks.is_empty() {
            return Err(ObjectiveError {
                key: "pretext.tasks",
                problem: "names no task; give at least one with its weight".into(),
            });
        }
        match self.tasks.iter().find(|(_, weight)| !weight.is_finite() || **weight < 0.0) {
            Some((task, weight)) => Err(ObjectiveError {
                key: "pretext.tasks",
                problem: format!("{task} weighs {weight}; a weight is zero or more"),
            }),
            None => Ok(()),
        }
    }

    /// The weighted sum of the tasks the model has heads for. Signs are the first task's.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let mut total: Option<TaskLoss<B>> = None;
        for (task, weight) in &self.tasks {
            let Some(TaskLoss { loss, tokens }) = model.pretext(task, batch, context) else {
                continue;
            };
            let loss = weighted(loss, *weight);
            total = Some(match total {
                None => TaskLoss { loss, tokens },
                Some(sum) => {
                    TaskLoss { loss: together(sum.loss, loss), tokens: sum.tokens.or(tokens) }
                }
            });
        }
        match total {
            Some(TaskLoss { loss, tokens: Some(tokens) }) if context.observe => {
                with_token_signs(loss, &tokens)
            }
            Some(TaskLoss { loss, .. }) => loss,
            None => Loss::nothing(&model.device(batch)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Toy, Views, context};
    use burn::tensor::Tensor;
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn tasks_weigh_and_those_without_a_head_do_not_count() {
        let values = Tensor::<Flex, 3>::from_floats([[[1.0], [4.0]]], &Default::default());
        let batch = Views { values, views: 1 };
        let loss = |tasks: &[(&str, f64)]| {
            let tasks = tasks.iter().map(|(task, weight)| ((*task).to_owned(), *weight));
            let pretext = Pretext { tasks: tasks.collect() };
            pretext.validate().unwrap();
            let mut rng = Seed::new(0).rng();
            let loss = pretext.loss(&Toy, &batch, &mut context(&mut rng));
            (loss.value.into_scalar(), loss.count)
        };
        assert_eq!(loss(&[("largest", 0.5), ("least", 9.0)]), (2.0, 1));
        assert_eq!(loss(&[("largest", 0.5), ("sum", 2.0)]), (2.0 + 10.0, 1));
        assert_eq!(loss(&[("least", 9.0)]), (0.0, 0));
        let wrong = |tasks: &[(&str, f64)]| {
            let tasks = tasks.iter().map(|(task, weight)| ((*task).to_owned(), *weight));
            Pretext { tasks: tasks.collect() }.validate().unwrap_err().to_string()
        };
        assert!(wrong(&[]).contains("names no task"));
        assert!(wrong(&[("sum", -1.0)]).contains("sum weighs -1"));
    }
}
