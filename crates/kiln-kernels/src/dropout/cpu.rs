//! On the CPU: one pass, the bits computed where they are used.

use super::Dropout;
use crate::{
    Tensors,
    cpu::{buffer, contiguous, matrix, par_rows, simd::simd, tensor, values},
    random::{bits_of, row_keys, threshold},
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

pub(super) fn dropout(kernel: &Dropout, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let x = values::<f32>(&floats[0]);
    let residual = floats.get(1).map_or(&[][..], values::<f32>);
    let (rows, width) = matrix(&floats[0]);
    let mut out = buffer(x.len());
    let (least, scale) = (threshold(kernel.p), kernel.scale() as f32);
    par_rows(&mut out, rows, width).for_each(|(chunk, out)| {
        let range = chunk.start * width..chunk.end * width;
        let residual = if residual.is_empty() { residual } else { &residual[range.clone()] };
        let first = chunk.start as u32;
        dropout_rows(&x[range], residual, out, width, first, kernel.seed, least, scale);
    });
    vec![tensor(out, floats[0].layout().shape().clone())]
}

simd! {
    #[allow(clippy::too_many_arguments)]
    fn dropout_rows(
        x: &[f32],
        residual: &[f32],
        out: &mut [f32],
        width: usize,
        first: u32,
        seed: [u32; 2],
        least: u32,
        scale: f32,
    ) {
        let width = width.max(1);
        let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
        for (index, (x, out)) in rows.enumerate() {
            let keys = row_keys(seed, first.wrapping_add(index as u32));
            let columns = 0..width as u32;
            let value = |x: f32, column: u32| {
                let value = x * scale;
                if bits_of(keys, column) >= least { value } else { 0.0 }
            };
            if residual.is_empty() {
                for ((out, x), column) in out.iter_mut().zip(x).zip(columns) {
                    *out = value(*x, column);
                }
            } else {
                let residual = &residual[index * width..(index + 1) * width];
                for (((out, x), residual), column) in
                    out.iter_mut().zip(x).zip(residual).zip(columns)
                {
                    *out = value(*x, column) + residual;
                }
            }
        }
    }
}
