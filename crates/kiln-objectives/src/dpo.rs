//! Direct preference optimisation: the chosen one of two completions becomes likelier than the
//! rejected one, relative to a reference model. DPO, <https://arxiv.org/abs/2305.18290>.

use crate::{
    ObjectiveError, ObjectiveSpec,
    autoregressive::{next_token_nll, predicted},
    losses::sigmoid_cross_entropy,
    spec::{DynModel, check, check_positive, check_weight},
};
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use kiln_core::{Backend, Diagnostic, HostBatch, Lack, Loss, Need, StepContext, Teacher};
use kiln_kernels::eval_mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of DPO. Batches have the chosen completion before the rejected one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dpo {
    /// How far the model may go from the reference model: the smaller, the further.
    pub beta: f64,
    /// Label smoothing: the share of preferences that are taken to be the wrong way round,
    /// <https://arxiv.org/abs/2305.18290v3>, appendix.
    pub label_smoothing: f64,
    /// The weight of the chosen completion's mean negative log-likelihood a token, which keeps it
    /// likely (<https://arxiv.org/abs/2404.19733>).
    pub nll_weight: f64,
}

impl Default for Dpo {
    fn default() -> Self {
        Self { beta: 0.1, label_smoothing: 0.0, nll_weight: 0.0 }
    }
}

impl ObjectiveSpec for Dpo {
    type Drawn = Option<Completed>;

    fn validate(&self) -> Result<(), ObjectiveError> {
        check_positive("dpo.beta", self.beta)?;
        let fine = (0.0..0.5).contains(&self.label_smoothing);
        check(fine, "dpo.label_smoothing", self.label_smoothing, "0 to below 0.5")?;
        check_weight("dpo.nll_weight", self.nll_weight)
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::TokenTargets, Need::TokenIds, Need::Causal { ahead: 1 }, Need::Preferences]
    }

    fn teacher(&self) -> Option<Teacher> {
        Some(Teacher::ReferenceModel)
    }

    /// The completions' tokens; `None` without pairs.
    fn draw(&self, batch: &dyn HostBatch, _: &mut StepContext<'_>) -> Option<Completed> {
        let layout = batch.layout();
        let pairs = layout.group_size == 2 && layout.tokens > 0;
        pairs.then(|| Completed { tokens: layout.tokens, mask: predicted(&layout, None, 1) })
    }

    /// The mean over the pairs of a batch.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        completed: Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let device = model.device(batch);
        let Some(completed) = completed else { return Ok(Loss::empty(&device)) };
        let Some(own) = completed.nll(model, batch)? else { return Ok(Loss::empty(&device)) };
        let pairs = own.dims()[0] / 2;
        let reference = match teacher {
            Some(teacher) => eval_mode(|| completed.nll(teacher, batch))?,
            None => None,
        };
        let reference = reference.unwrap_or_else(|| own.clone()).detach();
        // Losses are negative log-likelihoods: the rejected one's gain is the chosen one's.
        let gain = (reference - own.clone()).reshape([pairs, 2]);
        let margin = (gain.clone().narrow(1, 0, 1) - gain.narrow(1, 1, 1)).mul_scalar(self.beta);
        let wanted = margin.full_like(1.0 - self.label_smoothing);
        let mut value = sigmoid_cross_entropy(margin.clone(), wanted).mean();
        if self.nll_weight > 0.0 {
            let chosen = completed.mask.chunks(completed.tokens).step_by(2);
            let tokens: usize = chosen.map(|row| row.iter().filter(|on| **on).count()).sum();
            let sum = own.reshape([pairs, 2]).narrow(1, 0, 1).sum();
            value = value + sum.mul_scalar(self.nll_weight / tokens.max(1) as f64);
        }
        let loss = Loss::new(value, pairs);
        if !context.collect_metrics {
            return Ok(loss);
        }
        let one = |value: f32| Tensor::from_floats([value], &device);
        let right = margin.detach().greater_elem(0.0).float().mean();
        let loss = loss
            .with_diagnostic(Diagnostic::Accuracy, right)
            .with_diagnostic(Diagnostic::ChanceAccuracy, one(0.5));
        if self.nll_weight > 0.0 {
            return Ok(loss);
        }
        Ok(loss.with_diagnostic(Diagnostic::BaselineLoss, one(2f32.ln())))
    }
}

/// The completions of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// Tokens of a sequence.
    tokens: usize,
    /// `[batch, tokens]` in row-major order, true where a token belongs to a completion.
    mask: Vec<bool>,
}

