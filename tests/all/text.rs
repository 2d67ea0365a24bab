//! Text from a recipe to new text, and what is made of bad files.

use crate::{
    matrix::{losses_of, mean},
    support::{Place, holds, lines},
};
use std::fs;

const RECIPE: &str = r#"
name = "tiny"
modality = "text"

[data]
tokenizer.train.model.byte-bpe.vocabulary = 400
sources = [{ stories = { size = 60 } }]
packing = { length = 32 }
validation.documents.documents = 4

[model.parts]
width = 32
embedding = { positions = 64 }
backbone = { layers = 2, heads = 2, final_norm = true }
language = {}
initial_deviation = 0.02

[[stage]]
name = "pretrain"
objective.autoregressive = {}
steps = 60
batch = 8
optimizer.adamw = { learning_rate = 1e-2 }
log_every = 1

[[evaluation]]
name = "others"
kind.language = {}

[[evaluation]]
name = "samples"
kind.samples = { prompts = ["One"], generation = { max_new_tokens = 8 } }
"#;

/// The recipe without its evaluations.
fn trained() -> &'static str {
    &RECIPE[..RECIPE.find("[[evaluation]]").unwrap()]
}

#[test]
fn from_a_recipe_to_new_text() {
    let place = Place::new();
    holds(&place.run(RECIPE), &["perplexity", "bits-per-byte", "unigram", "trigram"]);
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        assert!(place.path("runs/tiny/model").join(file).exists(), "{file}");
    }
    let losses = losses_of(&place, "tiny");
    let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
    assert!(last < first - 0.5, "from {first} to {last}");
    holds(&place.read("runs/tiny/report.html"), &["[One]"]);

    let generate = |more: &[&str]| {
        place.succeeds(
            &[&["generate", "--model", "runs/tiny", "--max-new-tokens", "12"][..], more].concat(),
        )
    };
    let greedy = generate(&["--prompt", "One"]);
    assert_eq!(greedy, generate(&["--prompt", "One"]));
    let drawn = ["--prompt", "One", "--temperature", "2", "--seed", "1"];
    assert_eq!(generate(&drawn), generate(&drawn));
    assert_ne!(generate(&drawn), greedy);
    generate(&["--prompt", "One", "--beam", "3"]);
    generate(&["--prompt", "One", "--int8"]);
    place.file("prompts.txt", "One\nA bird\n");
    let first = &lines(&generate(&["--prompts", "prompts.txt", "--json"]))[0];
    assert_eq!(first["prompt"], "One");
    // In company a text is what it is alone.
    assert_eq!(first["text"].as_str().unwrap().trim_end(), greedy.trim_end());
    holds(&place.succeeds(&["evaluate", "--model", "runs/tiny"]), &["trigram"]);
    assert!(place.succeeds(&["inspect", "runs/tiny"]).contains("400 tokens"));
}

#[test]
fn a_model_brings_its_tokenizer() {
    let place = Place::new();
    let recipe = trained().replace("steps = 60", "steps = 3");
    place.run(&recipe);
    let next = recipe
        .replace("name = \"tiny\"", "name = \"next\"")
        .replace("tokenizer.train.model.byte-bpe.vocabulary = 400\n", "");
    place.refuses(&next, &["`data.tokenizer` is missing"]);
    let next = next.replace("[[stage]]", "[[stage]]\ninit.model = \"runs/tiny\"");
    place.run(&next);
    place.succeeds(&["check", "recipe.toml"]);
    assert!(place.succeeds(&["inspect", "runs/next"]).contains("400 tokens"));
}

