//! Replaced-token detection: a discriminator tells the tokens that a generator sampled from those that
//! stood there. ELECTRA, <https://arxiv.org/abs/2003.10555>.
//!
//! The generator is a smaller backbone where the model has one; otherwise the model itself, all
//! weights shared (the paper's section 3.2): one model learns both.

use crate::{
    Masked, MaskedTokens, ObjectiveError, ObjectiveSpec,
    diagnostics::with_token_diagnostics,
    losses::{masked_mean, sigmoid_cross_entropy},
    masked::uploaded,
    score::{TokenHead, score_ids},
    spec::{DynModel, check_weight},
};
use burn::tensor::{Distribution, IndexingUpdateOp, Int, Tensor, TensorData};
use kiln_core::{Backend, Corruption, Diagnostic, HostBatch, Lack, Loss, Need, StepContext};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of replaced-token detection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplacedTokenDetection {
    /// Which tokens are masked for the generator and replaced for the discriminator.
    pub masked: Masked,
    /// The weight of the discriminator's loss beside the generator's.
    pub weight: f64,
}

impl Default for ReplacedTokenDetection {
    /// The published settings.
    fn default() -> Self {
        Self { masked: Masked { ratio: 0.15, ..Masked::default() }, weight: 50.0 }
    }
}

impl ObjectiveSpec for ReplacedTokenDetection {
    type Drawn = (MaskedTokens, Vec<bool>);

    fn validate(&self) -> Result<(), ObjectiveError> {
        check_weight("replaced-token-detection.weight", self.weight)?;
        self.masked.validate()
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::TokenTargets, Need::TokenIds, Need::Discriminator];
        needs.extend(self.masked.corruption_needs());
        needs
    }

    /// The generator's masked tokens; and the tokens that the discriminator's loss ignores,
    /// `[batch, tokens]` in row-major order.
    fn draw(
        &self,
        batch: &dyn HostBatch,
        context: &mut StepContext<'_>,
    ) -> (MaskedTokens, Vec<bool>) {
        let layout = batch.layout();
        let mut ignored = vec![true; layout.batch * layout.tokens];
        for row in 0..layout.batch {
            for unit in layout.units(row, false) {
                ignored[row * layout.tokens..][unit].fill(false);
            }
        }
        (self.masked.draw_tokens(&layout, context), ignored)
    }

    /// The generator's mean loss over masked tokens, and the weighted mean loss of the discriminator
    /// over all tokens.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        (masked, ignored): Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let device = model.device(batch);
        let capabilities = model.capabilities();
        let (encoder, language) = (capabilities.encode()?, capabilities.language()?);
        let (heads, electra) = (capabilities.predict_tokens()?, capabilities.discriminate()?);
        let Some((head, ids)) = TokenHead::of_ids(heads, batch) else {
            return Ok(Loss::empty(&device));
        };
        let chosen = &masked.chosen;
        if !chosen.contains(&true) {
            return Ok(Loss::empty(&device));
        }
        let corruption = masked.corruption(&device);
        let ignored = uploaded::<B>(ignored, masked.shape, &device);
        let hidden = electra.generator_hidden(batch, &corruption);
        let hidden = hidden.unwrap_or_else(|| encoder.encode(batch, &corruption, None).values);
        let generator = score_ids(head, hidden.clone(), ids.clone(), chosen, false);

        let sampled = sampled_ids(head, hidden, ids.clone(), chosen);
        let replaced = sampled.clone().not_equal(ids);
        let batch = language.with_ids(batch, sampled);
        let encoded = encoder.encode(&batch, &Corruption::none(), None);
        let logits = electra.discriminator_logits(encoded.values.clone());

        let each = sigmoid_cross_entropy(logits.clone(), replaced.clone().float());
        let (discriminator, _) = masked_mean(each, Some(ignored.clone()));
        let value = generator.value + discriminator.mul_scalar(self.weight);
        let loss = Loss::new(value, generator.count);
        if !context.collect_metrics {
            return Ok(loss);
        }
        let right = logits.greater_elem(0.0).equal(replaced.clone()).float();
        let accuracy = masked_mean(right.detach(), Some(ignored.clone())).0;
        let (share, _) = masked_mean(replaced.float(), Some(ignored));
        let chance = share.neg().add_scalar(1.0);
        Ok(with_token_diagnostics(loss, &encoded)
            .with_diagnostic(Diagnostic::Accuracy, accuracy)
            .with_diagnostic(Diagnostic::ChanceAccuracy, chance))
    }
}

