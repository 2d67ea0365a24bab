//! Objectives of text through the binary: denoisers with modes, permuted tokens, decoders behind a
//! bottleneck, one objective after another, and what encoders know of a text.

use crate::{
    matrix::{losses_of, mean},
    support::{Place, holds},
};
use std::fs;

/// Steps of a stage.
const STEPS: usize = 40;

const BACKBONE: &str = "{ layers = 2, heads = 2, final_norm = true, residual_dropout = 0.1, positions = { rotary = {} } }";

/// A recipe of a small model of stories, with more to its packing and its parts.
fn recipe(packing: &str, parts: &str, stages: &[&str]) -> String {
    let stages = stages.iter().map(|objective| {
        format!(
            "[[stage]]\nobjective = {objective}\nsteps = {STEPS}\nbatch = 8\nlog_every = 1\n\
             optimizer.adamw = {{ learning_rate = 1e-2 }}\n"
        )
    });
    format!(
        "name = \"cell\"\nmodality = \"text\"\n[data]\n\
         tokenizer.train = {{ model.word-piece.vocabulary = 300, sentinels = 24 }}\n\
         sources = [{{ stories = {{ size = 60 }} }}]\npacking = {{ length = 32{packing} }}\n\
         validation.documents.documents = 4\n[model.parts]\nwidth = 16\n\
         embedding = {{ positions = 0 }}\nbackbone = {BACKBONE}\n{parts}\n{}\
         [[evaluation]]\nname = \"others\"\nkind.language = {{}}\n",
        stages.collect::<String>()
    )
}

/// Runs a recipe, all of whose stages must learn; its table.
fn learns(place: &Place, recipe: &str) -> String {
    let table = place.run(recipe);
    let losses = losses_of(place, "cell");
    let stages = recipe.matches("[[stage]]").count();
    assert_eq!(losses.len(), stages * STEPS, "a loss is missing or not finite: {losses:?}");
    for stage in losses.chunks(STEPS) {
        let (first, last) = (mean(&stage[..8]), mean(&stage[STEPS - 8..]));
        assert!(last < first, "{recipe}\nfrom {first} to {last}");
    }
    table
}

/// UL2's seven denoisers, for an encoder-decoder and a decoder; then a task that begins with a mode.
#[test]
fn denoisers_have_modes() {
    let place = Place::new();
    let ul2 = "{ denoising.preset = \"ul2\" }";
    let parts = format!("causal = false\ndecoder = {BACKBONE}");
    holds(
        &learns(&place, &recipe("", &parts, &[ul2])),
        &["span-cross-entropy", "span-perplexity", "unigram", "trigram"],
    );
    let task = "[data.labelled]\nprefix = \"<extra_id_22> \"\n\
                train.stories = { task = \"translation\", stories = { size = 60 } }\n[model.parts]";
    let stage = "{ supervised = {} }\ninit.model = \"runs/ul2\"";
    fs::rename(place.path("runs/cell"), place.path("runs/ul2")).unwrap();
    learns(&place, &recipe("", &parts, &[stage]).replace("[model.parts]", task));

    let decoder = recipe("", "causal = true", &[ul2]);
    holds(&learns(&place, &decoder), &["bits-per-byte"]);
    place.file("recipe.toml", &decoder.replace("sentinels = 24", "sentinels = 3"));
    place.fails(&["run", "recipe.toml", "--overwrite"], 2, &["3 modes", "3 sentinels"]);
}

#[test]
fn tokens_are_predicted_in_any_order() {
    let permuted = "{ permuted-lm = { ratio = 0.3, whole_words = true } }";
    let table = learns(&Place::new(), &recipe("", "causal = false", &[permuted]));
    holds(
        &table,
        &["masked-cross-entropy", "pseudo-perplexity", "masked-accuracy", "most frequent"],
    );
}

/// Each decoder behind the bottleneck has weights and a task of its own.
#[test]
fn several_decoders_tell_a_text_from_its_vector() {
    let place = Place::new();
    let decoders = "{ retromae = { masked = { ratio = 0.3 }, decoders = [\
                    { kind.masked = { ratio = 0.6 } }, { kind.enhanced = 0.5, weight = 0.5 }, \
                    { kind = \"replaced\" }, { kind.neighbour = { ratio = 0.7 } }] } }";
    let shallow = BACKBONE.replace("layers = 2", "layers = 1");
    let own = format!("causal = false\nbottleneck = [{BACKBONE}, {shallow}]");
    let table = learns(&place, &recipe(", cross = false", &own, &[decoders]));
    holds(&table, &["masked-accuracy"]);
    let config = place.json("runs/cell/model/config.json");
    let layers = |at: usize| config["model"]["bottleneck"][at]["layers"].as_u64();
    assert_eq!([0, 1, 2, 3, 4].map(layers), [Some(2), Some(1), Some(1), Some(1), None]);
    // One decoder is a block of the backbone's kind, or a stack that is given.
    let one = recipe(", cross = false", "causal = false", &["{ retromae = {} }"]);
    learns(&place, &one);
    learns(&place, &one.replace("causal", &format!("bottleneck = {BACKBONE}\ncausal")));
    // Several texts in a row have no one vector.
    for objective in ["{ retromae = {} }", "{ info-nce = {} }"] {
        let crossed = recipe("", "causal = false", &[objective]);
        place.refuses(&crossed, &["data.packing.cross", "one vector"]);
    }
    let anywhere = one.replace("packing", "windows = \"anywhere\"\npacking");
    place.refuses(&anywhere, &["data.windows", "cut"]);
}

/// Next-token prediction, then masked language modelling: one model, two stages.
#[test]
fn masked_tokens_after_next_ones() {
    let stages = ["{ autoregressive = {} }", "{ masked = { ratio = 0.4 } }"];
    let table = learns(&Place::new(), &recipe("", "causal = false", &stages));
    holds(&table, &["pseudo-perplexity"]);
}

/// Words that a document has more of than others are masked before others.
#[test]
fn salient_words_are_masked_first() {
    let place = Place::new();
    let masked = ["{ masked = { ratio = 0.3, lexicon = 0.6, whole_words = true } }"];
    let guided = recipe("", "causal = false", &masked)
        .replace("packing =", "lexicon.salient = 0.3\npacking =");
    holds(&learns(&place, &guided), &["masked-accuracy"]);
    let beyond = guided.replace("salient = 0.3", "salient = 1.3");
    place.refuses(&beyond, &["data.lexicon.salient", "above 0"]);
    // What no stage trains is not asked.
    let vectors = recipe(", cross = false", "causal = false", &["{ info-nce = {} }"]);
    place.refuses(&vectors, &["bad.toml, line", "scores the vocabulary"]);
}
