//! Kernels by themselves on the CPU, at the sizes of models: forward, and forward with backward.
//!
//! `cargo bench -p kiln-benches`; `-- layer_norm` for some of them. To add a kernel, add a line to
//! [`kernels`]. Integers come after the floats, each below a number:

#![allow(missing_docs, reason = "criterion's macros")]

use burn::{
    backend::Autodiff,
    tensor::{Int, Tensor, TensorData},
};
use burn_flex::Flex;
use criterion::{Criterion, criterion_group, criterion_main};
use kiln_kernels::{
    Activation, AdamW, AdamWStep, AttentionOptions, Backend, Conv1dOptions, CrossEntropyOptions,
    GroupNormOptions, LoraWeights, RotaryOptions, activate, adamw, conv1d, cross_entropy, ctc_loss,
    dropout, ema, embedding, gated, gather_tokens, group_norm, info_nce, layer_norm,
    layer_norm_add, linear, linear_cross_entropy, linear_tied, linear_tokens, lora_linear,
    rms_norm, rotary, rotary_frequencies, rotary_table, scatter_tokens, self_attention,
    sigmoid_pairs, softmax_gate, sum_of_squares,
};
use std::hint::black_box;

/// Measures a call of its inputs, `(name: [shape], ..; name: [shape] < limit, ..)`.
macro_rules! bench {
    (
        $criterion:expr, $name:literal,
        ($($float:ident: $shape:expr),+ $(; $($int:ident: $int_shape:tt < $limit:expr),+)?)
        => $call:expr
    ) => {{
        fn call<B: Backend>(floats: &[Tensor<B, 1>], ints: &[Tensor<B, 1, Int>]) -> Tensor<B, 1> {
            let [$($float),+] = floats else { unreachable!("as many floats as the line names") };
            $(let $float = $float.clone().reshape($shape);)+
            let _ = ints;
            $(
                let [$($int),+] = ints else { unreachable!("as many integers as the line names") };
                $(let $int = $int.clone().reshape($int_shape);)+
            )?
            let out = $call;
            let count = out.shape().num_elements();
            out.reshape([count])
        }
        let sizes = [$($shape.iter().product::<usize>()),+];
        let ints: &[(usize, i64)] = &[$($(($int_shape.iter().product(), $limit)),+)?];
        measure($criterion, $name, &sizes, ints, call::<Flex>, call::<Autodiff<Flex>>);
    }};
}

fn kernels(c: &mut Criterion) {
    bench!(c, "layer_norm/1024x768", (x: [1024, 768], w: [768], b: [768])
        => layer_norm(x, w, Some(b), 1e-5));
    bench!(c, "layer_norm/3584x192", (x: [3584, 192], w: [192], b: [192])
        => layer_norm(x, w, Some(b), 1e-5));
    bench!(c, "rms_norm/1024x768", (x: [1024, 768], w: [768]) => rms_norm(x, w, 1e-5));
    bench!(c, "layer_norm_add/3584x192", (x: [3584, 192], r: [3584, 192], w: [192], b: [192])
    => {
        let (normed, sum) = layer_norm_add(x, r, w, Some(b), 1e-5);
        normed + sum
    });
    bench!(c, "linear/1576x384x1536", (x: [1576, 384], w: [384, 1536], b: [1536])
        => linear(x, w, Some(b), None));
    bench!(c, "linear_tokens/448x8x192", (x: [448, 8, 192], w: [8, 16], b: [16])
        => linear_tokens(x, w, Some(b)));
    bench!(c, "softmax_gate/448x8x192", (x: [448, 8, 192], s: [448, 8, 192])
        => softmax_gate(x, s, 1));
    bench!(c, "lora_linear/1024x768", (x: [1024, 768], w: [768, 768], d: [768, 16], u: [16, 768])
        => lora_linear(x, LoraWeights { weight: w, bias: None, down: d, up: u, scale: 1.0 }));
    bench!(c, "gelu/1576x1536", (x: [1576, 1536], b: [1536])
        => activate(x, Some(b), Activation::Gelu));
    bench!(c, "swiglu/1024x4096", (x: [1024, 4096]) => gated(x, Activation::Silu));
    bench!(c, "dropout/1024x768", (x: [1024, 768]) => dropout(x, 0.1, [1, 2]));
    bench!(c, "self_attention/8x197x6x64", (x: [8, 197, 18, 64])
        => self_attention(x, AttentionOptions::default()));
    bench!(c, "self_attention/causal/4x256x12x64", (x: [4, 256, 36, 64])
        => self_attention(x, AttentionOptions::causal()));
    bench!(c, "rotary/4x256x24x64", (x: [4, 256, 24, 64])
    => {
        let table = rotary_table(0..256, &rotary_frequencies(64, 10_000.0), &x.device());
        rotary(x, table, None, RotaryOptions::default())
    });
    bench!(c, "cross_entropy/1024x32000", (x: [1024, 32_000]; t: [1024] < 32_000)
        => cross_entropy(x, t, CrossEntropyOptions::default()));
    bench!(c, "info_nce/512x256", (a: [512, 256], b: [512, 256], s: [1]) => info_nce(a, b, s));
    bench!(c, "embedding/8x128x768", (w: [30_000, 768]; ids: [8, 128] < 30_000)
        => embedding(w, ids));
    bench!(c, "gather_tokens/8x196x384", (x: [8, 196, 384]; ids: [8, 49] < 196)
        => gather_tokens(x, ids));
    bench!(c, "conv1d/2x7999x512", (x: [2, 7999, 512], w: [512, 512, 3])
        => conv1d(x, w, None, Conv1dOptions { stride: 2, gelu: true, ..Default::default() }));
    bench!(c, "group_norm/2x7999x512", (x: [2, 7999, 512], w: [512], b: [512])
        => group_norm(x, w, b, GroupNormOptions::new(512)));
    bench!(c, "linear_tied/1024x768x30000", (x: [1024, 768], w: [30_000, 768])
        => linear_tied(x, w, None));
    bench!(c, "linear_cross_entropy/1024x768x30000",
        (x: [1024, 768], w: [30_000, 768]; t: [1024] < 30_000)
        => linear_cross_entropy(x, w, true, None, t, CrossEntropyOptions::default()));
    bench!(c, "sigmoid_pairs/512x256", (a: [512, 256], b: [512, 256], s: [1], o: [1])
        => sigmoid_pairs(a, b, s, o));
    bench!(c, "scatter_tokens/8x196x384", (x: [8, 49, 384], f: [384]; ids: [8, 49] < 196)
        => scatter_tokens(x, ids, f, 196));
    // Labels from 1, so that none is the blank.
    bench!(c, "ctc_loss/8x500x32", (x: [8, 500, 32]; t: [8, 80] < 31)
    => {
        let lengths = |length: i64| Tensor::full([8], length, &x.device());
        ctc_loss(x.clone(), t.add_scalar(1), lengths(500), lengths(80), 0, true)
    });
}

