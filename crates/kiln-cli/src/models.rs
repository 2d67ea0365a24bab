//! Finding the model that `--model` names, and the run that it is from.

use crate::modalities;
use kiln_hub::ModelDir;
use kiln_train::{
    failure::Result,
    modality::{self, Modality},
    start::RUNS,
};
use std::path::{Path, PathBuf};

/// Finds a model by run, directory or hub id.
pub fn find(spec: &str) -> Result<ModelDir> {
    Ok(kiln_hub::resolve(spec, Path::new(RUNS))?)
}

/// The modality that a model belongs to.
pub fn owner(model: &ModelDir) -> Result<&'static Modality> {
    modality::owner(modalities::all(), model)
}

/// The run directory that a spec means or lies in, if it is one.
pub fn run_dir(spec: &str) -> Option<PathBuf> {
    let is_run = |dir: &Path| dir.join("run.json").exists();
    let direct = [PathBuf::from(spec), Path::new(RUNS).join(spec)];
    // `runs/a/model` and `runs/a/checkpoints/step-5` are of the run `runs/a`.
    let around = Path::new(spec).ancestors().skip(1).take(2).map(Path::to_path_buf);
    direct
        .into_iter()
        .chain(around)
        .filter(|dir| !dir.as_os_str().is_empty())
        .find(|dir| is_run(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_within_a_run_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("a");
        std::fs::create_dir_all(run.join("checkpoints/step-5")).unwrap();
        std::fs::write(run.join("run.json"), "{}").unwrap();
        for inside in ["", "model", "checkpoints/step-5"] {
            let spec = run.join(inside);
            let found = run_dir(spec.to_str().unwrap().trim_end_matches('/'));
            assert_eq!(found.as_deref(), Some(run.as_path()), "{inside}");
        }
        assert_eq!(run_dir(dir.path().to_str().unwrap()), None);
        assert_eq!(run_dir("no-such-run"), None);
    }
}
