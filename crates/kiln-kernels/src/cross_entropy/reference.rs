//! In plain tensor operations.

use super::{CrossEntropy, CrossEntropyBackward, CrossEntropyOptions};
use crate::{
    Tensors,
    plain::{integers, log_sum_exp, primitive, tensor, to_f32},
};
use burn::tensor::{Bool, Int, Tensor, backend::Backend, ops::FloatTensor};

pub(super) fn forward<B: Backend>(
    CrossEntropy { options }: &CrossEntropy,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let Tensors { floats, mut ints } = inputs;
    let targets = integers::<B, 1>(ints.swap_remove(0));
    let logits = floats.into_iter().next().map(|logits| to_f32(tensor::<B, 2>(logits)));
    let Some(logits) = logits else { return Vec::new() };
    losses(options, logits, targets).map(|out| primitive(out)).into()
}

/// The losses and log-sum-exp of the rows, 0 where ignored.
pub(super) fn losses<B: Backend>(
    options: &CrossEntropyOptions,
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> [Tensor<B, 1>; 2] {
    let (targets, ignored) = split_ignored(options, targets);
    let log_sum_exp = log_sum_exp(logits.clone());
    let target_logit = logits.clone().gather(1, targets.unsqueeze_dim(1));
    let mut losses = log_sum_exp.clone() - target_logit.mul_scalar(options.target_weight());
    if options.label_smoothing > 0.0 {
        losses = losses - logits.mean_dim(1).mul_scalar(options.label_smoothing);
    }
    if options.z_loss > 0.0 {
        losses = losses + log_sum_exp.clone().square().mul_scalar(options.z_loss);
    }
    let found = [losses, log_sum_exp].map(|column| column.squeeze_dim::<1>(1));
    match ignored {
        Some(ignored) => found.map(|found| found.mask_fill(ignored.clone(), 0.0)),
        None => found,
    }
}

/// The targets with ignored ones replaced by any that can be read, and which were.
fn split_ignored<B: Backend>(
    options: &CrossEntropyOptions,
    targets: Tensor<B, 1, Int>,
) -> (Tensor<B, 1, Int>, Option<Tensor<B, 1, Bool>>) {
    match options.ignore_index {
        Some(index) => {
            let ignored = targets.clone().equal_elem(index);
            (targets.mask_fill(ignored.clone(), 0), Some(ignored))
        }
        None => (targets, None),
    }
}

pub(super) fn backward<B: Backend>(
    CrossEntropyBackward { options }: &CrossEntropyBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let targets = integers::<B, 1>(inputs.ints[0].clone());
    let [logits, log_sum_exp, gradient] = inputs.take();
    let logits = tensor::<B, 2>(logits);
    let dtype = logits.dtype();
    let out =
        logits_gradient(options, to_f32(logits), targets, tensor(log_sum_exp), tensor(gradient));
    vec![primitive(out.cast(dtype))]
}

/// The gradient of the logits, from the rows' log-sum-exp and the losses' gradient.
pub(super) fn logits_gradient<B: Backend>(
    options: &CrossEntropyOptions,
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    log_sum_exp: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
) -> Tensor<B, 2> {
    let [rows, classes] = logits.dims();
    let (targets, ignored) = split_ignored(options, targets);
    let log_sum_exp = log_sum_exp.cast(logits.dtype()).unsqueeze_dim::<2>(1);
    let mut gradient = gradient.cast(logits.dtype());
    if let Some(ignored) = ignored {
        gradient = gradient.mask_fill(ignored, 0.0);
    }
    let gradient = gradient.unsqueeze_dim::<2>(1);
    let classes_row = Tensor::<B, 1, Int>::arange(0..classes as i64, &logits.device());
    let at_target = classes_row
        .unsqueeze_dim::<2>(0)
        .expand([rows, classes])
        .equal(targets.unsqueeze_dim::<2>(1).expand([rows, classes]));
    let target_grad = logits.zeros_like().mask_fill(at_target, options.target_weight());
    let softmax = (logits - log_sum_exp.clone()).exp();
    let scaled_grad = softmax * log_sum_exp.mul_scalar(2.0 * options.z_loss).add_scalar(1.0);
    (scaled_grad - target_grad).sub_scalar(options.smoothing(classes)) * gradient
}
