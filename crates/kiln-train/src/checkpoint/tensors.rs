//! A learner's state as safetensors.

use crate::{
    Error, Result, files,
    learner::{HostTensor, LearnerState},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::Path;

/// Writes a state.
pub(super) fn write(path: &Path, state: &LearnerState) -> Result<()> {
    let bytes: Vec<(&String, &HostTensor, Vec<u8>)> = state
        .iter()
        .map(|(name, tensor)| {
            (name, tensor, tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let failed = |error: safetensors::SafeTensorError| Error::State { problem: error.to_string() };
    let views = bytes
        .iter()
        .map(|(name, tensor, bytes)| {
            Ok((*name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    let bytes = safetensors::serialize(views, None).map_err(failed)?;
    files::write(path, &bytes)
}

/// Reads a state.
///
/// # Errors
/// When the file cannot be read, is no safetensors file, or holds anything but f32.
pub(super) fn read(path: &Path) -> Result<LearnerState> {
    let damaged = |problem: String| Error::Damaged { path: path.to_owned(), problem };
    let bytes = std::fs::read(path).map_err(files::io("read", path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    file.iter()
        .map(|(name, view)| {
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!(
                    "tensor `{name}` is {:?}, expected F32",
                    view.dtype()
                )));
            }
            let (chunks, _) = view.data().as_chunks::<4>();
            let values = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            Ok((name.to_owned(), HostTensor { shape: view.shape().to_vec(), values }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> LearnerState {
        let tensor =
            HostTensor { shape: vec![2, 2], values: vec![1.0, -0.0, f32::MIN_POSITIVE, 3.5] };
        let scalar = HostTensor { shape: vec![], values: vec![7.0] };
        [("model.w".to_owned(), tensor), ("optimizer.updates".to_owned(), scalar)].into()
    }

    #[test]
    fn round_trip_keeps_every_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        write(&path, &state()).unwrap();
        let back = read(&path).unwrap();
        let bits = |s: &LearnerState| -> Vec<u32> {
            s.values().flat_map(|t| t.values.iter().map(|v| v.to_bits())).collect()
        };
        assert_eq!(back, state());
        assert_eq!(bits(&back), bits(&state()));
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        write(&path, &state()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for (what, bytes) in [
            ("truncated", whole[..whole.len() - 3].to_vec()),
            ("empty", Vec::new()),
            ("header", [&[0xff; 8], &whole[8..]].concat()),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("state.safetensors is damaged"), "{what}: {error}");
        }
    }
}
