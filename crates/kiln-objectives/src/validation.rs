//! What an objective scores on data set aside.

use crate::{Drawn, Objective};
use kiln_core::{Backend, HostBatch, Lack, LossMean, Model, Rng, Seed, StepContext};

/// The mean loss of an objective over batches, with the same random numbers each time.
///
/// Nothing depends on when it is asked: the objective is as in the last step of its stage, and each
/// part of a mixture is measured on every batch, drawn or not.
#[derive(Clone, Debug)]
pub struct Validation<'a> {
    parts: Vec<Measured<'a>>,
    /// Whether a step has one of them rather than their sum.
    drawn: bool,
    seed: Seed,
    step: u64,
    batches: u64,
}

/// An objective, or a part of it, with its weight.
#[derive(Clone, Debug)]
struct Measured<'a> {
    objective: &'a Objective,
    weight: f64,
    mean: LossMean,
}

impl<'a> Validation<'a> {
    /// Of an objective as it is in a step of its stage; random numbers follow from `seed`.
    pub fn new(objective: &'a Objective, seed: Seed, step: u64) -> Self {
        let measured =
            |(objective, weight)| Measured { objective, weight, mean: LossMean::default() };
        let parts = objective.weighted(step).into_iter().map(measured).collect();
        let drawn = matches!(objective, Objective::Mixture(mixture) if !mixture.sum);
        Self { parts, drawn, seed: seed.part("validation"), step, batches: 0 }
    }

    /// What the objective, or each part of it, draws for the next batch, and the random numbers left.
    pub fn draw(&self, batch: &dyn HostBatch) -> Vec<(Drawn, Rng)> {
        let draw = |part: &Measured<'_>| {
            let mut rng = self.seed.at(self.batches).rng();
            let mut context = StepContext { step: self.step, ..StepContext::new(&mut rng) };
            (part.objective.draw(batch, &mut context), rng)
        };
        self.parts.iter().map(draw).collect()
    }

    /// Takes in a batch with what was [drawn](Self::draw) for it; `teacher` as for
    /// [`Objective::loss`].
    ///
    /// # Errors
    /// When the model lacks a capability that the objective needs.
    pub fn add<B: Backend, T>(
        &mut self,
        model: &dyn Model<B, Batch = T>,
        teacher: Option<&dyn Model<B, Batch = T>>,
        batch: &T,
        drawn: Vec<(Drawn, Rng)>,
    ) -> Result<(), Lack> {
        for (part, (drawn, mut rng)) in self.parts.iter_mut().zip(drawn) {
            let mut context = StepContext { step: self.step, ..StepContext::new(&mut rng) };
            let loss = part.objective.loss_of_drawn(model, teacher, batch, drawn, &mut context)?;
            part.mean.add(&loss);
        }
        self.batches += 1;
        Ok(())
    }

    /// The mean loss over all that was counted, of a mixture the weighted sum of its parts' means, or
    /// their weighted mean where a step draws one of them; `None` where nothing was.
    pub fn loss(&self) -> Option<f64> {
        let counted = self.parts.iter().filter_map(|part| Some((part.mean.mean()?, part.weight)));
        let summed = counted.map(|(mean, weight)| (mean * weight, weight));
        let (sum, weight) = summed.reduce(|all, one| (all.0 + one.0, all.1 + one.1))?;
        Some(if self.drawn { sum / weight } else { sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Autoregressive, Masked, MaskedKind, Mixture, MixturePart, RatioDecay, Supervised,
        toy::{Groups, Toy},
    };
    use burn::tensor::Tensor;
    use burn_flex::Flex;

    fn validated(objective: &Objective, step: u64, batches: &[Groups<Flex>]) -> Option<f64> {
        let mut validation = Validation::new(objective, Seed::new(3), step);
        for batch in batches {
            let drawn = validation.draw(batch);
            validation.add(&Toy, None, batch, drawn).unwrap();
        }
        validation.loss()
    }

    fn batch(values: &[f32]) -> Groups<Flex> {
        let values = Tensor::<Flex, 1>::from_floats(values, &Default::default());
        let tokens = values.dims()[0];
        values.reshape([1, tokens, 1]).into()
    }

    #[test]
    fn a_mixture_is_the_weighted_sum_of_its_parts_drawn_or_not() {
        // Alone they score 5 (squares of 1 and 3) and the mean, 5/3.
        let parts = vec![
            MixturePart {
                objective: Objective::Autoregressive(Autoregressive::default()),
                weight: 2.0,
                from: 0,
            },
            MixturePart { objective: Objective::Supervised(Supervised {}), weight: 3.0, from: 10 },
        ];
        let batches = [batch(&[0.0, 1.0, 4.0])];
        let of = |sum, step| {
            let mixture = Objective::Mixture(Mixture { parts: parts.clone(), sum });
            validated(&mixture, step, &batches).unwrap()
        };
        assert!((of(true, 9) - 10.0).abs() < 1e-5);
        assert!((of(true, 10) - 15.0).abs() < 1e-5, "a part that begins later counts at the end");
        // What a step that draws one costs in the mean.
        assert!((of(false, 9) - 5.0).abs() < 1e-5);
        assert!((of(false, 10) - 3.0).abs() < 1e-5);
    }

    #[test]
    fn batches_weigh_what_they_count_and_none_is_no_zero() {
        let next = Objective::Autoregressive(Autoregressive::default());
        let found = validated(&next, 0, &[batch(&[0.0, 1.0, 4.0]), batch(&[0.0, 1.0])]);
        assert!((found.unwrap() - 11.0 / 3.0).abs() < 1e-5, "1, 9 and 1");
        assert_eq!(validated(&next, 0, &[batch(&[5.0])]), None, "nothing comes next");
        assert_eq!(validated(&next, 0, &[]), None);
    }

    #[test]
    fn what_is_annealed_is_measured_at_its_end() {
        let decay = Some(RatioDecay { to: 0.25, steps: 10 });
        let masked = Masked { ratio: 0.75, kind: MaskedKind::Tail, decay, ..Masked::default() };
        let masked = Objective::Masked(masked);
        let batches = [batch(&[1.0, 1.0, 1.0, 2.0])];
        // Hidden tokens are zero in the toy: the last one alone, or three.
        assert_eq!(validated(&masked, 10, &batches), Some(4.0));
        assert_eq!(validated(&masked, 0, &batches), Some(2.0));
    }
}
