//! Model directories: `config.json`, weights, and what else belongs to a model.

use crate::{
    Hub, HubError, HubId, Result, Weights,
    adapter::{Peft, is_peft},
    json_file::{CONFIG, read_json, write_json},
    safetensors_file,
    weights::{Index, SAFETENSORS, SAFETENSORS_INDEX},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A directory with a model in it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDir {
    /// Where it is.
    pub path: PathBuf,
    /// Its `config.json`.
    pub config: Value,
    /// The directory of the model that it adapts, where it holds an adapter of PEFT's.
    pub base: Option<PathBuf>,
}

impl ModelDir {
    /// Opens a model directory and reads its `config.json`. An adapter of PEFT's (LoRA) is its base
    /// with the adapter merged.
    ///
    /// # Errors
    /// When there is no `config.json`, or it is no JSON object; when an adapter is of another
    /// method, or its base cannot be found.
    pub fn open(path: &Path) -> Result<Self> {
        if is_peft(path) {
            let base = base_of(path)?;
            let opened = Self::open(&base)?;
            return Ok(Self { path: path.to_path_buf(), config: opened.config, base: Some(base) });
        }
        let config: Value = read_json(&path.join(CONFIG))?;
        if !config.is_object() {
            let cause = "expected a JSON object".to_owned();
            return Err(HubError::Config { path: path.join(CONFIG), cause });
        }
        Ok(Self { path: path.to_path_buf(), config, base: None })
    }

    /// Writes `config.json` and the weights, in their names, into an existing directory.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(path: &Path, config: &impl Serialize, weights: &Weights) -> Result<()> {
        write_json(&path.join(CONFIG), config)?;
        weights.write(&path.join(SAFETENSORS))
    }

    /// `model_type`, which says who can read the model; empty where there is none.
    pub fn model_type(&self) -> &str {
        self.config.get("model_type").and_then(Value::as_str).unwrap_or_default()
    }

    /// The configuration as a family's own type. Unknown keys are that type's business.
    ///
    /// # Errors
    /// When a key is missing or has the wrong type; the message names it.
    pub fn parse_config<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.config.clone()).map_err(|error| HubError::Config {
            path: self.path.join(CONFIG),
            cause: error.to_string(),
        })
    }

    /// The weights in their names.
    ///
    /// # Errors
    /// As [`Weights::read_dir`].
    pub fn weights(&self) -> Result<Weights> {
        let Some(base) = &self.base else { return Weights::read_dir(&self.path) };
        let mut weights = Weights::read_dir(base)?;
        Peft::read(&self.path)?.merge(&self.path, &mut weights)?;
        Ok(weights)
    }

    /// How many floating-point numbers the weights hold; reads headers only, where it can.
    ///
    /// # Errors
    /// As [`Weights::read_dir`].
    pub fn parameters(&self) -> Result<usize> {
        let path = self.base.as_ref().unwrap_or(&self.path);
        let index = path.join(SAFETENSORS_INDEX);
        if path.join(SAFETENSORS).exists() {
            safetensors_file::count(&path.join(SAFETENSORS))
        } else if index.exists() {
            let index = Index::read(&index)?;
            index.shards().into_iter().map(|shard| safetensors_file::count(&path.join(shard))).sum()
        } else {
            Ok(self.weights()?.parameters())
        }
    }

    /// Another JSON file of the directory (`preprocessor_config.json`), if it is there.
    ///
    /// # Errors
    /// When it is there and is not what was expected.
    pub fn extra<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = Self::home(&self.path, name).join(name);
        if path.exists() { read_json(&path).map(Some) } else { Ok(None) }
    }

    /// The directory that has a file of a model: this one, or for an adapter of PEFT's that does not
    /// have it the one of its base, where there is one.
    pub fn home(dir: &Path, file: &str) -> PathBuf {
        if is_peft(dir)
            && !dir.join(file).exists()
            && let Ok(base) = base_of(dir)
        {
            return base;
        }
        dir.to_owned()
    }
}

/// The directory of the model that an adapter of PEFT's, in `dir`, adapts.
fn base_of(dir: &Path) -> Result<PathBuf> {
    let base = Peft::read(dir)?.base(dir)?;
    Ok(resolve(&base, Path::new("runs"))?.path)
}

/// Finds a model: a run (its directory, or its name under `runs_dir`), a model directory, or a
/// hub id `organisation/name[@revision]`, which is downloaded unless the cache has it.
///
/// # Errors
/// When nothing by this name is a model, or the download fails.
pub fn resolve(spec: &str, runs_dir: &Path) -> Result<ModelDir> {
    resolve_with(spec, runs_dir, Hub::from_env)
}

