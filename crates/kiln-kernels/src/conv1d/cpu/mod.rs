//! On the CPU: matrix products over overlapping rows, a piece of a sequence at a time, with bias
//! and GELU while the piece is in cache. Grouped convolutions work on a copy with a group's
//! channels side by side; depthwise ones have loops of their own.

mod depthwise;
mod pack;
mod product;

use super::{Conv1d, Conv1dBackward, geometry::Geometry};
use crate::{
    Activation, Tensors,
    cpu::{buffer, column_sums, contiguous, par_rows, par_split, simd::simd, tensor, values},
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;
use std::{borrow::Cow, ops::Range};

pub(super) fn forward(kernel: &Conv1d, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let [x, weight] = [0, 1].map(|index| values::<f32>(&floats[index]));
    let bias = floats.get(2).map_or(&[][..], values::<f32>);
    let geometry =
        Geometry::new(kernel.options, floats[0].layout().shape(), floats[1].layout().shape());
    let shape = geometry.out_shape();
    let mut out = buffer(shape.iter().product());
    let mut slope = buffer(if kernel.slope { out.len() } else { 0 });
    let finish = Finish { bias, gelu: kernel.options.gelu };
    if geometry.depthwise() {
        depthwise::forward(&geometry, x, weight, &finish, &mut out, &mut slope);
    } else {
        let weight = pack::forward(&geometry, weight);
        product::forward(&geometry, x, &weight, &finish, &mut out, &mut slope);
    }
    let mut outputs = vec![tensor(out, shape)];
    if kernel.slope {
        outputs.push(tensor(slope, shape));
    }
    outputs
}

pub(super) fn backward(kernel: &Conv1dBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let mut floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let Some(mut gradient) = floats.pop() else { return Vec::new() };
    let geometry =
        Geometry::new(kernel.options, floats[0].layout().shape(), floats[1].layout().shape());
    let [with_x, with_weight, with_bias] = kernel.needed;
    if kernel.options.gelu {
        scale(&mut gradient, values::<f32>(&floats[2]));
    }
    let gradient = values::<f32>(&gradient);
    let [x, weight] = [0, 1].map(|index| values::<f32>(&floats[index]));

    let mut outputs = Vec::new();
    let (of_x, of_weight) = if geometry.depthwise() {
        (
            with_x.then(|| depthwise::x_gradient(&geometry, weight, gradient)),
            with_weight.then(|| depthwise::weight_gradient(&geometry, x, gradient)),
        )
    } else {
        let gradient = regroup(gradient, geometry.frames_out, geometry.channels_out, &geometry);
        let packed = with_x.then(|| pack::x_gradient(&geometry, weight));
        (
            packed.map(|weight| product::x_gradient(&geometry, &weight, &gradient)),
            with_weight.then(|| product::weight_gradient(&geometry, x, &gradient)),
        )
    };
    outputs.extend(of_x.map(|values| tensor(values, floats[0].layout().shape().clone())));
    outputs.extend(of_weight.map(|values| tensor(values, floats[1].layout().shape().clone())));
    if with_bias {
        outputs.push(tensor(column_sums(gradient, geometry.channels_out), [geometry.channels_out]));
    }
    outputs
}

/// What follows a product: bias and GELU.
struct Finish<'a> {
    /// Empty if there is none.
    bias: &'a [f32],
    gelu: bool,
}

impl Finish<'_> {
    /// On whole rows; the slope is empty where it is not kept.
    fn rows(&self, channels: usize, out: &mut [f32], slope: &mut [f32]) {
        if !self.bias.is_empty() {
            add_bias(self.bias, out);
        }
        if self.gelu {
            let count = if slope.is_empty() { out.len() } else { channels };
            for (index, out) in out.chunks_mut(count.max(1)).enumerate() {
                match slope.get_mut(index * count..(index + 1) * count) {
                    Some(slope) => activate_with_slope(out, slope),
                    None => activate(out),
                }
            }
        }
    }
}

/// Fills chunks of the rows of an output, and finishes them while they are in cache where something
/// is to follow. The slope is empty where it is not kept.
fn fill_chunks(
    chunks: &[Range<usize>],
    columns: usize,
    out: &mut [f32],
    slope: &mut [f32],
    finish: Option<&Finish<'_>>,
    fill: impl Fn(&Range<usize>, &mut [f32]) + Sync,
) {
    let slope_columns = if slope.is_empty() { 0 } else { columns };
    let work = par_split(chunks, [(out, columns), (slope, slope_columns)]);
    work.for_each(|(chunk, [out, slope])| {
        fill(chunk, out);
        if let Some(finish) = finish {
            finish.rows(columns, out, slope);
        }
    });
}

simd! {
    fn add_bias(bias: &[f32], out: &mut [f32]) {
        for out in out.chunks_exact_mut(bias.len()) {
            for (out, bias) in out.iter_mut().zip(bias) {
                *out += bias;
            }
        }
    }
}

simd! {
    fn activate(out: &mut [f32]) {
        for out in out {
            *out = Activation::Gelu.value(*out);
        }
    }
}

simd! {
    fn activate_with_slope(out: &mut [f32], slope: &mut [f32]) {
        for (out, slope) in out.iter_mut().zip(slope) {
            (*out, *slope) = Activation::Gelu.value_and_derivative(*out);
        }
    }
}

/// Multiplies a gradient by the slope, in place where nothing else holds it.
fn scale(gradient: &mut FlexTensor, slope: &[f32]) {
    let start = gradient.layout().start_offset();
    let gradient = &mut gradient.storage_mut::<f32>()[start..start + slope.len()];
    par_rows(gradient, slope.len(), 1)
        .for_each(|(chunk, gradient)| multiply(gradient, &slope[chunk.clone()]));
}

simd! {
    fn multiply(values: &mut [f32], by: &[f32]) {
        for (value, by) in values.iter_mut().zip(by) {
            *value *= by;
        }
    }
}

/// `[batch, groups, frames, width]` of `[batch, frames, channels]`.
fn regroup<'a>(
    values: &'a [f32],
    frames: usize,
    channels: usize,
    geometry: &Geometry,
) -> Cow<'a, [f32]> {
    let groups = geometry.options.groups;
    if groups == 1 {
        return Cow::Borrowed(values);
    }
    let width = channels / groups;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(frames * width).enumerate().for_each(|(index, out)| {
        let (sequence, group) = (index / groups, index % groups);
        let rows = values[sequence * frames * channels..].chunks_exact(channels);
        for (out, row) in out.chunks_exact_mut(width).zip(rows) {
            out.copy_from_slice(&row[group * width..(group + 1) * width]);
        }
    });
    Cow::Owned(out)
}
