//! The loop of one stage: steps, logs, validations, checkpoints, and when to stop.
//!
//! Knows neither backend nor modality: it drives a [`Learner`]. All it remembers is in the
//! [`Manifest`], which every checkpoint holds, so a resumed stage goes on as if nothing happened.

use crate::{
    Error, Result,
    checkpoint::{Best, CheckpointStore, Manifest},
    diagnostics::{Diagnostics, Reading, window},
    files,
    interrupt::Interrupt,
    learner::Learner,
    logs::{Event, Logs, Progress, StepLine},
    recipe::{Optimizer, SharedOnly, Stage},
    schedule::Rates,
    task::LOSS,
};
use kiln_core::DiagnosticValue;
use std::{collections::BTreeMap, path::Path, time::Instant};

/// What a stage is trained with.
pub struct Trainer<'a> {
    /// The stage's settings.
    pub stage: &'a Stage<SharedOnly>,
    /// Its model, data and optimizer; restored already when the stage is resumed.
    pub learner: &'a mut dyn Learner,
    /// Where checkpoints go.
    pub store: &'a CheckpointStore,
    /// Where numbers go.
    pub logs: &'a mut Logs,
    /// Whether to stop.
    pub interrupt: &'a Interrupt,
    /// Where the stage stands; [`Manifest::new`] for one that begins.
    pub manifest: Manifest,
}

/// Trains a single stage with its logs and checkpoints in `dir`, going on from the newest checkpoint
/// there: for use as a library, without recipe and run directory.
///
/// # Errors
/// As [`Trainer::run`], and when the newest checkpoint does not fit.
pub fn train(
    stage: &Stage<SharedOnly>,
    learner: &mut dyn Learner,
    dir: &Path,
    interrupt: &Interrupt,
    progress: Progress,
) -> Result<StageEnd> {
    files::create_dir(dir)?;
    let store = CheckpointStore::new(dir.join("checkpoints"));
    store.clean()?;
    let manifest = match store.newest()? {
        Some(checkpoint) => {
            learner.restore(&checkpoint.state)?;
            checkpoint.manifest
        }
        None => Manifest::new(0, &stage.name, 0),
    };
    let logs = &mut Logs::open(dir, manifest.step, progress)?;
    Trainer { stage, learner, store: &store, logs, interrupt, manifest }.run()
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq)]
pub struct StageEnd {
    /// Whether it was interrupted; a checkpoint was written then.
    pub interrupted: bool,
    /// Where it stands.
    pub manifest: Manifest,
    /// The last reading of each training diagnostic.
    pub diagnostics: BTreeMap<String, f64>,
}

/// Sums since the last line of the log.
#[derive(Default)]
struct Tally {
    steps: u64,
    loss: f64,
    norm: f64,
    clipped: u64,
    examples: usize,
    tokens: usize,
    waited: f64,
    seconds: f64,
}

/// What a step gave.
struct StepDone {
    outcome: Outcome,
    examples: usize,
    tokens: usize,
    waited: f64,
    diagnostics: Vec<DiagnosticValue>,
}

/// What became of a step.
#[derive(Clone, Copy)]
enum Outcome {
    /// The weights were updated.
    Learned { loss: f64, gradient_norm: f64, clipped: bool },
    /// There was nothing to predict.
    Empty,
    /// Something was not finite.
    Skipped,
}

