//! Architectures as published: the recipes that compare them, at sizes of a few seconds.

use crate::{
    matrix::{losses_of, mean},
    support::Place,
};
use std::fs;

/// Runs a recipe's variants small; the table that it prints.
fn small(place: &Place, name: &str, more: &[&str]) -> String {
    let recipe = fs::canonicalize(format!("../recipes/text/{name}.toml")).unwrap();
    let recipe = recipe.display().to_string();
    let sets = [
        "data.sources=[{ stories = { size = 80 } }]",
        "data.packing.length=32",
        "data.validation.documents={ documents = 4 }",
        "model.parts.width=32",
        "stage.0.steps=30",
        "stage.0.batch=8",
        "stage.0.optimizer.adamw.learning_rate=1e-2",
        "stage.0.schedule.cosine.warmup=3",
        "stage.0.log_every=1",
    ];
    let sets = sets.iter().chain(more).flat_map(|set| ["--set", set]);
    let words: Vec<&str> = ["run", &recipe].into_iter().chain(sets).collect();
    place.succeeds(&words)
}

fn learns(place: &Place, run: &str) {
    let losses = losses_of(place, run);
    let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
    assert!(last < first - 0.2, "{run}: from {first} to {last}");
}

#[test]
fn encoders_read_in_every_way() {
    let place = Place::new();
    let more = [
        "data.tokenizer.train.model.word-piece={ vocabulary = 300 }",
        "evaluation.0.kind.probe.data.stories.stories={ first = 1000, size = 60 }",
    ];
    let table = small(&place, "encoders", &more);
    for variant in ["bert", "mosaicbert", "modernbert", "elc", "elc-all-alike-at-first", "mpnet"] {
        learns(&place, &format!("encoders/{variant}"));
    }
    assert!(table.contains("elc, all alike at first") && table.contains("accuracy"), "{table}");
}

#[test]
fn decoders_read_in_every_way() {
    let place = Place::new();
    let more = ["data.tokenizer.train.model.byte-bpe.vocabulary=400"];
    let table = small(&place, "decoders", &more);
    for variant in ["gpt-2", "opt", "falcon", "llama", "qwen2"] {
        learns(&place, &format!("decoders/{variant}"));
        assert!(table.contains(variant), "{table}");
    }
    // What was written is read, one norm and one key a block with it.
    let run =
        ["generate", "--model", "runs/decoders/falcon", "--prompt", "One", "--max-new-tokens", "8"];
    assert!(!place.succeeds(&run).trim().is_empty());
}
