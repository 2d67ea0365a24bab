//! Which version of a kernel a backend runs.

mod autodiff;
#[cfg(feature = "cube")]
mod cube;
mod flex;

use crate::{Differentiable, Kernel, Tensors};
use burn::tensor::{backend, ops::FloatTensor};

/// Burn's backend plus our kernels: what every model of Kiln is generic over.
pub trait Backend: backend::Backend {
    /// Whether a kernel keeps what its backward step would otherwise make again by a product, where
    /// that is not too much memory.
    const KEEPS: bool = false;

    /// Runs a kernel.
    fn run<K: Kernel>(kernel: &K, inputs: Tensors<Self>) -> Vec<FloatTensor<Self>>;

    /// Runs a kernel; where gradients are recorded, records it as one step. Only the first output
    /// carries a gradient.
    fn record<K: Differentiable>(kernel: &K, inputs: Tensors<Self>) -> Vec<FloatTensor<Self>> {
        Self::run(kernel, inputs)
    }
}

/// A [`Backend`] that records gradients; its inner backend is a [`Backend`] too.
pub trait AutodiffBackend: Backend + backend::AutodiffBackend<InnerBackend: Backend> {}

impl<B: Backend + backend::AutodiffBackend<InnerBackend: Backend>> AutodiffBackend for B {}
