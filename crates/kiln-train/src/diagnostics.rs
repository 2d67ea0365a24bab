//! Training diagnostics: tell early, and once, that a run is not learning, why, and which key to change.
//!
//! Signs are judged over a window of 50 to 200 steps, never on one step. Thresholds are set so that
//! a healthy run stays silent; a run that trips one may still recover, so nothing is stopped.

use kiln_core::{Diagnostic, DiagnosticValue};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Readings of a diagnostic that must agree.
const AGREE: usize = 5;

/// Steps in a row that count nothing before it is said.
const EMPTY: u64 = 10;

/// Steps over which a stage of so many steps is judged.
pub(crate) fn window(steps: u64) -> u64 {
    (steps / 10).clamp(50, 200)
}

/// Something that is wrong with a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// The step at which it was noticed: of the stage here, of the run in `metrics.jsonl`.
    pub step: u64,
    /// Which diagnostic.
    pub diagnostic: String,
    /// What was seen.
    pub message: String,
    /// The likely cause.
    pub cause: String,
    /// The recipe key to change, within the stage.
    pub key: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; likely cause: {}; change `{}`", self.message, self.cause, self.key)
    }
}

/// What one step showed.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The step of the stage.
    pub step: u64,
    /// The loss.
    pub loss: f64,
    /// The norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// Whether they were clipped.
    pub clipped: bool,
    /// The share of the step's time that went into waiting for data.
    pub waited: f64,
    /// What the objective reported, if it was asked.
    pub values: &'a [DiagnosticValue],
}

/// What the watch remembers; part of a checkpoint, so that a resumed run warns no second time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    losses: VecDeque<f64>,
    norms: VecDeque<f64>,
    clipped: VecDeque<bool>,
    waited: VecDeque<f64>,
    values: BTreeMap<String, VecDeque<f64>>,
    /// Losses at the steps that read values.
    observed: VecDeque<f64>,
    /// The lowest median loss over a window.
    lowest: Option<f64>,
    /// Steps since one counted something.
    #[serde(default)]
    empty: u64,
    warned: BTreeSet<String>,
}

impl Memory {
    /// Whether steps had nothing to predict, and none had anything.
    pub(crate) fn nothing_to_predict(&self) -> bool {
        self.empty > 0 && self.losses.is_empty()
    }
}

/// The watch over a stage.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    window: usize,
    /// Steps before learning can be expected: warm-up and one window.
    patience: u64,
    rate_key: String,
    memory: Memory,
}

impl Diagnostics {
    /// A watch over a stage of `steps` steps, of them `warmup` with a rising rate. `optimizer` is its
    /// name in recipes.
    pub fn new(steps: u64, warmup: u64, optimizer: &str, memory: Memory) -> Self {
        let window = window(steps);
        Self {
            window: window as usize,
            patience: warmup + window,
            rate_key: format!("optimizer.{optimizer}.learning_rate"),
            memory,
        }
    }

    /// What to save.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The last reading of each diagnostic.
    pub fn last(&self) -> BTreeMap<String, f64> {
        let values = self.memory.values.iter();
        values.filter_map(|(name, values)| Some((name.clone(), *values.back()?))).collect()
    }

    /// Takes in a step; gives what is newly wrong.
    pub fn observe(&mut self, reading: Reading<'_>) -> Vec<Warning> {
        let window = self.window;
        let memory = &mut self.memory;
        memory.empty = 0;
        push(&mut memory.losses, reading.loss, window);
        push(&mut memory.norms, reading.gradient_norm, window);
        push(&mut memory.clipped, reading.clipped, window);
        push(&mut memory.waited, reading.waited, window);
        if !reading.values.is_empty() {
            push(&mut memory.observed, reading.loss, AGREE);
        }
        for diagnostic in reading.values {
            let values = memory.values.entry(diagnostic.diagnostic.name().to_owned()).or_default();
            push(values, diagnostic.value, AGREE);
        }
        let found = [
            self.guessing(reading.step),
            self.chance(reading.step),
            self.collapsed(reading.step),
            self.dead_units(reading.step),
            self.codebook(reading.step),
            self.no_gradient(),
            self.exploding(),
            self.clipping(reading.step),
            self.rising(),
            self.starving(),
        ];
        let found = found.into_iter().flatten();
        found.filter_map(|finding| self.newly(reading.step, finding)).collect()
    }

