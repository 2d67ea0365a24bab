//! Several objectives in one stage: tasks with weights, some of which begin later, as in ERNIE 2.0
//! (<https://arxiv.org/abs/1907.12412>); or several ways to hide tokens.

use crate::{Objective, ObjectiveError, draw::drawn};
use kiln_core::{Backend, Loss, Sign, StepContext, TokenModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// The objectives.
    pub parts: Vec<Part>,
    /// Whether the loss of a step is the weighted sum of all; otherwise one is drawn by weight, of
    /// those that find something to learn in the batch.
    #[serde(default)]
    pub sum: bool,
}

/// An objective of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What is optimised.
    pub objective: Objective,
    /// Its weight.
    #[serde(default = "crate::one")]
    pub weight: f64,
    /// The first step that has it.
    #[serde(default)]
    pub from: u64,
}

impl Mixture {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        let wrong = |problem: String| Err(ObjectiveError { key: "mixture.parts", problem });
        if !self.parts.iter().any(|part| part.from == 0 && part.weight > 0.0) {
            return wrong("has no part that weighs something at the first step".into());
        }
        for part in &self.parts {
            if !(part.weight >= 0.0 && part.weight.is_finite()) {
                return wrong(format!("has the weight {}; expected 0 or more", part.weight));
            }
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
        Ok(())
    }

    /// The parts that a step has.
    fn begun(&self, step: u64) -> Vec<&Part> {
        self.parts.iter().filter(|part| part.from <= step).collect()
    }

    /// The same with their weights, of those that have any.
    pub(crate) fn weighted(&self, step: u64) -> Vec<(&Objective, f64)> {
        let weighing = self.begun(step).into_iter().filter(|part| part.weight > 0.0);
        weighing.map(|part| (&part.objective, part.weight)).collect()
    }

    /// The weighted sum of all parts, which counts sequences, since each part counts something else;
    /// or the loss of the one that is drawn for the step, whatever its micro-batch.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        teacher: Option<&M>,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let begun = self.begun(context.step);
        let nothing = || Loss::nothing(&model.device(batch));
        if !self.sum {
            let mut rng = context.shared.part("mixture").rng();
            let mut left = begun;
            while let Some(part) = drawn(left.iter().copied(), |part| part.weight, &mut rng) {
                let loss = part.objective.loss(model, teacher, batch, context);
                if loss.count > 0 {
                    return loss;
                }
                // What a batch has nothing for, such as labels, leaves it to the others.
                left.retain(|other| !std::ptr::eq(*other, part));
            }
            return nothing();
        }
        let mut total: Option<Loss<B>> = None;
        for part in begun {
            let loss = part.objective.loss(model, teacher, batch, context);
            if loss.count > 0 {
                total = Some(match total {
                    None => weighted(loss, part.weight),
                    Some(sum) => together(sum, weighted(loss, part.weight)),
                });
            }
        }
        total.map_or_else(nothing, |sum| Loss { count: model.layout(batch).batch, ..sum })
    }
}

/// A loss and what guessing would score, times a weight.
pub(crate) fn weighted<B: Backend>(loss: Loss<B>, weight: f64) -> Loss<B> {
    let signs = loss.signs.into_iter().map(|(sign, value)| match sign {
        Sign::GuessLoss => (sign, value.mul_scalar(weight)),
        _ => (sign, value),
    });
    Loss { value: loss.value.mul_scalar(weight), count: loss.count, signs: signs.collect() }
}

/// The sum of two losses, and what guessing both would score; other signs, and what is counted, are
/// the first one's.
pub(crate) fn together<B: Backend>(mut sum: Loss<B>, other: Loss<B>) -> Loss<B> {
    sum.value = sum.value + other.value.clone();
    let guess = |loss: &Loss<B>| loss.signs.iter().position(|(sign, _)| *sign == Sign::GuessLoss);
    match (guess(&sum), guess(&other)) {
        (Some(own), Some(others)) => {
            sum.signs[own].1 = sum.signs[own].1.clone() + other.signs[others].1.clone();
        }
        // The guess of one alone would say nothing of the sum.
        (Some(own), None) => drop(sum.signs.remove(own)),
        (None, _) => {}
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Autoregressive, Supervised,
        toy::{Toy, Views, context},
    };
    use burn::tensor::Tensor;
    use burn_flex::Flex;
    use kiln_core::Seed;

    #[test]
    fn parts_are_summed_or_drawn_and_some_begin_later() {
        let values = Tensor::<Flex, 3>::from_floats([[[0.0], [1.0], [4.0]]], &Default::default());
        let batch = Views { values, views: 1 };
        // Alone they score 5 (squares of 1 and 3) and the mean, 5/3.
        let next = Objective::Autoregressive(Autoregressive::default());
        let mean = Objective::Supervised(Supervised {});
        let parts = vec![
            Part { objective: next, weight: 2.0, from: 0 },
            Part { objective: mean, weight: 3.0, from: 10 },
        ];
        let loss = |sum: bool, step: u64, seed: u64| {
            let mixture = Mixture { parts: parts.clone(), sum };
            mixture.validate().unwrap();
            let mut rng = Seed::new(1).rng();
            let mut context = StepContext { step, shared: Seed::new(seed), ..context(&mut rng) };
            let loss = mixture.loss(&Toy, None, &batch, &mut context);
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
        let batch = Views { values, views: 1 };
        let next = Objective::Autoregressive(Autoregressive::default());
        let mean = Objective::Supervised(Supervised {});
        let parts = [next, mean].map(|objective| Part { objective, weight: 1.0, from: 0 });
        let mixture = Mixture { parts: parts.to_vec(), sum: false };
        for seed in 0..20 {
            let mut rng = Seed::new(seed).rng();
            let loss = mixture.loss(&Toy, None, &batch, &mut context(&mut rng));
            assert_eq!((loss.value.into_scalar(), loss.count), (7.0, 1));
        }
    }
}
