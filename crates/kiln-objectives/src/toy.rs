//! A model without weights, so that objectives can be checked by hand.

use burn::tensor::Tensor;
use kiln_core::{Backend, Layout, Loss, Rng, StepContext, Targets, TokenModel, Tokens, View};

/// Passes its batch, `[batch, tokens, width]`, through: hidden tokens become zero, and decoding
/// does nothing. As blocks it gives the batch and its negative.
#[derive(Debug, Clone)]
pub struct Toy;

impl<B: Backend> TokenModel<B> for Toy {
    type Batch = Tensor<B, 3>;

    fn layout(&self, batch: &Self::Batch) -> Layout {
        let [batch, tokens, _] = batch.dims();
        Layout::new(batch, tokens)
    }

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.device()
    }

    fn encode(&self, batch: &Self::Batch, view: View<B>) -> Tokens<B> {
        let dims = batch.dims();
        let values = match view.hide {
            Some(hide) => batch.clone().mask_fill(hide.unsqueeze_dim::<3>(2).expand(dims), 0.0),
            None => batch.clone(),
        };
        Tokens::new(values)
    }

    fn encode_each(&self, batch: &Self::Batch) -> Vec<Tensor<B, 3>> {
        vec![batch.clone(), batch.clone().neg()]
    }

    fn targets(&self, batch: &Self::Batch) -> Targets<B> {
        Targets::Values { values: batch.clone(), mask_missing: None }
    }

    fn decode(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        values
    }

    fn supervised(&self, batch: &Self::Batch, _: &mut StepContext<'_>) -> Loss<B> {
        Loss::new(batch.clone().mean(), batch.shape().num_elements())
    }
}

/// A step without signs.
pub fn context(rng: &mut Rng) -> StepContext<'_> {
    StepContext::new(rng)
}
