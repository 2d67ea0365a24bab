//! Weights and inputs in one safetensors file: `model.<name>`, `train.<name>`, `infer.<name>`.

use crate::Result;
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::Backend;
use kiln_hub::Weights;
use std::path::Path;

/// The tensors of one file.
#[derive(Clone, Debug, Default)]
pub struct Tensors(Weights);

impl Tensors {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self(Weights::read_file(path)?))
    }

    /// Those under a prefix, which their names lose; they leave this set.
    pub fn take(&mut self, prefix: &str) -> Self {
        let mut taken = Weights::default();
        let inside = |name: &str| name.strip_prefix(prefix).map(str::to_owned);
        for (name, tensor) in std::mem::take(&mut self.0.tensors) {
            match inside(&name) {
                Some(inner) => taken.tensors.insert(inner, tensor),
                None => self.0.tensors.insert(name, tensor),
            };
        }
        for (name, tensor) in std::mem::take(&mut self.0.passthrough) {
            match inside(&name) {
                Some(inner) => taken.passthrough.insert(inner, tensor),
                None => self.0.passthrough.insert(name, tensor),
            };
        }
        Self(taken)
    }

    /// As a model's weights.
    pub fn weights(&self) -> &Weights {
        &self.0
    }

    /// A tensor of floats.
    ///
    /// # Errors
    /// When there is none of this name and rank.
    pub fn floats<B: Backend, const D: usize>(
        &self,
        name: &str,
        device: &B::Device,
    ) -> Result<Tensor<B, D>> {
        let found = self.0.tensors.get(name).filter(|tensor| tensor.shape.len() == D);
        let tensor = found.ok_or_else(|| format!("no floats `{name}` of rank {D}"))?;
        let data = TensorData::new(tensor.values.clone(), tensor.shape.clone());
        Ok(Tensor::from_data(data, device))
    }

    /// A tensor of 64-bit integers.
    ///
    /// # Errors
    /// When there is none of this name and rank.
    pub fn ints<B: Backend, const D: usize>(
        &self,
        name: &str,
        device: &B::Device,
    ) -> Result<Tensor<B, D, Int>> {
        let found = self.0.passthrough.get(name).filter(|tensor| tensor.shape.len() == D);
        let tensor = found
            .filter(|tensor| tensor.dtype == safetensors::Dtype::I64)
            .ok_or_else(|| format!("no 64-bit integers `{name}` of rank {D}"))?;
        let values: Vec<i64> =
            tensor.bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
        Ok(Tensor::from_data(TensorData::new(values, tensor.shape.clone()), device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;
    use kiln_hub::{Raw, Weight};

    #[test]
    fn parts_and_types() {
        let mut all = Tensors::default();
        all.0
            .tensors
            .insert("train.x".into(), Weight { shape: vec![1, 2], values: vec![1.0, 2.0] });
        all.0.tensors.insert("x".into(), Weight::zeros(&[1]));
        let bytes = [3_i64, -4].iter().flat_map(|id| id.to_le_bytes()).collect();
        let ids = Raw { dtype: safetensors::Dtype::I64, shape: vec![2], bytes };
        all.0.passthrough.insert("train.ids".into(), ids);
        let train = all.take("train.");
        assert!(all.0.names().eq(["x"]));
        let device = Default::default();
        let x = train.floats::<Flex, 2>("x", &device).unwrap();
        assert_eq!(x.into_data().to_vec::<f32>().unwrap(), [1.0, 2.0]);
        let ids = train.ints::<Flex, 1>("ids", &device).unwrap();
        assert!(ids.into_data().iter::<i64>().eq([3, -4]));
        assert!(train.floats::<Flex, 1>("x", &device).is_err(), "another rank");
        assert!(train.ints::<Flex, 1>("x", &device).is_err(), "no integers");
    }
}
