//! Weights in files: one file, several with an index, or PyTorch's.

use crate::{HubError, Result, Weights, pytorch, safetensors_file};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path},
};

/// The name of a single weights file.
pub(crate) const SAFETENSORS: &str = "model.safetensors";
/// The index of weights in several files.
pub(crate) const SAFETENSORS_INDEX: &str = "model.safetensors.index.json";
/// PyTorch's own format, which is only read.
pub(crate) const PYTORCH: &str = "pytorch_model.bin";

impl Weights {
    /// Reads a `.safetensors` file, or a PyTorch file (`.bin`, `.pt`, `.pth`).
    ///
    /// # Errors
    /// When the file cannot be read, is cut short or damaged, or holds what is not a tensor.
    pub fn read_file(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("bin" | "pt" | "pth" | "ckpt") => pytorch::read(path),
            _ => safetensors_file::read(path),
        }
    }

    /// Reads the weights of a model directory: one file, or several with an index, or PyTorch's.
    ///
    /// # Errors
    /// When there are none, or as in [`Self::read_file`]; also when index and shards disagree.
    pub fn read_dir(dir: &Path) -> Result<Self> {
        if dir.join(SAFETENSORS).exists() {
            Self::read_file(&dir.join(SAFETENSORS))
        } else if dir.join(SAFETENSORS_INDEX).exists() {
            Self::read_shards(&dir.join(SAFETENSORS_INDEX))
        } else if dir.join(PYTORCH).exists() {
            Self::read_file(&dir.join(PYTORCH))
        } else {
            Err(HubError::NoWeights { dir: dir.to_path_buf() })
        }
    }

    /// Reads weights in several files by their index.
    fn read_shards(path: &Path) -> Result<Self> {
        let index = Index::read(path)?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut weights = Self::default();
        for shard in index.shards() {
            let file = dir.join(shard);
            if !file.exists() {
                return Err(HubError::Index {
                    path: path.to_path_buf(),
                    cause: format!("it names {shard}, which is not there"),
                });
            }
            let part = Self::read_file(&file)?;
            for name in part.names() {
                if weights.contains(name) {
                    return Err(HubError::Duplicate { path: file, tensor: name.to_owned() });
                }
            }
            weights.tensors.extend(part.tensors);
            weights.passthrough.extend(part.passthrough);
        }
        match index.weight_map.iter().find(|(name, _)| !weights.contains(name)) {
            Some((name, shard)) => Err(HubError::Index {
                path: path.to_path_buf(),
                cause: format!("it promises tensor `{name}` in {shard}, which does not have it"),
            }),
            None => Ok(weights),
        }
    }

    /// Writes a `.safetensors` file: beside, flushed, then renamed. Same tensors, same bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        safetensors_file::write(self, path)
    }
}

/// `model.safetensors.index.json`: which tensor is in which file.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads an index; the files that it names lie beside it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(HubError::io("read", path))?;
        let wrong = |cause: String| HubError::Index { path: path.to_path_buf(), cause };
        let index: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        for shard in index.shards() {
            // Never leave the directory, whoever wrote the index.
            let mut parts = Path::new(shard).components();
            let (first, second) = (parts.next(), parts.next());
            if !matches!((first, second), (Some(Component::Normal(_)), None)) {
                return Err(wrong(format!("`{shard}` is no file name")));
            }
        }
        Ok(index)
    }

    /// The files, each once.
    pub(crate) fn shards(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weight;

    fn weights(names: &[&str]) -> Weights {
        let mut weights = Weights::default();
        for (at, name) in names.iter().enumerate() {
            let weight = Weight { shape: vec![2], values: vec![at as f32, -1.0] };
            weights.tensors.insert((*name).to_owned(), weight);
        }
        weights
    }

    fn shards(map: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        weights(&["a", "b"]).write(&dir.path().join("one.safetensors")).unwrap();
        weights(&["c"]).write(&dir.path().join("two.safetensors")).unwrap();
        fs::write(dir.path().join(SAFETENSORS_INDEX), format!(r#"{{"weight_map":{map}}}"#))
            .unwrap();
        dir
    }

    #[test]
    fn shards_are_joined() {
        let map = r#"{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"}"#;
        let read = Weights::read_dir(shards(map).path()).unwrap();
        assert_eq!(read.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(read.parameters(), 6);
    }

    #[test]
    fn an_index_that_lies_is_refused() {
        for (map, expected) in [
            (r#"{"a":"three.safetensors"}"#, "three.safetensors"),
            (r#"{"x":"one.safetensors"}"#, "`x`"),
            (r#"{"a":"../one.safetensors"}"#, "no file name"),
            (r#"{"a":"/one.safetensors"}"#, "no file name"),
            (r#"{"a":3}"#, "string"),
        ] {
            let error = Weights::read_dir(shards(map).path()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(SAFETENSORS_INDEX), "{error}");
        }
    }

    #[test]
    fn a_directory_without_weights_says_what_was_expected() {
        let dir = tempfile::tempdir().unwrap();
        let error = Weights::read_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains("model.safetensors"), "{error}");
    }
}
