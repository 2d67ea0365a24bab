//! The binary as a user meets it: exit codes, and messages that name file, line and way out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{fs, process::Stdio};
use support::{command, fails, prints, text};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A recipe that has only one mistake.
fn recipe(line: &str) -> String {
    format!("name = \"a\"\nmodality = \"timeseries\"\n{line}\n")
}

#[test]
fn help_and_version_succeed() {
    let dir = dir();
    let help = prints(dir.path(), &["--help"]);
    for expected in ["kiln run timeseries/zero-shot", "forecast", "Exit codes"] {
        assert!(help.contains(expected), "{expected} in\n{help}");
    }
    for command in ["run", "check", "recipes", "evaluate", "forecast", "inspect"] {
        assert!(prints(dir.path(), &[command, "--help"]).contains("Examples:"), "{command}");
    }
    assert!(prints(dir.path(), &["--version"]).starts_with("kiln "));
}

#[test]
fn what_was_mistyped_is_a_mistake_of_the_users() {
    let dir = dir();
    fails(dir.path(), &[], 2, &["Usage"]);
    fails(dir.path(), &["forcast"], 2, &["forecast"]);
    fails(dir.path(), &["run", "a", "--colour"], 2, &["--colour"]);
    fails(dir.path(), &["run", "a", "--threads", "none"], 2, &["threads"]);
}

#[test]
fn recipes_that_are_not_there() {
    let dir = dir();
    fails(dir.path(), &["run", "no-such.toml"], 2, &["no-such.toml", "kiln recipes"]);
    fails(dir.path(), &["check", "."], 2, &["folder"]);
    assert!(!dir.path().join("runs").exists(), "no half-written run");
}

#[test]
fn a_mistake_in_a_recipe_is_shown_in_its_line() {
    let dir = dir();
    let file = dir.path().join("r.toml");
    fs::write(&file, recipe("seed = ")).unwrap();
    fails(dir.path(), &["check", "r.toml"], 2, &["r.toml", "seed = ", "3"]);
    fs::write(&file, recipe("").replace("timeseries", "timeserie")).unwrap();
    fails(dir.path(), &["run", "r.toml"], 2, &["r.toml:2", "no modality `timeserie`"]);
    fs::write(&file, "name = 'a'\n").unwrap();
    fails(dir.path(), &["run", "r.toml"], 2, &["r.toml:1", "modality"]);
    fs::write(&file, recipe("")).unwrap();
    fails(dir.path(), &["run", "r.toml", "--set", "name.x=3"], 2, &["--set name.x=3", "no table"]);
    fails(dir.path(), &["run", "r.toml", "--set", "nonsense"], 2, &["key=value"]);
    assert!(!dir.path().join("runs").exists(), "no half-written run");
}

#[test]
fn models_that_are_none() {
    let dir = dir();
    fs::create_dir(dir.path().join("empty")).unwrap();
    fails(dir.path(), &["inspect", "empty"], 2, &["empty", "config.json"]);
    fails(dir.path(), &["inspect", "nothing"], 2, &["nothing", "hub id"]);
    fails(dir.path(), &["inspect", "some/model"], 1, &["some/model", "HF_HUB_OFFLINE"]);
    fs::write(dir.path().join("empty/config.json"), "{").unwrap();
    fails(dir.path(), &["inspect", "empty"], 2, &["config.json", "EOF"]);
    fails(dir.path(), &["evaluate", "--model", "empty"], 2, &["RECIPE"]);
}

#[test]
fn tables_that_cannot_be_forecast() {
    let dir = dir();
    let words = |input| ["forecast", "--model", "m", "--horizon", "3", "--input", input];
    fails(dir.path(), &words("no-such.csv"), 2, &["no-such.csv"]);
    fs::write(dir.path().join("empty.csv"), "").unwrap();
    fails(dir.path(), &words("empty.csv"), 2, &["empty.csv"]);
}

#[test]
fn recipes_are_listed_and_filtered() {
    let dir = dir();
    let folder = dir.path().join("mine/timeseries");
    fs::create_dir_all(&folder).unwrap();
    let stage = "description = 'Looks ahead.'\n[[stage]]\nsteps = 5\nobjective.forecast = {}";
    fs::write(folder.join("short.toml"), recipe(stage)).unwrap();
    let list = prints(dir.path(), &["recipes", "--dir", "mine"]);
    assert!(list.contains("timeseries/short") && list.contains("Looks ahead."), "{list}");
    let names =
        prints(dir.path(), &["recipes", "--dir", "mine", "--names", "--objective", "masked"]);
    assert_eq!(names, "");
    let names =
        prints(dir.path(), &["recipes", "--dir", "mine", "--names", "--objective", "forecast"]);
    assert_eq!(names, "timeseries/short\n");
    fails(dir.path(), &["recipes", "--dir", "none"], 2, &["none", "KILN_RECIPES"]);
    fails(dir.path(), &["recipes", "--modality", "smell"], 2, &["smell"]);
}

#[test]
fn vectors_want_a_model_of_text_and_a_file_of_numbers() {
    let dir = dir();
    let embed = |more: &[&'static str]| [&["embed", "--text", "a", "--model", "m"], more].concat();
    fails(dir.path(), &embed(&[]), 2, &["m", "no such directory"]);
    fails(dir.path(), &embed(&["--out", "a.csv"]), 2, &["a.csv", ".npy or .parquet"]);
    fails(dir.path(), &embed(&["file.txt"]), 2, &["cannot be used with"]);
    let model = dir.path().join("m");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("config.json"), r#"{"model_type": "patchtst"}"#).unwrap();
    fails(dir.path(), &embed(&[]), 2, &["makes no vectors of texts", "timeseries"]);
    fails(dir.path(), &["search", "--model", "m", "query"], 2, &["--in"]);
    fs::write(model.join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    fails(dir.path(), &embed(&[]), 2, &["tokenizer.json"]);
}

#[test]
fn the_schema_is_json() {
    let schema = prints(dir().path(), &["recipes", "--schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{schema}");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = prints(dir().path(), &["completions", shell]);
        assert!(script.contains("kiln") && script.contains("overwrite"), "{shell}");
    }
}

#[test]
fn the_doctor_reports() {
    let dir = dir();
    let report = prints(dir.path(), &["doctor"]);
    for expected in ["devices", "cpu", "threads", "nothing is in the way"] {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
    let report: serde_json::Value =
        serde_json::from_str(&prints(dir.path(), &["doctor", "--json"])).unwrap();
    assert_eq!(report["problems"].as_array().unwrap().len(), 0);
}

#[test]
fn a_reader_that_stops_is_no_error() {
    let dir = dir();
    let mut child = command(dir.path(), &["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
}
