//! What a run directory says about its run, read forgivingly.

use crate::{
    logs::{self, Entry},
    results::{Evaluation, ResultRow},
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// A run as far as it can be read.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// From the recipe, else the directory's name.
    pub(super) name: String,
    /// One sentence from the recipe.
    pub(super) description: String,
    /// The recipe's text.
    pub(super) recipe: Option<String>,
    /// `run.json`, or null.
    pub(super) run: Value,
    /// Stages in the order of their first line.
    pub(super) stages: Vec<StageCurves>,
    /// What the trainer warned about.
    pub(super) warnings: Vec<String>,
    /// Numbers beside baselines.
    pub(super) rows: Vec<ResultRow>,
    /// What happened, and when.
    pub(super) logbook: Vec<Entry>,
}

/// The numbers of a stage over its steps.
#[derive(Debug, Default)]
pub(super) struct StageCurves {
    /// Its name.
    pub(super) name: String,
    /// The last step seen, counted over the whole run.
    pub(super) last_step: f64,
    /// `(step, value)` by the names of `metrics.jsonl`; those of a line that is not of kind `step`
    /// begin with its kind and a dot.
    pub(super) curves: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Record {
    pub(super) fn read(run: &Path, evaluation: &Evaluation) -> Self {
        let text = |name: &str| fs::read_to_string(run.join(name)).ok();
        let json = |name: &str| text(name).and_then(|text| serde_json::from_str(&text).ok());
        let recipe = text("recipe.toml");
        let parsed: Option<toml::Table> =
            recipe.as_ref().and_then(|text| toml::from_str(text).ok());
        let from_recipe = |key: &str| {
            let value = parsed.as_ref().and_then(|table| table.get(key)?.as_str());
            value.map(str::to_string)
        };
        let folder = run.file_name().map(|name| name.to_string_lossy().into_owned());
        let rows = if evaluation.rows.is_empty() {
            json("results.json")
                .and_then(|rows| serde_json::from_value(rows).ok())
                .unwrap_or_default()
        } else {
            evaluation.rows.clone()
        };
        let mut record = Self {
            name: from_recipe("name").or(folder).unwrap_or_else(|| "run".into()),
            description: from_recipe("description").unwrap_or_default(),
            recipe,
            run: json("run.json").unwrap_or_default(),
            warnings: warnings(run),
            rows,
            logbook: logs::logbook(run),
            ..Self::default()
        };
        if let Some(lines) = text("metrics.jsonl") {
            // A run that was killed may end in half a line.
            for line in lines.lines().filter_map(|line| serde_json::from_str(line).ok()) {
                record.read_line(&line);
            }
        }
        record
    }

    fn read_line(&mut self, line: &Value) {
        let Some(fields) = line.as_object() else { return };
        let kind = fields.get("kind").and_then(Value::as_str).unwrap_or("step");
        if kind == "warning" {
            return;
        }
        let name = fields.get("stage").and_then(Value::as_str).unwrap_or("train");
        let Some(step) = fields.get("step").and_then(Value::as_f64) else { return };
        let place = self.stages.iter().position(|known| known.name == name).unwrap_or_else(|| {
            self.stages.push(StageCurves { name: name.into(), ..StageCurves::default() });
            self.stages.len() - 1
        });
        let prefix = if kind == "step" { String::new() } else { format!("{kind}.") };
        if let Some(stage) = self.stages.get_mut(place) {
            stage.last_step = step;
            for (key, value) in fields.iter().filter(|(key, _)| *key != "step") {
                if let Some(value) = value.as_f64() {
                    stage.curves.entry(format!("{prefix}{key}")).or_default().push((step, value));
                }
            }
        }
    }
}

/// The warnings of `metrics.jsonl` with their steps.
fn warnings(run: &Path) -> Vec<String> {
    let warnings = logs::warnings(&run.join("metrics.jsonl"));
    warnings.iter().map(|warning| format!("Step {}: {warning}.", warning.step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_become_curves_by_stage() {
        let mut record = Record::default();
        for line in [
            json!({"kind": "step", "stage": "one", "step": 1, "loss": 3.0, "representation_std": 0.5}),
            json!({"stage": "one", "step": 2, "loss": 2.0}),
            json!({"kind": "validation", "stage": "one", "step": 2, "mse": 2.5}),
            json!({"stage": "two", "step": 1, "loss": 1.0, "note": "text"}),
            json!({"no": "step"}),
            json!(3),
        ] {
            record.read_line(&line);
        }
        assert_eq!(record.stages.len(), 2);
        let one = &record.stages[0].curves;
        assert_eq!(one["loss"], [(1.0, 3.0), (2.0, 2.0)]);
        assert_eq!(one["representation_std"], [(1.0, 0.5)]);
        assert_eq!(one["validation.mse"], [(2.0, 2.5)]);
        assert_eq!(record.stages[1].curves.keys().collect::<Vec<_>>(), ["loss"]);
    }

    #[test]
    fn warnings_name_their_step() {
        let dir = tempfile::tempdir().unwrap();
        let line = json!({
            "kind": "warning", "step": 7, "stage": "one", "diagnostic": "representation_std",
            "message": "all inputs look alike", "cause": "collapse", "key": "clip",
        });
        fs::write(dir.path().join("metrics.jsonl"), line.to_string()).unwrap();
        let record = Record::read(dir.path(), &Evaluation::default());
        assert_eq!(
            record.warnings,
            ["Step 7: all inputs look alike; likely cause: collapse; change `clip`."]
        );
        assert!(record.stages.is_empty());
    }
}
