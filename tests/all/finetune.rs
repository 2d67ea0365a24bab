//! Labelled text through recipes: every kind of task trains and is measured beside a baseline, and
//! mistakes are answered.

use crate::support::Place;
use std::fs;

/// A recipe of one stage over labelled stories.
fn recipe(objective: &str, train: &str, model: &str) -> String {
    format!(
        r#"name = "task"
modality = "text"

[data]
tokenizer.train = {{ model.word-piece = {{ vocabulary = 400, lowercase = true }}, sentinels = 8, additional = ["<|im_start|>", "<|im_end|>"] }}

[data.labelled]
length = 192
written = 12
held.count = 10
train = {train}

[model.parts]
width = 16
embedding = {{ positions = 208 }}
backbone = {{ layers = 1, heads = 2, final_norm = true }}
{model}

[[stage]]
objective = {objective}
steps = 6
batch = 4
optimizer.adamw = {{ learning_rate = 1e-2 }}
validate_every = 3

[[evaluation]]
name = "held out"
kind.task = {{ limit = 4, generation = {{ max_new_tokens = 6 }} }}
"#
    )
}

fn stories(task: &str) -> String {
    format!("{{ stories = {{ task = {task}, stories = {{ size = 40 }} }} }}")
}

#[test]
fn every_task_is_learnt_and_measured() {
    let encoder = "causal = false";
    let writer = "causal = false\ndecoder = { layers = 1, heads = 2, final_norm = true }";
    let supervised = "{ supervised = {} }";
    let next = "{ autoregressive = {} }";
    let cases = [
        (supervised, "{ class = \"domain\" }", encoder, ["accuracy", "naive Bayes"]),
        (supervised, "{ class = \"topics\" }", encoder, ["micro-f1", "labels of most"]),
        (supervised, "\"tags\"", "causal = true", ["entity-f1", "usual tag"]),
        (supervised, "\"chinese-tags\"", encoder, ["entity-f1", "usual tag"]),
        (supervised, "\"questions\"", encoder, ["exact", "likest sentence"]),
        (supervised, "\"similarity\"", encoder, ["spearman", "common words"]),
        (supervised, "\"entailment\"", encoder, ["macro-f1", "most frequent"]),
        (supervised, "\"translation\"", writer, ["bleu", "source"]),
        ("{ info-nce = {} }", "{ paraphrase = 2 }", encoder, ["mrr@10", "BM25"]),
        ("{ cosent = {} }", "\"similarity\"", encoder, ["spearman", "common words"]),
        (next, "\"conversations\"", "language = {}", ["cross-entropy", "any token"]),
        (
            "{ grpo = { num_generations = 2, max_new_tokens = 4 } }",
            "\"conversations\"",
            "language = {}",
            ["token-f1", "one answer to all"],
        ),
        ("{ dpo = {} }", "\"preferences\"", "language = {}", ["accuracy", "the shorter"]),
    ];
    for (objective, task, model, expected) in cases {
        let place = Place::new();
        place.file("task.toml", &recipe(objective, &stories(task), model));
        let table = place.succeeds(&["run", "task.toml"]);
        for word in expected {
            assert!(table.contains(word), "{objective} {task}: `{word}` is not in\n{table}");
        }
    }
}

#[test]
fn graded_texts_are_learnt_by_their_grades() {
    let place = Place::new();
    let rows = (0..40).map(|row| {
        let good = row % 2;
        format!("{good}\t{} boat in the harbour number {row}\n", ["a sad", "a red"][good])
    });
    place.file("graded.tsv", &format!("label\ttext\n{}", rows.collect::<String>()));
    let texts = "{ texts = { files = { paths = [\"graded.tsv\"] } } }";
    for graded in [
        "{ filtering = 0.5 }",
        "{ rwr = 0.5 }",
        "{ awr = { temperature = 0.5 } }",
        "{ unlikelihood = { below = 0.5 } }",
    ] {
        let text = recipe(&format!("{{ reward-weighted = {graded} }}"), texts, "language = {}");
        place.file("task.toml", &text.replace("steps = 6", "steps = 60"));
        let table = place.succeeds(&["run", "task.toml", "--overwrite"]);
        assert!(table.contains("likelihood") && table.contains("spearman"), "{table}");
    }
    let pairs = stories("\"translation\"");
    place
        .file("task.toml", &recipe("{ reward-weighted = { rwr = 1.0 } }", &pairs, "language = {}"));
    place.fails(&["check", "task.toml"], 2, &["each with a number"]);
    let encoder = recipe("{ reward-weighted = { rwr = 0.0 } }", texts, "language = {}");
    place.file("task.toml", &encoder);
    place.fails(&["check", "task.toml"], 2, &["expected above 0"]);
}