/// Updates of ten million weights.
fn updates(c: &mut Criterion) {
    const WEIGHTS: usize = 10_000_000;
    let tensors = || (0..4).map(|_| Tensor::<Flex, 1>::full([WEIGHTS], 0.1, &Default::default()));
    c.bench_function("adamw/10M", |bencher| {
        let mut state: Vec<_> = tensors().collect();
        let gradient = state.swap_remove(0);
        let settings = AdamW { betas: [0.9, 0.95], epsilon: 1e-8, count: 1, gradient_scale: 1.0 };
        bencher.iter(|| {
            let mut state_of = || state.remove(0);
            let step = AdamWStep {
                weight: state_of(),
                mean: state_of(),
                square: state_of(),
                gradient: gradient.clone(),
                rate: 1e-3,
                decay: 0.1,
            };
            let updated = adamw(settings, vec![step]).swap_remove(0);
            state.extend([updated.weight, updated.mean, updated.square]);
        });
    });
    c.bench_function("ema/10M", |bencher| {
        let mut averages: Vec<_> = tensors().take(1).collect();
        let weights: Vec<_> = tensors().take(1).collect();
        bencher.iter(|| averages = ema(std::mem::take(&mut averages), weights.clone(), 0.999));
    });
    c.bench_function("sum_of_squares/10M", |bencher| {
        let gradients: Vec<_> = tensors().take(1).collect();
        bencher.iter(|| black_box(sum_of_squares(gradients.clone())));
    });
}

type Call<B> = fn(&[Tensor<B, 1>], &[Tensor<B, 1, Int>]) -> Tensor<B, 1>;

fn measure(
    criterion: &mut Criterion,
    name: &str,
    floats: &[usize],
    ints: &[(usize, i64)],
    forward: Call<Flex>,
    with_backward: Call<Autodiff<Flex>>,
) {
    let mut group = criterion.benchmark_group(name);
    let (floats, ints) = inputs::<Flex>(floats, ints);
    group.bench_function("forward", |bencher| {
        bencher.iter(|| black_box(forward(&floats, &ints)));
    });
    let floats: Vec<_> = floats
        .into_iter()
        .map(|tensor| Tensor::<Autodiff<Flex>, 1>::from_inner(tensor).require_grad())
        .collect();
    let ints: Vec<_> = ints.into_iter().map(Tensor::from_inner).collect();
    group.bench_function("forward and backward", |bencher| {
        // Every value's gradient is one.
        bencher.iter(|| black_box(with_backward(&floats, &ints).backward()));
    });
    group.finish();
}

/// Numbers that repeat: floats between -1 and 1, integers below their limits.
fn inputs<B: Backend>(
    floats: &[usize],
    ints: &[(usize, i64)],
) -> (Vec<Tensor<B, 1>>, Vec<Tensor<B, 1, Int>>) {
    let device = Default::default();
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        state >> 33
    };
    let floats = floats
        .iter()
        .map(|&size| {
            let values = (0..size).map(|_| next() as f32 / (1_u64 << 30) as f32 - 1.0);
            Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), [size]), &device)
        })
        .collect();
    let ints = ints
        .iter()
        .map(|&(size, limit)| {
            let values = (0..size).map(|_| next() as i64 % limit);
            Tensor::from_data(TensorData::new(values.collect::<Vec<i64>>(), [size]), &device)
        })
        .collect();
    (floats, ints)
}

criterion_group!(benches, kernels, updates);
criterion_main!(benches);
