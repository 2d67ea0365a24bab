//! Progress: a bar on a terminal, plain lines in a log.

use super::step_line::StepLine;
use crate::report::table::duration;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// Plain lines come no closer together than this.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows how far training has come.
pub struct Progress {
    show: Show,
    stage: String,
    steps: u64,
    done: u64,
    /// Where this process began, for the time that is left.
    start: (Instant, u64),
    last: Option<Instant>,
}

enum Show {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// A bar if standard error is a terminal, otherwise lines.
    pub fn new() -> Self {
        let show = if std::io::stderr().is_terminal() {
            let target = ProgressDrawTarget::stderr_with_hz(5);
            Show::Bar(ProgressBar::with_draw_target(Some(0), target))
        } else {
            Show::Lines
        };
        Self::with(show)
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        Self::with(Show::Nothing)
    }

    fn with(show: Show) -> Self {
        let start = (Instant::now(), 0);
        Self { show, stage: String::new(), steps: 0, done: 0, start, last: None }
    }

    pub(super) fn begin(&mut self, stage: &str, done: u64, steps: u64) {
        stage.clone_into(&mut self.stage);
        (self.steps, self.done, self.start, self.last) =
            (steps, done, (Instant::now(), done), None);
        if let Show::Bar(bar) = &self.show {
            let style =
                ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}  {msg}  {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.reset();
            bar.set_length(steps);
            bar.set_position(done);
            // What was done before this process says nothing about its speed.
            bar.reset_eta();
            bar.set_prefix(self.stage.clone());
        }
    }

    pub(super) fn advance(&mut self, done: u64) {
        self.done = done;
        if let Show::Bar(bar) = &self.show {
            bar.set_position(done);
        }
    }

    pub(super) fn step(&mut self, line: &StepLine) {
        let speed = speed(line);
        let text = format!("loss {:.4}  rate {:.1e}  {speed}", line.loss, line.learning_rate);
        match &self.show {
            Show::Bar(bar) => bar.set_message(text),
            Show::Lines => {
                let due = self.last.is_none_or(|last| last.elapsed() >= PAUSE);
                if due || self.done >= self.steps {
                    self.last = Some(Instant::now());
                    let left = self.left().map(|left| format!("  {left} left")).unwrap_or_default();
                    self.say(&format!("{} {}/{}  {text}{left}", self.stage, self.done, self.steps));
                }
            }
            Show::Nothing => {}
        }
    }

    pub(super) fn end(&mut self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }

    pub(super) fn say(&self, line: &str) {
        match &self.show {
            Show::Bar(bar) => bar.suspend(|| print(line)),
            Show::Lines => print(line),
            Show::Nothing => {}
        }
    }

    /// Does something that writes to the terminal without tearing the bar.
    pub(super) fn pause(&self, act: impl FnOnce()) {
        match &self.show {
            Show::Bar(bar) => bar.suspend(act),
            Show::Lines | Show::Nothing => act(),
        }
    }

    /// The time that the rest will take at this process's speed.
    fn left(&self) -> Option<String> {
        let (began, from) = self.start;
        let done = self.done.checked_sub(from).filter(|done| *done > 0)?;
        let rest = self.steps.saturating_sub(self.done);
        let seconds = began.elapsed().as_secs_f64() * rest as f64 / done as f64;
        Some(duration(seconds))
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// A closed pipe is no reason to stop training.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn speed(line: &StepLine) -> String {
    if line.tokens_per_s >= 10_000.0 {
        format!("{:.0}k tokens/s", line.tokens_per_s / 1000.0)
    } else if line.tokens_per_s > 0.0 {
        format!("{:.0} tokens/s", line.tokens_per_s)
    } else {
        format!("{:.0} examples/s", line.examples_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_readable() {
        let line =
            |tokens_per_s| StepLine { tokens_per_s, examples_per_s: 3.0, ..StepLine::default() };
        assert_eq!(speed(&line(123_456.0)), "123k tokens/s");
        assert_eq!(speed(&line(0.0)), "3 examples/s");
    }
}