#[test]
fn masked_language_modelling_masks_whole_words() {
    let place = Place::new();
    let masked = trained()
        .replace("byte-bpe.vocabulary = 400", "word-piece = { vocabulary = 300, lowercase = true }")
        .replace("packing = { length = 32 }", "packing = { length = 32, borders = \"around\" }")
        .replace("width = 32", "width = 32\ncausal = false")
        .replace(
            "objective.autoregressive = {}",
            "objective.masked = { whole_words = true, random_replacement = 0.1, keep_unchanged = 0.1 }",
        );
    place.run(&masked);
    holds(&place.read("runs/tiny/metrics.jsonl"), &["masked_share"]);
    let generate = ["generate", "--model", "runs/tiny", "--prompt", "One"];
    place.fails(&generate, 2, &["generates no text"]);
}

#[test]
fn mistakes_are_answered() {
    let place = Place::new();
    let refused = |from: &str, to: &str, expected: &[&str]| {
        place.file("bad.toml", &RECIPE.replace(from, to));
        place.fails(&["run", "bad.toml"], 2, expected);
    };
    refused(
        "objective.autoregressive = {}",
        "objective.masked = {}",
        &["causal", "autoregressive"],
    );
    refused("length = 32", "length = 65", &["line 8", "positions for 64"]);
    refused("tokenizer.train.model.byte-bpe.vocabulary = 400", "", &["data.tokenizer"]);
    let documents = "{ documents = { paths = [\"missing.txt\"] } }";
    refused("{ stories = { size = 60 } }", documents, &["missing.txt"]);
    place.file("empty.txt", "\n \n");
    let documents = "{ documents = { paths = [\"empty.txt\"] } }";
    refused("{ stories = { size = 60 } }", documents, &["text"]);
    // A tokenizer without a mask token cannot mask.
    let masked = "objective.masked = {}\n";
    let encoder = RECIPE.replace("width = 32", "width = 32\ncausal = false");
    let without =
        "tokenizer.train = { model.byte-bpe = { vocabulary = 400 }, special.mask = \"\" }";
    let encoder = encoder.replace("tokenizer.train.model.byte-bpe.vocabulary = 400", without);
    let encoder = encoder.replace("objective.autoregressive = {}\n", masked);
    place.file("bad.toml", &encoder);
    place.fails(&["run", "bad.toml"], 2, &["evaluation", "writes on"]);
    place.file("bad.toml", &encoder[..encoder.find("[[evaluation]]").unwrap()]);
    place.fails(&["run", "bad.toml", "--overwrite"], 2, &["mask"]);
}

/// A second stage that trains adapters of the first stage's model.
fn adapted(adapt: &str) -> String {
    let stage = format!(
        "[[stage]]\nname = \"adapt\"\nobjective.autoregressive = {{}}\nsteps = 30\nbatch = 8\n\
         optimizer.adamw = {{ learning_rate = 1e-2 }}\ncheckpoint_every = 4\nlog_every = 1\n\
         adapt = {adapt}\n\n[[evaluation]]"
    );
    RECIPE.replace("steps = 60", "steps = 10").replacen("[[evaluation]]", &stage, 1)
}

#[test]
fn adapters_are_trained_written_and_read() {
    let place = Place::new();
    let adapt = "{ lora = { rank = 4, dropout = 0.1 }, bottleneck = { width = 4 }, \
                 prefix = { tokens = 2 }, prompt = { tokens = 2 } }";
    place.file("recipe.toml", &adapted(adapt));
    holds(&place.succeeds(&["check", "recipe.toml"]), &["adapt"]);
    place.succeeds(&["run", "recipe.toml", "--dir", "whole"]);
    let files =
        ["model.safetensors", "adapter/kiln_adapter.json", "adapter/kiln_adapter.safetensors"];
    for file in files {
        assert!(place.path("whole/model").join(file).exists(), "{file}");
    }
    // Killed while it trains the adapters, a run goes on to the same bits.
    place.kills_and_resumes(18);
    for file in files {
        let [whole, killed] = ["whole", "killed"]
            .map(|run| fs::read(place.path(run).join("model").join(file)).unwrap());
        assert!(whole == killed, "{file}");
    }
    place.succeeds(&["generate", "--model", "whole", "--max-new-tokens", "12", "--prompt", "One"]);
    let evaluate = |run: &str| place.succeeds(&["evaluate", "--model", run, "recipe.toml"]);
    assert_eq!(evaluate("whole"), evaluate("killed"));
    fs::remove_dir_all(place.path("killed/model/adapter")).unwrap();
    assert_ne!(evaluate("whole"), evaluate("killed"), "what lies beside the model is read");
}

