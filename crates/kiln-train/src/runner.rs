//! A whole run: stage after stage in one directory, then the evaluation and the report.
//!
//! Killed at any instant, a run can be resumed: everything it needs is either there entirely or
//! not at all. Three things are kept apart: `init.model` starts a stage from other weights,
//! resuming goes on with this very run, and a stage goes on from the one before.

use crate::{
    Error, Result,
    changes::{self, Change},
    checkpoint::{Checkpoint, CheckpointStore, Manifest},
    files,
    interrupt::Interrupt,
    job::{Job, StagePlan},
    learner::Learner,
    logs::{self, Event, Logbook, Logs, Progress, now, peak_memory},
    recipe::Common,
    results::Evaluation,
    run_dir::{Existing, RunDir, RunRecord, StageRecord, Status},
    start::{InitReport, Prepared},
    trainer::{StageEnd, Trainer},
};
use std::{path::PathBuf, time::Instant};

/// Where and how to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run directory.
    pub dir: PathBuf,
    /// Go on with the run that is there; begin when there is none.
    pub resume: bool,
    /// Remove the run that is there.
    pub overwrite: bool,
    /// For the logbook of a run that is resumed, and why its recipe changes, if it does.
    pub note: Option<String>,
    /// What may ask to stop.
    pub interrupt: Interrupt,
    /// Show nothing on the way.
    pub quiet: bool,
}

impl RunOptions {
    /// A new run in `dir`, which must not hold one.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let interrupt = Interrupt::new();
        let dir = dir.into();
        Self { dir, resume: false, overwrite: false, note: None, interrupt, quiet: false }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With a model and its evaluation.
    Finished(Evaluation),
    /// Asked to stop; it can be resumed.
    Interrupted {
        /// Steps done, of all stages.
        step: u64,
    },
}

/// Runs a job, or goes on with it.
///
/// # Errors
/// When the directory, the data or a starting model fail, or training does. Checkpoints that were
/// written stay usable.
pub fn run(job: &dyn Job, options: &RunOptions) -> Result<Outcome> {
    let existing = match (options.resume, options.overwrite) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Overwrite,
        _ => Existing::Refuse,
    };
    if existing != Existing::Resume {
        // Data or a starting model that is not there is found out before anything is written.
        job.plan()?;
    }
    let recipe = job.resolved()?;
    let dir = RunDir::open(&options.dir, &recipe, existing)?;
    let earlier = RunRecord::read(dir.path()).ok();
    let ended = earlier.as_ref().is_some_and(|run| run.status == Status::Finished);
    let changes = dir.changes(&recipe)?;
    if ended {
        changes::allow(dir.path(), &changes, None, true, false)?;
        tracing::info!("{} is finished already", dir.path().display());
        return finished(&dir).map(Outcome::Finished);
    }
    let store = CheckpointStore::new(dir.checkpoints());
    store.clean()?;
    let newest = store.newest()?;
    let manifest = newest.as_ref().map(|checkpoint| &checkpoint.manifest);
    changes::allow(dir.path(), &changes, manifest, false, options.note.is_some())?;
    begin(&dir, earlier.is_some(), manifest.map_or(0, |at| at.step), &changes, options)?;
    if !changes.is_empty() {
        dir.adopt(&recipe)?;
    }
    let mut record = record(job.common(), earlier);
    if record.flops_per_token.is_empty() {
        let plan = job.plan()?;
        let a_token = |stage: &StagePlan| stage.flops_per_step / stage.tokens_per_step.max(1.0);
        record.flops_per_token = plan.iter().map(a_token).collect();
    }
    let mut run = Run { job, options, dir, record, began: Instant::now() };
    run.record.write(run.dir.path())?;
    let outcome = run.all(&store, newest);
    run.close(&outcome)?;
    outcome
}

/// The first words of this process in the logbook.
fn begin(
    dir: &RunDir,
    resumed: bool,
    step: u64,
    changes: &[Change],
    options: &RunOptions,
) -> Result<()> {
    let mut logbook = Logbook::open(dir.path())?;
    logbook.write(step, if resumed { Event::Resumed } else { Event::Begun })?;
    let Some(note) = &options.note else { return Ok(()) };
    if changes.is_empty() {
        return logbook.write(step, Event::Noted { note: note.clone() });
    }
    changes.iter().cloned().try_for_each(|Change { key, was, now }| {
        let note = note.clone();
        logbook.write(step, Event::Changed { key, from: was, to: now, note })
    })
}

