//! Understanding and writing on shared blocks.

use crate::support::Place;

const RECIPE: &str = r#"name = "branches"
modality = "text"

[data]
tokenizer.train.model.word-piece = { vocabulary = 300, lowercase = true }
sources = [{ stories = { size = 30 } }, { story-facts = { first = 30, size = 20 } }]
packing = { length = 32, borders = "around" }

[model.parts]
width = 16
causal = false
embedding = { positions = 64 }
backbone = { layers = 1, heads = 2, final_norm = true }
branches = { understanding = 1, generation = 2 }

[[stage]]
steps = 8
batch = 4
optimizer.adamw = { learning_rate = 1e-2 }
checkpoint_every = 4
objective.mixture = { sum = true, parts = [{ objective.masked = {} }, { objective.autoregressive = {} }] }

[[evaluation]]
name = "text"
kind.language = { limit = 8 }
"#;

#[test]
fn a_model_with_branches_understands_and_writes() {
    let place = Place::new();
    place.file("branches.toml", RECIPE);
    let table = place.succeeds(&["run", "branches.toml"]);
    assert!(table.contains("perplexity"), "{table}");
    let facts = place.succeeds(&["inspect", "runs/branches"]);
    assert!(facts.contains("encoder that writes, too"), "{facts}");
    let write =
        ["generate", "--model", "runs/branches", "--prompt", "the boat", "--max-new-tokens", "5"];
    place.succeeds(&write);
    let embed = ["embed", "--model", "runs/branches", "--text", "a boat", "--out", "vector.npy"];
    place.succeeds(&embed);
}

#[test]
fn branches_stand_on_an_encoder() {
    let place = Place::new();
    place.file("bad.toml", &RECIPE.replace("causal = false", "causal = true"));
    place.fails(&["check", "bad.toml"], 2, &["branches", "an encoder below them"]);
    place.file("bad.toml", &RECIPE.replace("generation = 2", "generation = 0"));
    place.fails(&["check", "bad.toml"], 2, &["branches.generation"]);
}
