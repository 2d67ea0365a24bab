//! What a run tells while it trains: `metrics.jsonl`, TensorBoard event files, a progress bar, and
//! `logbook.jsonl`.
//!
//! Every line of `metrics.jsonl` is one object with `kind`, `step` (of the whole run) and `stage`:
//!
//! | kind | further fields |
//! | --- | --- |
//! | `step` | `loss`, `learning_rate`, `gradient_norm`, `clipped_share`, `bad_steps`, `examples_per_s`, `tokens_per_s`, `wait_share`, `memory_bytes` (peak), and training diagnostics by name |
//! | `validation` | the measures by name |
//! | `warning` | `diagnostic`, `message`, `cause`, `key` |
//!
//! A number that is not finite is `null`.

mod events;
mod logbook;
mod memory;
mod metrics;
mod progress;
mod step_line;

pub use events::EventFile;
pub(crate) use logbook::now;
pub use logbook::{Entry, Event, LOGBOOK, Logbook, logbook, told};
pub use memory::peak_memory;
pub use metrics::{MetricsFile, warnings};
pub use progress::Progress;
pub use step_line::StepLine;

use crate::{Result, diagnostics::Warning, task::Measure};
use serde_json::{Map, Value};
use std::path::Path;

/// Everything that is told about a run.
pub struct Logs {
    metrics: MetricsFile,
    events: EventFile,
    logbook: Logbook,
    progress: Progress,
}

impl Logs {
    /// Logs in a run directory that go on after `step`; later lines are dropped.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn open(dir: &Path, step: u64, progress: Progress) -> Result<Self> {
        Ok(Self {
            metrics: MetricsFile::open(&dir.join("metrics.jsonl"), step)?,
            events: EventFile::create(dir, step)?,
            logbook: Logbook::open(dir)?,
            progress,
        })
    }

    /// A stage begins, or goes on after `done` of its steps.
    pub fn begin(&mut self, stage: &str, done: u64, steps: u64) {
        self.progress.begin(stage, done, steps);
    }

    /// A step is done.
    pub fn advance(&mut self, done: u64) {
        self.progress.advance(done);
    }

    /// A stage is over.
    pub fn end(&mut self) {
        self.progress.end();
    }

    /// Says a line, above the bar where there is one.
    pub fn say(&self, line: &str) {
        self.progress.say(line);
    }

    /// A line of the logbook; `step` is that of the run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn event(&mut self, step: u64, event: Event) -> Result<()> {
        self.logbook.write(step, event)
    }

    /// A `step` line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn step(&mut self, stage: &str, step: u64, line: &StepLine) -> Result<()> {
        let mut fields = vec![
            ("loss", line.loss),
            ("learning_rate", line.learning_rate),
            ("gradient_norm", line.gradient_norm),
            ("clipped_share", line.clipped_share),
            ("bad_steps", line.bad_steps as f64),
            ("examples_per_s", line.examples_per_s),
            ("tokens_per_s", line.tokens_per_s),
            ("wait_share", line.wait_share),
        ];
        fields.extend(peak_memory().map(|bytes| ("memory_bytes", bytes as f64)));
        fields.extend(line.diagnostics.iter().copied());
        self.progress.step(line);
        self.numbers("step", "train", stage, step, &fields)
    }

    /// A `validation` line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn validation(&mut self, stage: &str, step: u64, measures: &[Measure]) -> Result<()> {
        let fields: Vec<_> = measures.iter().map(|m| (m.name.as_str(), m.value)).collect();
        let text: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        self.progress.say(&format!("step {step}: validation {}", text.join(", ")));
        self.numbers("validation", "validation", stage, step, &fields)
    }

    /// A `warning` line, and one in the logbook; `at` is the step of the run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn warning(&mut self, stage: &str, at: u64, warning: &Warning) -> Result<()> {
        let mut line = head("warning", stage, at);
        for (key, value) in [
            ("diagnostic", &warning.diagnostic),
            ("message", &warning.message),
            ("cause", &warning.cause),
            ("key", &warning.key),
        ] {
            line.insert(key.into(), Value::from(value.as_str()));
        }
        self.progress.pause(|| tracing::warn!("step {at}: {warning}"));
        self.metrics.write(&line)?;
        let Warning { diagnostic, message, key, .. } = warning.clone();
        self.event(at, Event::Warned { diagnostic, message, key })
    }

    fn numbers(
        &mut self,
        kind: &str,
        group: &str,
        stage: &str,
        step: u64,
        fields: &[(&str, f64)],
    ) -> Result<()> {
        let mut line = head(kind, stage, step);
        for (name, value) in fields {
            line.insert((*name).to_owned(), number(name, *value));
        }
        self.metrics.write(&line)?;
        self.events.scalars(step, group, fields)
    }
}

fn head(kind: &str, stage: &str, step: u64) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("kind".into(), kind.into());
    line.insert("step".into(), step.into());
    line.insert("stage".into(), stage.into());
    line
}

/// Counts without a fraction; what is not finite as null.
fn number(name: &str, value: f64) -> Value {
    if matches!(name, "bad_steps" | "memory_bytes") {
        return Value::from(value as u64);
    }
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_what_is_promised() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = Logs::open(dir.path(), 0, Progress::silent()).unwrap();
        let line = StepLine {
            loss: 0.5,
            diagnostics: vec![("representation_std", 0.25)],
            ..StepLine::default()
        };
        logs.step("one", 10, &line).unwrap();
        let measure = Measure { name: "mse".into(), value: f64::NAN };
        logs.validation("one", 10, &[measure]).unwrap();
        let warning = Warning {
            step: 10,
            diagnostic: "loss".into(),
            message: "m".into(),
            cause: "c".into(),
            key: "clip".into(),
        };
        logs.warning("one", 10, &warning).unwrap();
        let text = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["kind"], "step");
        assert_eq!(lines[0]["loss"], 0.5);
        assert_eq!(lines[0]["representation_std"], 0.25);
        assert_eq!(lines[0]["step"], 10);
        assert!(lines[0]["memory_bytes"].as_u64().is_none_or(|bytes| bytes > 1 << 20));
        assert_eq!(lines[1]["kind"], "validation");
        assert!(lines[1]["mse"].is_null());
        assert_eq!(lines[2]["key"], "clip");
        let read = warnings(&dir.path().join("metrics.jsonl"));
        assert_eq!(read[0].key, "clip");
    }
}
