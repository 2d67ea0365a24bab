//! A model without weights, so that objectives can be checked by hand.

use burn::tensor::Tensor;
use kiln_core::{Backend, Layout, Loss, Rng, StepContext, Targets, TokenModel, Tokens, View};

/// Passes its batch, `[batch, tokens, width]`, through: hidden tokens become zero, and decoding
/// does nothing. As blocks it gives the batch and its negative.
#[derive(Debug, Clone)]
pub struct Toy;

/// A batch whose sequences belong together.
#[derive(Debug, Clone)]
pub struct Views<B: Backend> {
    /// `[batch, tokens, width]`
    pub values: Tensor<B, 3>,
    /// How many do.
    pub views: usize,
}

impl<B: Backend> From<Tensor<B, 3>> for Views<B> {
    fn from(values: Tensor<B, 3>) -> Self {
        Self { values, views: 1 }
    }
}

impl<B: Backend> TokenModel<B> for Toy {
    type Batch = Views<B>;

    fn layout(&self, batch: &Self::Batch) -> Layout {
        let [rows, tokens, _] = batch.values.dims();
        Layout { views: batch.views, ..Layout::new(rows, tokens) }
    }

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.values.device()
    }

    fn encode(&self, batch: &Self::Batch, view: View<B>) -> Tokens<B> {
        let dims = batch.values.dims();
        let values = match view.hide {
            Some(hide) => {
                batch.values.clone().mask_fill(hide.unsqueeze_dim::<3>(2).expand(dims), 0.0)
            }
            None => batch.values.clone(),
        };
        Tokens::new(values)
    }

    fn encode_each(&self, batch: &Self::Batch) -> Vec<Tensor<B, 3>> {
        vec![batch.values.clone(), batch.values.clone().neg()]
    }

    fn targets(&self, batch: &Self::Batch) -> Targets<B> {
        Targets::Values { values: batch.values.clone(), mask_missing: None }
    }

    fn decode(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        values
    }

    /// The first value of each item.
    fn grades(&self, batch: &Self::Batch) -> Option<Vec<f32>> {
        let [_, tokens, width] = batch.values.dims();
        let values: Vec<f32> = batch.values.clone().into_data().iter::<f32>().collect();
        Some(values.into_iter().step_by(tokens * width * batch.views).collect())
    }

    fn supervised(&self, batch: &Self::Batch, _: &mut StepContext<'_>) -> Loss<B> {
        Loss::new(batch.values.clone().mean(), batch.values.shape().num_elements())
    }
}

/// A step without signs.
pub fn context(rng: &mut Rng) -> StepContext<'_> {
    StepContext::new(rng)
}
