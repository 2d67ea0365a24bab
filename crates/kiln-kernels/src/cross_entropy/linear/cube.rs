//! On GPUs: a matrix product for a block of rows' logits, and a cube a row on them. Logits are f32
//! whatever the operands are.

use super::{
    super::cube::{Rows, backward_block, forward_block},
    Linear, LinearBackward,
};
use crate::cube::{
    CubeTensors, as_type, buffer, column_sums, matrix_rows, product, put, row_blocks, transposed,
};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};

/// The weight as `[width, classes]`.
fn upright<R: CubeRuntime>(kernel: &Linear, weight: &CubeTensor<R>) -> CubeTensor<R> {
    if kernel.transposed { transposed(weight.clone()) } else { weight.clone() }
}

pub(super) fn forward<R: CubeRuntime>(
    kernel: &Linear,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let (hidden, weight) = (&inputs.floats[0], upright(kernel, &inputs.floats[1]));
    let bias = inputs.floats.get(2);
    let targets = &inputs.ints[0];
    let [losses, log_sum_exps] = [0, 1].map(|_| buffer(hidden, targets.shape(), DType::F32));
    for rows in row_blocks(hidden.shape()[0], weight.shape()[1]) {
        let logits = product(matrix_rows(hidden, &rows), weight.clone(), DType::F32)?;
        let block = Rows { logits: &logits, bias, targets, first: rows.start };
        forward_block(&kernel.options, &block, &losses, &log_sum_exps);
    }
    Some(vec![losses, log_sum_exps])
}

pub(super) fn backward<R: CubeRuntime>(
    kernel: &LinearBackward,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let forward = &kernel.forward;
    let (hidden, weight) = (&inputs.floats[0], upright(forward, &inputs.floats[1]));
    let bias = inputs.floats.get(2).filter(|_| forward.bias);
    let [log_sum_exps, gradient] = [2, 1].map(|back| &inputs.floats[inputs.floats.len() - back]);
    let dtype = hidden.dtype;
    let classes = weight.shape()[1];
    let [for_hidden, for_weight, for_bias] = kernel.needed;
    let hidden_out = for_hidden.then(|| buffer(hidden, hidden.shape(), dtype));
    let weight_out = for_weight.then(|| buffer(hidden, inputs.floats[1].shape(), DType::F32));
    let bias_out = for_bias.then(|| buffer(hidden, [classes], DType::F32));
    for rows in row_blocks(hidden.shape()[0], classes) {
        let states = matrix_rows(hidden, &rows);
        let logits = product(states.clone(), weight.clone(), DType::F32)?;
        let block = Rows { logits: &logits, bias, targets: &inputs.ints[0], first: rows.start };
        let along = backward_block(&forward.options, &block, log_sum_exps, gradient, dtype);
        let add = rows.start > 0;
        if let Some(out) = &hidden_out {
            let found = product(along.clone(), transposed(weight.clone()), dtype)?;
            put(&found, out, rows.start * hidden.shape()[1], false);
        }
        if let Some(out) = &weight_out {
            let found = if forward.transposed {
                product(transposed(along.clone()), states, DType::F32)?
            } else {
                product(transposed(states), along.clone(), DType::F32)?
            };
            put(&found, out, 0, add);
        }
        if let Some(out) = &bias_out {
            put(&column_sums(&along, classes, DType::F32), out, 0, add);
        }
    }
    let found = [hidden_out, weight_out, bias_out].into_iter().flatten();
    Some(found.map(|tensor| as_type(tensor, dtype)).collect())
}
