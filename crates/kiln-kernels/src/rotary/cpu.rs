//! On the CPU: tokens divided among threads; a token's angles are read once for all of its heads.

use super::{Pairing, Rotary};
use crate::{
    Tensors,
    cpu::{buffer, contiguous, integers, par_rows, simd::simd, tensor, values},
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

pub(super) fn rotary(kernel: &Rotary, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let positions = inputs.ints.first().cloned().map(integers);
    let [x, table] = inputs.take().map(contiguous);
    let shape = x.layout().shape().clone();
    let (batch, tokens, heads, width) = (shape[0], shape[1], shape[2], shape[3]);
    let angles = 2 * table.layout().shape()[1];
    let known = table.layout().shape()[0];
    let row = heads * width;
    let mut out = buffer(batch * tokens * row);
    par_rows(&mut out, batch * tokens, row).for_each(|(chunk, out)| {
        let (x, table) = (values::<f32>(&x), values::<f32>(&table));
        let mut rotation =
            Rotation { cosines: vec![0.0; angles / 2], sines: vec![0.0; angles / 2] };
        for (token, out) in chunk.clone().zip(out.chunks_exact_mut(row.max(1))) {
            let position = match &positions {
                Some(positions) => positions[token],
                None => (token % tokens) as i64,
            };
            let position = match usize::try_from(position) {
                Ok(position) if position < known => position,
                _ => panic_outside(position, known),
            };
            rotation.set(&table[position * angles..(position + 1) * angles], kernel.inverse);
            let x = &x[token * row..(token + 1) * row];
            let (rotated, rest) = out.split_at_mut(kernel.heads * width);
            rest.copy_from_slice(&x[kernel.heads * width..]);
            match kernel.pairing {
                Pairing::Interleaved => rotate_heads::<true>(x, &rotation, rotated, width),
                Pairing::HalfSplit => rotate_heads::<false>(x, &rotation, rotated, width),
            }
        }
    });
    vec![tensor(out, shape)]
}

#[cold]
fn panic_outside(position: i64, known: usize) -> ! {
    unreachable!("position {position} in a table of {known}")
}

/// Cosines and sines of a token.
struct Rotation {
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Rotation {
    fn set(&mut self, angles: &[f32], inverse: bool) {
        let sign = if inverse { -1.0 } else { 1.0 };
        let rotation = self.cosines.iter_mut().zip(&mut self.sines);
        for ((cosine, sine), angle) in rotation.zip(angles.chunks_exact(2)) {
            *cosine = angle[0];
            *sine = angle[1] * sign;
        }
    }
}

simd! {
    fn rotate_heads<const INTERLEAVED: bool>(x: &[f32], rotation: &Rotation, out: &mut [f32], width: usize) {
        let width = width.max(1);
        let pairs = rotation.cosines.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let (x, x_rest) = x.split_at(2 * pairs);
            let (out, out_rest) = out.split_at_mut(2 * pairs);
            let angles = rotation.cosines.iter().zip(&rotation.sines);
            if INTERLEAVED {
                let pairs = x.chunks_exact(2).zip(out.chunks_exact_mut(2));
                for ((x, out), (cosine, sine)) in pairs.zip(angles) {
                    out[0] = x[0] * cosine - x[1] * sine;
                    out[1] = x[0] * sine + x[1] * cosine;
                }
            } else {
                let (first, second) = x.split_at(pairs);
                let (out_first, out_second) = out.split_at_mut(pairs);
                let outs = out_first.iter_mut().zip(out_second);
                for (((first, second), outs), (cosine, sine)) in
                    first.iter().zip(second).zip(outs).zip(angles)
                {
                    *outs.0 = first * cosine - second * sine;
                    *outs.1 = first * sine + second * cosine;
                }
            }
            out_rest.copy_from_slice(x_rest);
        }
    }
}
