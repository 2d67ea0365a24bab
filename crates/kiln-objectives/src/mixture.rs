//! Several objectives in one stage: tasks with weights, some of which begin later, as in ERNIE 2.0
//! (<https://arxiv.org/abs/1907.12412>); or several ways to mask tokens.

use crate::{
    Drawn, Objective, ObjectiveError, ObjectiveSpec,
    draw::drawn,
    losses::{scaled_loss, sum_of_losses},
    spec::{DynModel, check_weight},
};
use kiln_core::{Backend, HostBatch, Lack, Loss, Need, StepContext, Teacher};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// The objectives.
    pub parts: Vec<MixturePart>,
    /// Whether the loss of a step is the weighted sum of all; otherwise one is drawn by weight, of
    /// those that find something to learn in the batch.
    #[serde(default)]
    pub sum: bool,
}

/// An objective of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixturePart {
    /// What is optimised.
    pub objective: Objective,
    /// Its weight.
    #[serde(default = "crate::one")]
    pub weight: f64,
    /// The first step that has it.
    #[serde(default)]
    pub from: u64,
}

impl ObjectiveSpec for Mixture {
    type Drawn = Parts;

    fn validate(&self) -> Result<(), ObjectiveError> {
        let wrong = |problem: String| Err(ObjectiveError::new("mixture.parts", problem));
        if !self.parts.iter().any(|part| part.from == 0 && part.weight > 0.0) {
            return wrong("has no part that weighs something at the first step".into());
        }
        for part in &self.parts {
            check_weight("mixture.parts.weight", part.weight)?;
            if let Objective::Mixture(_) = part.objective {
                return wrong("has a mixture in it; give its parts themselves".into());
            }
            part.objective.validate()?;
        }
        let mut teachers = self.parts.iter().filter_map(|part| part.objective.teacher());
        let first = teachers.next();
        if teachers.any(|teacher| Some(teacher) != first) {
            return wrong("has parts with different teachers; a stage has one".into());
        }
        let with = |need: Need| {
            let mut parts = self.parts.iter().map(|part| &part.objective);
            parts.find(|part| part.has_need(|other| *other == need)).map(Objective::name)
        };
        if let (Some(distils), Some(predicts)) =
            (with(Need::HiddenStates), with(Need::TokenTargets))
        {
            return wrong(format!(
                "has `{distils}` beside `{predicts}`: the hidden state of a token cannot predict both \
                 what a teacher's is and what the token stands for; give each a stage"
            ));
        }
        Ok(())
    }

    fn needs(&self) -> Vec<Need> {
        self.parts.iter().flat_map(|part| part.objective.needs()).collect()
    }

    fn teacher(&self) -> Option<Teacher> {
        self.parts.iter().find_map(|part| part.objective.teacher())
    }

    /// What each part of the step draws: of a sum all in their order, otherwise in an order drawn by
    /// weight for the step, the same for all its micro-batches.
    fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> Parts {
        let mut rng = context.step_seed.part("mixture").rng();
        let mut left = self.begun(context.step);
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() && !self.sum {
            let next = drawn(left.iter().copied(), |at| self.parts[*at].weight, &mut rng);
            let Some(next) = next else { break };
            left.retain(|at| *at != next);
            order.push(next);
        }
        let order = if self.sum { left } else { order };
        let draw = |at: usize| (at, self.parts[at].objective.draw(batch, context));
        Parts { sequences: batch.layout().batch, drawn: order.into_iter().map(draw).collect() }
    }

