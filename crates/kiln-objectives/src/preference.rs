//! The better of two answers becomes likelier than the worse, as seen from where training began:
//! direct preference optimisation, <https://arxiv.org/abs/2305.18290>.

use crate::{
    ObjectiveError,
    autoregressive::{losses_of_next, predicted},
    losses::sigmoid_cross_entropy,
};
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use kiln_core::{Backend, Layout, Loss, Sign, StepContext, TokenModel};
use kiln_kernels::eval_mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of training by preferences. Batches have the better answer before the worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Preference {
    /// How far the model may go from where it began: the smaller, the further.
    pub beta: f64,
    /// The share of preferences that are taken to be the wrong way round,
    /// <https://arxiv.org/abs/2305.18290v3>, appendix.
    pub smoothing: f64,
    /// The weight of the better answer's own mean loss a token, which keeps it likely
    /// (<https://arxiv.org/abs/2404.19733>).
    pub likelihood: f64,
}

impl Default for Preference {
    fn default() -> Self {
        Self { beta: 0.1, smoothing: 0.0, likelihood: 0.0 }
    }
}

impl Preference {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        let wrong = |key, problem| Err(ObjectiveError { key, problem });
        if !(self.beta > 0.0 && self.beta.is_finite()) {
            return wrong("preference.beta", format!("is {}; expected above 0", self.beta));
        }
        if !(0.0..0.5).contains(&self.smoothing) {
            let problem = format!("is {}; expected 0 to below 0.5", self.smoothing);
            return wrong("preference.smoothing", problem);
        }
        if !(self.likelihood >= 0.0 && self.likelihood.is_finite()) {
            let problem = format!("is {}; expected 0 or more", self.likelihood);
            return wrong("preference.likelihood", problem);
        }
        Ok(())
    }

    /// The mean over the pairs of a batch; one without pairs or ids counts nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        teacher: Option<&M>,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let device = model.device(batch);
        let layout = model.layout(batch);
        let counted = predicted(&layout, None, 1);
        let own = (layout.views == 2).then(|| answers(model, batch, &counted)).flatten();
        let Some(own) = own else { return Loss::nothing(&device) };
        let pairs = layout.batch / 2;
        let begun = teacher.and_then(|teacher| eval_mode(|| answers(teacher, batch, &counted)));
        let begun = begun.map_or_else(|| own.clone().detach(), Tensor::detach);
        // Losses are negative log-likelihoods: the worse answer's gain is the better one's.
        let gain = (begun - own.clone()).reshape([pairs, 2]);
        let margin = (gain.clone().narrow(1, 0, 1) - gain.narrow(1, 1, 1)).mul_scalar(self.beta);
        // That the better one is likelier, but for the share taken to be the wrong way round.
        let wanted = margin.full_like(1.0 - self.smoothing);
        let mut value = sigmoid_cross_entropy(margin.clone(), wanted).mean();
        if self.likelihood > 0.0 {
            let better = counted.chunks(layout.tokens).step_by(2);
            let tokens: usize = better.map(|row| row.iter().filter(|on| **on).count()).sum();
            let sum = own.reshape([pairs, 2]).narrow(1, 0, 1).sum();
            value = value + sum.mul_scalar(self.likelihood / tokens.max(1) as f64);
        }
        let loss = Loss::new(value, pairs);
        if !context.observe {
            return loss;
        }
        let one = |value: f32| Tensor::from_floats([value], &device);
        let right = margin.detach().greater_elem(0.0).float().mean();
        let loss = loss.with_sign(Sign::Accuracy, right).with_sign(Sign::ChanceAccuracy, one(0.5));
        if self.likelihood == 0.0 { loss.with_sign(Sign::GuessLoss, one(2f32.ln())) } else { loss }
    }
}

