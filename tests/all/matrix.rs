//! Objectives meet backbones through recipes alone: each pair that makes sense trains, saves and
//! learns; each that makes none is refused with the reason.

use crate::support::{Place, waves};
use std::fs;

fn recipe(objective: &str, backbone: &str, causal: bool) -> String {
    let scaler = if causal { "scaler.kind.prefix = 2\ncausal = true\n" } else { "" };
    format!(
        r#"name = "cell"
modality = "timeseries"

[data.table]
source = {{ path = "series.csv", time = "day" }}

[model.parts]
context = 24
horizon = 4
width = 8
{scaler}frontend.patch = 4
backbone.{backbone} = {{ layers = 1 }}
forecast = {{}}
token = {{}}
labels = [{{ series = 2 }}, {{ moving-average = [3, 6] }}]

[[stage]]
objective.{objective}
steps = 60
batch = 16
optimizer.adamw = {{ learning_rate = 1e-2 }}
log_every = 1
"#
    )
}

#[test]
fn every_objective_meets_every_backbone() {
    let objectives = [
        "supervised = {}",
        "masked = {}",
        "autoregressive = {}",
        "pretext.tasks = { moving-average = 1.0 }",
    ];
    for objective in objectives {
        for backbone in ["transformer", "mixer"] {
            let place = Place::new();
            place.file("series.csv", &waves(160));
            let causal = objective.starts_with("autoregressive");
            place.file("cell.toml", &recipe(objective, backbone, causal));
            if causal && backbone == "mixer" {
                place.fails(&["check", "cell.toml"], 2, &["cell.toml", "causal"]);
                continue;
            }
            place.succeeds(&["run", "cell.toml"]);
            let losses = losses(&place);
            let (first, last) = (mean(&losses[..10]), mean(&losses[losses.len() - 10..]));
            assert!(last < first, "{objective} with {backbone}: {first} to {last}");
            assert!(place.path("runs/cell/model/model.safetensors").exists());
        }
    }
}

#[test]
fn half_precision_learns_nearly_the_same() {
    for backbone in ["transformer", "mixer"] {
        let [full, half] = ["f32", "bf16"].map(|precision| {
            let place = Place::new();
            place.file("series.csv", &waves(160));
            place.file("cell.toml", &recipe("supervised = {}", backbone, false));
            let precision = format!("stage.0.precision={precision}");
            place.succeeds(&["run", "cell.toml", "--set", &precision]);
            losses(&place)
        });
        assert_ne!(full, half, "{backbone}: half precision rounds");
        let apart: Vec<f64> = full.iter().zip(&half).map(|(f, h)| (f - h).abs() / f).collect();
        assert!(mean(&apart) < 0.03, "{backbone}: {full:?} and {half:?}");
    }
}

/// The losses of the run `cell`, step by step.
fn losses(place: &Place) -> Vec<f64> {
    let metrics = fs::read_to_string(place.path("runs/cell/metrics.jsonl")).unwrap();
    metrics
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["kind"] == "step")
        .filter_map(|line| line["loss"].as_f64())
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