impl Completed {
    /// The summed negative log-likelihood of each completion's tokens, `[batch]`; `None` without any.
    fn nll<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        batch: &T,
    ) -> Result<Option<Tensor<B, 1>>, Lack> {
        let Some(losses) = next_token_nll(model, batch, &self.mask)? else { return Ok(None) };
        let on = (0..self.mask.len()).filter(|at| self.mask[*at]);
        let owners = on.map(|at| (at / self.tokens) as i64).collect::<Vec<_>>();
        let owners = TensorData::new(owners, losses.dims());
        let owners = Tensor::<B, 1, Int>::from_data(owners, &losses.device());
        let sums = Tensor::zeros([self.mask.len() / self.tokens], &losses.device());
        Ok(Some(sums.select_assign(0, owners, losses, IndexingUpdateOp::Add)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stochastic::Stochastic,
        toy::{Groups, Ids, Table, context},
    };
    use burn::backend::Autodiff;
    use burn_flex::Flex;
    use kiln_core::{Layout, Seed};
    use kiln_kernels::reseed;
    use kiln_nn::NormKind;

    type A = Autodiff<Flex>;

    #[test]
    fn losses_by_hand() {
        let mut batch = Ids::<Flex>::new(&[[0, 1], [0, 0]]);
        batch.layout = Layout { group_size: 2, ..batch.layout };
        // After 0 it thinks 1, the better answer, likely three times in four; it began undecided.
        let model = Table(vec![[0.0, 3f32.ln()], [0.0; 2], [0.0; 2]]);
        let start = Table(vec![[0.0; 2]; 3]);
        let loss = |preference: &Dpo, teacher: Option<&Table<2>>| {
            preference.validate().unwrap();
            let mut rng = Seed::new(0).rng();
            let mut context = StepContext { collect_metrics: true, ..context(&mut rng) };
            let teacher = teacher.map(|teacher| teacher as &DynModel<'_, _, _>);
            preference.loss(&model, teacher, &batch, &mut context).unwrap()
        };
        let close = |loss: Loss<Flex>, expected: f32| {
            let found = loss.value.into_scalar();
            assert!((found - expected).abs() < 1e-5 && loss.count == 1, "{found}, not {expected}");
        };
        // Its gain is ln(3/2) of the better and ln(1/2) of the worse: a margin of ln 3.
        let plain = Dpo { beta: 1.0, ..Dpo::default() };
        let found = loss(&plain, Some(&start));
        assert!(found.diagnostics.iter().any(|(kind, value)| {
            *kind == Diagnostic::Accuracy && value.clone().into_scalar() == 1.0
        }));
        close(found, (4.0f32 / 3.0).ln());
        close(loss(&Dpo { beta: 2.0, ..plain.clone() }, Some(&start)), (10.0f32 / 9.0).ln());
        let smoothed = Dpo { label_smoothing: 0.2, ..plain.clone() };
        close(loss(&smoothed, Some(&start)), 0.8 * (4.0f32 / 3.0).ln() + 0.2 * 4f32.ln());
        let likely = Dpo { nll_weight: 0.5, ..plain.clone() };
        close(loss(&likely, Some(&start)), 1.5 * (4.0f32 / 3.0).ln());
        // Of itself it has gained nothing.
        close(loss(&plain, None), 2f32.ln());
    }

    #[test]
    fn answers_count_and_questions_do_not() {
        let mut batch = Ids::<Flex>::new(&[[0, 1, 1], [0, 1, 0]]);
        let loss_mask = Some([false, false, true].repeat(2));
        batch.layout = Layout { group_size: 2, loss_mask, ..batch.layout };
        let model = Table(vec![[0.0; 2], [0.0, 3f32.ln()], [0.0; 2]]);
        let completed = Completed { tokens: 3, mask: predicted(&batch.layout, None, 1) };
        let sums = completed.nll(&model, &batch).unwrap().unwrap();
        let sums: Vec<f32> = sums.into_data().to_vec().unwrap();
        assert!((sums[0] - (4.0f32 / 3.0).ln()).abs() < 1e-6 && (sums[1] - 4f32.ln()).abs() < 1e-6);
        // Texts that stand for themselves are no pairs.
        batch.layout.group_size = 1;
        let mut rng = Seed::new(0).rng();
        let loss = Dpo::default().loss(&model, None, &batch, &mut context(&mut rng)).unwrap();
        assert_eq!(loss.count, 0);
        assert!(Dpo { label_smoothing: 0.5, ..Dpo::default() }.validate().is_err());
    }

    #[test]
    fn the_reference_drops_nothing() {
        let values = [
            [[1.0, 2.0, 0.0], [0.0, 4.0, 1.0], [3.0, 2.0, 5.0]],
            [[2.0, 1.0, 0.0], [3.0, 4.0, 9.0], [1.0, 0.0, 0.5]],
        ];
        let values = Tensor::<A, 3>::from_floats(values, &Default::default());
        let batch = Groups { values, group_size: 2 };
        let [model, still] = [0.5, 0.0].map(|share| Stochastic::new(3, NormKind::Layer, share));
        let loss = |model: &Stochastic<A>, reference: &Stochastic<A>| {
            reseed(7);
            let (objective, mut rng) = (Dpo::default(), Seed::new(1).rng());
            let loss =
                objective.loss(model, Some(reference), &batch, &mut context(&mut rng)).unwrap();
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
