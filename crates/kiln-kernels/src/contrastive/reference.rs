//! In plain tensor operations, all similarities at once.

use super::{PairLoss, Pairs, PairsBackward};
use crate::{
    Tensors,
    plain::{log_sum_exp, primitive, tensor, to_f32},
};
use burn::tensor::{Bool, Tensor, activation, backend::Backend, ops::FloatTensor};

pub(super) fn forward<B: Backend>(
    &Pairs { loss }: &Pairs,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    match loss {
        PairLoss::Softmax => {
            let [a, b, scale] = inputs.take();
            let (a, b) = (to_f32(tensor::<B, 2>(a)), to_f32(tensor::<B, 2>(b)));
            let scale = to_f32(tensor::<B, 1>(scale)).unsqueeze_dim::<2>(0);
            let positive = (a.clone() * b.clone()).sum_dim(1) * scale.clone();
            let similarity = a.matmul(b.transpose()) * scale;
            let rows = log_sum_exp(similarity.clone());
            let columns = log_sum_exp(similarity.transpose());
            let losses = (rows.clone() + columns.clone()).mul_scalar(0.5) - positive;
            let log_sum_exps = Tensor::cat(vec![rows, columns], 1).transpose();
            vec![primitive(losses.squeeze_dim::<1>(1)), primitive(log_sum_exps)]
        }
        PairLoss::Sigmoid => {
            let [a, b, scale, bias] = inputs.take();
            let (a, b) = (to_f32(tensor::<B, 2>(a)), to_f32(tensor::<B, 2>(b)));
            let [scale, bias] =
                [scale, bias].map(|input| to_f32(tensor::<B, 1>(input)).unsqueeze_dim::<2>(0));
            let similarity = a.matmul(b.transpose()) * scale + bias;
            let off = similarity.clone().neg();
            let pairs = on_diagonal(&similarity);
            // -ln sigmoid(x) = softplus(-x)
            let against = similarity.mask_where(pairs, off);
            let losses = activation::relu(against.clone()) + against.abs().neg().exp().log1p();
            vec![primitive(losses.sum_dim(1).squeeze_dim::<1>(1))]
        }
    }
}

/// True where row and column are the same.
fn on_diagonal<B: Backend>(square: &Tensor<B, 2>) -> Tensor<B, 2, Bool> {
    let [pairs, _] = square.dims();
    Tensor::<B, 2>::eye(pairs, &square.device()).greater_elem(0.5)
}

pub(super) fn backward<B: Backend>(
    kernel: &PairsBackward,
    inputs: Tensors<B>,
) -> Vec<FloatTensor<B>> {
    let [a, b, scale, other, gradient] = inputs.take();
    let a = tensor::<B, 2>(a);
    let dtype = a.dtype();
    let (a, b) = (to_f32(a), to_f32(tensor::<B, 2>(b)));
    let scale = to_f32(tensor::<B, 1>(scale)).unsqueeze_dim::<2>(0);
    let gradient = tensor::<B, 1>(gradient).cast(a.dtype()).unsqueeze_dim::<2>(1);
    let product = a.clone().matmul(b.clone().transpose());
    let similarity = product.clone() * scale.clone();
    let each = match kernel.loss {
        PairLoss::Softmax => {
            let log_sum_exps = tensor::<B, 2>(other).cast(a.dtype());
            let rows = log_sum_exps.clone().narrow(0, 0, 1).transpose();
            let columns = log_sum_exps.narrow(0, 1, 1);
            let of_row = (similarity.clone() - rows).exp() * gradient.clone();
            let of_column = (similarity - columns).exp() * gradient.clone().transpose();
            (of_row + of_column).mul_scalar(0.5)
        }
        PairLoss::Sigmoid => {
            let bias = to_f32(tensor::<B, 1>(other)).unsqueeze_dim::<2>(0);
            activation::sigmoid(similarity + bias) * gradient.clone()
        }
    };
    let pairs = on_diagonal(&each);
    let expanded = gradient.expand(each.dims());
    let each = each.clone().mask_where(pairs, each - expanded);
    let scaled = each.clone() * scale;
    let one = |sum: Tensor<B, 1>| Some(primitive(sum.cast(dtype)));
    kernel.choose([
        Some(primitive(scaled.clone().matmul(b).cast(dtype))),
        Some(primitive(scaled.transpose().matmul(a).cast(dtype))),
        one((each.clone() * product).sum()),
        one(each.sum()),
    ])
}
