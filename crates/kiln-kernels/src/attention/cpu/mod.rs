//! On the CPU: blocks of queries against blocks of keys, only where some query attends to some key.
//! A task copies the head it works on out of the packed tensor once, so that it lies in its cache.

mod backward;
mod context;
mod forward;
mod heads;
mod product;
mod tile;
mod visible;

pub(super) use backward::backward;
pub(super) use forward::forward;
