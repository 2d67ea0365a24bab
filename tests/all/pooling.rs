//! One vector of a text: by a learned query, by the encoder of an encoder-decoder, by a token that
//! always stands at the end.

use crate::support::{ENCODER_DECODER, Place, text_recipe};

/// A recipe of one stage over labelled stories.
fn recipe(objective: &str, task: &str, tokenizer: &str, model: &str) -> String {
    let data = format!(
        "tokenizer.train = {tokenizer}\n[data.labelled]\nlength = 64\ntarget_length = 12\n\
         held.count = 10\ntrain.stories = {{ task = {task}, stories = {{ size = 40 }} }}"
    );
    let parts = format!("embedding = {{ positions = 64 }}\n{model}");
    let stage = format!("objective = {objective}\nsteps = 6");
    text_recipe("pooling", &data, &parts, &stage)
        + "[[evaluation]]\nname = \"held out\"\nkind.task = { limit = 4 }\n"
}

const CONFIG: &str = "runs/pooling/model/config.json";
const WORDS: &str = "{ model.word-piece = { vocabulary = 400, lowercase = true } }";
const CLASSES: &str = "{ class = \"domain\" }";
const PAIRS: &str = "{ paraphrase = 1 }";

#[test]
fn a_learned_query_looks_at_all_tokens() {
    let place = Place::new();
    let model = "causal = false\npooler = { attention = { layers = 1 } }";
    let supervised = "{ supervised = {} }";
    place.run(&recipe(supervised, CLASSES, WORDS, model));
    assert_eq!(place.json(CONFIG)["model"]["pooler"]["attention"]["layers"], 1);
    let text = ["classify", "--model", "runs/pooling", "--text", "a boat in the harbour"];
    assert!(place.succeeds(&text).contains("probability"));
    let none = recipe(supervised, CLASSES, WORDS, &model.replace("layers = 1", "layers = 0"));
    place.refuses(&none, &["pooler.attention.layers"]);
}

#[test]
fn where_nothing_is_written_there_is_no_decoder() {
    let place = Place::new();
    for (objective, task) in [("{ supervised = {} }", CLASSES), ("{ info-nce = {} }", PAIRS)] {
        place.run(&recipe(objective, task, WORDS, ENCODER_DECODER));
        assert!(place.json(CONFIG)["model"]["decoder"].is_null(), "{objective}");
    }
}

#[test]
fn a_decoder_embeds_by_a_token_at_the_end() {
    let place = Place::new();
    let embed = ["embed", "--model", "runs/pooling", "--text", "a boat"];
    for (around, bare) in [(", around = \"end\"", false), ("", true)] {
        let bytes = format!("{{ model.byte-bpe.vocabulary = 400{around} }}");
        place.run(&recipe("{ info-nce = {} }", PAIRS, &bytes, "causal = true"));
        let tokenizer = place.read("runs/pooling/model/tokenizer.json");
        assert!(bare || tokenizer.contains("TemplateProcessing"));
        let said = place.says(&embed);
        assert_eq!(said.contains("no special tokens"), bare, "{said}");
    }
}
