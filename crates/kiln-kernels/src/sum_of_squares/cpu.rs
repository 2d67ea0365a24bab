//! On the CPU: every tensor in parts, partial sums added in their order.

use crate::{
    Tensors,
    cpu::{
        chunks, contiguous,
        simd::{simd, sum as lane_sum},
        tensor, values,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

/// How many values are summed in f32 before the sum is carried on in f64.
const BLOCK: usize = 4096;

pub(super) fn sum(inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let sequence_chunks: Vec<&[f32]> = floats
        .iter()
        .flat_map(|float| {
            let values = values::<f32>(float);
            chunks(values.len(), 1).into_iter().map(move |chunk| &values[chunk])
        })
        .collect();
    let sums: Vec<f64> = sequence_chunks.into_par_iter().map(squares).collect();
    vec![tensor(vec![sums.into_iter().sum::<f64>() as f32], [1])]
}

simd! {
    fn squares(values: &[f32]) -> f64 {
        let mut total = 0.0;
        for block in values.chunks(BLOCK) {
            total += f64::from(lane_sum(block, |value| value * value));
        }
        total
    }
}
