//! In plain tensor operations: the forward recursion of the paper's section 4.1 over the whole
//! batch, in logarithms; the gradient by differentiating it.

use super::{Ctc, CtcBackward, IMPOSSIBLE_BELOW};
use crate::LOG_ZERO;
use crate::{
    Tensors,
    plain::{integers, log_sum_exp, primitive, tensor, to_f32},
};
use burn::{
    backend::Autodiff,
    tensor::{Bool, Int, Tensor, activation, backend::Backend, ops::FloatTensor},
};

pub(super) fn forward<B: Backend>(kernel: &Ctc, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let ints = inputs.ints.clone();
    let frame_lengths = integers::<B, 1>(ints[1].clone());
    let [logits] = inputs.take();
    let logits = to_f32(tensor::<B, 3>(logits));
    let losses = losses(
        kernel,
        logits.clone(),
        integers(ints[0].clone()),
        frame_lengths.clone(),
        integers(ints[2].clone()),
    );
    let [batch, frames, classes] = logits.dims();
    let log_sum_exps = log_sum_exp(logits.reshape([batch * frames, classes]));
    let past = past_lengths(frame_lengths, frames);
    vec![primitive(losses), primitive(log_sum_exps.reshape([batch, frames]).mask_fill(past, 0.0))]
}

/// Which of `count` positions lie past each length: `[batch, count]`.
fn past_lengths<B: Backend>(lengths: Tensor<B, 1, Int>, count: usize) -> Tensor<B, 2, Bool> {
    let [batch] = lengths.dims();
    let positions = Tensor::<B, 1, Int>::arange(0..count as i64, &lengths.device());
    let positions = positions.unsqueeze_dim::<2>(0).expand([batch, count]);
    positions.greater_equal(lengths.unsqueeze_dim::<2>(1).expand([batch, count]))
}

/// `ln Σ e^x` of several tensors, value by value.
fn add<B: Backend>(terms: &[Tensor<B, 2>]) -> Tensor<B, 2> {
    let detached = terms.iter().map(|term| term.clone().detach());
    let Some(shift) = detached.reduce(|a, b| a.max_pair(b)) else { unreachable!("no terms") };
    let exponentials = terms.iter().map(|term| (term.clone() - shift.clone()).exp());
    match exponentials.reduce(|a, b| a + b) {
        Some(sum) => sum.log() + shift,
        None => shift,
    }
}

fn losses<B: Backend>(
    kernel: &Ctc,
    logits: Tensor<B, 3>,
    targets: Tensor<B, 2, Int>,
    frame_lengths: Tensor<B, 1, Int>,
    target_lengths: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let [batch, frames, classes] = logits.dims();
    let [_, labels] = targets.dims();
    let device = logits.device();
    let targets = targets.mask_fill(past_lengths(target_lengths.clone(), labels), 0);
    let log_probabilities = activation::log_softmax(logits, 2);
    let never = |count: usize| {
        Tensor::<B, 2>::full([batch, count], LOG_ZERO, &device).cast(log_probabilities.dtype())
    };
    // Label i may follow label i - 1 without a blank between them where they differ.
    let mut direct = never(labels);
    if labels > 1 {
        let before = targets.clone().narrow(1, 0, labels - 1);
        let same = targets.clone().narrow(1, 1, labels - 1).equal(before);
        let differ = never(labels - 1).mul_scalar(0.0).mask_fill(same, LOG_ZERO);
        direct = Tensor::cat(vec![never(1), differ], 1);
    }
    // Before the first frame: the first blank, for sure. Labels have one before the first that
    // never is, so that label i - 1 lies beside blank i.
    let mut blank_states = Tensor::cat(vec![never(1).mul_scalar(0.0), never(labels)], 1);
    let mut label_states = never(labels + 1);
    for frame in 0..frames {
        let now = log_probabilities.clone().narrow(1, frame, 1).reshape([batch, classes]);
        let emit_blank = now.clone().narrow(1, kernel.blank, 1);
        let emit_labels = now.gather(1, targets.clone());
        let next_blanks = add(&[blank_states.clone(), label_states.clone()]) + emit_blank;
        let next_labels = add(&[
            label_states.clone().narrow(1, 1, labels),
            blank_states.clone().narrow(1, 0, labels),
            label_states.clone().narrow(1, 0, labels) + direct.clone(),
        ]) + emit_labels;
        let next_labels = Tensor::cat(vec![never(1), next_labels], 1);
        let over = frame_lengths.clone().lower_equal_elem(frame as i64).unsqueeze_dim::<2>(1);
        let over = over.expand([batch, labels + 1]);
        blank_states = next_blanks.mask_where(over.clone(), blank_states);
        label_states = next_labels.mask_where(over, label_states);
    }
    let last = target_lengths.unsqueeze_dim::<2>(1);
    let ends = [blank_states.gather(1, last.clone()), label_states.gather(1, last)];
    let likelihood = add(&ends).squeeze_dim::<1>(1);
    let impossible = likelihood.clone().lower_elem(IMPOSSIBLE_BELOW);
    let instead = if kernel.zero_infinity { 0.0 } else { f32::INFINITY };
    likelihood.neg().mask_fill(impossible, instead)
}

pub(super) fn backward<B: Backend>(
    kernel: &CtcBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let ints = inputs.ints.clone();
    let [logits, _, gradient] = inputs.take();
    let logits = tensor::<B, 3>(logits);
    let dtype = logits.dtype();
    let logits = to_f32(logits);
    let gradient = tensor::<B, 1>(gradient).cast(logits.dtype());
    let leaf = Tensor::<Autodiff<B>, 3>::from_inner(logits.clone()).require_grad();
    let losses = losses(
        // An infinite loss times a gradient of zero would not be a number.
        &Ctc { blank: kernel.blank, zero_infinity: true },
        leaf.clone(),
        integers(ints[0].clone()),
        integers(ints[1].clone()),
        integers(ints[2].clone()),
    );
    let gradients = (losses * Tensor::from_inner(gradient)).sum().backward();
    let found = leaf.grad(&gradients).unwrap_or_else(|| logits.zeros_like());
    vec![primitive(found.cast(dtype))]
}