/// A batch's ids, `[batch, tokens]`, with those chosen replaced by samples from a token head, given
/// hidden states `[batch, tokens, width]`.
pub(crate) fn sampled_ids<B: Backend, T>(
    head: TokenHead<'_, B, T>,
    hidden: Tensor<B, 3>,
    ids: Tensor<B, 2, Int>,
    chosen: &[bool],
) -> Tensor<B, 2, Int> {
    let [rows, tokens, width] = hidden.dims();
    let device = hidden.device();
    let at: Vec<i64> = (0..chosen.len()).filter(|at| chosen[*at]).map(|at| at as i64).collect();
    let count = at.len();
    if count == 0 {
        return ids;
    }
    let at = Tensor::<B, 1, Int>::from_data(TensorData::new(at, [count]), &device);
    let picked = hidden.detach().reshape([rows * tokens, width]).select(0, at.clone());
    let logits = head.logits(picked).detach();
    // The largest logit after Gumbel noise is a sample of the softmax.
    let noise = Tensor::random(logits.shape(), Distribution::Uniform(1e-9, 1.0), &device);
    let drawn = (logits - noise.log().neg().log()).argmax(1).reshape([count]);
    let flat = ids.reshape([rows * tokens]);
    let old = flat.clone().select(0, at.clone());
    let new = flat.select_assign(0, at, drawn - old, IndexingUpdateOp::Add);
    new.reshape([rows, tokens])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MaskedKind,
        toy::{Ids, Table, context},
    };
    use burn_flex::Flex;
    use kiln_core::{Encode, Layout, Seed};

    /// What is hidden is always guessed to be 2, which nobody takes to be another's three times in
    /// four.
    fn table() -> Table<3> {
        Table(vec![[0.0; 3], [0.0; 3], [3f32.ln(), 0.0, 0.0], [0.0, 0.0, 50.0]])
    }

    #[test]
    fn all_that_is_no_separator_or_padding_is_judged() {
        let mut batch = Ids::<Flex>::new(&[[2, 1, 2, 1, 0]]);
        let special_tokens_mask = Some(vec![true, false, false, false, false]);
        batch.layout = Layout { lengths: Some(vec![4]), special_tokens_mask, ..batch.layout };
        // The last two: one is guessed right, and so not replaced, one wrong.
        let masked = Masked { ratio: 0.6, kind: MaskedKind::Tail, ..Masked::default() };
        let loss = |weight| {
            let mut rng = Seed::new(0).rng();
            let mut context = StepContext { collect_metrics: true, ..context(&mut rng) };
            let replaced = ReplacedTokenDetection { masked: masked.clone(), weight };
            replaced.validate().unwrap();
            replaced.loss(&table(), None, &batch, &mut context).unwrap()
        };
        let told = loss(0.0);
        assert_eq!((told.value.into_scalar(), told.count), (25.0, 2));
        let both = loss(2.0);
        let judged = (2f32.ln() + 4f32.ln() + (4.0f32 / 3.0).ln()) / 3.0;
        let found = both.value.into_scalar();
        assert!((found - 25.0 - 2.0 * judged).abs() < 1e-4, "{found}");
        let diagnostic = |wanted| {
            let found = both.diagnostics.iter().find(|(kind, _)| *kind == wanted).unwrap();
            found.1.clone().into_scalar()
        };
        // Two of three are judged right, as many as were not replaced.
        assert!((diagnostic(Diagnostic::Accuracy) - 2.0 / 3.0).abs() < 1e-6);
        assert!((diagnostic(Diagnostic::ChanceAccuracy) - 2.0 / 3.0).abs() < 1e-6);
        assert!(ReplacedTokenDetection { masked, weight: -1.0 }.validate().is_err());
    }

    #[test]
    fn ids_are_drawn_where_they_were_chosen() {
        let batch = Ids::<Flex>::new(&[[0, 1], [1, 0]]);
        let hide = Tensor::from_data([[false, true], [true, true]], &Default::default());
        let values = Encode::encode(&table(), &batch, &Corruption::masked(hide), None).values;
        let table = table();
        let head = TokenHead { model: &table, head: 0 };
        let new = sampled_ids(head, values, batch.ids, &[false, true, true, true]);
        assert_eq!(new.into_data().iter::<i64>().collect::<Vec<_>>(), [0, 2, 2, 2]);
    }
}
