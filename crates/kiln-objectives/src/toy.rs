//! Models without weights, so that objectives can be checked by hand.

use crate::permuted::arranged_ids;
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{
    Backend, Layout, Loss, Rng, Shown, StepContext, Targets, TaskLoss, TokenModel, Tokens, View,
};

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

    /// The first value of each sequence.
    fn relevance(&self, _: &Self::Batch, tokens: &Tokens<B>) -> Option<Tensor<B, 1>> {
        Some(tokens.values.clone().narrow(1, 0, 1).narrow(2, 0, 1).flatten::<1>(0, 2))
    }

    fn supervised(&self, batch: &Self::Batch, _: &mut StepContext<'_>) -> TaskLoss<B> {
        let loss = Loss::new(batch.values.clone().mean(), batch.values.shape().num_elements());
        TaskLoss { loss, tokens: Some(Tokens::new(batch.values.clone())) }
    }

    /// The tasks `largest` and `sum`, of all values.
    fn pretext(
        &self,
        task: &str,
        batch: &Self::Batch,
        _: &mut StepContext<'_>,
    ) -> Option<TaskLoss<B>> {
        let loss = match task {
            "largest" => Loss::new(batch.values.clone().max(), 1),
            "sum" => Loss::new(batch.values.clone().sum(), 2),
            _ => return None,
        };
        Some(TaskLoss { loss, tokens: Some(Tokens::new(batch.values.clone())) })
    }
}

/// Ids, `[batch, tokens]`, and what is known of them.
#[derive(Debug, Clone)]
pub struct Ids<B: Backend> {
    pub ids: Tensor<B, 2, Int>,
    pub layout: Layout,
}

impl<B: Backend> Ids<B> {
    /// Sequences of equal length, one a document.
    pub fn new<const N: usize>(rows: &[[i64; N]]) -> Self {
        let data = TensorData::new(rows.concat(), [rows.len(), N]);
        let ids = Tensor::from_data(data, &B::Device::default());
        Self { ids, layout: Layout::new(rows.len(), N) }
    }
}

/// What it makes of an id is a row of its table, `[vocabulary + 1, vocabulary]`, which are scores of
/// the vocabulary; of a hidden one the last row. How surely a token is another's is its first score.
#[derive(Debug, Clone)]
pub struct Table<const V: usize>(pub Vec<[f32; V]>);

impl<B: Backend, const V: usize> TokenModel<B> for Table<V> {
    type Batch = Ids<B>;

    fn layout(&self, batch: &Ids<B>) -> Layout {
        batch.layout.clone()
    }

    fn device(&self, batch: &Ids<B>) -> B::Device {
        batch.ids.device()
    }

    fn encode(&self, batch: &Ids<B>, view: View<B>) -> Tokens<B> {
        let ids = match view.hide {
            Some(hide) => batch.ids.clone().mask_fill(hide, V as i64),
            None => batch.ids.clone(),
        };
        let [rows, tokens] = ids.dims();
        let table = TensorData::new(self.0.concat(), [V + 1, V]);
        let table = Tensor::<B, 2>::from_data(table, &ids.device());
        Tokens::new(table.select(0, ids.reshape([rows * tokens])).reshape([rows, tokens, V]))
    }

    fn targets(&self, batch: &Ids<B>) -> Targets<B> {
        Targets::Ids { ids: batch.ids.clone() }
    }

    fn decode(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        values
    }

    fn with_ids(&self, batch: &Ids<B>, ids: Tensor<B, 2, Int>) -> Option<Ids<B>> {
        Some(Ids { ids, layout: batch.layout.clone() })
    }

    fn judge(&self, values: Tensor<B, 3>) -> Option<Tensor<B, 2>> {
        Some(values.narrow(2, 0, 1).squeeze_dim(2))
    }

    fn halves(&self, batch: &Ids<B>) -> Option<[Ids<B>; 2]> {
        let [rows, tokens] = batch.ids.dims();
        let half = tokens / 2;
        let part = |from, count| Ids {
            ids: batch.ids.clone().narrow(1, from, count),
            layout: Layout::new(rows, count),
        };
        Some([part(0, half), part(half, tokens - half)])
    }

    /// Two decoders. What they make of a token is the sequence's vector, times one or two, beside
    /// what the token shows.
    fn reconstruct(
        &self,
        stack: usize,
        batch: &Ids<B>,
        vectors: Tensor<B, 2>,
        shown: Shown<B>,
    ) -> Option<Tensor<B, 3>> {
        let [rows, width] = vectors.dims();
        let values = match shown {
            Shown::View(view) => self.encode(batch, view).values,
            // What stands at each place alone.
            Shown::Arranged(arrangement) => {
                let ids = arranged_ids(&arrangement, batch.ids.clone());
                let [rows, places] = ids.dims();
                let hidden = arrangement.places.iter().flatten().map(|(_, hidden)| *hidden);
                let hidden = TensorData::new(hidden.collect::<Vec<bool>>(), [rows, places]);
                let hidden = Tensor::from_data(hidden, &batch.ids.device());
                let batch = Ids { ids, layout: Layout::new(rows, places) };
                self.encode(&batch, View::hiding(hidden)).values
            }
        };
        let scale = (stack + 1) as f64;
        (stack < 2).then(|| values + vectors.mul_scalar(scale).reshape([rows, 1, width]))
    }

    fn supervised(&self, batch: &Ids<B>, _: &mut StepContext<'_>) -> TaskLoss<B> {
        TaskLoss::nothing(&batch.ids.device())
    }
}

/// A step without signs.
pub fn context(rng: &mut Rng) -> StepContext<'_> {
    StepContext::new(rng)
}
