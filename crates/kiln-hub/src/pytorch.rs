//! PyTorch files, read-only, through burn-store's reader: it interprets the few pickle
//! instructions that tensors need and executes nothing.

use crate::{HubError, Raw, Result, Weight, Weights};
use burn::tensor::{DType, TensorData};
use burn_store::pytorch::PytorchReader;
use safetensors::Dtype;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Where training scripts put the weights within a checkpoint.
const TOP_LEVEL: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// Reads a file of tensors, or a checkpoint that holds one under a usual key.
pub(crate) fn read(path: &Path) -> Result<Weights> {
    std::fs::File::open(path).map_err(HubError::io("read", path))?;
    let failed = |cause: String| HubError::Pytorch { path: path.to_path_buf(), cause };
    // The reader slices what it parses; on a damaged file it may panic rather than return.
    let reader = catch_unwind(AssertUnwindSafe(|| reader(path)))
        .map_err(|_| failed("its structure is damaged".into()))?
        .map_err(failed)?;
    let mut weights = Weights::default();
    for (name, snapshot) in reader.into_tensors() {
        let data = snapshot.to_data().map_err(|error| failed(format!("`{name}`: {error}")))?;
        let shape: Vec<usize> = data.shape.to_vec();
        match data.dtype {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {
                let values = data
                    .convert::<f32>()
                    .into_vec::<f32>()
                    .map_err(|error| failed(format!("`{name}`: {error:?}")))?;
                weights.tensors.insert(name, Weight { shape, values });
            }
            dtype => {
                let Some(kind) = integer(dtype) else {
                    return Err(HubError::Dtype {
                        path: path.to_path_buf(),
                        tensor: name,
                        found: format!("{dtype:?}"),
                    });
                };
                weights.passthrough.insert(name, raw(kind, shape, &data));
            }
        }
    }
    Ok(weights)
}

/// The file's tensors, at the top or one level down.
fn reader(path: &Path) -> std::result::Result<PytorchReader, String> {
    let top = PytorchReader::new(path).map_err(|error| error.to_string());
    if let Ok(reader) = &top
        && !reader.is_empty()
        && !TOP_LEVEL
            .iter()
            .any(|key| reader.keys().iter().all(|name| name.starts_with(&format!("{key}."))))
    {
        return top;
    }
    for key in TOP_LEVEL {
        if let Ok(reader) = PytorchReader::with_top_level_key(path, key)
            && !reader.is_empty()
        {
            return Ok(reader);
        }
    }
    match top {
        Ok(reader) if reader.is_empty() => Err("it holds no tensors".into()),
        other => other,
    }
}

fn raw(dtype: Dtype, shape: Vec<usize>, data: &TensorData) -> Raw {
    Raw { dtype, shape, bytes: data.as_bytes().to_vec() }
}

fn integer(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool(_) => Dtype::BOOL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand in PyTorch's layout: a 2 x 2 matrix of floats and a counter.
    fn data(name: &str) -> Weights {
        read(&Path::new("tests/data").join(name)).unwrap()
    }

    #[test]
    fn tensors_are_read_at_the_top_and_one_level_down() {
        for name in ["plain.bin", "checkpoint.pt"] {
            let weights = data(name);
            assert_eq!(weights.names().count(), 2, "{name}");
            let weight = &weights.tensors["layer.weight"];
            assert_eq!(weight.shape, [2, 2]);
            assert_eq!(weight.values, [1.0, 2.0, 3.0, -4.5]);
            let counter = &weights.passthrough["norm.num_batches_tracked"];
            assert_eq!(counter.bytes, 7_i64.to_le_bytes());
        }
    }

    #[test]
    fn what_is_no_pytorch_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pytorch_model.bin");
        for bytes in [&b""[..], b"PK\x03\x04nonsense", b"\x80\x02}q\x00.", &[0xff; 4096]] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, HubError::Pytorch { .. }), "{error:?}");
            assert!(error.to_string().contains("pytorch_model.bin"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_an_io_error() {
        let error = read(Path::new("nowhere/pytorch_model.bin")).unwrap_err();
        assert!(matches!(error, HubError::Io { .. }), "{error:?}");
    }
}
