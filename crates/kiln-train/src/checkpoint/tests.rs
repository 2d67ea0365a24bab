use super::*;
use crate::testing::{Toy, alone, learner, stage};

/// Checkpoints of steps 1 to 3 of a toy.
fn three() -> (tempfile::TempDir, CheckpointStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = CheckpointStore::new(dir.path().join("checkpoints"));
    let mut learner = learner(&Toy::default(), &stage(""), 1);
    for step in 0..3 {
        learner.accumulate(step, 0, false).unwrap();
        learner.update(0.01).unwrap();
        let manifest = Manifest {
            stage_step: step + 1,
            best: Some(Best { step: 1, value: 0.1 + 0.2, loss: None }),
            ..Manifest::new(0, "train", step + 1)
        };
        store.write(manifest, &learner).unwrap();
    }
    (dir, store)
}

#[test]
fn what_is_written_is_read() {
    let _turn = alone();
    let (_dir, store) = three();
    let mut learner = learner(&Toy::default(), &stage(""), 2);
    let newest = store.newest().unwrap().unwrap();
    assert_eq!(newest.manifest.step, 3);
    assert_eq!(newest.manifest.best.unwrap().value.to_bits(), (0.1_f64 + 0.2).to_bits());
    learner.restore(&newest.state).unwrap();
    assert_eq!(learner.state().unwrap(), newest.state);
    assert_eq!(newest.manifest.tensors["model.first.weight"], [2, 8]);
    let files: Vec<_> = newest.manifest.files.keys().collect();
    assert_eq!(files, ["model/model.txt", "state.safetensors"]);
}

#[test]
fn damage_is_reported_and_the_one_before_is_used() {
    let _turn = alone();
    type Damage = fn(&Path);
    let damages: [(&str, &str, Damage); 6] = [
        ("state.safetensors", "bytes long", |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("state.safetensors", "SHA-256", |file| {
            let mut bytes = fs::read(file).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("state.safetensors", "cannot read", |file| fs::remove_file(file).unwrap()),
        ("model/model.txt", "bytes long", |file| fs::write(file, "").unwrap()),
        ("checkpoint.json", "EOF", |file| fs::write(file, "{\"format\": 1").unwrap()),
        ("checkpoint.json", "format 99", |file| {
            let text = fs::read_to_string(file).unwrap();
            fs::write(file, text.replace("\"format\": 1", "\"format\": 99")).unwrap();
        }),
    ];
    for (file, problem, damage) in damages {
        let (_dir, store) = three();
        damage(&store.path(3).join(file));
        let error = store.read(3).unwrap_err().to_string();
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name) && error.contains(problem), "{file}: {error}");
        assert_eq!(store.newest().unwrap().unwrap().manifest.step, 2, "{file}");
    }
}

#[test]
fn names_and_shapes_are_compared() {
    let _turn = alone();
    let (_dir, store) = three();
    let file = store.path(3).join(MANIFEST);
    let mut manifest = store.read(3).unwrap().manifest;
    manifest.tensors.insert("model.first.weight".into(), vec![8, 2]);
    fs::write(&file, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let error = store.read(3).unwrap_err().to_string();
    assert!(error.contains("`model.first.weight` has shape [2, 8], expected [8, 2]"), "{error}");
    manifest.tensors.remove("model.first.weight");
    fs::write(&file, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let error = store.read(3).unwrap_err().to_string();
    assert!(error.contains("`model.first.weight` was not written by this run"), "{error}");
    manifest.tensors.insert("model.first.weight".into(), vec![2, 8]);
    manifest.tensors.insert("model.extra".into(), vec![1]);
    fs::write(&file, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let error = store.read(3).unwrap_err().to_string();
    assert!(error.contains("`model.extra` is missing"), "{error}");
}

#[test]
fn tidying_keeps_the_latest_and_the_best() {
    let _turn = alone();
    let (dir, store) = three();
    fs::create_dir(dir.path().join("checkpoints/.step-4.partial")).unwrap();
    fs::create_dir(dir.path().join("checkpoints/stage-0")).unwrap();
    store.clean().unwrap();
    assert!(!dir.path().join("checkpoints/.step-4.partial").exists());
    store.tidy(1, Some(1)).unwrap();
    assert_eq!(store.steps().unwrap(), [1, 3]);
    store.tidy(0, None).unwrap();
    assert_eq!(store.steps().unwrap(), [3], "one always stays");
    assert!(dir.path().join("checkpoints/stage-0").exists());
}

#[test]
fn a_failed_write_leaves_the_earlier_ones() {
    let _turn = alone();
    let (dir, store) = three();
    // A file stands where the directory of the next checkpoint is to be prepared.
    let learner = learner(&Toy { broken: None, ..Toy::default() }, &stage(""), 1);
    fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    fs::write(dir.path().join("checkpoints"), "").unwrap();
    let error = store.write(Manifest::new(0, "train", 4), &learner).unwrap_err().to_string();
    assert!(error.starts_with("cannot create") && error.contains("checkpoints"), "{error}");
}
