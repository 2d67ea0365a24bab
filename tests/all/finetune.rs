//! Labelled text through recipes: every kind of task trains and is measured beside a baseline, and
//! mistakes are answered.

use crate::support::{ENCODER_DECODER, Place, holds, lines, rated_texts, text_recipe};

/// A recipe of one stage over labelled stories.
fn recipe(objective: &str, train: &str, model: &str) -> String {
    let data = format!(
        "tokenizer.train = {{ model.word-piece = {{ vocabulary = 400, lowercase = true }}, \
         sentinels = 8, additional = [\"<|im_start|>\", \"<|im_end|>\"] }}\n\
         [data.labelled]\nlength = 192\ntarget_length = 12\nheld.count = 10\ntrain = {train}"
    );
    let parts = format!("embedding = {{ positions = 208 }}\n{model}");
    let stage = format!("objective = {objective}\nsteps = 6\nvalidate_every = 3");
    text_recipe("task", &data, &parts, &stage)
        + "[[evaluation]]\nname = \"held out\"\n\
           kind.task = { limit = 4, generation = { max_new_tokens = 6 } }\n"
}

fn stories(task: &str) -> String {
    format!("{{ stories = {{ task = {task}, stories = {{ size = 40 }} }} }}")
}

#[test]
fn every_task_is_learned_and_measured() {
    let encoder = "causal = false";
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
        (supervised, "\"translation\"", ENCODER_DECODER, ["bleu", "source"]),
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
        // With a shorter length, prompts would leave no room for answers.
        let recipe = recipe(objective, &stories(task), model)
            .replace("length = 192", "length = 320")
            .replace("positions = 208", "positions = 336");
        holds(&Place::new().run(&recipe), &expected);
    }
}

/// Prompts fill the length, so that no answer is left to prefer.
#[test]
fn a_stage_that_has_nothing_to_predict_fails() {
    let place = Place::new();
    let recipe = recipe("{ dpo = {} }", &stories("\"preferences\""), "language = {}");
    place.file("task.toml", &recipe.replace("length = 192", "length = 8"));
    let expected = ["none of its 6 steps had anything to predict", "`objective`", "`length`"];
    place.fails(&["run", "task.toml"], 2, &expected);
    let record = place.json("runs/task/run.json");
    assert_eq!(record["status"], "failed", "{record}");
    assert!(!place.path("runs/task/model").exists());
    place.fails(&["run", "task.toml", "--resume"], 2, &expected);
}

#[test]
fn reward_weighted_training_learns_from_ratings() {
    let place = Place::new();
    place.file("graded.tsv", &rated_texts(40));
    let texts = "{ texts = { files = { paths = [\"graded.tsv\"] } } }";
    let weighted = |settings: &str, rows: &str| {
        recipe(&format!("{{ reward-weighted = {settings} }}"), rows, "language = {}")
    };
    for graded in [
        "{ filtering = 0.5 }",
        "{ rwr = 0.5 }",
        "{ awr = { temperature = 0.5 } }",
        "{ unlikelihood = { below = 0.5 } }",
    ] {
        let text = weighted(graded, texts).replace("steps = 6", "steps = 60");
        holds(&place.run(&text), &["likelihood", "spearman"]);
    }
    let pairs = stories("\"translation\"");
    place.refuses(&weighted("{ rwr = 1.0 }", &pairs), &["each with a number"]);
    place.refuses(&weighted("{ rwr = 0.0 }", texts), &["expected above 0"]);
}

#[test]
fn models_that_embed_are_written_for_other_tools() {
    let place = Place::new();
    let task = stories("{ paraphrase = 1 }");
    place.run(&recipe("{ info-nce = {} }", &task, "causal = false"));
    holds(&place.read("runs/task/model/modules.json"), &["Pooling", "Normalize"]);
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
        let train = format!(
            "{{ derived = {{ task = {task}, source.stories = {{ size = 40 }}, each = 2 }} }}"
        );
        holds(&Place::new().run(&recipe(objective, &train, "causal = false")), &[metric]);
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
    let recipe = recipe("{ supervised = {} }", train, "causal = false");
    place.run(&recipe.replace("steps = 6", "steps = 30"));
    let config = place.json("runs/task/model/config.json");
    assert_eq!(config["model"]["task"]["names"], serde_json::json!(["bad", "good"]), "{config}");
    assert!(place.succeeds(&["inspect", "runs/task"]).contains("bad, good"));
    let classify = ["classify", "--model", "runs/task"];
    let texts = ["--text", "a fine book", "--text", "a dull book"];
    let labels = lines(&place.succeeds(&[&classify[..], &texts].concat()));
    assert_eq!((&labels[0]["label"], &labels[1]["label"]), (&"good".into(), &"bad".into()));
    place.fails(&["tag", "--model", "runs/task", "--text", "x"], 2, &["whole texts", "tags"]);
    holds(&place.read("runs/task/results.json"), &["naive Bayes"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let place = Place::new();
    let tags = stories("\"tags\"");
    let encoder = "causal = false";
    place.refuses(&recipe("{ info-nce = {} }", &tags, encoder), &["pairs or triplets"]);
    place.refuses(&recipe("{ masked = {} }", &tags, encoder), &["data.sources"]);
    let translation = recipe("{ supervised = {} }", &stories("\"translation\""), encoder);
    place.refuses(&translation, &["encoder-decoder"]);
    let contrastive = recipe("{ wav2vec2-contrastive = {} }", &tags, encoder);
    place.refuses(&contrastive, &["wav2vec2-contrastive", "info-nce"]);
    let labelled = recipe("{ supervised = {} }", &tags, encoder);
    let (before, rest) = labelled.split_once("[data.labelled]").unwrap();
    let (_, after) = rest.split_once("[model.parts]").unwrap();
    let without =
        format!("{before}sources = [{{ stories = {{ size = 20 }} }}]\n[model.parts]{after}");
    place.refuses(&without, &["supervised", "data.labelled.train"]);
    let short = labelled.replace("positions = 208", "positions = 32");
    place.refuses(&short, &["positions for 32"]);
}
