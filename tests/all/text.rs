//! Text from a recipe to new text, and what is made of bad files.

use crate::support::Place;
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
kind.samples = { prompts = ["One"], generation = { most = 8 } }
"#;

#[test]
fn from_a_recipe_to_new_text() {
    let place = Place::new();
    place.file("tiny.toml", RECIPE);
    let table = place.succeeds(&["run", "tiny.toml"]);
    for expected in ["perplexity", "bits-per-byte", "unigram", "trigram"] {
        assert!(table.contains(expected), "{table}");
    }
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        assert!(place.path("runs/tiny/model").join(file).exists(), "{file}");
    }
    let metrics = fs::read_to_string(place.path("runs/tiny/metrics.jsonl")).unwrap();
    let losses: Vec<f64> = metrics
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64()
        })
        .collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
    assert!(last < first - 0.5, "from {first} to {last}");
    assert!(fs::read_to_string(place.path("runs/tiny/report.html")).unwrap().contains("[One]"));

    let generate = |more: &[&str]| {
        place.succeeds(&[&["generate", "--model", "runs/tiny", "--most", "12"][..], more].concat())
    };
    let greedy = generate(&["--prompt", "One"]);
    assert_eq!(greedy, generate(&["--prompt", "One"]));
    let drawn = ["--prompt", "One", "--temperature", "2", "--seed", "1"];
    assert_eq!(generate(&drawn), generate(&drawn));
    assert_ne!(generate(&drawn), greedy);
    generate(&["--prompt", "One", "--beam", "3"]);
    place.file("prompts.txt", "One\nA bird\n");
    let lines = generate(&["--prompts", "prompts.txt", "--json"]);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["prompt"], "One");
    // In company a text is what it is alone.
    assert_eq!(first["text"].as_str().unwrap().trim_end(), greedy.trim_end());
    let evaluated = place.succeeds(&["evaluate", "--model", "runs/tiny"]);
    assert!(evaluated.contains("trigram"), "{evaluated}");
    assert!(place.succeeds(&["inspect", "runs/tiny"]).contains("400 tokens"));
}

#[test]
fn masked_training_hides_whole_words() {
    let place = Place::new();
    let masked = RECIPE
        .replace("byte-bpe.vocabulary = 400", "word-piece = { vocabulary = 300, lowercase = true }")
        .replace("packing = { length = 32 }", "packing = { length = 32, borders = \"around\" }")
        .replace("width = 32", "width = 32\ncausal = false")
        .replace(
            "objective.autoregressive = {}",
            "objective.masked = { whole_words = true, random = 0.1, kept = 0.1 }",
        );
    let masked = &masked[..masked.find("[[evaluation]]").unwrap()];
    place.file("tiny.toml", masked);
    place.succeeds(&["run", "tiny.toml"]);
    let metrics = fs::read_to_string(place.path("runs/tiny/metrics.jsonl")).unwrap();
    assert!(metrics.contains("masked_share"), "{metrics}");
    let generate = ["generate", "--model", "runs/tiny", "--prompt", "One"];
    place.fails(&generate, 2, &["writes nothing"]);
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
    // A tokenizer without a mask cannot hide.
    let hides = "objective.masked = {}\n";
    let encoder = RECIPE.replace("width = 32", "width = 32\ncausal = false");
    let without =
        "tokenizer.train = { model.byte-bpe = { vocabulary = 400 }, special.mask = \"\" }";
    let encoder = encoder.replace("tokenizer.train.model.byte-bpe.vocabulary = 400", without);
    let encoder = encoder.replace("objective.autoregressive = {}\n", hides);
    place.file("bad.toml", &encoder);
    place.fails(&["run", "bad.toml"], 2, &["evaluation", "writes on"]);
    place.file("bad.toml", &encoder[..encoder.find("[[evaluation]]").unwrap()]);
    place.fails(&["run", "bad.toml", "--overwrite"], 2, &["mask"]);
}
