use super::*;
use crate::{
    learner::LearnerState,
    logs::Progress,
    testing::{Stopping, Toy, alone, learner, stage},
};
use serde_json::Value;
use std::{path::Path, sync::Arc, sync::Mutex};

/// Trains a toy in `dir`, going on from the newest checkpoint.
fn train(
    toy: &Toy,
    settings: &str,
    dir: &Path,
    interrupt: &Interrupt,
) -> Result<(StageEnd, LearnerState)> {
    let stage = stage(settings);
    let mut learner = learner(toy, &stage, 1);
    let end = super::train(&stage, &mut learner, dir, interrupt, Progress::silent())?;
    Ok((end, learner.state()?))
}

fn lines(dir: &Path, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == kind).collect()
}

fn steps(dir: &Path) -> Vec<u64> {
    CheckpointStore::new(dir.join("checkpoints")).steps().unwrap()
}

fn scripted(values: &[f64]) -> Toy {
    Toy { scripted: Arc::new(Mutex::new(values.to_vec())), ..Toy::default() }
}

#[test]
fn a_stage_logs_validates_and_keeps_checkpoints() {
    let _turn = alone();
    let dir = tempfile::tempdir().unwrap();
    let settings = "steps = 10\nlog_every = 4\nvalidate_every = 5\ncheckpoint_every = 2\nkeep = 2";
    let toy = scripted(&[0.5, 0.7]);
    let (end, _) = train(&toy, settings, dir.path(), &Interrupt::new()).unwrap();
    assert!(end.manifest.finished && !end.interrupted);
    assert_eq!(steps(dir.path()), [5, 8, 10], "the latest two and the best");
    let logged = lines(dir.path(), "step");
    let at: Vec<_> = logged.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(at, [1, 4, 8, 10]);
    for key in [
        "loss",
        "learning_rate",
        "gradient_norm",
        "examples_per_s",
        "tokens_per_s",
        "baseline_loss",
    ] {
        assert!(logged[2][key].is_number(), "{key} in {}", logged[2]);
    }
    assert_eq!(lines(dir.path(), "validation").len(), 2);
    assert_eq!(end.manifest.best, Some(Best { step: 5, value: 0.5, loss: Some(0.5) }));
    assert!(end.diagnostics.contains_key("baseline_loss"));
}

#[test]
fn interrupted_anywhere_it_goes_on_to_the_same_bits() {
    let _turn = alone();
    let settings = "steps = 9\naccumulate = 2\nema = 0.9\nvalidate_every = 2\nlog_every = 2\nrestore_best = true";
    let whole = tempfile::tempdir().unwrap();
    let (_, expected) = train(&Toy::default(), settings, whole.path(), &Interrupt::new()).unwrap();
    for stop in 1..9 {
        let dir = tempfile::tempdir().unwrap();
        let short = format!("{settings}\ncheckpoint_every = {stop}\nkeep = 20");
        train(&Toy::default(), &short, dir.path(), &Interrupt::new()).unwrap();
        // As if killed after that checkpoint: later ones are gone, later lines are not.
        for later in steps(dir.path()).into_iter().filter(|step| *step > stop) {
            std::fs::remove_dir_all(dir.path().join(format!("checkpoints/step-{later}"))).unwrap();
        }
        let (_, state) = train(&Toy::default(), settings, dir.path(), &Interrupt::new()).unwrap();
        assert_eq!(state, expected, "from step {stop}");
        let at = |dir: &Path| -> Vec<_> {
            lines(dir, "step")
                .iter()
                .map(|line| (line["step"].clone(), line["loss"].clone()))
                .collect()
        };
        assert_eq!(at(dir.path()).len(), at(whole.path()).len(), "no line twice");
    }
}

#[test]
fn an_interrupt_writes_a_checkpoint() {
    let _turn = alone();
    let dir = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::new();
    interrupt.request();
    let (end, _) = train(&Toy::default(), "steps = 5", dir.path(), &interrupt).unwrap();
    assert!(end.interrupted);
    assert_eq!(steps(dir.path()), [0_u64; 0], "nothing was done, nothing is saved");
    let (stage, interrupt) = (stage("steps = 5"), Interrupt::new());
    let store = CheckpointStore::new(dir.path().join("checkpoints"));
    let mut logs = Logs::open(dir.path(), 0, Progress::silent()).unwrap();
    let inner = Box::new(learner(&Toy::default(), &stage, 1));
    let trainer = Trainer {
        stage: &stage,
        learner: &mut Stopping { inner, interrupt: interrupt.clone(), left: 3 },
        store: &store,
        logs: &mut logs,
        interrupt: &interrupt,
        manifest: Manifest::new(0, "train", 0),
    };
    let end = trainer.run().unwrap();
    assert!(end.interrupted && end.manifest.stage_step == 3);
    assert_eq!(steps(dir.path()), [3]);
}

