//! `metrics.jsonl`: one object a line.

use crate::{
    Result,
    diagnostics::Warning,
    files::{self, JsonLines},
};
use serde_json::{Map, Value};
use std::path::Path;

/// An open `metrics.jsonl`.
#[derive(Debug)]
pub struct MetricsFile(JsonLines);

impl MetricsFile {
    /// Opens the file to go on after `step`: lines of later steps, which a resumed run will write
    /// again, are dropped, and so is half a line that a killed run left.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<Self> {
        if path.exists() {
            let text = std::fs::read(path).map_err(files::io("read", path))?;
            let text = String::from_utf8_lossy(&text);
            let kept: String = text.split_inclusive('\n').filter(|line| keep(line, step)).collect();
            if kept != text {
                files::write(path, kept.as_bytes())?;
            }
        }
        JsonLines::open(path).map(Self)
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, line: &Map<String, Value>) -> Result<()> {
        self.0.append("a line of metrics", line)
    }
}

/// The warnings in a `metrics.jsonl`; none when it cannot be read.
pub fn warnings(path: &Path) -> Vec<Warning> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["kind"] == "warning")
        .filter_map(|line| serde_json::from_value(line).ok())
        .collect()
}

fn keep(line: &str, step: u64) -> bool {
    line.ends_with('\n')
        && serde_json::from_str::<Value>(line)
            .is_ok_and(|line| line["step"].as_u64().is_some_and(|at| at <= step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_on_drops_what_will_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let line = |step: u64| [("step".to_owned(), Value::from(step))].into_iter().collect();
        let mut file = MetricsFile::open(&path, 0).unwrap();
        for step in 1..=5 {
            file.write(&line(step)).unwrap();
        }
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"step\": 2")).unwrap();
        let mut file = MetricsFile::open(&path, 3).unwrap();
        file.write(&line(4)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4}\n");
    }
}
