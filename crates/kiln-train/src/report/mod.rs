//! The report of a run: one HTML file that needs nothing else, and the results as plain text.
//!
//! [`write()`] reads what the run directory holds (`run.json`, `recipe.toml`, `metrics.jsonl`,
//! `logbook.jsonl`, `results.json`) and is forgiving: what is missing is left out, so that an interrupted run has a
//! report too. No scripts, no requests, light and dark, wide and narrow.

pub mod chart;
mod curves;
mod page;
mod record;
pub mod table;

use crate::{Result, files, results::Evaluation};
use record::Record;
use std::path::Path;

/// The file's name in a run directory.
pub const FILE: &str = "report.html";

/// Writes `report.html` into a run directory, replacing an older one at once or not at all.
///
/// The rows of `evaluation` are shown, or those of `results.json` when it has none.
///
/// # Errors
/// When the file cannot be written. What cannot be read or understood is left out.
pub fn write(run: &Path, evaluation: &Evaluation) -> Result<()> {
    let record = Record::read(run, evaluation);
    let page = page::render(&record, evaluation);
    files::write(&run.join(FILE), page.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{ResultRow, Section, SectionBody};
    use std::fs;

    #[test]
    fn an_empty_directory_has_a_report_too() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &Evaluation::default()).unwrap();
        let page = fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_run_is_told_from_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        file("recipe.toml", "name = \"tiny <run>\"\ndescription = \"A test.\"\nseed = 7\n");
        file("run.json", r#"{"device": "cpu", "seconds": 75.5, "versions": {"kiln": "0.1.0"}}"#);
        file(
            "metrics.jsonl",
            "{\"kind\":\"step\",\"stage\":\"a\",\"step\":1,\"loss\":2.0,\"learning_rate\":0.1}\nbroken\n{\"stage\":\"a\",\"step\":2,\"loss\":null}\n\
             {\"stage\":\"a\",\"step\":3,\"loss\":1.0,\"learning_rate\":0.05,\"spread\":0.5}\n\
             {\"kind\":\"warning\",\"stage\":\"a\",\"step\":3,\"diagnostic\":\"loss\",\"message\":\"collapse & co\",\"cause\":\"\",\"key\":\"\"}\n",
        );
        let baselines = [("naive".to_string(), 0.5), ("theta".to_string(), 0.25)].into();
        let evaluation = Evaluation {
            rows: vec![ResultRow {
                task: "forecast-8".into(),
                dataset: "air".into(),
                split: "test".into(),
                metric: "mse".into(),
                value: 0.375,
                baselines,
            }],
            sections: vec![Section {
                title: "Picture".into(),
                caption: "1 < 2".into(),
                body: SectionBody::Svg("<svg id=\"mine\"></svg>".into()),
            }],
        };
        write(dir.path(), &evaluation).unwrap();
        write(dir.path(), &evaluation).unwrap();
        let page = fs::read_to_string(dir.path().join(FILE)).unwrap();
        for part in [
            "tiny &lt;run&gt;",
            "A test.",
            "1 min 16 s",
            "<b>0.2500</b>",
            "0.3750",
            "collapse &amp; co",
            "1 &lt; 2",
            "<svg id=\"mine\">",
            "learning rate",
            "seed = 7",
            "0.1.0",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        for outside in ["http://", "https://", "<script", "src="] {
            let found = page.replace("http://www.w3.org/2000/svg", "").contains(outside);
            assert!(!found, "{outside}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = write(Path::new("no/such/run"), &Evaluation::default()).unwrap_err();
        assert!(error.to_string().contains("no/such/run"), "{error}");
    }
}
