//! Several labelled tasks in one stage, beside documents: each has a head, its measures and its
//! answers.

use crate::support::Place;
use std::fs;

/// Three tasks of stories, one of which begins later, beside hidden words of documents.
const RECIPE: &str = r#"name = "tasks"
modality = "text"

[data]
tokenizer.train.model.word-piece = { vocabulary = 300, lowercase = true }
sources = [{ stories = { size = 40 } }]
packing = { length = 32, borders = "around" }
unlabelled = 1.0

[data.tasks.order]
train.derived = { task.sentence-order = 1, source.stories = { size = 30 }, each = 2 }
length = 48
held.count = 8

[data.tasks.distance]
train.derived = { task.sentence-distance = 1, source.stories = { size = 30 }, each = 2 }
length = 48
held.count = 8

[data.tasks.who]
train.stories = { task = "tags", stories = { size = 30 } }
length = 48
held.count = 8
from = 4

[model.parts]
width = 16
causal = false
embedding = { positions = 48, types = 2 }
backbone = { layers = 1, heads = 2, final_norm = true }

[[stage]]
steps = 12
batch = 4
optimizer.adamw = { learning_rate = 1e-2 }
validate_every = 6
checkpoint_every = 6

[stage.objective.mixture]
sum = true
parts = [{ objective.masked = {} }, { objective.supervised = {} }]

[[evaluation]]
name = "held out"
kind.task = { limit = 6 }
"#;

#[test]
fn several_tasks_are_learnt_measured_and_asked() {
    let place = Place::new();
    place.file("tasks.toml", RECIPE);
    let table = place.succeeds(&["run", "tasks.toml"]);
    for row in ["order: classification", "distance: classification", "who: tagging"] {
        assert!(table.contains(row), "`{row}` is not in\n{table}");
    }
    let metrics = fs::read_to_string(place.path("runs/tasks/metrics.jsonl")).unwrap();
    for loss in ["loss-documents", "loss-order", "loss-distance", "loss-who"] {
        assert!(metrics.contains(&format!("\"{loss}\"")), "`{loss}` is not in\n{metrics}");
    }
    let config = fs::read_to_string(place.path("runs/tasks/model/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let names = &config["model"]["tasks"]["distance"]["names"];
    assert_eq!(*names, serde_json::json!(["adjacent", "another", "same"]), "{config}");

    let model = ["--model", "runs/tasks", "--text", "Ada lives by the sea."];
    let asked = |words: &[&'static str]| [words, &model[..]].concat();
    let line = place.succeeds(&asked(&["classify", "--task", "order"]));
    assert!(line.contains("ordered") && line.contains("swapped"), "{line}");
    assert!(place.succeeds(&asked(&["tag"])).contains("mentions"), "one head fits");
    place.fails(&asked(&["classify"]), 2, &["--task: distance, order"]);
    place.fails(&asked(&["classify", "--task", "what"]), 2, &["distance, order, who"]);

    let one = ["--set", "evaluation.0.kind.task.task='order'"];
    let table = place.succeeds(&[&["evaluate", "--model", "runs/tasks"], &one[..]].concat());
    assert!(table.contains("order: ") && !table.contains("distance: "), "{table}");
    let two = ["--set", "evaluation.0.kind.task.task='what'"];
    place.fails(&[&["check", "tasks.toml"], &two[..]].concat(), 2, &["distance, order, who"]);
}

#[test]
fn a_later_stage_takes_heads_by_name_and_brings_more() {
    let place = Place::new();
    let (data, rest) = RECIPE.split_once("[data.tasks.who]").unwrap();
    let rest = &rest[rest.find("[model.parts]").unwrap()..];
    place.file("first.toml", &format!("{data}{rest}").replace("\"tasks\"", "\"first\""));
    place.succeeds(&["run", "first.toml"]);
    // A head whose name comes before the others does not move theirs.
    let later =
        RECIPE.replace("tasks.who", "tasks.a").replace("unlabelled = 1.0", "unlabelled = 0.0");
    let later = later.replace("[[stage]]", "[[stage]]\ninit.model = \"runs/first\"");
    place.file("later.toml", &later.replace("{ objective.masked = {} }, ", ""));
    let output = place.kiln(&["run", "later.toml", "--set", "stage.0.steps=5"]);
    let told = crate::support::text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("tasks.a.output.weight") && !told.contains("tasks.order"), "{told}");
}

#[test]
fn what_cannot_be_mixed_is_refused() {
    let place = Place::new();
    let refused = |from: &str, to: &str, expected: &[&str]| {
        place.file("bad.toml", &RECIPE.replace(from, to));
        place.fails(&["check", "bad.toml"], 2, expected);
    };
    let late =
        RECIPE.replace("unlabelled = 1.0\n", "").replace("each = 2 }", "each = 2 }\nfrom = 3");
    place.file("late.toml", &late);
    place.fails(&["check", "late.toml"], 2, &["data.tasks", "from the first step on"]);
    refused("unlabelled = 1.0", "unlabelled = -1.0", &["data.unlabelled", "0 or more"]);
    refused("tasks.who", "tasks.\"who?\"", &["letters, digits"]);
    refused("from = 4", "weight = -2.0", &["data.tasks.who.weight", "0 or more"]);
    refused("sources = [{ stories = { size = 40 } }]", "", &["data.sources"]);
    refused("\"tags\"", "\"translation\"", &["data.tasks.who", "encoder-decoder"]);
}
