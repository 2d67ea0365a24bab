//! `logbook.jsonl`: what happened to a run, a dated line an event, as the trainers of OPT kept one
//! by hand, <https://arxiv.org/abs/2205.01068>.
//!
//! Lines are only ever added: what a run did before it was killed stays told, while its numbers in
//! `metrics.jsonl` are written again.

use crate::{Result, files::JsonLines};
use serde::{Deserialize, Serialize};
use std::{fmt, path::Path};

/// The file's name in a run directory.
pub const LOGBOOK: &str = "logbook.jsonl";

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, RFC 3339, UTC.
    pub time: String,
    /// Steps of the run that were done; of a failure, when something was told last.
    pub step: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It began.
    Begun,
    /// Another process went on with it.
    Resumed,
    /// Who resumed it had something to say.
    Noted {
        /// The words.
        note: String,
    },
    /// Its recipe was changed on the way.
    Changed {
        /// The recipe's key.
        key: String,
        /// The value before; `None` where there was none.
        from: Option<String>,
        /// The value from here on.
        to: Option<String>,
        /// Why.
        note: String,
    },
    /// A stage began.
    StageBegun {
        /// Its name.
        stage: String,
    },
    /// A stage came to its end.
    StageEnded {
        /// Its name.
        stage: String,
        /// The loss that was logged last.
        loss: Option<f64>,
    },
    /// Validations did not improve for as long as the recipe waits.
    OutOfPatience {
        /// How many of them.
        validations: u64,
    },
    /// A checkpoint was written.
    Checkpoint,
    /// A step was skipped.
    Skipped {
        /// What was NaN or infinite: `loss` or `gradient`.
        what: String,
        /// Steps of the stage that were skipped so far.
        bad: u64,
    },
    /// A training diagnostic was out of order.
    Warned {
        /// Which one.
        diagnostic: String,
        /// What was seen.
        message: String,
        /// The recipe key to change, within the stage.
        key: String,
    },
    /// It was asked to stop.
    Interrupted,
    /// It ended in an error.
    Failed {
        /// Which one.
        error: String,
    },
    /// Its model was measured and reported on.
    Finished,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".into());
        match self {
            Self::Begun => f.write_str("begun"),
            Self::Resumed => f.write_str("resumed"),
            Self::Noted { note } => write!(f, "note: {note}"),
            Self::Changed { key, from, to, note } => {
                write!(f, "{key} changed from {} to {}: {note}", value(from), value(to))
            }
            Self::StageBegun { stage } => write!(f, "stage {stage} begun"),
            Self::StageEnded { stage, loss: Some(loss) } => {
                write!(f, "stage {stage} ended, loss {loss:.4}")
            }
            Self::StageEnded { stage, loss: None } => write!(f, "stage {stage} ended"),
            Self::OutOfPatience { validations } => {
                write!(f, "out of patience: {validations} validations without improvement")
            }
            Self::Checkpoint => f.write_str("checkpoint written"),
            Self::Skipped { what, bad } => {
                write!(f, "step skipped, its {what} was NaN or infinite ({bad} so far)")
            }
            Self::Warned { diagnostic, message, key } => {
                write!(f, "warning of {diagnostic}: {message}; change `{key}`")
            }
            Self::Interrupted => f.write_str("interrupted"),
            Self::Failed { error } => write!(f, "failed: {error}"),
            Self::Finished => f.write_str("finished"),
        }
    }
}

/// An open `logbook.jsonl`.
#[derive(Debug)]
pub struct Logbook(JsonLines);

impl Logbook {
    /// Opens the logbook of a run directory to go on with it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(dir: &Path) -> Result<Self> {
        JsonLines::open(&dir.join(LOGBOOK)).map(Self)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, step: u64, event: Event) -> Result<()> {
        self.0.append("a line of the logbook", &Entry { time: now(), step, event })
    }
}

/// The lines of a run directory's logbook; what cannot be read is left out.
pub fn logbook(dir: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(dir.join(LOGBOOK)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A logbook to be read: time, step and event of each line. Of checkpoints in a row only the last
/// is told.
pub fn told(entries: &[Entry]) -> Vec<[String; 3]> {
    let mut told = Vec::new();
    let mut more = 0;
    for (place, entry) in entries.iter().enumerate() {
        let followed = entries.get(place + 1).is_some_and(|next| next.event == Event::Checkpoint);
        if entry.event == Event::Checkpoint && followed {
            more += 1;
            continue;
        }
        let mut text = entry.event.to_string();
        if more > 0 {
            text = format!("{} checkpoints written", more + 1);
        }
        more = 0;
        told.push([entry.time.clone(), entry.step.to_string(), text]);
    }
    told
}

/// The time in UTC, RFC 3339.
pub(crate) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let changed = Event::Changed {
            key: "stage.0.clip".into(),
            from: None,
            to: Some("0.3".into()),
            note: "spikes".into(),
        };
        let skipped = Event::Skipped { what: "loss".into(), bad: 2 };
        let mut book = Logbook::open(dir.path()).unwrap();
        for (step, event) in [(0, Event::Begun), (2, Event::Checkpoint), (4, Event::Checkpoint)] {
            book.write(step, event).unwrap();
        }
        let mut book = Logbook::open(dir.path()).unwrap();
        for event in [changed.clone(), Event::Checkpoint, skipped] {
            book.write(5, event).unwrap();
        }
        let entries = logbook(dir.path());
        assert_eq!(entries.len(), 6);
        assert_eq!((entries[3].step, &entries[3].event), (5, &changed));
        assert!(chrono::DateTime::parse_from_rfc3339(&entries[0].time).is_ok());
        let told: Vec<_> =
            told(&entries).into_iter().map(|[_, step, text]| format!("{step} {text}")).collect();
        assert_eq!(
            told,
            [
                "0 begun",
                "4 2 checkpoints written",
                "5 stage.0.clip changed from absent to 0.3: spikes",
                "5 checkpoint written",
                "5 step skipped, its loss was NaN or infinite (2 so far)",
            ]
        );
    }

    #[test]
    fn half_a_line_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        assert!(logbook(dir.path()).is_empty());
        let line = r#"{"time":"2026-01-01T00:00:00Z","step":3,"event":"checkpoint"}"#;
        std::fs::write(dir.path().join(LOGBOOK), format!("{line}\n{{\"time\"")).unwrap();
        assert_eq!(logbook(dir.path()).len(), 1);
    }
}
