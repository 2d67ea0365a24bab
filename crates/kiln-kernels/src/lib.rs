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

mod backend;
mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod kernel;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod contrastive;
mod cross_entropy;
mod ctc;
mod norm;
mod plain;

pub use backend::{AutodiffBackend, Backend};
pub use contrastive::{info_nce, info_nce_candidates, sigmoid_pairs};
pub use cross_entropy::{
    CrossEntropyOptions, cross_entropy, linear_cross_entropy, soft_cross_entropy,
};
pub use ctc::ctc_loss;
pub use kernel::{Differentiable, Kernel, Output, Tensors};
pub use norm::{layer_norm, rms_norm};
