//! Understanding and writing on shared blocks.

use crate::support::{Place, text_recipe};

fn recipe() -> String {
    let data = "tokenizer.train.model.word-piece = { vocabulary = 300, lowercase = true }\n\
                sources = [{ stories = { size = 30 } }, { story-facts = { first = 30, size = 20 } }]\n\
                packing = { length = 32, borders = \"around\" }";
    let parts = "causal = false\nembedding = { positions = 64 }\n\
                 branches = { understanding = 1, generation = 2 }";
    let stage = "steps = 8\ncheckpoint_every = 4\nobjective.mixture = { sum = true, \
                 parts = [{ objective.masked = {} }, { objective.autoregressive = {} }] }";
    text_recipe("branches", data, parts, stage)
        + "[[evaluation]]\nname = \"text\"\nkind.language = { limit = 8 }\n"
}

#[test]
fn a_model_with_branches_understands_and_writes() {
    let place = Place::new();
    let table = place.run(&recipe());
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
    let causal = recipe().replace("causal = false", "causal = true");
    place.refuses(&causal, &["branches", "an encoder below them"]);
    let without = recipe().replace("generation = 2", "generation = 0");
    place.refuses(&without, &["branches.generation"]);
}
