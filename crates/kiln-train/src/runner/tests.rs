use super::*;
use crate::{
    job::StagePlan,
    recipe::{Device, SharedOnly},
    results::ResultRow,
    run_dir::RunRecord,
    task_learner::stage_seed,
    testing::{Stopping, Toy, alone, learner, stage},
};
use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
};

/// Two stages of the toy task; the second starts from the first's model, as far as it can tell.
struct ToyJob {
    recipe: Common,
    toy: Toy,
    /// The evaluation fails this often, as if the process were killed there.
    failures: Cell<u32>,
}

fn job(settings: [&str; 2]) -> ToyJob {
    let recipe = crate::recipe::Recipe::<SharedOnly> {
        name: "toy".into(),
        modality: "toy".into(),
        description: String::new(),
        seed: 3,
        device: Device::Cpu,
        data: (),
        model: (),
        stage: settings.map(stage).into(),
        evaluation: Vec::new(),
    };
    ToyJob { recipe, toy: Toy::default(), failures: Cell::new(0) }
}

impl Job for ToyJob {
    fn common(&self) -> &Common {
        &self.recipe
    }

    fn resolved(&self) -> Result<String> {
        let stage = |stage: &crate::recipe::Stage<SharedOnly>| {
            format!("[[stage]]\nsteps = {}\nbatch = {}\n", stage.steps, stage.batch)
        };
        let stages: String = self.recipe.stage.iter().map(stage).collect();
        Ok(format!("name = \"toy\"\nseed = {}\n{stages}", self.recipe.seed))
    }

    fn plan(&self) -> Result<Vec<StagePlan>> {
        Ok(Vec::new())
    }

    fn learner(&self, stage: usize, from: Option<&Path>) -> Result<Prepared> {
        assert_eq!(from.is_some(), stage > 0);
        let init = from.map(|from| {
            assert!(from.join("model.txt").exists(), "{from:?}");
            InitReport { from: from.display().to_string(), loaded: 1, ..InitReport::default() }
        });
        let seed = stage_seed(&self.recipe, stage).value();
        let learner = Box::new(learner(&self.toy, &self.recipe.stage[stage], seed));
        Ok(Prepared { learner, init })
    }

    fn evaluate(&self, model: &Path) -> Result<Evaluation> {
        if self.failures.get() > 0 {
            self.failures.set(self.failures.get() - 1);
            return Err(Error::Task("the test set is gone".into()));
        }
        let value = fs::metadata(model.join("model.txt")).unwrap().len() as f64;
        let row = ResultRow {
            task: "toy".into(),
            dataset: "line".into(),
            split: "test".into(),
            metric: "size".into(),
            value,
            baselines: Default::default(),
        };
        Ok(Evaluation { rows: vec![row], sections: Vec::new() })
    }
}

fn options(dir: &Path, resume: bool) -> RunOptions {
    RunOptions { resume, quiet: true, ..RunOptions::new(dir) }
}

const SETTINGS: [&str; 2] = [
    "name = \"one\"\nsteps = 6\ncheckpoint_every = 2\nvalidate_every = 2\nrestore_best = true",
    "name = \"two\"\nsteps = 5\ncheckpoint_every = 2\nema = 0.9",
];

#[test]
fn a_run_leaves_what_is_promised() {
    let _turn = alone();
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("runs/toy");
    let job = job(SETTINGS);
    let outcome = run(&job, &options(&dir, false)).unwrap();
    assert!(matches!(outcome, Outcome::Finished(evaluation) if evaluation.rows.len() == 1));
    for file in [
        "recipe.toml",
        "run.json",
        "metrics.jsonl",
        "results.json",
        "report.html",
        "model/model.txt",
    ] {
        assert!(dir.join(file).is_file(), "{file}");
    }
    let record = RunRecord::read(&dir).unwrap();
    assert_eq!(record.status, Status::Finished);
    assert_eq!((record.seed, record.device.as_str(), record.resumed), (3, "cpu", 0));
    let stages: Vec<_> = record.stages.iter().map(|s| (s.name.as_str(), s.steps)).collect();
    assert_eq!(stages, [("one", 6), ("two", 5)]);
    assert!(record.stages[0].best.is_some() && record.stages[0].init.is_none());
    assert_eq!(record.stages[1].init.as_ref().unwrap().loaded, 1);
    assert!(record.timings.contains_key("evaluation") && record.ended.is_some());
    // A second run does not walk over the first; resuming gives its results again.
    let error = run(&job, &options(&dir, false)).unwrap_err().to_string();
    assert!(error.contains("holds a finished run already"), "{error}");
    let before = fs::read(dir.join("run.json")).unwrap();
    let again = run(&job, &options(&dir, true)).unwrap();
    assert!(matches!(again, Outcome::Finished(evaluation) if evaluation.rows.len() == 1));
    assert_eq!(fs::read(dir.join("run.json")).unwrap(), before);
    let overwrite = RunOptions { overwrite: true, ..options(&dir, false) };
    assert!(matches!(run(&job, &overwrite).unwrap(), Outcome::Finished(_)));
}

/// Copies a run directory as a kill would leave it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(fs::copy(entry.path(), target))
        }
    }
}

