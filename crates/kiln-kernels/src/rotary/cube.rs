//! On GPUs: a thread a value, which reads its partner from cache.

use super::{Pairing, Rotary};
use crate::cube::{CubeTensors, buffer, launch, thread_index};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

pub(super) fn rotary<R: CubeRuntime>(
    kernel: &Rotary,
    inputs: &CubeTensors<R>,
) -> Vec<CubeTensor<R>> {
    let [x, table] = [0, 1].map(|index| &inputs.floats[index]);
    let shape = x.shape();
    let out = buffer(x, shape.clone(), x.dtype);
    let positions = match inputs.ints.first() {
        Some(positions) => positions.clone(),
        None => buffer(x, [1], DType::I32),
    };
    launch!(
        rotary_value,
        x,
        threads(shape.num_elements()),
        [x, table, positions, out],
        shape[1],
        shape[2],
        shape[3],
        kernel.heads,
        table.shape()[1],
        if kernel.inverse { -1.0f32 } else { 1.0 },
        kernel.pairing == Pairing::Interleaved,
        !inputs.ints.is_empty(),
        [x.dtype.into(), table.dtype.into()],
    );
    vec![out]
}

#[cube(launch)]
fn rotary_value<F: Float, T: Float>(
    x: &Array<F>,
    table: &Array<T>,
    positions: &Array<i32>,
    out: &mut Array<F>,
    count: usize,
    tokens: usize,
    heads: usize,
    width: usize,
    rotated_heads: usize,
    pairs: usize,
    sign: f32,
    #[comptime] interleaved: bool,
    #[comptime] with_positions: bool,
    #[define(F, T)] _dtypes: [StorageType; 2],
) {
    let at = thread_index(count);
    let column = at % width;
    let head = at / width % heads;
    let token = at / width / heads;
    if head >= rotated_heads || column >= 2 * pairs {
        out[at] = x[at];
        terminate!();
    }
    let mut position = token % tokens;
    if with_positions {
        position = positions[token] as usize;
    }
    let mut pair = column / 2;
    let mut is_second = column % 2 == 1;
    let mut distance = 1usize;
    if !interleaved {
        pair = column % pairs;
        is_second = column >= pairs;
        distance = pairs;
    }
    let angle = (position * pairs + pair) * 2;
    let cosine = f32::cast_from(table[angle]);
    let sine = f32::cast_from(table[angle + 1]) * sign;
    // The partner of a first value lies ahead, that of a second behind; so its sine's sign differs.
    let partner = select(is_second, at - distance, at + distance);
    let sine = select(is_second, sine, -sine);
    let value = f32::cast_from(x[at]) * cosine + f32::cast_from(x[partner]) * sine;
    out[at] = F::cast_from(value);
}
