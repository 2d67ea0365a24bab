//! One vector of a text: by a learned query, by the encoder of an encoder-decoder, by a token that
//! always stands at the end.

use crate::support::Place;
use std::fs;

/// A recipe of one stage over labelled stories.
fn recipe(objective: &str, task: &str, tokenizer: &str, model: &str) -> String {
    format!(
        r#"name = "pooling"
modality = "text"

[data]
tokenizer.train = {tokenizer}

[data.labelled]
length = 64
written = 12
held.count = 10
train.stories = {{ task = {task}, stories = {{ size = 40 }} }}

[model.parts]
width = 16
embedding = {{ positions = 64 }}
backbone = {{ layers = 2, heads = 2, final_norm = true }}
{model}

[[stage]]
objective = {objective}
steps = 6
batch = 4
optimizer.adamw = {{ learning_rate = 1e-2 }}

[[evaluation]]
name = "held out"
kind.task = {{ limit = 4 }}
"#
    )
}

/// What `config.json` of a run's model says.
fn config(place: &Place) -> serde_json::Value {
    let text = fs::read_to_string(place.path("runs/pooling/model/config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

const WORDS: &str = "{ model.word-piece = { vocabulary = 400, lowercase = true } }";

#[test]
fn a_learnt_query_looks_at_all_tokens() {
    let place = Place::new();
    let model = "causal = false\npooler = { attention = { layers = 1 } }";
    let supervised = "{ supervised = {} }";
    place.file("pooling.toml", &recipe(supervised, "{ class = \"domain\" }", WORDS, model));
    place.succeeds(&["run", "pooling.toml"]);
    assert_eq!(config(&place)["model"]["pooler"]["attention"]["layers"], 1);
    let text = ["classify", "--model", "runs/pooling", "--text", "a boat in the harbour"];
    assert!(place.succeeds(&text).contains("probability"));
    let none = model.replace("layers = 1", "layers = 0");
    place.file("bad.toml", &recipe(supervised, "{ class = \"domain\" }", WORDS, &none));
    place.fails(&["check", "bad.toml"], 2, &["pooler.attention.layers"]);
}

#[test]
fn where_nothing_is_written_there_is_no_decoder() {
    let place = Place::new();
    let model = "causal = false\ndecoder = { layers = 1, heads = 2, final_norm = true }";
    for (objective, task) in [
        ("{ supervised = {} }", "{ class = \"domain\" }"),
        ("{ info-nce = {} }", "{ paraphrase = 1 }"),
    ] {
        place.file("pooling.toml", &recipe(objective, task, WORDS, model));
        place.succeeds(&["run", "pooling.toml", "--overwrite"]);
        assert!(config(&place)["model"]["decoder"].is_null(), "{objective}");
    }
}

#[test]
fn a_decoder_embeds_by_a_token_at_the_end() {
    let place = Place::new();
    let bytes = |around: &str| format!("{{ model.byte-bpe.vocabulary = 400{around} }}");
    let embed = ["embed", "--model", "runs/pooling", "--text", "a boat"];
    let task = "{ paraphrase = 1 }";
    let end = bytes(", around = \"end\"");
    place.file("pooling.toml", &recipe("{ info-nce = {} }", task, &end, "causal = true"));
    place.succeeds(&["run", "pooling.toml"]);
    let file = fs::read_to_string(place.path("runs/pooling/model/tokenizer.json")).unwrap();
    assert!(file.contains("TemplateProcessing"));
    let bare = "no special tokens";
    let said = |words: &[&str]| crate::support::text(&place.kiln(words).stderr);
    assert!(!said(&embed).contains(bare), "{}", said(&embed));
    place.file("pooling.toml", &recipe("{ info-nce = {} }", task, &bytes(""), "causal = true"));
    place.succeeds(&["run", "pooling.toml", "--overwrite"]);
    assert!(said(&embed).contains(bare), "{}", said(&embed));
}
