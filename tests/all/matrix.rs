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
            let metrics = fs::read_to_string(place.path("runs/cell/metrics.jsonl")).unwrap();
            let losses: Vec<f64> = metrics
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .filter(|line| line["kind"] == "step")
                .filter_map(|line| line["loss"].as_f64())
                .collect();
            let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
            let (first, last) = (mean(&losses[..10]), mean(&losses[losses.len() - 10..]));
            assert!(last < first, "{objective} with {backbone}: {first} to {last}");
            assert!(place.path("runs/cell/model/model.safetensors").exists());
        }
    }
}