    /// Takes in a step that had nothing to predict; tells when that goes on.
    pub fn nothing_counted(&mut self, step: u64) -> Option<Warning> {
        self.memory.empty += 1;
        let steps = self.memory.empty;
        if steps < EMPTY {
            return None;
        }
        let message = format!("the last {steps} steps had nothing to predict");
        let cause = "examples lack what the objective asks for, such as labels, questions or \
                     answers, or it hides too little of them";
        self.newly(step, ("counted", message, cause, "objective".to_owned()))
    }

    /// What was found as a warning, if it is the first of its diagnostic.
    fn newly(&mut self, step: u64, (diagnostic, message, cause, key): Finding) -> Option<Warning> {
        let new = self.memory.warned.insert(diagnostic.to_owned());
        let (diagnostic, cause) = (diagnostic.to_owned(), cause.to_owned());
        new.then_some(Warning { step, diagnostic, message, cause, key })
    }

    /// The last readings of a diagnostic, once there are enough of them.
    fn readings(&self, diagnostic: Diagnostic) -> Option<&VecDeque<f64>> {
        self.memory.values.get(diagnostic.name()).filter(|values| values.len() >= AGREE)
    }

    fn guessing(&self, step: u64) -> Option<Finding> {
        let guess = mean(self.readings(Diagnostic::BaselineLoss)?);
        let loss = mean(&self.memory.observed);
        (step >= self.patience && loss > guess - 0.02 * guess.abs()).then(|| {
            let message =
                format!("after {step} steps the loss is {loss:.4}, guessing scores {guess:.4}");
            let cause =
                "the learning rate is far too low or too high, or inputs do not tell the targets";
            ("baseline_loss", message, cause, self.rate_key.clone())
        })
    }

    fn chance(&self, step: u64) -> Option<Finding> {
        let accuracy = mean(self.readings(Diagnostic::Accuracy)?);
        let chance = mean(self.readings(Diagnostic::ChanceAccuracy)?);
        let stuck = accuracy < chance * 1.2 && accuracy < chance + 0.03;
        (step >= self.patience && stuck).then(|| {
            let message = format!(
                "after {step} steps {accuracy:.3} of predictions are right, chance gets {chance:.3}"
            );
            let cause =
                "the learning rate does not suit the model, or labels do not belong to inputs";
            ("accuracy", message, cause, self.rate_key.clone())
        })
    }

    fn collapsed(&self, step: u64) -> Option<Finding> {
        let spread = self.readings(Diagnostic::RepresentationStd)?;
        let late = step >= self.window as u64 / 2;
        (late && spread.iter().all(|value| *value < 0.02)).then(|| {
            let message =
                format!("representations of different inputs are alike (spread {:.4})", mean(spread));
            let cause = "collapse: the learning rate is too high, or the objective allows a constant answer";
            ("representation_std", message, cause, self.rate_key.clone())
        })
    }

    fn dead_units(&self, step: u64) -> Option<Finding> {
        let dead = self.readings(Diagnostic::DeadUnits)?;
        let late = step >= self.window as u64 / 2;
        (late && dead.iter().all(|value| *value > 0.5)).then(|| {
            let message =
                format!("{:.0} % of the last hidden units hardly vary", 100.0 * mean(dead));
            let cause = "too high a learning rate early on switched them off";
            ("dead_units", message, cause, "schedule.*.warmup".to_owned())
        })
    }