/// A run under way.
struct Run<'a> {
    job: &'a dyn Job,
    options: &'a RunOptions,
    dir: RunDir,
    record: RunRecord,
    began: Instant,
}

impl Run<'_> {
    fn all(&mut self, store: &CheckpointStore, mut newest: Option<Checkpoint>) -> Result<Outcome> {
        let stages = self.job.common().stage.len();
        let first = newest.as_ref().map_or(0, |checkpoint| checkpoint.manifest.stage);
        let step = newest.as_ref().map_or(0, |checkpoint| checkpoint.manifest.step);
        let progress = if self.options.quiet { Progress::silent() } else { Progress::new() };
        let mut logs = Logs::open(self.dir.path(), step, progress)?;
        self.record.stages.truncate(first + 1);
        for stage in first..stages {
            // Only the first of these stages can have been begun before.
            let end = self.stage(stage, newest.take(), store, &mut logs)?;
            if end.interrupted {
                return Ok(Outcome::Interrupted { step: end.manifest.step });
            }
        }
        let began = Instant::now();
        let evaluation = self.job.evaluate(&self.dir.model(stages.saturating_sub(1), stages))?;
        self.record.timings.insert("evaluation".into(), began.elapsed().as_secs_f64());
        let path = self.dir.path().join("results.json");
        files::write_json(&path, "results", &evaluation.rows)?;
        Ok(Outcome::Finished(evaluation))
    }

    /// One stage, from its start or from a checkpoint.
    fn stage(
        &mut self,
        index: usize,
        resumed: Option<Checkpoint>,
        store: &CheckpointStore,
        logs: &mut Logs,
    ) -> Result<StageEnd> {
        let recipe = self.job.common();
        let Some(stage) = recipe.stage.get(index) else {
            return Err(Error::State { problem: format!("the recipe has no stage {index}") });
        };
        let start = recipe.stage.iter().take(index).map(|stage| stage.steps).sum();
        let (manifest, state) = match resumed {
            Some(Checkpoint { manifest, state }) => (manifest, Some(state)),
            None => (Manifest::new(index, &stage.name, start), None),
        };
        let model = self.dir.model(index, recipe.stage.len());
        if manifest.finished && model.exists() && self.record.stages.len() > index {
            return Ok(StageEnd { interrupted: false, manifest, diagnostics: Default::default() });
        }
        let from = index.checked_sub(1).map(|before| self.dir.model(before, recipe.stage.len()));
        let Prepared { mut learner, init } = self.job.learner(index, from.as_deref())?;
        if let Some(report) = &init {
            tell(logs, &stage.name, report);
        }
        if let Some(state) = &state {
            learner.restore(state)?;
            logs.say(&format!("{}: going on after step {}", stage.name, manifest.step));
        }
        if manifest.stage_step == 0 {
            logs.event(manifest.step, Event::StageBegun { stage: stage.name.clone() })?;
        }
        let trainer = Trainer {
            stage,
            learner: learner.as_mut(),
            store,
            logs,
            interrupt: &self.options.interrupt,
            manifest,
        };
        let end = trainer.run()?;
        let record = stage_record(stage.steps, learner.as_ref(), &end);
        let a_token = self.record.flops_per_token.get(index).copied().unwrap_or(0.0);
        let record = StageRecord { init, flops: a_token * record.tokens as f64, ..record };
        self.record.stages.truncate(index);
        self.record.stages.push(record);
        if !end.interrupted {
            files::replace_dir(&model, |dir| learner.write_model(dir))?;
            let (stage, loss) = (stage.name.clone(), end.manifest.loss);
            logs.event(end.manifest.step, Event::StageEnded { stage, loss })?;
        }
        self.write()?;
        Ok(end)
    }

    /// Brings `run.json` up to date.
    fn write(&mut self) -> Result<()> {
        self.record.peak_memory_bytes = self.record.peak_memory_bytes.max(peak_memory());
        self.record.warnings = logs::warnings(&self.dir.path().join("metrics.jsonl"));
        let training = self.record.stages.iter().map(|stage| stage.seconds).sum();
        self.record.timings.insert("training".into(), training);
        self.record.write(self.dir.path())
    }

    /// The last word in `run.json`, then the report.
    fn close(&mut self, outcome: &Result<Outcome>) -> Result<()> {
        self.record.seconds += self.began.elapsed().as_secs_f64();
        self.record.ended = Some(now());
        match outcome {
            Ok(Outcome::Finished(evaluation)) => {
                self.last(Event::Finished)?;
                // The report reads `run.json`; the run counts as finished only with its report.
                self.write()?;
                crate::report::write(self.dir.path(), evaluation)?;
                self.record.status = Status::Finished;
                self.write()
            }
            Ok(Outcome::Interrupted { .. }) => {
                self.last(Event::Interrupted)?;
                self.record.status = Status::Interrupted;
                self.write()
            }
            Err(error) => {
                self.record.status = Status::Failed;
                let error = error.with_cause();
                self.record.error = Some(error.clone());
                // On a full disk this fails too; the error that led here is the one to tell.
                let _ = self.last(Event::Failed { error });
                let _ = self.write();
                Ok(())
            }
        }
    }

    /// What this process has to say last in the logbook.
    fn last(&self, event: Event) -> Result<()> {
        let step = logs::logbook(self.dir.path()).last().map_or(0, |entry| entry.step);
        Logbook::open(self.dir.path())?.write(step, event)
    }
}

