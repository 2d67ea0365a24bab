//! Weights in the order in which the products read them.

use crate::{
    conv1d::geometry::Geometry,
    cpu::{Buffer, zeros},
};
use rayon::prelude::*;

/// `[groups, kernel * width_in, width_out]` of the checkpoint's `[channels_out, width_in, kernel]`.
pub(super) fn forward(geometry: &Geometry, weight: &[f32]) -> Buffer {
    let (width_in, width_out) = (geometry.width_in(), geometry.width_out());
    let kernel = geometry.kernel;
    let each = width_in * kernel;
    let mut packed = zeros(weight.len());
    packed.par_chunks_mut(each * width_out).enumerate().for_each(|(group, packed)| {
        let weight = &weight[group * width_out * each..][..width_out * each];
        // In the source's order: a cache line of it serves several rows.
        for row in 0..each {
            let (channel, tap) = (row / kernel, row % kernel);
            let packed = &mut packed[(tap * width_in + channel) * width_out..][..width_out];
            for (packed, weight) in packed.iter_mut().zip(weight[row..].iter().step_by(each)) {
                *packed = *weight;
            }
        }
    });
    packed
}

/// For the windows of the input gradient: for every phase, `[groups, taps * width_out, width_in]`.
pub(super) fn x_gradient(geometry: &Geometry, weight: &[f32]) -> Vec<Buffer> {
    let (width_in, width_out) = (geometry.width_in(), geometry.width_out());
    let kernel = geometry.kernel;
    // First `[channels_out, kernel, width_in]`: then every row is in one piece.
    let mut rows = zeros(weight.len());
    let each = kernel * width_in;
    rows.par_chunks_mut(each).zip(weight.par_chunks(each)).for_each(|(rows, weight)| {
        for (channel, weight) in weight.chunks_exact(kernel).enumerate() {
            let rows = rows[channel..].iter_mut().step_by(width_in);
            rows.zip(weight).for_each(|(row, weight)| *row = *weight);
        }
    });
    let pack = |taps: &[usize]| {
        let mut packed = zeros(geometry.channels_out * taps.len() * width_in);
        let blocks = packed.par_chunks_mut(width_out * width_in).enumerate();
        blocks.for_each(|(block, packed)| {
            let (group, tap) = (block / taps.len(), taps[block % taps.len()]);
            for (out, packed) in packed.chunks_exact_mut(width_in).enumerate() {
                let row = (group * width_out + out) * kernel + tap;
                packed.copy_from_slice(&rows[row * width_in..][..width_in]);
            }
        });
        packed
    };
    geometry.phases().iter().map(|phase| pack(&phase.taps)).collect()
}

/// The checkpoint's `[channels_out, width_in, kernel]` of `[groups, kernel * width_in, width_out]`.
pub(super) fn unpack(geometry: &Geometry, packed: &[f32]) -> Buffer {
    let (width_in, width_out) = (geometry.width_in(), geometry.width_out());
    let kernel = geometry.kernel;
    let mut weight = zeros(packed.len());
    weight.par_chunks_mut(width_in * kernel).enumerate().for_each(|(out, weight)| {
        let (group, out) = (out / width_out, out % width_out);
        let packed = &packed[group * kernel * width_in * width_out + out..];
        for (row, value) in packed.iter().step_by(width_out).take(kernel * width_in).enumerate() {
            let (tap, channel) = (row / width_in, row % width_in);
            weight[channel * kernel + tap] = *value;
        }
    });
    weight
}
