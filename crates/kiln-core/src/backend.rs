//! The backend that Kiln's models are generic over.

use burn::tensor::backend;

/// Burn's backend plus what Kiln's kernels will need of it.
///
/// Everything above this crate names this trait, never Burn's, so that fused kernels can be
/// added in one place.
pub trait Backend: backend::Backend {}

impl<B: backend::Backend> Backend for B {}

/// A [`Backend`] that records gradients; its inner backend is a [`Backend`] too.
pub trait AutodiffBackend: Backend + backend::AutodiffBackend<InnerBackend: Backend> {}

impl<B: backend::AutodiffBackend<InnerBackend: Backend>> AutodiffBackend for B {}
