//! In plain tensor operations, with all scores in memory.

use super::{
    shape::{Attention, AttentionBackward, Ints, Sizes},
    visibility::AttentionVisibility,
};
use crate::{
    Tensors,
    plain::{integers, primitive, tensor, to_f32},
    random,
};
use burn::tensor::{
    Bool, Int, Tensor, TensorData, TensorMetadata,
    backend::Backend as BurnBackend,
    ops::{FloatTensor, IntTensor},
};

pub(super) fn forward<B: BurnBackend>(
    attention: &Attention,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let sizes = attention.sizes(&inputs.shapes().0);
    let Sources { queries, keys, values } = sources::<B>(attention, &sizes, &inputs.floats);
    let bias = inputs.floats.get(attention.sources()).cloned();
    let masked = mask::<B>(attention, &sizes, inputs.ints, &queries.device());
    let scores = scores(attention, &sizes, queries.clone(), keys, bias);
    let scores = scores.mask_fill(masked.clone(), f32::MIN);
    let largest = scores.clone().max_dim(3).detach();
    let weights = (scores - largest.clone()).exp().mask_fill(masked, 0.0);
    let sum = weights.clone().sum_dim(3);
    let empty = sum.clone().equal_elem(0.0);
    let sum = sum.mask_fill(empty.clone(), 1.0);
    let mut weights = weights / sum.clone();
    if let Some(kept) = kept::<B>(attention, &sizes, &queries) {
        weights = weights * kept;
    }
    let out = weights.matmul(values).swap_dims(1, 2);
    let logsumexp = (largest + sum.log()).mask_fill(empty, 0.0);
    // Statistics are f32 even where the rest is less.
    vec![primitive(out), primitive(to_f32(logsumexp.squeeze_dim::<3>(3)))]
}

pub(super) fn backward<B: BurnBackend>(
    step: &AttentionBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let attention = &step.attention;
    let sizes = attention.sizes(&inputs.shapes().0);
    let Sources { queries, keys, values } = sources::<B>(attention, &sizes, &inputs.floats);
    let mut rest = inputs.floats.into_iter().skip(attention.sources());
    let bias = if attention.bias { rest.next() } else { None };
    let (Some(out), Some(logsumexp), Some(gradient)) = (rest.next(), rest.next(), rest.next())
    else {
        return Vec::new();
    };
    let out = tensor::<B, 4>(out).swap_dims(1, 2);
    let gradient = tensor::<B, 4>(gradient).swap_dims(1, 2);
    let logsumexp = tensor::<B, 3>(logsumexp).cast(gradient.dtype()).unsqueeze_dim::<4>(3);
    let bias_shape = bias.as_ref().map(|bias| bias.shape());

    let masked = mask::<B>(attention, &sizes, inputs.ints, &queries.device());
    let scores = scores(attention, &sizes, queries.clone(), keys.clone(), bias);
    let weights = (scores - logsumexp).mask_fill(masked.clone(), f32::MIN).exp();
    let weights = weights.mask_fill(masked, 0.0);
    let delta = (out * gradient.clone()).sum_dim(3);
    let mut dropped = weights.clone();
    let mut weights_gradient = gradient.clone().matmul(values.transpose());
    if let Some(kept) = kept::<B>(attention, &sizes, &queries) {
        dropped = dropped * kept.clone();
        weights_gradient = weights_gradient * kept;
    }
    let scores_gradient = weights * (weights_gradient - delta);

    let scaled = scores_gradient.clone() * attention.scale;
    let queries_gradient = scaled.clone().matmul(keys).swap_dims(1, 2);
    let keys_gradient = ungroup(&sizes, scaled.transpose().matmul(queries));
    let values_gradient = ungroup(&sizes, dropped.transpose().matmul(gradient));
    let mut gradients = Vec::new();
    if attention.packed.is_some() {
        if step.queries {
            let parts = vec![queries_gradient, keys_gradient, values_gradient];
            gradients.push(primitive(Tensor::cat(parts, 2)));
        }
    } else {
        if step.queries {
            gradients.push(primitive(queries_gradient));
        }
        if step.keys {
            gradients.extend([primitive(keys_gradient), primitive(values_gradient)]);
        }
    }
    if let (true, Some(shape)) = (step.bias, bias_shape) {
        let mut total = scores_gradient;
        for axis in [0, 1] {
            if shape[axis] == 1 {
                total = total.sum_dim(axis);
            }
        }
        gradients.push(primitive(total));
    }
    gradients
}

/// Each `[batch, heads, tokens, width]`, keys and values repeated for the heads that share them.
struct Sources<B: BurnBackend> {
    queries: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    values: Tensor<B, 4>,
}

