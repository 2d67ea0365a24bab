//! On the CPU: tokens divided among threads; a token's angles are read once for all of its heads.

use super::{Pairing, Rotary};
use crate::{
    Tensors,
    cpu::{contiguous, integers, parts, room, simd::simd, split_rows, tensor, values},
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
    let mut out = room(batch * tokens * row);
    let parts = parts(batch * tokens, row);
    let work: Vec<_> = parts.iter().zip(split_rows(&mut out, row, &parts)).collect();
    work.into_par_iter().for_each(|(part, out)| {
        let (x, table) = (values::<f32>(&x), values::<f32>(&table));
        let mut turn = Turn { cosines: vec![0.0; angles / 2], sines: vec![0.0; angles / 2] };
        for (token, out) in part.clone().zip(out.chunks_exact_mut(row.max(1))) {
            let position = match &positions {
                Some(positions) => positions[token],
                None => (token % tokens) as i64,
            };
            let position = match usize::try_from(position) {
                Ok(position) if position < known => position,
                _ => panic_outside(position, known),
            };
            turn.set(&table[position * angles..(position + 1) * angles], kernel.inverse);
            let x = &x[token * row..(token + 1) * row];
            let (turned, rest) = out.split_at_mut(kernel.heads * width);
            rest.copy_from_slice(&x[kernel.heads * width..]);
            match kernel.pairing {
                Pairing::Interleaved => turn_heads::<true>(x, &turn, turned, width),
                Pairing::HalfSplit => turn_heads::<false>(x, &turn, turned, width),
            }
        }
    });
    vec![tensor(out, shape)]
}

#[cold]
fn panic_outside(position: i64, known: usize) -> ! {
    unreachable!("position {position} in a table of {known}")
}

/// The rotation of a token.
struct Turn {
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Turn {
    fn set(&mut self, angles: &[f32], inverse: bool) {
        let sign = if inverse { -1.0 } else { 1.0 };
        let turns = self.cosines.iter_mut().zip(&mut self.sines);
        for ((cosine, sine), angle) in turns.zip(angles.chunks_exact(2)) {
            *cosine = angle[0];
            *sine = angle[1] * sign;
        }
    }
}

simd! {
    fn turn_heads<const INTERLEAVED: bool>(x: &[f32], turn: &Turn, out: &mut [f32], width: usize) {
        let width = width.max(1);
        let pairs = turn.cosines.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let (x, x_rest) = x.split_at(2 * pairs);
            let (out, out_rest) = out.split_at_mut(2 * pairs);
            let angles = turn.cosines.iter().zip(&turn.sines);
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