#[test]
fn patience_ends_a_stage_and_the_best_is_taken() {
    let _turn = alone();
    let dir = tempfile::tempdir().unwrap();
    let settings = "steps = 50\nvalidate_every = 2\npatience = 3\nrestore_best = true\nkeep = 1";
    let toy = scripted(&[0.9, 0.5, 0.6, f64::NAN, 0.5, 0.1]);
    let (end, state) = train(&toy, settings, dir.path(), &Interrupt::new()).unwrap();
    assert!(end.manifest.finished);
    assert_eq!(end.manifest.stage_step, 10);
    assert_eq!(end.manifest.best, Some(Best { step: 4, value: 0.5, loss: Some(0.5) }));
    assert_eq!(steps(dir.path()), [4, 10]);
    let best = CheckpointStore::new(dir.path().join("checkpoints")).read(4).unwrap();
    assert_eq!(state, best.state);
    // Resumed, a stage that patience ended does not go on.
    let (again, resumed) = train(&toy, settings, dir.path(), &Interrupt::new()).unwrap();
    assert_eq!((again.manifest.stage_step, resumed), (10, state));
}

#[test]
fn equal_measures_are_told_apart_by_the_loss() {
    let best = |value, loss| Best { step: 1, value, loss };
    let first = best(1.0, Some(9.0));
    assert!(best(1.0, Some(8.0)).beats(&first) && !best(1.0, Some(9.0)).beats(&first));
    assert!(best(0.9, Some(99.0)).beats(&first) && !best(1.1, Some(1.0)).beats(&first));
    // Checkpoints of before knew no loss.
    assert!(!best(1.0, Some(8.0)).beats(&best(1.0, None)) && best(0.9, None).beats(&first));
}

#[test]
fn a_validation_that_counts_nothing_is_no_best() {
    let _turn = alone();
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy { unmeasured: true, ..Toy::default() };
    let settings = "steps = 4\nvalidate_every = 1\npatience = 1\nrestore_best = true";
    let (end, _) = train(&toy, settings, dir.path(), &Interrupt::new()).unwrap();
    assert_eq!((end.manifest.best, end.manifest.stage_step), (None, 4));
    assert!(lines(dir.path(), "validation").is_empty());
}

#[test]
fn a_stage_without_anything_to_predict_fails() {
    let _turn = alone();
    let toy = Toy { unpredicted: true, ..Toy::default() };
    // At its end; or before, when an epoch of four steps and a window of fifty are over.
    for (settings, expected) in [("steps = 12", 12), ("steps = 80\ncheckpoint_every = 20", 50)] {
        let dir = tempfile::tempdir().unwrap();
        // Resumed, it fails again.
        for _ in 0..2 {
            let error = train(&toy, settings, dir.path(), &Interrupt::new()).unwrap_err();
            let Error::NothingToPredict { steps, .. } = error else { panic!("{error}") };
            assert_eq!(steps, expected, "{settings}");
        }
    }
}

#[test]
fn bad_steps_are_skipped_and_counted_then_stop_the_run() {
    let _turn = alone();
    let dir = tempfile::tempdir().unwrap();
    // One bad example in twenty: with six a batch, about every third step is bad.
    let toy = Toy { nan_at: vec![3], ..Toy::default() };
    let settings = "steps = 60\nmax_bad_steps = 5\ncheckpoint_every = 1\nlog_every = 1";
    let error = train(&toy, settings, dir.path(), &Interrupt::new()).unwrap_err();
    let Error::NotFinite { step, bad, checkpoint } = &error else { panic!("{error}") };
    assert_eq!(*bad, 5);
    assert_eq!(
        checkpoint.as_deref(),
        Some(&*dir.path().join(format!("checkpoints/step-{}", step - 1)))
    );
    let text = error.to_string();
    assert!(text.contains("5 steps had a NaN") && text.contains("learning_rate"), "{text}");
    let newest = CheckpointStore::new(dir.path().join("checkpoints")).newest().unwrap().unwrap();
    assert_eq!(newest.manifest.bad_steps, 4);
    let finite = newest.state.values().all(|tensor| tensor.values.iter().all(|v| v.is_finite()));
    assert!(finite, "running statistics are whole too");
    let line = lines(dir.path(), "step").pop().unwrap();
    assert_eq!(line["bad_steps"], 4);

    let fresh = tempfile::tempdir().unwrap();
    let toy = Toy { nan_at: (0..20).collect(), ..Toy::default() };
    let error = train(&toy, "max_bad_steps = 0", fresh.path(), &Interrupt::new()).unwrap_err();
    assert!(error.to_string().contains("there was no checkpoint yet"), "{error}");
}