    fn codebook(&self, step: u64) -> Option<Finding> {
        let perplexity = self.readings(Diagnostic::CodebookPerplexity)?;
        let collapsed = self.readings(Diagnostic::CollapsedPerplexity).map_or(1.0, mean);
        let late = step >= self.window as u64 / 2;
        if !late || perplexity.iter().any(|value| *value >= 2.0 * collapsed) {
            return None;
        }
        let used = mean(perplexity);
        let Some(contrastive) = self.readings(Diagnostic::ContrastiveLoss).map(mean) else {
            let message =
                format!("the quantizer uses hardly more than one code (perplexity {used:.2})");
            let cause = "codebook collapse: codes are never drawn or move too fast";
            return Some(("codebook_perplexity", message, cause, "objective".to_owned()));
        };
        let message = format!(
            "the codebook perplexity is {used:.2}, one code a group would give {collapsed:.0}, and \
             the contrastive loss is {contrastive:.4}"
        );
        let cause = "codebook collapse: all frames have one code, so that distractors equal the \
                     target and the loss falls without anything being learned; besides more \
                     diversity, a lower learning rate or a longer warm-up, a higher \
                     `objective.wav2vec2-contrastive.gumbel.end` and a higher \
                     `objective.wav2vec2-contrastive.feature_penalty` keep codes apart";
        let key = "objective.wav2vec2-contrastive.diversity_weight".to_owned();
        Some(("codebook_perplexity", message, cause, key))
    }

    fn no_gradient(&self) -> Option<Finding> {
        let last = self.latest(20, &self.memory.norms)?;
        let loss = mean(&self.memory.losses);
        // A problem that is solved has no gradient either.
        (last.iter().all(|norm| *norm < 1e-7) && loss.abs() > 1e-4).then(|| {
            let message = format!("hardly any gradient arrives (norm below 1e-7, loss {loss:.4})");
            let cause =
                "what is trained does not reach the loss: too much is frozen, or units saturate";
            ("gradient_norm", message, cause, "freeze".to_owned())
        })
    }

    fn exploding(&self) -> Option<Finding> {
        if self.memory.norms.len() < self.window {
            return None;
        }
        let recent = self.memory.norms.len() - 10;
        let before = median(self.memory.norms.iter().take(recent));
        let now = median(self.memory.norms.iter().skip(recent));
        (now > 20.0 * before && now > 1.0).then(|| {
            let message = format!("the gradient norm grew from {before:.3} to {now:.3}");
            let cause = "training diverges: the learning rate is too high or its warm-up too short";
            ("gradient_norm_high", message, cause, self.rate_key.clone())
        })
    }

    fn clipping(&self, step: u64) -> Option<Finding> {
        let share = self.full(&self.memory.clipped)?.iter().filter(|clipped| **clipped).count()
            as f64
            / self.window as f64;
        (step >= self.patience && share > 0.8).then(|| {
            let message =
                format!("{:.0} % of the last {} steps were clipped", 100.0 * share, self.window);
            let cause = "`clip` is below the usual gradient norm, so it sets the size of steps";
            ("clipped_share", message, cause, "clip".to_owned())
        })
    }

    fn rising(&mut self) -> Option<Finding> {
        // Medians: a single hard batch is no divergence.
        let now = median(self.full(&self.memory.losses)?.iter());
        let lowest = self.memory.lowest.map_or(now, |lowest| lowest.min(now));
        self.memory.lowest = Some(lowest);
        (now > lowest + 0.5 * lowest.abs() && now > lowest + 1e-3).then(|| {
            let message = format!("the loss rose from {lowest:.4} to {now:.4}");
            let cause = "training diverges: the learning rate is too high";
            ("loss", message, cause, self.rate_key.clone())
        })
    }

    fn starving(&self) -> Option<Finding> {
        let share = mean(self.full(&self.memory.waited)?);
        (share > 0.4).then(|| {
            let message = format!("{:.0} % of the time goes into waiting for data", 100.0 * share);
            let cause = "reading or generating examples is slower than the model";
            ("waited_share", message, cause, "data".to_owned())
        })
    }

    /// Readings once they fill the window.
    fn full<'a, T>(&self, values: &'a VecDeque<T>) -> Option<&'a VecDeque<T>> {
        (values.len() >= self.window).then_some(values)
    }

    /// The latest `count` readings.
    fn latest(&self, count: usize, values: &VecDeque<f64>) -> Option<VecDeque<f64>> {
        let skip = values.len().checked_sub(count)?;
        Some(values.iter().skip(skip).copied().collect())
    }
}

/// Diagnostic, message, cause, key.
type Finding = (&'static str, String, &'static str, String);

fn push<T>(values: &mut VecDeque<T>, value: T, most: usize) {
    values.push_back(value);
    while values.len() > most {
        values.pop_front();
    }
}

fn mean(values: &VecDeque<f64>) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn median<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    let mut values: Vec<f64> = values.copied().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