#[test]
fn an_adapter_is_given_as_a_model() {
    let place = Place::new();
    place.run(&adapted("{ lora = { rank = 4, modules = [\"*.attention.*\"] } }"));
    let generate = |model: &str| {
        place.succeeds(&["generate", "--model", model, "--max-new-tokens", "12", "--prompt", "One"])
    };
    assert_eq!(generate("runs/tiny"), generate("runs/tiny/model/adapter"));
    let unknown = adapted("{ lora = { modules = [\"*.quary\"] } }");
    place.refuses(&unknown, &["*.quary", "attention.query"]);
}

/// A second stage gives the model another vocabulary: what both know is kept.
#[test]
fn a_model_goes_on_with_another_vocabulary() {
    let stage = "[[stage]]\nname = \"again\"\nobjective.masked = {}\nsteps = 4\nbatch = 8\n\
                 optimizer.adamw = { learning_rate = 1e-5 }\nlog_every = 1\n[stage.data]\n\
                 tokenizer.retrain.model.byte-bpe.vocabulary = 500\nnew_tokens = \"WAY\"\n\
                 sources = [{ stories = { size = 60 } }]\npacking = { length = 32 }\n";
    let place = Place::new();
    let causal = RECIPE.replacen("[[evaluation]]", &format!("{stage}\n[[evaluation]]"), 1);
    let causal = causal.replace("masked = {}", "autoregressive = {}");
    place.refuses(&causal.replace("WAY", "contexts"), &["data.new_tokens", "encoders"]);
    let encoder = trained()
        .replace("autoregressive = {}", "masked = {}")
        .replace("language = {}", "causal = false\nlanguage = {}");
    let mut begins = Vec::new();
    for way in ["random", "pieces", "contexts"] {
        place.run(&format!("{encoder}{}", stage.replace("WAY", way)));
        holds(&place.succeeds(&["check", "recipe.toml"]), &["again"]);
        let tokenizer = place.json("runs/tiny/model/tokenizer.json");
        assert_eq!(tokenizer["model"]["vocab"].as_object().unwrap().len(), 500);
        // The first of the last stage's four steps.
        let losses = losses_of(&place, "tiny");
        begins.push(losses[losses.len() - 4]);
    }
    // They start from different embeddings.
    assert!(begins[0] != begins[1] && begins[1] != begins[2], "{begins:?}");
}

/// ELECTRA: the generator that replaces tokens is not kept in the next stage.
#[test]
fn replaced_token_detection_trains_a_generator() {
    let place = Place::new();
    let recipe = trained()
        .replace("byte-bpe.vocabulary = 400", "word-piece.vocabulary = 300")
        .replace("autoregressive = {}", "replaced-token-detection = { weight = 5.0 }")
        .replace("language = {}", "causal = false\ngenerator = GENERATOR");
    let own = "{ width = 16, backbone = { layers = 1, heads = 2, final_norm = true } }";
    place.run(&recipe.replace("GENERATOR", own));
    let losses = losses_of(&place, "tiny");
    assert!(losses[losses.len() - 1] < losses[0], "{losses:?}");
    let next = "objective.masked = {}\ninit.model = \"runs/tiny\"";
    let masked = recipe.replace("GENERATOR", own).replace("name = \"tiny\"", "name = \"next\"");
    place.run(&masked.replace("objective.replaced-token-detection = { weight = 5.0 }", next));
    let config = place.read("runs/next/model/config.json");
    assert!(!config.contains("generator"), "{config}");
    let odd = recipe.replace("GENERATOR", &own.replace("heads = 2", "heads = 3"));
    place.refuses(&odd, &["generator.backbone.heads"]);
}