#[test]
fn killed_anywhere_a_run_ends_in_the_same_model() {
    let _turn = alone();
    let parent = tempfile::tempdir().unwrap();
    let whole = parent.path().join("whole");
    let job = job(SETTINGS);
    run(&job, &options(&whole, false)).unwrap();
    let expected = fs::read(whole.join("model/model.txt")).unwrap();

    // An interrupt after each number of steps, with what a kill may leave behind.
    for stop in 0..12 {
        let dir: PathBuf = parent.path().join(format!("stop-{stop}"));
        let interrupt = Interrupt::new();
        let stopping = StopAfter { job: &job, interrupt: &interrupt, left: Cell::new(stop) };
        let first = RunOptions { interrupt: interrupt.clone(), ..options(&dir, false) };
        let outcome = run(&stopping, &first).unwrap();
        if stop < 11 {
            assert!(matches!(outcome, Outcome::Interrupted { .. }), "stop {stop}");
            assert_eq!(RunRecord::read(&dir).unwrap().status, Status::Interrupted);
            assert!(!dir.join("model").exists());
        }
        fs::create_dir_all(dir.join(".model.partial")).unwrap();
        fs::create_dir_all(dir.join("checkpoints/.step-7.partial/model")).unwrap();
        let killed = parent.path().join(format!("killed-{stop}"));
        copy(&dir, &killed);
        assert!(matches!(run(&job, &options(&killed, true)).unwrap(), Outcome::Finished(_)));
        assert_eq!(fs::read(killed.join("model/model.txt")).unwrap(), expected, "stop {stop}");
        assert!(!killed.join(".model.partial").exists());
        let steps = fs::read_to_string(killed.join("metrics.jsonl")).unwrap();
        let expected = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
        assert_eq!(steps.lines().count(), expected.lines().count(), "stop {stop}");
    }
}

/// Asks to stop after a number of steps of the whole run.
struct StopAfter<'a> {
    job: &'a ToyJob,
    interrupt: &'a Interrupt,
    left: Cell<u64>,
}

impl Job for StopAfter<'_> {
    fn common(&self) -> &Common {
        self.job.common()
    }

    fn resolved(&self) -> Result<String> {
        self.job.resolved()
    }

    fn plan(&self) -> Result<Vec<StagePlan>> {
        self.job.plan()
    }

    fn learner(&self, stage: usize, from: Option<&Path>) -> Result<Prepared> {
        let steps = self.job.recipe.stage[stage].steps;
        let left = self.left.get();
        self.left.set(left.saturating_sub(steps));
        if left == 0 {
            self.interrupt.request();
        }
        let Prepared { learner, init } = self.job.learner(stage, from)?;
        let learner =
            Box::new(Stopping { inner: learner, interrupt: self.interrupt.clone(), left });
        Ok(Prepared { learner, init })
    }

    fn evaluate(&self, model: &Path) -> Result<Evaluation> {
        self.job.evaluate(model)
    }
}

#[test]
fn a_recipe_changes_on_the_way_with_a_note() {
    let _turn = alone();
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("toy");
    let first = job(SETTINGS);
    // After eight steps: two of the second stage.
    let interrupt = Interrupt::new();
    let stopping = StopAfter { job: &first, interrupt: &interrupt, left: Cell::new(8) };
    run(&stopping, &RunOptions { interrupt: interrupt.clone(), ..options(&dir, false) }).unwrap();

    let with = |from: &str, to: &str| {
        let settings = SETTINGS.map(|stage| stage.replace(from, to));
        job(settings.each_ref().map(String::as_str))
    };
    let noted = || RunOptions { note: Some("why not".into()), ..options(&dir, true) };
    let error = |job: &ToyJob, options: RunOptions| run(job, &options).unwrap_err().to_string();
    let longer = with("steps = 5", "steps = 9");
    assert!(error(&longer, options(&dir, true)).contains("`stage.1.steps` was 5 and is now 9"));
    let others = with("steps = 5", "steps = 5\nbatch = 3");
    assert!(error(&others, noted()).contains("`stage.1.batch` was 6 and is now 3"));
    let past = with("steps = 6", "steps = 8");
    assert!(error(&past, noted()).contains("the stage has ended"));
    let before = logs::logbook(&dir).len();

    run(&longer, &noted()).unwrap();
    let record = RunRecord::read(&dir).unwrap();
    assert_eq!(record.stages.iter().map(|stage| stage.steps).collect::<Vec<_>>(), [6, 9]);
    assert!(fs::read_to_string(dir.join("recipe.toml")).unwrap().contains("steps = 9"));
    let told: Vec<_> = logs::logbook(&dir).into_iter().map(|entry| entry.event).collect();
    assert_eq!(
        told[..3],
        [Event::Begun, Event::StageBegun { stage: "one".into() }, Event::Checkpoint,]
    );
    let changed = Event::Changed {
        key: "stage.1.steps".into(),
        from: Some("5".into()),
        to: Some("9".into()),
        note: "why not".into(),
    };
    assert_eq!(told[before - 1..before + 2], [Event::Interrupted, Event::Resumed, changed]);
    assert_eq!(told.last(), Some(&Event::Finished));
    // With its new recipe it is resumed as any run is; with the old one it is another.
    assert!(matches!(run(&longer, &options(&dir, true)).unwrap(), Outcome::Finished(_)));
    assert!(error(&first, noted()).contains("the run is finished"));
}

#[test]
fn a_failed_evaluation_can_be_made_good() {
    let _turn = alone();
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("toy");
    let job = job(["steps = 2", "steps = 2"]);
    job.failures.set(1);
    let error = run(&job, &options(&dir, false)).unwrap_err();
    assert_eq!(error.to_string(), "the test set is gone");
    let record = RunRecord::read(&dir).unwrap();
    assert_eq!(record.status, Status::Failed);
    assert_eq!(record.error.as_deref(), Some("the test set is gone"));
    assert!(!dir.join("results.json").exists());
    let model = fs::read(dir.join("model/model.txt")).unwrap();
    assert!(matches!(run(&job, &options(&dir, true)).unwrap(), Outcome::Finished(_)));
    assert_eq!(fs::read(dir.join("model/model.txt")).unwrap(), model);
    assert_eq!(RunRecord::read(&dir).unwrap().resumed, 1);
}
