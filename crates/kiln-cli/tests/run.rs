//! A small run from recipe to forecast, interrupted and resumed on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use support::{command, fails, prints, text};

const RECIPE: &str = "\
name = 'tiny'
modality = 'timeseries'
description = 'A few steps.'
data.generated = { validation = 16 }
model.preset.name = 'tiny'

[[stage]]
steps = 8
batch = 4
objective.supervised = {}
log_every = 1
checkpoint_every = 4

[[evaluation]]
embedded = { names = ['co2'], windows = 1 }
";

fn dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tiny.toml"), RECIPE).unwrap();
    let mut sales = String::from("date,units,price\n");
    for day in 0..60 {
        let date = format!("2024-{:02}-{:02}", 1 + day / 28, 1 + day % 28);
        sales.push_str(&format!("{date},{},{}\n", 10 + day % 7, 3 + day % 2));
    }
    fs::write(dir.path().join("sales.csv"), sales).unwrap();
    dir
}

#[test]
fn from_recipe_to_forecast() {
    let dir = dir();
    let dir = dir.path();
    let check = prints(dir, &["check", "tiny.toml"]);
    assert!(check.contains("A few steps.") && check.contains("parameters"), "{check}");
    let resolved = prints(dir, &["check", "tiny.toml", "--resolved", "--set", "seed=9"]);
    assert!(resolved.contains("seed = 9") && resolved.contains("accumulate = 1"), "{resolved}");
    assert!(!dir.join("runs").exists(), "checking writes nothing");

    let table = prints(dir, &["run", "tiny.toml", "--threads", "1"]);
    for expected in ["co2", "seasonal-naive", "theta", "report.html"] {
        assert!(table.contains(expected), "{expected} in\n{table}");
    }
    let run = dir.join("runs/tiny");
    for file in ["recipe.toml", "run.json", "metrics.jsonl", "results.json", "report.html"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["threads"], 1);

    // What is there is not overwritten by accident.
    fails(dir, &["run", "tiny.toml"], 2, &["finished run", "--overwrite"]);
    fails(
        dir,
        &["run", "tiny.toml", "--set", "seed=2", "--resume"],
        2,
        &["`seed` was 42 and is now 2", "--dir"],
    );
    prints(dir, &["run", "tiny.toml", "--overwrite", "--set", "seed=2"]);

    let shown = prints(dir, &["inspect", "tiny"]);
    for expected in ["finished", "seed       2", "diagnostics", "warnings", "co2", "context"] {
        assert!(shown.contains(expected), "{expected} in\n{shown}");
    }
    let shown = prints(dir, &["inspect", "runs/tiny", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["status"], "finished");
    assert!(!shown["results"].as_array().unwrap().is_empty());
    assert!(prints(dir, &["inspect", "runs/tiny/model"]).contains("parameters"));

    let table = prints(dir, &["evaluate", "--model", "tiny", "--out", "numbers.json"]);
    assert!(table.contains("co2"), "{table}");
    let again = fs::read(dir.join("numbers.json")).unwrap();
    let again: serde_json::Value = serde_json::from_slice(&again).unwrap();
    assert_eq!(again, shown["results"], "the same model gives the same numbers");

    forecasts(dir);
}

fn forecasts(dir: &Path) {
    let words =
        ["forecast", "--model", "tiny", "--input", "sales.csv", "--time", "date", "--horizon"];
    let with = |more: &[&'static str]| [&words, more].concat();
    let more = ["5", "--target", "units", "--plot", "out.svg", "--out", "out.csv"];
    let table = prints(dir, &with(&more));
    assert!(table.contains("2024-03-05") && table.contains("80 % interval"), "{table}");
    assert!(fs::read_to_string(dir.join("out.svg")).unwrap().contains("<svg"));
    let csv = fs::read_to_string(dir.join("out.csv")).unwrap();
    assert_eq!(csv.lines().count(), 6, "{csv}");
    prints(dir, &with(&["5", "--plot", "both.svg"]));
    assert!(dir.join("both-sales-price.svg").exists() && dir.join("both-sales-units.svg").exists());

    fails(dir, &with(&["5", "--target", "unit"]), 2, &["sales.csv", "did you mean `units`"]);
    fails(dir, &with(&["500"]), 2, &["at most 8 rows", "500"]);
    fails(dir, &with(&["5", "--known", "price"]), 2, &["price", "future"]);
    fails(dir, &with(&["5", "--device", "cuda"]), 2, &["CUDA"]);

    let weights = dir.join("runs/tiny/model/model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    fails(dir, &with(&["5"]), 2, &["model.safetensors", "damaged", "cut short"]);
    let mut flipped = bytes;
    let last = flipped.len() - 1;
    flipped[last] ^= 4;
    fs::write(&weights, flipped).unwrap();
    fails(dir, &with(&["5"]), 2, &["model.safetensors", "damaged", "digest"]);
}

/// Waits until a run has logged its first step.
fn wait_for_steps(child: &mut Child, metrics: &Path) {
    let began = Instant::now();
    while fs::metadata(metrics).map_or(0, |file| file.len()) == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "no step was logged");
        assert!(child.try_wait().unwrap().is_none(), "the run ended too early");
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_resumed() {
    let dir = dir();
    let dir = dir.path();
    let set = "stage.0.steps=2000";
    let words = ["run", "tiny.toml", "--set", set, "--set", "stage.0.checkpoint_every=500"];
    let mut child = command(dir, &words).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_steps(&mut child, &dir.join("runs/tiny/metrics.jsonl"));
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let output = child.wait_with_output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{error}");
    let again = error.lines().find_map(|line| line.strip_prefix("go on with: kiln ")).unwrap();
    assert!(again.ends_with("--resume") && again.contains(set), "{again}");

    let words: Vec<_> = again.split_whitespace().collect();
    let table = prints(dir, &words);
    assert!(table.contains("finished"), "{table}");
    let shown = prints(dir, &["inspect", "tiny"]);
    assert!(shown.contains("resumed    1 times"), "{shown}");
}