impl Trainer<'_> {
    /// Trains to the stage's end, or until asked to stop.
    ///
    /// # Errors
    /// When data or files fail, or too many steps were not finite. Checkpoints stay as they are.
    pub fn run(mut self) -> Result<StageEnd> {
        let rates = Rates::new(
            self.stage.schedule.clone(),
            self.stage.optimizer.learning_rate(),
            self.stage.steps,
        );
        let optimizer = optimizer_name(&self.stage.optimizer);
        let memory = self.manifest.diagnostics.clone();
        let mut diagnostics = Diagnostics::new(self.stage.steps, rates.warmup(), optimizer, memory);
        let mut tally = Tally::default();
        let first = self.manifest.stage_step;
        let mut interrupted = false;
        self.logs.begin(&self.stage.name, first, self.stage.steps);

        while !self.manifest.finished && self.manifest.stage_step < self.stage.steps {
            if self.interrupt.requested() {
                interrupted = true;
                break;
            }
            let step = self.manifest.stage_step;
            let rate = rates.at(step);
            let began = Instant::now();
            let done = self.step(step, rate)?;
            let seconds = began.elapsed().as_secs_f64();
            self.manifest.stage_step += 1;
            self.manifest.step += 1;
            self.manifest.seconds += seconds;
            self.manifest.tokens += done.tokens as u64;
            tally.add(&done, seconds);
            self.logs.advance(self.manifest.stage_step);
            self.watch(&mut diagnostics, step, &done, seconds)?;
            if self.logs_at(step) {
                self.log(&tally, rate, &done.diagnostics)?;
                tally = Tally::default();
            }
            self.manifest.diagnostics = diagnostics.memory().clone();
            self.after_step()?;
        }
        // Interrupted before its first step, a stage has nothing that the one before has not saved.
        if interrupted && self.manifest.stage_step > first {
            self.checkpoint()?;
        }
        self.logs.end();
        if !interrupted && self.stage.restore_best {
            self.restore_best()?;
        }
        Ok(StageEnd { interrupted, manifest: self.manifest, diagnostics: diagnostics.last() })
    }

    /// One optimizer step.
    fn step(&mut self, step: u64, rate: f64) -> Result<StepDone> {
        let micros = self.stage.accumulate.max(1);
        let collect_metrics = self.logs_at(step);
        let mut done = StepDone {
            outcome: Outcome::Skipped,
            examples: 0,
            tokens: 0,
            waited: 0.0,
            diagnostics: vec![],
        };
        let (mut loss, mut weight) = (0.0, 0.0);
        for micro in 0..micros {
            let report = self.learner.accumulate(step, micro, collect_metrics && micro == 0)?;
            loss += report.loss * report.weight;
            weight += report.weight;
            done.examples += report.examples;
            done.tokens += report.tokens;
            done.waited += report.waited;
            if micro == 0 {
                done.diagnostics = report.diagnostics;
            }
        }
        if weight > 0.0 {
            loss /= weight;
        }
        if !loss.is_finite() {
            self.learner.discard();
            self.bad_step(step, "loss")?;
            return Ok(done);
        }
        let update = self.learner.update(rate)?;
        if !update.applied {
            self.bad_step(step, "gradient")?;
        } else if weight > 0.0 {
            let (gradient_norm, clipped) = (update.gradient_norm, update.clipped);
            done.outcome = Outcome::Learned { loss, gradient_norm, clipped };
        } else {
            done.outcome = Outcome::Empty;
        }
        Ok(done)
    }

    /// Counts a step that was skipped.
    fn bad_step(&mut self, step: u64, what: &str) -> Result<()> {
        self.manifest.bad_steps += 1;
        let bad = self.manifest.bad_steps;
        let most = self.stage.max_bad_steps.max(1);
        self.logs.say(&format!(
            "step {}: the {what} is NaN or infinite; step skipped ({bad} of at most {most})",
            self.manifest.step + 1
        ));
        self.logs.event(self.manifest.step + 1, Event::Skipped { what: what.to_owned(), bad })?;
        if bad < most {
            return Ok(());
        }
        self.logs.end();
        let last = self.store.steps()?.last().copied();
        Err(Error::NotFinite {
            step: step + 1,
            bad,
            checkpoint: last.map(|at| self.store.path(at)),
        })
    }

    fn watch(
        &mut self,
        diagnostics: &mut Diagnostics,
        step: u64,
        done: &StepDone,
        seconds: f64,
    ) -> Result<()> {
        let warnings = match done.outcome {
            Outcome::Learned { loss, gradient_norm, clipped } => {
                // In steps this short, waiting is the cost of handing over, whatever the data.
                let waited = if seconds > 2e-3 { done.waited / seconds } else { 0.0 };
                let values = &done.diagnostics;
                diagnostics.observe(Reading { step, loss, gradient_norm, clipped, waited, values })
            }
            Outcome::Empty => diagnostics.nothing_counted(step).into_iter().collect(),
            Outcome::Skipped => Vec::new(),
        };
        for warning in warnings {
            self.logs.warning(&self.stage.name, self.manifest.step, &warning)?;
        }
        Ok(())
    }

    /// Whether the step, counted from zero, has a line in the log.
    fn logs_at(&self, step: u64) -> bool {
        let done = step + 1;
        done == 1 || done == self.stage.steps || done.is_multiple_of(self.stage.log_every.max(1))
    }

    fn log(&mut self, tally: &Tally, rate: f64, diagnostics: &[DiagnosticValue]) -> Result<()> {
        let good = tally.steps as f64;
        let seconds = tally.seconds.max(1e-9);
        let line = StepLine {
            // Without a single good step this is no number, as it should be.
            loss: tally.loss / good,
            learning_rate: rate,
            gradient_norm: tally.norm / good,
            clipped_share: tally.clipped as f64 / good.max(1.0),
            bad_steps: self.manifest.bad_steps,
            examples_per_s: tally.examples as f64 / seconds,
            tokens_per_s: tally.tokens as f64 / seconds,
            wait_share: tally.waited / seconds,
            diagnostics: diagnostics.iter().map(|one| (one.diagnostic.name(), one.value)).collect(),
        };
        self.manifest.loss = Some(line.loss).filter(|loss| loss.is_finite());
        self.logs.step(&self.stage.name, self.manifest.step, &line)
    }

    /// Validation, early stopping and checkpoints, as they fall due.
    fn after_step(&mut self) -> Result<()> {
        let done = self.manifest.stage_step;
        let due = |every: u64| every > 0 && done.is_multiple_of(every);
        let last = done == self.stage.steps;
        let improved = (due(self.stage.validate_every) || last) && self.validate()?;
        let patient = self.stage.patience.is_none_or(|patience| self.manifest.stale < patience);
        if !patient && !last {
            self.logs.say(&format!(
                "step {}: {} validations without improvement, stopping early",
                self.manifest.step, self.manifest.stale
            ));
            let validations = self.manifest.stale;
            self.logs.event(self.manifest.step, Event::OutOfPatience { validations })?;
        }
        self.manifest.finished = last || !patient;
        self.check_predicted()?;
        if self.manifest.finished || improved || due(self.stage.checkpoint_every) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Fails a stage none of whose steps had anything to predict: at its end, or before that once
    /// every example was seen, and random masks had a window of steps to hit one.
    fn check_predicted(&mut self) -> Result<()> {
        let Manifest { stage_step: steps, finished, bad_steps, .. } = self.manifest;
        let seen = |epoch: u64| steps >= epoch.max(window(self.stage.steps));
        let certain = finished || self.learner.steps_per_epoch().is_some_and(seen);
        // What a skipped step had to predict was counted.
        if !certain || bad_steps > 0 || !self.manifest.diagnostics.nothing_to_predict() {
            return Ok(());
        }
        self.logs.end();
        Err(Error::NothingToPredict { stage: self.stage.name.clone(), steps })
    }

    /// Measures the model; says whether it is the best so far.
    fn validate(&mut self) -> Result<bool> {
        let measures = self.learner.validate()?;
        let Some(first) = measures.first() else { return Ok(false) };
        let loss = measures.iter().find(|measure| measure.name == LOSS);
        let loss = loss.map(|measure| measure.value).filter(|loss| loss.is_finite());
        let found = Best { step: self.manifest.step, value: first.value, loss };
        self.logs.validation(&self.stage.name, self.manifest.step, &measures)?;
        let improved =
            found.value.is_finite() && self.manifest.best.is_none_or(|best| found.beats(&best));
        if improved {
            self.manifest.best = Some(found);
            self.manifest.stale = 0;
        } else {
            self.manifest.stale += 1;
        }
        Ok(improved)
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.store.write(self.manifest.clone(), self.learner)?;
        self.logs.event(self.manifest.step, Event::Checkpoint)?;
        self.store.tidy(self.stage.keep, self.manifest.best.map(|best| best.step))
    }

    /// Goes back to the best validated weights.
    fn restore_best(&mut self) -> Result<()> {
        let Some(best) = self.manifest.best else { return Ok(()) };
        if best.step == self.manifest.step {
            return Ok(());
        }
        match self.store.read(best.step) {
            Ok(checkpoint) => self.learner.restore(&checkpoint.state),
            Err(error) => {
                tracing::warn!("{error}; going on with the last weights instead of the best");
                Ok(())
            }
        }
    }
}

impl Tally {
    fn add(&mut self, done: &StepDone, seconds: f64) {
        if let Outcome::Learned { loss, gradient_norm, clipped } = done.outcome {
            self.steps += 1;
            self.loss += loss;
            self.norm += gradient_norm;
            self.clipped += u64::from(clipped);
        }
        self.examples += done.examples;
        self.tokens += done.tokens;
        self.waited += done.waited;
        self.seconds += seconds;
    }
}

/// As recipes name it.
fn optimizer_name(optimizer: &Optimizer) -> &'static str {
    match optimizer {
        Optimizer::Adamw(_) => "adamw",
        Optimizer::Lion(_) => "lion",
        Optimizer::Muon(_) => "muon",
        Optimizer::Sgd(_) => "sgd",
        Optimizer::Adafactor(_) => "adafactor",
    }
}

#[cfg(test)]
mod tests;
