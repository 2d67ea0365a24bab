//! Named tensors on the host.
//!
//! Floating-point tensors of any width become f32; integers and booleans (counters, position ids)
//! are kept byte for byte aside, so that a directory which was read can be written again in full.

use std::collections::BTreeMap;

/// A tensor of floating-point numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Vec<f32>,
}

impl Weight {
    /// A tensor of zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
    }
}

/// A tensor that is no floating-point one, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Its type in safetensors' spelling: `I64`, `U8`, `BOOL`.
    pub dtype: safetensors::Dtype,
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Little-endian bytes in row-major order.
    pub bytes: Vec<u8>,
}

/// Named tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// Floating-point tensors, by name.
    pub tensors: BTreeMap<String, Weight>,
    /// Integers and booleans, by name.
    pub passthrough: BTreeMap<String, Raw>,
}

impl Weights {
    /// Whether a tensor of this name is there, of whatever type.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name) || self.passthrough.contains_key(name)
    }

    /// All names, floating-point tensors first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().chain(self.passthrough.keys()).map(String::as_str)
    }

    /// Adds a 64-bit counter, such as PyTorch's `num_batches_tracked`.
    pub fn insert_i64(&mut self, name: impl Into<String>, value: i64) {
        let bytes = value.to_le_bytes().to_vec();
        let raw = Raw { dtype: safetensors::Dtype::I64, shape: Vec::new(), bytes };
        self.passthrough.insert(name.into(), raw);
    }

    /// How many numbers the floating-point tensors hold.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(|weight| weight.values.len()).sum()
    }
}