    /// The weighted sum of all parts, which counts sequences, since each part counts something else;
    /// or the loss of the part that is drawn for the step, the same for all its micro-batches.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        drawn: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let mut total: Option<Loss<B>> = None;
        for (at, drawn) in drawn.drawn {
            let Some(part) = self.parts.get(at) else { continue };
            let loss = part.objective.loss_of_drawn(model, teacher, batch, drawn, context)?;
            if loss.count > 0 {
                // A batch that has nothing for a part, such as labels, is left to the others.
                if !self.sum {
                    return Ok(loss);
                }
                let loss = scaled_loss(loss, part.weight);
                total = Some(match total {
                    None => loss,
                    Some(sum) => sum_of_losses(sum, loss),
                });
            }
        }
        Ok(match total {
            Some(sum) => Loss { count: drawn.sequences, ..sum },
            None => Loss::empty(&model.device(batch)),
        })
    }
}

/// What the parts of a mixture drew.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Sequences of the batch.
    sequences: usize,
    /// The place in the list of each part of the step, and what it drew.
    drawn: Vec<(usize, Drawn)>,
}

impl Mixture {
    /// The parts that a step has.
    fn begun(&self, step: u64) -> Vec<usize> {
        (0..self.parts.len()).filter(|at| self.parts[*at].from <= step).collect()
    }

    /// The same with their weights, of those that have any.
    pub(crate) fn weighted(&self, step: u64) -> Vec<(&Objective, f64)> {
        let parts = self.begun(step).into_iter().map(|at| &self.parts[at]);
        let weighing = parts.filter(|part| part.weight > 0.0);
        weighing.map(|part| (&part.objective, part.weight)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Autoregressive, Supervised,
        toy::{Groups, Toy, context},
    };
    use burn::tensor::Tensor;
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn parts_are_summed_or_drawn_and_some_begin_later() {
        let values = Tensor::<Flex, 3>::from_floats([[[0.0], [1.0], [4.0]]], &Default::default());
        let batch = Groups { values, group_size: 1 };
        // Alone they score 5 (squares of 1 and 3) and the mean, 5/3.
        let next = Objective::Autoregressive(Autoregressive::default());
        let mean = Objective::Supervised(Supervised {});
        let parts = vec![
            MixturePart { objective: next, weight: 2.0, from: 0 },
            MixturePart { objective: mean, weight: 3.0, from: 10 },
        ];
        let loss = |sum: bool, step: u64, seed: u64| {
            let mixture = Mixture { parts: parts.clone(), sum };
            mixture.validate().unwrap();
            let mut rng = Seed::new(1).rng();
            let mut context = StepContext { step, step_seed: Seed::new(seed), ..context(&mut rng) };
            let loss = mixture.loss(&Toy, None, &batch, &mut context).unwrap();
            // Of a sum sequences are counted, otherwise what the part drawn counts.
            assert_eq!(loss.count == 1, sum);
            loss.value.into_scalar()
        };
        assert_eq!((loss(true, 0, 0), loss(true, 10, 0)), (10.0, 15.0));
        assert_eq!(loss(false, 9, 0), 5.0);
        let drawn: Vec<f32> = (0..200).map(|seed| loss(false, 10, seed)).collect();
        let often = drawn.iter().filter(|loss| **loss == 5.0).count();
        assert!((60..100).contains(&often), "{often}");
        let late = Mixture { parts: parts[1..].to_vec(), sum: true };
        assert!(late.validate().is_err());
    }

    #[test]
    fn a_part_that_finds_nothing_leaves_the_batch_to_the_others() {
        // One token has no next one, but a mean.
        let values = Tensor::<Flex, 3>::from_floats([[[7.0]]], &Default::default());
        let batch = Groups { values, group_size: 1 };
        let next = Objective::Autoregressive(Autoregressive::default());
        let mean = Objective::Supervised(Supervised {});
        let parts = [next, mean].map(|objective| MixturePart { objective, weight: 1.0, from: 0 });
        let mixture = Mixture { parts: parts.to_vec(), sum: false };
        for seed in 0..20 {
            let mut rng = Seed::new(seed).rng();
            let loss = mixture.loss(&Toy, None, &batch, &mut context(&mut rng)).unwrap();
            assert_eq!((loss.value.into_scalar(), loss.count), (7.0, 1));
        }
    }
}