/// The summed loss of the tokens counted of each sequence, `[batch]`; `None` where tokens are no
/// ids, or none counts.
fn answers<B: Backend, M: TokenModel<B>>(
    model: &M,
    batch: &M::Batch,
    counted: &[bool],
) -> Option<Tensor<B, 1>> {
    let losses = losses_of_next(model, batch, counted)?;
    let Layout { batch: sequences, tokens, .. } = model.layout(batch);
    let device = losses.device();
    let owners = (0..counted.len()).filter(|at| counted[*at]).map(|at| (at / tokens) as i64);
    let owners = TensorData::new(owners.collect::<Vec<i64>>(), losses.dims());
    let owners = Tensor::<B, 1, Int>::from_data(owners, &device);
    let sums = Tensor::zeros([sequences], &device);
    Some(sums.select_assign(0, owners, losses, IndexingUpdateOp::Add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lively::Lively,
        toy::{Ids, Table, Views, context},
    };
    use burn::backend::Autodiff;
    use burn_flex::Flex;
    use kiln_core::Seed;
    use kiln_kernels::reseed;
    use kiln_nn::NormKind;

    type A = Autodiff<Flex>;

    #[test]
    fn losses_by_hand() {
        let mut batch = Ids::<Flex>::new(&[[0, 1], [0, 0]]);
        batch.layout = Layout { views: 2, ..batch.layout };
        // After 0 it thinks 1, the better answer, likely three times in four; it began undecided.
        let model = Table(vec![[0.0, 3f32.ln()], [0.0; 2], [0.0; 2]]);
        let start = Table(vec![[0.0; 2]; 3]);
        let loss = |preference: &Preference, teacher: Option<&Table<2>>| {
            preference.validate().unwrap();
            let mut rng = Seed::new(0).rng();
            let mut context = StepContext { observe: true, ..context(&mut rng) };
            preference.loss(&model, teacher, &batch, &mut context)
        };
        let close = |loss: Loss<Flex>, expected: f32| {
            let found = loss.value.into_scalar();
            assert!((found - expected).abs() < 1e-5 && loss.count == 1, "{found}, not {expected}");
        };
        // Its gain is ln(3/2) of the better and ln(1/2) of the worse: a margin of ln 3.
        let plain = Preference { beta: 1.0, ..Preference::default() };
        let found = loss(&plain, Some(&start));
        assert!(found.signs.iter().any(|(sign, value)| {
            *sign == Sign::Accuracy && value.clone().into_scalar() == 1.0
        }));
        close(found, (4.0f32 / 3.0).ln());
        close(loss(&Preference { beta: 2.0, ..plain.clone() }, Some(&start)), (10.0f32 / 9.0).ln());
        let smoothed = Preference { smoothing: 0.2, ..plain.clone() };
        close(loss(&smoothed, Some(&start)), 0.8 * (4.0f32 / 3.0).ln() + 0.2 * 4f32.ln());
        let likely = Preference { likelihood: 0.5, ..plain.clone() };
        close(loss(&likely, Some(&start)), 1.5 * (4.0f32 / 3.0).ln());
        // Of itself it has gained nothing.
        close(loss(&plain, None), 2f32.ln());
    }

    #[test]
    fn answers_count_and_questions_do_not() {
        let mut batch = Ids::<Flex>::new(&[[0, 1, 1], [0, 1, 0]]);
        let counted = Some([false, false, true].repeat(2));
        batch.layout = Layout { views: 2, counted, ..batch.layout };
        let model = Table(vec![[0.0; 2], [0.0, 3f32.ln()], [0.0; 2]]);
        let counted = predicted(&batch.layout, None, 1);
        let sums = answers(&model, &batch, &counted).unwrap();
        let sums: Vec<f32> = sums.into_data().to_vec().unwrap();
        assert!((sums[0] - (4.0f32 / 3.0).ln()).abs() < 1e-6 && (sums[1] - 4f32.ln()).abs() < 1e-6);
        // Texts that stand for themselves are no pairs.
        batch.layout.views = 1;
        let mut rng = Seed::new(0).rng();
        let loss = Preference::default().loss(&model, None, &batch, &mut context(&mut rng));
        assert_eq!(loss.count, 0);
        assert!(Preference { smoothing: 0.5, ..Preference::default() }.validate().is_err());
    }

    #[test]
    fn the_reference_drops_nothing() {
        let values = [
            [[1.0, 2.0, 0.0], [0.0, 4.0, 1.0], [3.0, 2.0, 5.0]],
            [[2.0, 1.0, 0.0], [3.0, 4.0, 9.0], [1.0, 0.0, 0.5]],
        ];
        let values = Tensor::<A, 3>::from_floats(values, &Default::default());
        let batch = Views { values, views: 2 };
        let [model, still] = [0.5, 0.0].map(|share| Lively::new(3, NormKind::Layer, share));
        let loss = |model: &Lively<A>, reference: &Lively<A>| {
            reseed(7);
            let (objective, mut rng) = (Preference::default(), Seed::new(1).rng());
            let loss = objective.loss(model, Some(reference), &batch, &mut context(&mut rng));
            loss.value.into_scalar()
        };
        // Where training begins, policy and reference are one model: nothing tells answers apart.
        assert!((eval_mode(|| loss(&model, &model)) - 2f32.ln()).abs() < 1e-6);
        // In training the policy drops; its reference is as if it had no dropout at all.
        let found = loss(&model, &model);
        assert!((found - 2f32.ln()).abs() > 1e-4, "{found}");
        assert_eq!(found, loss(&model, &still));
    }
}
