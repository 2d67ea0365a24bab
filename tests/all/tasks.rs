//! Several labelled tasks in one stage, beside documents: each has a head, its measures and its
//! answers.

use crate::support::{Place, holds, text_recipe};

const DATA: &str = r#"tokenizer.train.model.word-piece = { vocabulary = 300, lowercase = true }
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
from = 4"#;

/// Three tasks of stories, one of which begins later, beside masked language modelling of documents.
fn recipe() -> String {
    let parts = "causal = false\nembedding = { positions = 48, types = 2 }";
    let stage = "steps = 12\nvalidate_every = 6\ncheckpoint_every = 6\n\
                 [stage.objective.mixture]\nsum = true\n\
                 parts = [{ objective.masked = {} }, { objective.supervised = {} }]";
    text_recipe("tasks", DATA, parts, stage)
        + "[[evaluation]]\nname = \"held out\"\nkind.task = { limit = 6 }\n"
}

#[test]
fn several_tasks_are_learned_measured_and_asked() {
    let place = Place::new();
    let table = place.run(&recipe());
    holds(&table, &["order: classification", "distance: classification", "who: tagging"]);
    let metrics = place.read("runs/tasks/metrics.jsonl");
    let losses = ["loss-documents", "loss-order", "loss-distance", "loss-who"];
    holds(&metrics, &losses.map(|loss| format!("\"{loss}\"")).each_ref().map(String::as_str));
    let config = place.json("runs/tasks/model/config.json");
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
    place.fails(&[&["check", "recipe.toml"], &two[..]].concat(), 2, &["distance, order, who"]);
}

#[test]
fn a_later_stage_takes_heads_by_name_and_brings_more() {
    let place = Place::new();
    let recipe = recipe();
    let (data, rest) = recipe.split_once("[data.tasks.who]").unwrap();
    let rest = &rest[rest.find("[model.parts]").unwrap()..];
    place.run(&format!("{data}{rest}").replace("\"tasks\"", "\"first\""));
    // A head whose name comes before the others does not move theirs.
    let later =
        recipe.replace("tasks.who", "tasks.a").replace("unlabelled = 1.0", "unlabelled = 0.0");
    let later = later.replace("[[stage]]", "[[stage]]\ninit.model = \"runs/first\"");
    place.file("later.toml", &later.replace("{ objective.masked = {} }, ", ""));
    let told = place.says(&["run", "later.toml", "--set", "stage.0.steps=5"]);
    assert!(told.contains("tasks.a.output.weight") && !told.contains("tasks.order"), "{told}");
}

#[test]
fn what_cannot_be_mixed_is_refused() {
    let place = Place::new();
    let recipe = recipe();
    let refused = |from: &str, to: &str, expected: &[&str]| {
        place.refuses(&recipe.replace(from, to), expected);
    };
    let late =
        recipe.replace("unlabelled = 1.0\n", "").replace("each = 2 }", "each = 2 }\nfrom = 3");
    place.refuses(&late, &["data.tasks", "from the first step on"]);
    refused("unlabelled = 1.0", "unlabelled = -1.0", &["data.unlabelled", "0 or more"]);
    refused("tasks.who", "tasks.\"who?\"", &["letters, digits"]);
    refused("from = 4", "weight = -2.0", &["data.tasks.who.weight", "0 or more"]);
    refused("sources = [{ stories = { size = 40 } }]", "", &["data.sources"]);
    refused("\"tags\"", "\"translation\"", &["data.tasks.who", "encoder-decoder"]);
}
