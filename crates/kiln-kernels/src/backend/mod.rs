//! Which version of a kernel a backend runs.

mod autodiff;
#[cfg(feature = "cube")]
mod cube;
mod flex;
