//! Attention bias of edges, and rows of a table that see training rows only.

use super::{A, step, train};
use crate::{Masked, ObjectiveSpec as _};
use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor},
};
use burn_flex::Flex;
use kiln_core::{
    AttentionVisibility, Backend, Capabilities, Corruption, Encode, HostBatch, Layout, Model,
    PredictTokens, TokenTargets, Tokens,
};
use kiln_kernels::{AttentionOptions, attention};

/// Attention over tokens whose edges have a number each, which is the attention bias.
#[derive(Module, Debug)]
struct Graph<B: Backend> {
    edge_weight: Param<Tensor<B, 1>>,
}

/// Tokens `[batch, tokens, width]`, and the edges between them, `[batch, tokens, tokens]`.
struct Edges<B: Backend> {
    values: Tensor<B, 3>,
    edges: Tensor<B, 3>,
}

impl<B: Backend> HostBatch for Edges<B> {
    fn layout(&self) -> Layout {
        let [rows, tokens, _] = self.values.dims();
        Layout::new(rows, tokens)
    }
}

impl<B: Backend> Model<B> for Graph<B> {
    type Batch = Edges<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.values.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        let (encode, predict_tokens) = (Some(self as _), Some(self as _));
        Capabilities { encode, predict_tokens, ..Capabilities::none() }
    }
}

impl<B: Backend> Encode<B, Edges<B>> for Graph<B> {
    fn encode(
        &self,
        batch: &Edges<B>,
        corruption: &Corruption<B>,
        _: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let [rows, tokens, width] = batch.values.dims();
        let dims = batch.values.dims();
        let mask = corruption.mask.clone().map(|mask| mask.unsqueeze_dim::<3>(2).expand(dims));
        let values = match mask {
            Some(mask) => batch.values.clone().mask_fill(mask, 0.0),
            None => batch.values.clone(),
        };
        let still = Tensor::zeros([rows, tokens, 1, width], &values.device());
        let bias = batch.edges.clone() * self.edge_weight.val().reshape([1, 1, 1]);
        let bias = bias.reshape([rows, 1, tokens, tokens]);
        let options = AttentionOptions {
            visibility: AttentionVisibility::bidirectional().add_bias(bias),
            ..AttentionOptions::default()
        };
        let heads = values.reshape([rows, tokens, 1, width]);
        let found = attention(still.clone(), still, heads, options);
        Tokens::new(found.reshape([rows, tokens, width]))
    }
}

impl<B: Backend> PredictTokens<B, Edges<B>> for Graph<B> {
    fn targets(&self, batch: &Edges<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Values { values: batch.values.clone(), mask_missing: None }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        hidden
    }
}

#[test]
fn edges_are_an_attention_bias_that_is_learned() {
    let device = Default::default();
    // Two clusters of equal tokens: who is joined by an edge is alike.
    let values = [[[3.0], [3.0], [-3.0], [-3.0], [3.0], [-3.0]]];
    let sign = [1.0, 1.0, -1.0, -1.0, 1.0, -1.0];
    let joined = sign.map(|one| sign.map(|other| if one == other { 1.0 } else { 0.0 }));
    let batch = Edges::<A> {
        values: Tensor::from_floats(values, &device),
        edges: Tensor::from_floats([joined], &device),
    };
    let masked = Masked { ratio: 0.17, ..Masked::default() };
    let loss = |model: &Graph<A>, seed| {
        step(seed, |context| masked.loss(model, None, &batch, context)).unwrap()
    };
    let model = Graph { edge_weight: Param::from_tensor(Tensor::zeros([1], &device)) };
    let (model, _) = train(model, 0.1, 100, loss);
    assert!(
        model.edge_weight.val().into_scalar() > 1.0,
        "the mask of a token is told by its edges"
    );
}

/// Rows of a table, whose test rows attend to training rows: their labels are predicted in context.
struct TableRows;

/// Rows `[batch, rows, width]`, of which the first `[batch]` are for training.
struct Rows<B: Backend> {
    values: Tensor<B, 3>,
    training: Tensor<B, 1, Int>,
}

impl<B: Backend> Model<B> for TableRows {
    type Batch = Rows<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.values.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        Capabilities { encode: Some(self), ..Capabilities::none() }
    }
}

impl<B: Backend> Encode<B, Rows<B>> for TableRows {
    fn encode(
        &self,
        batch: &Rows<B>,
        _: &Corruption<B>,
        attends: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let [tables, rows, width] = batch.values.dims();
        let context = || AttentionVisibility::context(batch.training.clone());
        let visibility = attends.cloned().unwrap_or_else(context);
        let heads = batch.values.clone().reshape([tables, rows, 1, width]);
        let still = Tensor::zeros([tables, rows, 1, width], &heads.device());
        let options = AttentionOptions { visibility, ..AttentionOptions::default() };
        let found = attention(still.clone(), still, heads, options);
        Tokens::new(found.reshape([tables, rows, width]))
    }
}

#[test]
fn test_rows_attend_to_training_rows_and_to_themselves() {
    let device = Default::default();
    let values = Tensor::<Flex, 3>::from_floats([[[1.0], [3.0], [10.0], [20.0]]], &device);
    let batch = Rows { values, training: Tensor::from_ints([2], &device) };
    let found = TableRows.encode(&batch, &Corruption::none(), None).values;
    let found: Vec<f32> = found.into_data().to_vec().unwrap();
    // The mean of the training rows, and of a test row with them.
    let expected = [2.0, 2.0, 14.0 / 3.0, 8.0];
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
}