/// The results of a run that is finished.
fn finished(dir: &RunDir) -> Result<Evaluation> {
    let rows = files::read_json(&dir.path().join("results.json"))?;
    Ok(Evaluation { rows, sections: Vec::new() })
}

/// What the run is, going on from an earlier process's record.
fn record(recipe: &Common, earlier: Option<RunRecord>) -> RunRecord {
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let versions = [("kiln", env!("CARGO_PKG_VERSION")), ("system", system.as_str())]
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .into();
    let fresh = RunRecord {
        name: recipe.name.clone(),
        modality: recipe.modality.clone(),
        status: Status::Running,
        versions,
        device: recipe.device.name().to_owned(),
        seed: recipe.seed,
        threads: threads(),
        started: now(),
        ended: None,
        resumed: 0,
        timings: Default::default(),
        seconds: 0.0,
        peak_memory_bytes: None,
        flops_per_token: Vec::new(),
        stages: Vec::new(),
        warnings: Vec::new(),
        error: None,
    };
    match earlier {
        None => fresh,
        Some(earlier) => RunRecord {
            started: earlier.started,
            resumed: earlier.resumed + 1,
            timings: earlier.timings,
            seconds: earlier.seconds,
            peak_memory_bytes: earlier.peak_memory_bytes,
            flops_per_token: earlier.flops_per_token,
            stages: earlier.stages,
            warnings: earlier.warnings,
            ..fresh
        },
    }
}

fn stage_record(planned: u64, learner: &dyn Learner, end: &StageEnd) -> StageRecord {
    let parameters = learner.parameters();
    let manifest = &end.manifest;
    StageRecord {
        name: manifest.stage_name.clone(),
        trainable: parameters.trainable,
        frozen: parameters.frozen,
        steps: manifest.stage_step,
        seconds: manifest.seconds,
        tokens: manifest.tokens,
        flops: 0.0,
        loss: manifest.loss,
        best: manifest.best,
        stopped_early: manifest.finished && manifest.stage_step < planned,
        bad_steps: manifest.bad_steps,
        diagnostics: end.diagnostics.clone(),
        init: None,
    }
}

/// Lists what of the starting weights was used; what did not match is never silent.
fn tell(logs: &Logs, stage: &str, report: &InitReport) {
    logs.say(&format!("{stage}: {} parameters from {}", report.loaded, report.from));
    for (what, names) in [
        ("left at their random start, not in the file", &report.missing),
        ("in the file, but not used", &report.unused),
        ("left at their random start, of another shape in the file", &report.mismatched),
    ] {
        if !names.is_empty() {
            logs.say(&format!("{stage}: {} {what}: {}", names.len(), names.join(", ")));
        }
    }
}

/// Threads that computations may use: `RAYON_NUM_THREADS`, or all cores.
pub fn threads() -> usize {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    asked.filter(|threads| *threads > 0).unwrap_or(cores)
}

#[cfg(test)]
mod tests;