#[test]
fn models_that_embed_are_written_for_other_tools() {
    let place = Place::new();
    let task = stories("{ paraphrase = 1 }");
    place.file("task.toml", &recipe("{ info-nce = {} }", &task, "causal = false"));
    place.succeeds(&["run", "task.toml"]);
    let modules = fs::read_to_string(place.path("runs/task/model/modules.json")).unwrap();
    assert!(modules.contains("Pooling") && modules.contains("Normalize"), "{modules}");
    let embed = ["embed", "--model", "runs/task", "--text", "a boat", "--out", "vector.npy"];
    place.succeeds(&embed);
}

#[test]
fn documents_make_tasks_of_their_own() {
    let cases = [
        ("{ supervised = {} }", "{ sentence-order = 1 }", "accuracy"),
        ("{ supervised = {} }", "{ segment-order = 3 }", "kendall"),
        ("{ info-nce = {} }", "\"inverse-cloze\"", "mrr@10"),
        ("{ info-nce = {} }", "{ representative-words = 3 }", "mrr@10"),
        (
            "{ mixture = { sum = true, parts = [{ objective.masked = {} }, { objective.supervised = {} }] } }",
            "{ sentence-order = 2 }",
            "accuracy",
        ),
    ];
    for (objective, task, metric) in cases {
        let place = Place::new();
        let train = format!(
            "{{ derived = {{ task = {task}, source.stories = {{ size = 40 }}, each = 2 }} }}"
        );
        place.file("task.toml", &recipe(objective, &train, "causal = false"));
        let table = place.succeeds(&["run", "task.toml"]);
        assert!(table.contains(metric), "{objective} {task}:\n{table}");
    }
}

#[test]
fn labels_have_names_in_the_model() {
    let place = Place::new();
    let train = "{ texts = { files = { paths = [\"reviews.tsv\"] } } }";
    let rows: String = (0..40)
        .map(|row| if row % 2 == 0 { "good\ta fine book\n" } else { "bad\ta dull book\n" })
        .collect();
    place.file("reviews.tsv", &format!("label\ttext\n{rows}"));
    place.file("task.toml", &recipe("{ supervised = {} }", train, "causal = false"));
    place.succeeds(&["run", "task.toml", "--set", "stage.0.steps=30"]);
    let config = fs::read_to_string(place.path("runs/task/model/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["model"]["task"]["names"], serde_json::json!(["bad", "good"]), "{config}");
    assert!(place.succeeds(&["inspect", "runs/task"]).contains("bad, good"));
    let lines = place.succeeds(&[
        "classify",
        "--model",
        "runs/task",
        "--text",
        "a fine book",
        "--text",
        "a dull book",
    ]);
    let labels: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&labels[0]["label"], &labels[1]["label"]), (&"good".into(), &"bad".into()));
    place.fails(&["tag", "--model", "runs/task", "--text", "x"], 2, &["whole texts", "tags"]);
    let results = fs::read_to_string(place.path("runs/task/results.json")).unwrap();
    assert!(results.contains("naive Bayes"), "{results}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let place = Place::new();
    let refused = |recipe: String, expected: &[&str]| {
        place.file("bad.toml", &recipe);
        place.fails(&["check", "bad.toml"], 2, expected);
    };
    let tags = stories("\"tags\"");
    let encoder = "causal = false";
    refused(recipe("{ info-nce = {} }", &tags, encoder), &["pairs or triplets"]);
    refused(recipe("{ masked = {} }", &tags, encoder), &["data.sources"]);
    refused(
        recipe("{ supervised = {} }", &stories("\"translation\""), encoder),
        &["encoder-decoder"],
    );
    let contrastive = recipe("{ wav2vec2-contrastive = {} }", &tags, encoder);
    refused(contrastive, &["wav2vec2-contrastive", "info-nce"]);
    let without = recipe("{ supervised = {} }", &tags, encoder);
    let from = without.find("[data.labelled]").unwrap();
    let until = without.find("[model.parts]").unwrap();
    let without = format!(
        "{}sources = [{{ stories = {{ size = 20 }} }}]\n{}",
        &without[..from],
        &without[until..]
    );
    refused(without, &["supervised", "data.labelled.train"]);
    refused(
        recipe("{ supervised = {} }", &tags, "causal = false\nembedding.positions = 32")
            .replace("embedding = { positions = 208 }\n", ""),
        &["positions for 32"],
    );
}
