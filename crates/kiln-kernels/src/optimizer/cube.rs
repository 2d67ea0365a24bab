//! On GPUs: a launch a parameter, a thread a value, in place where the memory is ours alone.

use super::{AdamWUpdate, Ema};
use crate::cube::{CubeTensors, launch, thread_index, updatable};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(super) fn adamw<R: CubeRuntime>(
    kernel: &AdamWUpdate,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let mut updated = Vec::with_capacity(kernel.rates.len() * 3);
    for (tensors, &rates) in inputs.floats.chunks_exact(4).zip(&kernel.rates) {
        let factors = kernel.factors(rates);
        let [weight, mean, square] = [0, 2, 3].map(|index| updatable(&tensors[index]));
        let count = weight.meta.shape().num_elements();
        if count > 0 {
            launch!(
                adamw_value,
                weight,
                threads(count),
                [weight, tensors[1], mean, square],
                factors.gradient as f32,
                factors.mean[0] as f32,
                factors.mean[1] as f32,
                factors.square[0] as f32,
                factors.square[1] as f32,
                factors.root as f32,
                factors.epsilon as f32,
                factors.weight as f32,
                factors.update as f32,
                weight.dtype.into(),
            );
        }
        updated.extend([weight, mean, square]);
    }
    updated
}

#[cube(launch)]
fn adamw_value<F: Float>(
    weight: &mut Array<F>,
    gradient: &Array<F>,
    mean: &mut Array<F>,
    square: &mut Array<F>,
    count: usize,
    gradient_scale: f32,
    mean_keep: f32,
    mean_add: f32,
    square_keep: f32,
    square_add: f32,
    root_scale: f32,
    epsilon: f32,
    keep: f32,
    rate: f32,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let gradient = f32::cast_from(gradient[position]) * gradient_scale;
    let new_mean = f32::cast_from(mean[position]) * mean_keep + gradient * mean_add;
    let old_square = f32::cast_from(square[position]);
    let new_square = old_square * square_keep + gradient * gradient * square_add;
    let update = new_mean / (new_square.sqrt() * root_scale + epsilon) * rate;
    let new_weight = f32::cast_from(weight[position]) * keep - update;
    weight[position] = F::cast_from(new_weight);
    mean[position] = F::cast_from(new_mean);
    square[position] = F::cast_from(new_square);
}

pub(super) fn ema<R: CubeRuntime>(kernel: &Ema, inputs: &CubeTensors<R>) -> Vec<CubeTensor<R>> {
    let mut updated = Vec::with_capacity(inputs.floats.len() / 2);
    for tensors in inputs.floats.chunks_exact(2) {
        let average = updatable(&tensors[0]);
        let count = average.meta.shape().num_elements();
        if count > 0 {
            launch!(
                ema_value,
                average,
                threads(count),
                [average, tensors[1]],
                kernel.decay as f32,
                (1.0 - kernel.decay) as f32,
                average.dtype.into(),
            );
        }
        updated.push(average);
    }
    updated
}

#[cube(launch)]
fn ema_value<F: Float>(
    average: &mut Array<F>,
    weight: &Array<F>,
    count: usize,
    keep: f32,
    add: f32,
    #[define(F)] _dtype: StorageType,
) {
    let position = thread_index(count);
    let value = f32::cast_from(average[position]) * keep + f32::cast_from(weight[position]) * add;
    average[position] = F::cast_from(value);
}
