//! On the CPU: rows divided among threads, each value read once.

use super::{Activate, ActivateBackward, Activation, Gated, GatedBackward, for_activation};
use crate::{
    Tensors,
    cpu::{
        buffer, chunks, contiguous, matrix, par_rows, par_split, simd::simd, tensor, total, values,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

pub(super) fn activate(kernel: &Activate, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let x = values::<f32>(&floats[0]);
    let bias = floats.get(1).map_or(&[][..], values::<f32>);
    let (rows, width) = matrix(&floats[0]);
    let mut out = buffer(x.len());
    par_rows(&mut out, rows, width).for_each(|(chunk, out)| {
        let x = &x[chunk.start * width..chunk.end * width];
        for_activation!(kernel.activation, CODE => activate_rows::<CODE>(x, bias, out));
    });
    vec![tensor(out, floats[0].layout().shape().clone())]
}

simd! {
    fn activate_rows<const CODE: u8>(x: &[f32], bias: &[f32], out: &mut [f32]) {
        let activation = Activation::of(CODE);
        if bias.is_empty() {
            for (out, x) in out.iter_mut().zip(x) {
                *out = activation.value(*x);
            }
            return;
        }
        let width = bias.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            for ((out, x), bias) in out.iter_mut().zip(x).zip(bias) {
                *out = activation.value(x + bias);
            }
        }
    }
}

pub(super) fn activate_backward(
    kernel: &ActivateBackward,
    inputs: Tensors<Flex>,
) -> Vec<FlexTensor> {
    let floats: Vec<FlexTensor> = inputs.floats.into_iter().map(contiguous).collect();
    let (x, gradient) = (values::<f32>(&floats[0]), values::<f32>(&floats[floats.len() - 1]));
    let bias = if kernel.bias { values::<f32>(&floats[1]) } else { &[] };
    let (rows, width) = matrix(&floats[0]);
    let mut x_gradient = buffer(x.len());
    // The bias gradient: a partial sum a part, added in the order of the parts.
    let partial: Vec<Vec<f32>> = par_rows(&mut x_gradient, rows, width)
        .map(|(chunk, out)| {
            let range = chunk.start * width..chunk.end * width;
            let (x, gradient) = (&x[range.clone()], &gradient[range]);
            let mut sums = vec![0.0; if kernel.bias_gradient { width } else { 0 }];
            for_activation!(kernel.activation, CODE => {
                activate_backward_rows::<CODE>(x, bias, gradient, out, &mut sums);
            });
            sums
        })
        .collect();
    let mut gradients = vec![tensor(x_gradient, floats[0].layout().shape().clone())];
    if kernel.bias_gradient {
        gradients.push(tensor(total(partial), [width]));
    }
    gradients
}

simd! {
    fn activate_backward_rows<const CODE: u8>(
        x: &[f32],
        bias: &[f32],
        gradient: &[f32],
        out: &mut [f32],
        sums: &mut [f32],
    ) {
        let activation = Activation::of(CODE);
        if bias.is_empty() {
            for ((out, x), gradient) in out.iter_mut().zip(x).zip(gradient) {
                *out = gradient * activation.derivative(*x);
            }
            return;
        }
        let width = bias.len();
        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        for ((x, gradient), out) in rows.zip(out.chunks_exact_mut(width)) {
            let terms = out.iter_mut().zip(x).zip(gradient).zip(bias);
            if sums.is_empty() {
                for (((out, x), gradient), bias) in terms {
                    *out = gradient * activation.derivative(x + bias);
                }
            } else {
                for ((((out, x), gradient), bias), sum) in terms.zip(sums.iter_mut()) {
                    *out = gradient * activation.derivative(x + bias);
                    *sum += *out;
                }
            }
        }
    }
}

pub(super) fn gated(kernel: &Gated, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [x] = inputs.take().map(contiguous);
    let (rows, width) = matrix(&x);
    let hidden = width / 2;
    let mut out = buffer(rows * hidden);
    par_split(&chunks(rows, width), [(&mut out, hidden)]).for_each(|(chunk, [out])| {
        let x = &values::<f32>(&x)[chunk.start * width..chunk.end * width];
        for_activation!(kernel.activation, CODE => gated_rows::<CODE>(x, out, hidden));
    });
    let mut shape = x.layout().shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = hidden;
    vec![tensor(out, shape)]
}

simd! {
    fn gated_rows<const CODE: u8>(x: &[f32], out: &mut [f32], hidden: usize) {
        let activation = Activation::of(CODE);
        let hidden = hidden.max(1);
        for (x, out) in x.chunks_exact(2 * hidden).zip(out.chunks_exact_mut(hidden)) {
            let (gate, gated) = x.split_at(hidden);
            for ((out, gate), gated) in out.iter_mut().zip(gate).zip(gated) {
                *out = activation.value(*gate) * gated;
            }
        }
    }
}

pub(super) fn gated_backward(kernel: &GatedBackward, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let [x, gradient] = inputs.take().map(contiguous);
    let (rows, width) = matrix(&x);
    let hidden = width / 2;
    let mut out = buffer(rows * width);
    par_rows(&mut out, rows, width).for_each(|(chunk, out)| {
        let x = &values::<f32>(&x)[chunk.start * width..chunk.end * width];
        let gradient = &values::<f32>(&gradient)[chunk.start * hidden..chunk.end * hidden];
        for_activation!(kernel.activation, CODE => {
            gated_backward_rows::<CODE>(x, gradient, out, hidden);
        });
    });
    vec![tensor(out, x.layout().shape().clone())]
}

simd! {
    fn gated_backward_rows<const CODE: u8>(
        x: &[f32],
        gradient: &[f32],
        out: &mut [f32],
        hidden: usize,
    ) {
        let activation = Activation::of(CODE);
        let hidden = hidden.max(1);
        let rows = x.chunks_exact(2 * hidden).zip(out.chunks_exact_mut(2 * hidden));
        for ((x, out), gradient) in rows.zip(gradient.chunks_exact(hidden)) {
            let (gate, gated) = x.split_at(hidden);
            let (gate_out, gated_out) = out.split_at_mut(hidden);
            let terms = gate.iter().zip(gated).zip(gradient);
            let outs = gate_out.iter_mut().zip(gated_out);
            for (((gate, gated), gradient), (gate_out, gated_out)) in terms.zip(outs) {
                let (value, derivative) = activation.value_and_derivative(*gate);
                *gate_out = gradient * gated * derivative;
                *gated_out = gradient * value;
            }
        }
    }
}
