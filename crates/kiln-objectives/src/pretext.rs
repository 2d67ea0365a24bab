//! Pretext tasks of the modality's own, whose labels cost nothing: which series a window was cut
//! from, which group the series belongs to, its moving average (as in pretraining on stock data,
//! <https://arxiv.org/abs/2506.16746>).

use crate::{
    ObjectiveError, ObjectiveSpec,
    diagnostics::with_token_diagnostics,
    losses::{scaled_loss, sum_of_losses},
    spec::{DynModel, check_weight},
};
use kiln_core::{Backend, HostBatch, Lack, Loss, Need, StepContext, TaskLoss};
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

impl ObjectiveSpec for Pretext {
    type Drawn = ();

    fn validate(&self) -> Result<(), ObjectiveError> {
        if self.tasks.is_empty() {
            let problem = "names no task; give at least one with its weight";
            return Err(ObjectiveError::new("pretext.tasks", problem));
        }
        let mut tasks = self.tasks.iter();
        tasks.try_for_each(|(task, weight)| check_weight(&format!("pretext.tasks.{task}"), *weight))
    }

    fn needs(&self) -> Vec<Need> {
        self.tasks.keys().cloned().map(Need::PretextTask).collect()
    }

    fn draw(&self, _: &dyn HostBatch, _: &mut StepContext<'_>) {}

    /// The weighted sum of the tasks; diagnostics are the first task's.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        _: (),
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let heads = model.capabilities().pretext()?;
        let mut total: Option<TaskLoss<B>> = None;
        for (task, weight) in &self.tasks {
            if !heads.tasks().contains(&task.as_str()) {
                return Err(Lack::new(format!("needs a head for the task `{task}`")));
            }
            let Some(TaskLoss { loss, tokens }) = heads.pretext(task, batch, context) else {
                continue;
            };
            let loss = scaled_loss(loss, *weight);
            total = Some(match total {
                None => TaskLoss { loss, tokens },
                Some(sum) => {
                    let tokens = sum.tokens.or(tokens);
                    TaskLoss { loss: sum_of_losses(sum.loss, loss), tokens }
                }
            });
        }
        Ok(match total {
            Some(TaskLoss { loss, tokens: Some(tokens) }) if context.collect_metrics => {
                with_token_diagnostics(loss, &tokens)
            }
            Some(TaskLoss { loss, .. }) => loss,
            None => Loss::empty(&model.device(batch)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Groups, Toy, context};
    use burn::tensor::Tensor;
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn tasks_weigh_and_those_without_a_head_are_refused() {
        let values = Tensor::<Flex, 3>::from_floats([[[1.0], [4.0]]], &Default::default());
        let batch = Groups { values, group_size: 1 };
        let loss = |tasks: &[(&str, f64)]| {
            let tasks = tasks.iter().map(|(task, weight)| ((*task).to_owned(), *weight));
            let pretext = Pretext { tasks: tasks.collect() };
            pretext.validate().unwrap();
            let mut rng = Seed::new(0).rng();
            let loss = pretext.loss(&Toy, None, &batch, &mut context(&mut rng));
            loss.map(|loss| (loss.value.into_scalar(), loss.count))
        };
        assert_eq!(loss(&[("largest", 0.5)]), Ok((2.0, 1)));
        assert_eq!(loss(&[("largest", 0.5), ("sum", 2.0)]), Ok((2.0 + 10.0, 1)));
        assert!(loss(&[("least", 9.0)]).unwrap_err().reason.contains("`least`"));
        let wrong = |tasks: &[(&str, f64)]| {
            let tasks = tasks.iter().map(|(task, weight)| ((*task).to_owned(), *weight));
            Pretext { tasks: tasks.collect() }.validate().unwrap_err().to_string()
        };
        assert!(wrong(&[]).contains("names no task"));
        assert!(wrong(&[("sum", -1.0)]).contains("sum: is -1"));
    }
}
