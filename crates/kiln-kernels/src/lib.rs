//! Fused kernels: what a framework spells out in a dozen passes over memory, in one.
//!
//! A kernel is a folder. It holds a type that implements [`Kernel`] and, where gradients flow,
//! [`Differentiable`]; its plain **reference** in Burn's operations; a **CPU** version (rayon, and
//! SIMD chosen at run time); a **CubeCL** version (CUDA, Vulkan) behind the feature `cube`; and
//! tests that hold all of them to the reference. Functions over [`Tensor`]s are what models call:
//! nothing above this crate knows which version runs.
//!
//! ```text
//!            Tensor functions: layer_norm(..), attention(..), ..
//!                              │
//!        Backend::record ── Backend::run          which version? one `impl` a backend:
//!          │                   ├─ Flex            Kernel::cpu, or the reference for f64, f16
//!          │                   ├─ CubeBackend     Kernel::cube, or the reference
//!          │                   └─ Fusion          one custom operation of Burn's graph
//!          └─ Autodiff         records a node whose backward step is Differentiable::backward
//! ```
//!
//! To add a kernel, add a folder: no trait of a backend is touched.
//!
//! [`Tensor`]: burn::tensor::Tensor

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod backend;
mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod eval_mode;
mod kernel;
mod mask;
mod memory;
mod seeds;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod activation;
mod attention;
mod contrastive;
mod conv1d;
mod cross_entropy;
mod ctc;
mod dropout;
mod group_norm;
mod linear;
mod linear_tokens;
mod lora;
mod norm;
mod optimizer;
mod plain;
mod random;
mod rotary;
mod softmax_gate;
mod sum_of_squares;
mod tokens;

pub use activation::{Activation, activate, gated};
pub use attention::{
    AttentionDropout, AttentionOptions, AttentionPattern, AttentionVisibility, alibi_slopes,
    attention, self_attention,
};
pub use contrastive::{info_nce, sigmoid_pairs};
pub use conv1d::{Conv1dOptions, conv1d};
pub use cross_entropy::{CrossEntropyOptions, cross_entropy, linear_cross_entropy};
pub use ctc::ctc_loss;
pub use dropout::{dropout, dropout_add};
pub use eval_mode::{eval_mode, is_training};
pub use group_norm::{GroupNormOptions, group_norm};
pub use kernel::{AutodiffBackend, Backend, Differentiable, Gradients, Kernel, Output, Tensors};
pub use linear::{linear, linear_packed, linear_tied};
pub use linear_tokens::linear_tokens;
pub use lora::{LoraWeights, lora_linear};
pub use mask::{LOG_ZERO, MASK_VALUE};
pub use memory::{give_back_freed_memory, keep_freed_memory};
pub use norm::{layer_norm, layer_norm_add, rms_norm, rms_norm_add};
pub use optimizer::{AdamW, AdamWState, AdamWStep, adamw, ema};
pub use rotary::{Pairing, RotaryOptions, rotary, rotary_frequencies, rotary_table};
pub use seeds::{next_seed, reseed};
pub use softmax_gate::softmax_gate;
pub use sum_of_squares::sum_of_squares;
pub use tokens::{embedding, gather_tokens, scatter_tokens};
