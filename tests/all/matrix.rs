//! Objectives meet models of every modality through recipes alone: each combination that makes sense
//! trains, is killed, goes on to the same bits and has learnt; each that makes none is refused with
//! the reason.

use crate::support::{Place, waves};
use std::{
    fs,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

/// A modality's part of a cell: its recipe but for the stage's objective.
struct Modality {
    name: &'static str,
    /// Of a supervised cell, where that wants other data.
    labelled: &'static str,
    data: &'static str,
    model: &'static str,
    /// The predicted token is so far ahead.
    ahead: usize,
}

const MODALITIES: [Modality; 3] = [
    Modality {
        name: "timeseries",
        labelled: "",
        data: "[data.table]\nsource = { path = \"series.csv\", time = \"day\" }\n",
        model: "context = 24\nhorizon = 4\nwidth = 8\nscaler.kind.prefix = 2\n\
                frontend.patch = 4\nbackbone.transformer = { layers = 2 }\nforecast = {}\n\
                token = {}\n",
        ahead: 1,
    },
    Modality {
        name: "speech",
        labelled: "",
        data: "[data]\nsources = [{ spoken = { sentences = \"digits\", size = 24, voices = 2 } }]\n\
               validation = 4\n",
        model: "audio = { sample_rate = 8000 }\nwidth = 16\nfrontend.stem.log-mel = { channels = 16, \
                spectrogram = { bins = 16, window = 200, hop = 80 } }\n\
                frontend.positions = { kernel = 1, groups = 1 }\n\
                backbone = { layers = 2, heads = 2, final_norm = true, positions = { rotary = {} } }\n\
                token.log-mel = { bins = 16, window = 200, hop = 80 }\n",
        ahead: 2,
    },
    Modality {
        name: "text",
        labelled: "[data]\ntokenizer.train.model.word-piece.vocabulary = 300\n\
                   [data.labelled]\nlength = 32\n\
                   train.stories = { task = \"tags\", stories = { size = 60 } }\n",
        data: "[data]\ntokenizer.train.model.word-piece.vocabulary = 300\n\
               sources = [{ stories = { size = 60 } }]\npacking = { length = 32 }\n\
               validation.documents.documents = 4\n",
        model: "width = 16\nembedding = { positions = 32 }\n\
                backbone = { layers = 2, heads = 2, final_norm = true }\n",
        ahead: 1,
    },
];

/// An objective's name, and its settings where a token is predicted so far ahead.
fn objectives(ahead: usize) -> [(&'static str, String); 5] {
    [
        ("supervised", "{}".into()),
        ("masked", "{}".into()),
        ("autoregressive", format!("{{ ahead = {ahead} }}")),
        ("info-nce", "{ views.masked = { ratio = 0.3 } }".into()),
        ("self-distillation", "{ blocks = 2, decay = 0.9, masked = { ratio = 0.4 } }".into()),
    ]
}

/// Steps of a cell.
const STEPS: usize = 40;

fn cell(modality: &Modality, objective: &str, settings: &str, causal: bool) -> String {
    let Modality { name, labelled, data, model, .. } = modality;
    let data = if objective == "supervised" && !labelled.is_empty() { labelled } else { data };
    // One vector is of one text.
    let packing =
        if objective == "info-nce" { "length = 32, cross = false" } else { "length = 32" };
    let data = data.replace("length = 32", packing);
    format!(
        "name = \"cell\"\nmodality = \"{name}\"\n{data}[model.parts]\n{model}causal = {causal}\n\
         [[stage]]\nobjective.{objective} = {settings}\nsteps = {STEPS}\nbatch = 8\n\
         optimizer.adamw = {{ learning_rate = 1e-2 }}\ncheckpoint_every = 10\nlog_every = 1\n"
    )
}

#[test]
fn every_modality_meets_every_objective_and_both_kinds_of_model() {
    let cells: Vec<_> = MODALITIES
        .iter()
        .flat_map(|modality| {
            objectives(modality.ahead).into_iter().flat_map(move |(objective, settings)| {
                [false, true].map(|causal| (modality, objective, settings.clone(), causal))
            })
        })
        .collect();
    for (modality, objective, settings, causal) in &cells {
        let place = Place::new();
        place.file("series.csv", &waves(160));
        place.file("cell.toml", &cell(modality, objective, settings, *causal));
        let both_sides = ["masked", "self-distillation"].contains(objective);
        if *causal && both_sides {
            let reason = "bidirectional attention";
            place.fails(&["check", "cell.toml"], 2, &["cell.toml", objective, reason]);
            continue;
        }
        let named = format!("{} {objective}, causal: {causal}", modality.name);
        place.succeeds(&["run", "cell.toml"]);
        let losses = losses(&place);
        assert_eq!(losses.len(), STEPS, "{named}");
        let (first, last) = (mean(&losses[..8]), mean(&losses[STEPS - 8..]));
        assert!(last < first, "{named}: {first} to {last}");
        let weights =
            |run: &str| fs::read(place.path(run).join("model/model.safetensors")).unwrap();
        killed_after(&place, "checkpoints/step-10");
        place.succeeds(&["run", "cell.toml", "--resume", "--dir", "killed"]);
        assert!(weights("killed") == weights("runs/cell"), "{named}: resumed to other weights");
    }
}

/// Each part of a mixture has the head that it trains.
#[test]
fn parts_of_mixtures_have_their_heads() {
    let place = Place::new();
    place.file("series.csv", &waves(160));
    let masked = "{ objective.masked = { ratio = 0.3 } }";
    let mixed = format!("{{ sum = true, parts = [{masked}, {{ objective.supervised = {{}} }}] }}");
    for (modality, heads) in
        [(&MODALITIES[0], ["forecast", "token"]), (&MODALITIES[1], ["ctc", "token"])]
    {
        place.file("cell.toml", &cell(modality, "mixture", &mixed, false));
        place.succeeds(&["run", "cell.toml", "--overwrite"]);
        let config = fs::read_to_string(place.path("runs/cell/model/config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        for head in heads {
            assert!(config["model"][head].is_object(), "{head}: {config}");
        }
    }
}

/// Words of a lexicon are hidden before others.
#[test]
fn a_lexicon_guides_what_is_hidden() {
    let place = Place::new();
    let guided = cell(&MODALITIES[2], "masked", "{ ratio = 0.3, lexicon = 0.7 }", false).replace(
        "packing",
        "lexicon = { paths = [\"words.txt\"], words = [\"harbour\"] }\npacking",
    );
    place.file("cell.toml", &guided);
    place.fails(&["check", "cell.toml"], 2, &["words.txt"]);
    place.file("words.txt", "boat\nmarket\n");
    place.succeeds(&["run", "cell.toml"]);
    let losses = losses(&place);
    assert!(mean(&losses[STEPS - 8..]) < mean(&losses[..8]));
}

/// A language model's blocks between a frontend and heads for series: what they read is new, and
/// adapters or freezing leave what they know as it is.
#[test]
fn language_models_forecast() {
    let text = &MODALITIES[2];
    let series = MODALITIES[0].data;
    let place = Place::new();
    place.file("series.csv", &waves(160));
    for (name, objective, causal) in
        [("decoder", "autoregressive", true), ("encoder", "masked", false)]
    {
        let words = cell(text, objective, "{}", causal).replace("\"cell\"", &format!("\"{name}\""));
        place.file("words.toml", &words);
        place.succeeds(&["run", "words.toml"]);
        let together = "channels = 2, frontend.joint = true, ";
        for (objective, held, channels) in [
            ("supervised = {}", "", ""),
            ("supervised = {}", "freeze = [\"backbone.*\"]\n", together),
            ("autoregressive = {}", "adapt.lora = { rank = 2 }\n", ""),
            ("autoregressive = {}", "", together),
        ] {
            let recipe = format!(
                "name = \"series\"\nmodality = \"timeseries\"\n{series}[model.language]\n\
                 directory = \"runs/{name}\"\nlayers = 1\n\
                 parts = {{ context = 24, horizon = 4, {channels}scaler.kind.prefix = 2, \
                 frontend.patch = 4, forecast = {{}}, token = {{}} }}\n[[stage]]\nobjective.{objective}\n{held}\
                 steps = {STEPS}\nbatch = 8\noptimizer.adamw = {{ learning_rate = 1e-2 }}\n\
                 log_every = 1\n"
            );
            place.file("series.toml", &recipe);
            let planned = place.succeeds(&["check", "series.toml"]);
            assert!(planned.contains("parameters"), "{planned}");
            place.succeeds(&["run", "series.toml", "--overwrite"]);
            let losses = losses_of(&place, "series");
            let (first, last) = (mean(&losses[..8]), mean(&losses[STEPS - 8..]));
            assert!(last < first, "{name}, {objective}, {held}{channels}: {first} to {last}");
            let forecast = ["forecast", "--model", "runs/series", "--input", "series.csv"];
            let more = ["--time", "day", "--horizon", "4", "--out", "out.csv", "--target", "a"];
            let one = [&forecast[..], &more].concat();
            if channels.is_empty() {
                place.succeeds(&one);
            } else {
                place.fails(&one, 2, &["2 channels"]);
                place.succeeds(&[&one[..], &["--target", "b"]].concat());
            }
        }
    }
    let wrong = "name = \"series\"\nmodality = \"timeseries\"\n[data.table]\n\
                 source = { path = \"series.csv\", time = \"day\" }\n[model.language]\n\
                 directory = \"runs/series\"\nparts = { context = 24, horizon = 4 }\n[[stage]]\n\
                 objective.supervised = {}\nsteps = 2\nbatch = 2\n";
    place.file("series.toml", wrong);
    place.fails(&["check", "series.toml"], 2, &["expected bert or"]);
}

/// Kills the run `killed` as soon as a file of it is there.
fn killed_after(place: &Place, file: &str) {
    let words = ["run", "cell.toml", "--dir", "killed"];
    let mut child =
        place.command(&words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !place.path("killed").join(file).exists() && begun.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(place.path("killed").join(file).exists());
}

#[test]
fn mixers_meet_the_objectives_that_need_no_order() {
    for objective in [
        "supervised = {}",
        "masked = {}",
        "autoregressive = {}",
        "pretext.tasks = { moving-average = 1.0 }",
    ] {
        let place = Place::new();
        place.file("series.csv", &waves(160));
        place.file("cell.toml", &recipe(objective, "mixer"));
        if objective.starts_with("autoregressive") {
            place.fails(&["check", "cell.toml"], 2, &["cell.toml", "kept from seeing later ones"]);
            continue;
        }
        place.succeeds(&["run", "cell.toml"]);
        let losses = losses(&place);
        let (first, last) = (mean(&losses[..10]), mean(&losses[losses.len() - 10..]));
        assert!(last < first, "{objective}: {first} to {last}");
    }
}

fn recipe(objective: &str, backbone: &str) -> String {
    format!(
        r#"name = "cell"
modality = "timeseries"

[data.table]
source = {{ path = "series.csv", time = "day" }}

[model.parts]
context = 24
horizon = 4
width = 8
frontend.patch = 4
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
fn half_precision_learns_nearly_the_same() {
    for backbone in ["transformer", "mixer"] {
        let [full, half] = ["f32", "bf16"].map(|precision| {
            let place = Place::new();
            place.file("series.csv", &waves(160));
            place.file("cell.toml", &recipe("supervised = {}", backbone));
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
    losses_of(place, "cell")
}

/// The losses of a run, step by step.
pub fn losses_of(place: &Place, run: &str) -> Vec<f64> {
    let metrics = fs::read_to_string(place.path(&format!("runs/{run}/metrics.jsonl"))).unwrap();
    metrics
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["kind"] == "step")
        .filter_map(|line| line["loss"].as_f64())
        .collect()
}

/// Their mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
