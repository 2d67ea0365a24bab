//! Text from a recipe to new text, and what is made of bad files.

use crate::support::Place;
use std::{fs, process::Stdio, thread::sleep, time::Duration};

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
    place.file("tiny.toml", &adapted(adapt));
    let plan = place.succeeds(&["check", "tiny.toml"]);
    assert!(plan.contains("adapt"), "{plan}");
    place.succeeds(&["run", "tiny.toml", "--dir", "whole"]);
    let files =
        ["model.safetensors", "adapter/kiln_adapter.json", "adapter/kiln_adapter.safetensors"];
    for file in files {
        assert!(place.path("whole/model").join(file).exists(), "{file}");
    }
    // Killed while it trains the adapters, a run goes on to the same bits.
    let words = ["run", "tiny.toml", "--resume", "--dir", "killed"];
    let mut child =
        place.command(&words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while !place.path("killed/checkpoints/step-18").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    place.succeeds(&words);
    for file in files {
        let [whole, killed] = ["whole", "killed"]
            .map(|run| fs::read(place.path(run).join("model").join(file)).unwrap());
        assert!(whole == killed, "{file}");
    }
    place.succeeds(&["generate", "--model", "whole", "--most", "12", "--prompt", "One"]);
    let evaluate = |run: &str| place.succeeds(&["evaluate", "--model", run, "tiny.toml"]);
    assert_eq!(evaluate("whole"), evaluate("killed"));
    fs::remove_dir_all(place.path("killed/model/adapter")).unwrap();
    assert_ne!(evaluate("whole"), evaluate("killed"), "what lies beside the model is read");
}

#[test]
fn an_adapter_is_given_as_a_model() {
    let place = Place::new();
    place.file("tiny.toml", &adapted("{ lora = { rank = 4, modules = [\"*.attention.*\"] } }"));
    place.succeeds(&["run", "tiny.toml"]);
    let generate = |model: &str| {
        place.succeeds(&["generate", "--model", model, "--most", "12", "--prompt", "One"])
    };
    assert_eq!(generate("runs/tiny"), generate("runs/tiny/model/adapter"));
    place.file("bad.toml", &adapted("{ lora = { modules = [\"*.quary\"] } }"));
    place.fails(&["check", "bad.toml"], 2, &["*.quary", "attention.query"]);
}
