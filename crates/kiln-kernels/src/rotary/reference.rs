//! In plain tensor operations.

use super::{Pairing, Rotary};
use crate::Tensors;
use burn::tensor::{
    Int, Tensor, TensorPrimitive, backend::Backend as BurnBackend, ops::FloatTensor,
};

pub(super) fn rotary<B: BurnBackend>(kernel: &Rotary, inputs: Tensors<B>) -> Vec<FloatTensor<B>> {
    let positions = inputs.ints.first().cloned();
    let [x, table] = inputs.take();
    let x = Tensor::<B, 4>::from_primitive(TensorPrimitive::Float(x));
    let table = Tensor::<B, 3>::from_primitive(TensorPrimitive::Float(table)).cast(x.dtype());
    let [batch, tokens, heads, width] = x.dims();
    let [_, pairs, _] = table.dims();
    // The angles of each token: [batch or 1, tokens, 1, pairs, 1].
    let table = match positions {
        Some(positions) => {
            let positions = Tensor::<B, 2, Int>::from_primitive(positions);
            table
                .select(0, positions.reshape([batch * tokens]))
                .reshape([batch, tokens, 1, pairs, 2])
        }
        None => table.narrow(0, 0, tokens).reshape([1, tokens, 1, pairs, 2]),
    };
    let cosine = table.clone().narrow(4, 0, 1);
    let sine = table.narrow(4, 1, 1) * if kernel.inverse { -1.0 } else { 1.0 };

    let turning = x.clone().narrow(2, 0, kernel.heads).narrow(3, 0, 2 * pairs);
    // Pairs as the last dimension.
    let turning: Tensor<B, 5> = match kernel.pairing {
        Pairing::Interleaved => turning.reshape([batch, tokens, kernel.heads, pairs, 2]),
        Pairing::HalfSplit => {
            turning.reshape([batch, tokens, kernel.heads, 2, pairs]).swap_dims(3, 4)
        }
    };
    let first = turning.clone().narrow(4, 0, 1);
    let second = turning.narrow(4, 1, 1);
    let rotated = Tensor::cat(
        vec![
            first.clone() * cosine.clone() - second.clone() * sine.clone(),
            first * sine + second * cosine,
        ],
        4,
    );
    let rotated = match kernel.pairing {
        Pairing::Interleaved => rotated,
        Pairing::HalfSplit => rotated.swap_dims(3, 4),
    };
    let mut out = rotated.reshape([batch, tokens, kernel.heads, 2 * pairs]);
    if 2 * pairs < width {
        let rest = x.clone().narrow(2, 0, kernel.heads).narrow(3, 2 * pairs, width - 2 * pairs);
        out = Tensor::cat(vec![out, rest], 3);
    }
    if kernel.heads < heads {
        out = Tensor::cat(vec![out, x.narrow(2, kernel.heads, heads - kernel.heads)], 2);
    }
    vec![out.into_primitive().tensor()]
}