/// [`resolve`] with a hub of one's own.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(
    spec: &str,
    runs_dir: &Path,
    hub: impl FnOnce() -> Result<Hub>,
) -> Result<ModelDir> {
    let not_a_model = |cause: String| HubError::NotAModel { spec: spec.to_owned(), cause };
    if spec.is_empty() {
        return Err(not_a_model("expected a run, a model directory or a hub id".into()));
    }
    for path in [PathBuf::from(spec), runs_dir.join(spec)] {
        if path.is_dir() {
            return local(&path, spec);
        }
        if path.is_file() {
            return Err(not_a_model("it is a file; give the directory that it is in".into()));
        }
    }
    // `runs/typo` has the form of a hub id, but is meant as a directory.
    let names_a_directory = Path::new(spec)
        .parent()
        .is_some_and(|parent| !parent.as_os_str().is_empty() && parent.is_dir());
    match HubId::parse(spec) {
        Ok(id) if !names_a_directory => ModelDir::open(&hub()?.fetch(&id)?),
        _ => Err(not_a_model(format!(
            "there is no such directory, nor a run of that name under {}, and it is no hub id \
             (`organisation/name`)",
            runs_dir.display()
        ))),
    }
}

/// A directory that is there: a model, or a run with one.
fn local(path: &Path, spec: &str) -> Result<ModelDir> {
    if path.join(CONFIG).exists() || is_peft(path) {
        return ModelDir::open(path);
    }
    // A run, or a directory of sentence-transformers.
    for inside in ["model", "0_Transformer"] {
        if path.join(inside).join(CONFIG).exists() {
            return ModelDir::open(&path.join(inside));
        }
    }
    let cause = if path.join("checkpoints").is_dir() {
        "this run has not finished, so it has no model yet; go on with it (`kiln run ... \
         --resume`) or name one of the directories under its checkpoints"
            .to_owned()
    } else {
        format!("{} has neither {CONFIG} nor model/{CONFIG}", path.display())
    };
    Err(HubError::NotAModel { spec: spec.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weight;
    use serde::Deserialize;
    use serde_json::json;
    use std::fs;

    #[derive(Debug, Deserialize)]
    struct Config {
        width: usize,
    }

    fn write(path: &Path) {
        fs::create_dir_all(path).unwrap();
        let mut weights = Weights::default();
        weights.tensors.insert("a".into(), Weight::zeros(&[3, 2]));
        ModelDir::write(path, &json!({ "model_type": "kiln-test", "width": 8 }), &weights).unwrap();
    }

    fn no_hub() -> Result<Hub> {
        panic!("no download was expected")
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path());
        let model = ModelDir::open(dir.path()).unwrap();
        assert_eq!(model.model_type(), "kiln-test");
        assert_eq!(model.parse_config::<Config>().unwrap().width, 8);
        assert_eq!(model.parameters().unwrap(), 6);
        assert_eq!(model.weights().unwrap().tensors["a"].shape, [3, 2]);
        assert_eq!(model.extra::<Value>("preprocessor_config.json").unwrap(), None);
    }

    #[test]
    fn a_wrong_config_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (text, expected) in [("{", "EOF"), ("[]", "object")] {
            fs::write(dir.path().join(CONFIG), text).unwrap();
            let error = ModelDir::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(CONFIG), "{error}");
        }
        fs::write(dir.path().join(CONFIG), "{}").unwrap();
        let model = ModelDir::open(dir.path()).unwrap();
        let error = model.parse_config::<Config>().unwrap_err().to_string();
        assert!(error.contains("width"), "{error}");
    }

    #[test]
    fn models_are_found_by_directory_run_and_name() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        write(&runs.join("small").join("model"));
        let path = runs.join("small");
        for spec in ["small", path.to_str().unwrap(), path.join("model").to_str().unwrap()] {
            let model = resolve_with(spec, &runs, no_hub).unwrap();
            assert_eq!(model.path, path.join("model"), "{spec}");
        }
    }

    #[test]
    fn what_is_no_model_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        fs::create_dir_all(runs.join("half/checkpoints")).unwrap();
        fs::create_dir_all(runs.join("empty")).unwrap();
        fs::write(runs.join("file"), "").unwrap();
        let typo = runs.join("typo");
        for (spec, expected) in [
            ("half", "--resume"),
            ("empty", "config.json"),
            ("file", "it is a file"),
            ("no-such", "no such directory"),
            ("", "expected a run"),
            (typo.to_str().unwrap(), "no such directory"),
        ] {
            let error = resolve_with(spec, &runs, no_hub).unwrap_err().to_string();
            assert!(error.contains(expected), "{spec}: {error}");
        }
    }
}