fn sources<B: BurnBackend>(
    attention: &Attention,
    sizes: &Sizes,
    floats: &[FloatTensor<B>],
) -> Sources<B> {
    let take = |index: usize| tensor::<B, 4>(floats[index].clone());
    let (queries, keys, values) = match attention.packed {
        Some([heads, kv_heads]) => (
            take(0).narrow(2, 0, heads),
            take(0).narrow(2, heads, kv_heads),
            take(0).narrow(2, heads + kv_heads, kv_heads),
        ),
        None => (take(0), take(1), take(2)),
    };
    let repeated = |x: Tensor<B, 4>| {
        let Sizes { batch, keys, heads, width, .. } = *sizes;
        let x = x.swap_dims(1, 2).unsqueeze_dim::<5>(2);
        x.repeat_dim(2, sizes.group()).reshape([batch, heads, keys, width])
    };
    Sources { queries: queries.swap_dims(1, 2), keys: repeated(keys), values: repeated(values) }
}

/// The transpose of the repetition, as `[batch, keys, kv_heads, width]`.
fn ungroup<B: BurnBackend>(sizes: &Sizes, x: Tensor<B, 4>) -> Tensor<B, 4> {
    let Sizes { batch, keys, kv_heads, width, .. } = *sizes;
    let x = x.reshape([batch, kv_heads, sizes.group(), keys, width]);
    x.sum_dim(2).squeeze_dim::<4>(2).swap_dims(1, 2)
}

/// `[1, 1, queries, keys]`: how far a key lies before a query.
fn distance<B: BurnBackend>(sizes: &Sizes, device: &B::Device) -> Tensor<B, 4, Int> {
    let first = sizes.shift() as i64;
    let rows = Tensor::<B, 1, Int>::arange(first..first + sizes.queries as i64, device);
    let columns = Tensor::<B, 1, Int>::arange(0..sizes.keys as i64, device);
    rows.reshape([1, 1, sizes.queries, 1]) - columns.reshape([1, 1, 1, sizes.keys])
}

fn scores<B: BurnBackend>(
    attention: &Attention,
    sizes: &Sizes,
    queries: Tensor<B, 4>,
    keys: Tensor<B, 4>,
    bias: Option<FloatTensor<B>>,
) -> Tensor<B, 4> {
    let (device, dtype) = (queries.device(), queries.dtype());
    let mut scores = queries.matmul(keys.transpose()) * attention.scale;
    if let Some(bias) = bias {
        scores = scores + tensor::<B, 4>(bias);
    }
    if let Some(slopes) = &attention.alibi {
        let slopes = TensorData::new(slopes.clone(), [1, sizes.heads, 1, 1]);
        let slopes = Tensor::<B, 4>::from_data(slopes, &device).cast(dtype);
        let distance = distance::<B>(sizes, &device).abs().float().cast(dtype);
        scores = scores - slopes * distance;
    }
    scores
}

/// The attention mask, `[batch, heads, queries, keys]`.
fn mask<B: BurnBackend>(
    attention: &Attention,
    sizes: &Sizes,
    ints: Vec<IntTensor<B>>,
    device: &B::Device,
) -> Tensor<B, 4, Bool> {
    let Sizes { batch, queries, keys, heads, .. } = *sizes;
    let Ints { mask_pad, documents, lengths } = attention.split_ints(ints);
    let lengths = lengths.map(integers::<B, 1>);
    let visibility = AttentionVisibility::<B> {
        // Without lengths, none is asked for.
        pattern: attention.pattern.map(|()| lengths.unwrap_or_else(|| Tensor::zeros([0], device))),
        window: attention.window,
        documents: documents.map(integers),
        mask_pad: mask_pad.map(|mask| integers::<B, 2>(mask).not_equal_elem(0)),
        ..AttentionVisibility::bidirectional()
    };
    visibility.mask([queries, keys], device).expand([batch, heads, queries, keys])
}

/// What dropout multiplies weights by.
fn kept<B: BurnBackend>(
    attention: &Attention,
    sizes: &Sizes,
    like: &Tensor<B, 4>,
) -> Option<Tensor<B, 4>> {
    let dropout = attention.dropout?;
    let Sizes { batch, queries, keys, heads, .. } = *sizes;
    let rows = (0..(batch * heads * queries) as u32).map(|row| random::row_keys(dropout.seed, row));
    let factors = rows.flat_map(|key| {
        (0..keys as u32).map(move |column| {
            let kept = random::bits_of(key, column) >= dropout.threshold();
            if kept { dropout.scale() as f32 } else { 0.0 }
        })
    });
    let factors = TensorData::new(factors.collect::<Vec<f32>>(), [batch, heads, queries, keys]);
    Some(Tensor::<B, 4>::from_data(factors, &like.device()).cast(like.dtype()))
}
