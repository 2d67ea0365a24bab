//! Device dispatch: from a recipe's device to the backend, the one place where backends are named.

use crate::{failure::Failure, recipe::Device, task::TaskError};
use kiln_core::AutodiffBackend;

/// Work that can be done on any backend.
pub trait OnBackend {
    /// What it gives.
    type Output;

    /// Does it on `device`.
    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output;
}

/// Why a binary has no CUDA, and what to do.
pub const NO_CUDA: [&str; 2] = [
    "this binary was built without CUDA",
    "build it with `--features cuda`, or compute on the `cpu`",
];

/// A device, if this binary has it.
///
/// # Errors
/// When it was built without.
pub fn available(device: Device) -> Result<Device, Failure> {
    let [message, help] = NO_CUDA;
    match device {
        Device::Cuda if !cfg!(feature = "cuda") => Err(Failure::user(message, help)),
        device => Ok(device),
    }
}

/// The CPU, with gradients.
pub type Cpu = burn::backend::Autodiff<burn_flex::Flex>;

/// Does the work on the device asked for.
///
/// # Errors
/// When this binary was built without that device.
pub fn on<W: OnBackend>(device: Device, work: W) -> Result<W::Output, TaskError> {
    match device {
        Device::Cpu => Ok(work.run::<Cpu>(Default::default())),
        Device::Cuda => cuda(work),
    }
}

#[cfg(feature = "cuda")]
#[allow(clippy::unnecessary_wraps, reason = "its twin without CUDA fails")]
fn cuda<W: OnBackend>(work: W) -> Result<W::Output, TaskError> {
    Ok(work.run::<burn::backend::Autodiff<burn_cuda::Cuda>>(Default::default()))
}

#[cfg(not(feature = "cuda"))]
fn cuda<W: OnBackend>(_: W) -> Result<W::Output, TaskError> {
    Err("this binary was built without CUDA: build it with `--features cuda`, or use `cpu`".into())
}
