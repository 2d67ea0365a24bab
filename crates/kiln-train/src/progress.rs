//! Progress of an evaluation: a bar on a terminal, a line now and then in a log.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// Seconds between lines in a log.
const QUIET: Duration = Duration::from_secs(20);

/// How far an evaluation is.
pub struct Progress {
    bar: ProgressBar,
    name: String,
    unit: &'static str,
    said: Mutex<Instant>,
}

impl Progress {
    /// Of `count` of something: `windows`, `recordings`.
    pub fn new(name: &str, count: usize, unit: &'static str) -> Self {
        let bar = ProgressBar::new(count as u64).with_message(name.to_string());
        // The template is ours and fixed; without it the bar is only plainer.
        let template =
            format!("{{msg}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self { bar, name: name.into(), unit, said: Mutex::new(Instant::now()) }
    }

    /// So many more are done.
    pub fn advance(&self, count: usize) {
        self.bar.inc(count as u64);
        if !self.bar.is_hidden() {
            return;
        }
        if let Ok(mut said) = self.said.try_lock()
            && said.elapsed() > QUIET
        {
            *said = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            let (name, unit, left) = (&self.name, self.unit, self.bar.eta());
            tracing::info!("{name}: {done} of {all} {unit}, {left:.0?} left");
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
