//! Progress of an evaluation: a bar on a terminal, a line now and then in a log.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// Seconds between lines in a log.
const QUIET: Duration = Duration::from_secs(20);

pub(super) struct Progress {
    bar: ProgressBar,
    name: String,
    said: Mutex<Instant>,
}

impl Progress {
    pub(super) fn new(name: &str, windows: usize) -> Self {
        let bar = ProgressBar::new(windows as u64).with_message(name.to_string());
        // The template is ours and fixed; without it the bar is only plainer.
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {wide_bar} {pos}/{len} windows, {per_sec}, {eta} left",
        ) {
            bar.set_style(style);
        }
        Self { bar, name: name.into(), said: Mutex::new(Instant::now()) }
    }

    pub(super) fn advance(&self, windows: usize) {
        self.bar.inc(windows as u64);
        if !self.bar.is_hidden() {
            return;
        }
        if let Ok(mut said) = self.said.try_lock()
            && said.elapsed() > QUIET
        {
            *said = Instant::now();
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            tracing::info!("{}: {done} of {all} windows, {:.0?} left", self.name, self.bar.eta());
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
