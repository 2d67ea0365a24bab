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
kind.samples = { prompts = ["One"], generation = { max_new_tokens = 8 } }
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
fn a_model_brings_its_tokenizer() {
    let place = Place::new();
    let recipe =
        RECIPE[..RECIPE.find("[[evaluation]]").unwrap()].replace("steps = 60", "steps = 3");
    place.file("tiny.toml", &recipe);
    place.succeeds(&["run", "tiny.toml"]);
    let next = recipe
        .replace("name = \"tiny\"", "name = \"next\"")
        .replace("tokenizer.train.model.byte-bpe.vocabulary = 400\n", "");
    place.file("next.toml", &next);
    place.fails(&["check", "next.toml"], 2, &["`data.tokenizer` is missing"]);
    place.file("next.toml", &next.replace("[[stage]]", "[[stage]]\ninit.model = \"runs/tiny\""));
    place.succeeds(&["check", "next.toml"]);
    place.succeeds(&["run", "next.toml"]);
    assert!(place.succeeds(&["inspect", "runs/next"]).contains("400 tokens"));
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
            "objective.masked = { whole_words = true, random_replacement = 0.1, keep_unchanged = 0.1 }",
        );
    let masked = &masked[..masked.find("[[evaluation]]").unwrap()];
    place.file("tiny.toml", masked);
    place.succeeds(&["run", "tiny.toml"]);
    let metrics = fs::read_to_string(place.path("runs/tiny/metrics.jsonl")).unwrap();
    assert!(metrics.contains("masked_share"), "{metrics}");
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
    place.succeeds(&["generate", "--model", "whole", "--max-new-tokens", "12", "--prompt", "One"]);
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
        place.succeeds(&["generate", "--model", model, "--max-new-tokens", "12", "--prompt", "One"])
    };
    assert_eq!(generate("runs/tiny"), generate("runs/tiny/model/adapter"));
    place.file("bad.toml", &adapted("{ lora = { modules = [\"*.quary\"] } }"));
    place.fails(&["check", "bad.toml"], 2, &["*.quary", "attention.query"]);
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
    place.file("tiny.toml", &causal.replace("WAY", "contexts"));
    place.fails(&["check", "tiny.toml"], 2, &["data.new_tokens", "encoders"]);
    let encoder = RECIPE[..RECIPE.find("[[evaluation]]").unwrap()]
        .replace("autoregressive = {}", "masked = {}")
        .replace("language = {}", "causal = false\nlanguage = {}");
    let mut begins = Vec::new();
    for way in ["random", "pieces", "contexts"] {
        place.file("tiny.toml", &format!("{encoder}{}", stage.replace("WAY", way)));
        let plan = place.succeeds(&["check", "tiny.toml"]);
        assert!(plan.contains("again"), "{plan}");
        place.succeeds(&["run", "tiny.toml", "--overwrite"]);
        let tokenizer = fs::read_to_string(place.path("runs/tiny/model/tokenizer.json")).unwrap();
        let tokenizer: serde_json::Value = serde_json::from_str(&tokenizer).unwrap();
        assert_eq!(tokenizer["model"]["vocab"].as_object().unwrap().len(), 500);
        let metrics = fs::read_to_string(place.path("runs/tiny/metrics.jsonl")).unwrap();
        let steps = metrics.lines().filter_map(|line| serde_json::from_str(line).ok());
        let loss = |line: serde_json::Value| {
            let last = line["kind"] == "step" && line["stage"] == "again";
            line["loss"].as_f64().filter(|_| last)
        };
        begins.push(steps.filter_map(loss).next().unwrap());
    }
    // They begin elsewhere.
    assert!(begins[0] != begins[1] && begins[1] != begins[2], "{begins:?}");
}

/// Tokens are replaced by a generator of the model's own, which is not kept.
#[test]
fn a_generator_proposes_what_is_replaced() {
    let place = Place::new();
    let recipe = RECIPE[..RECIPE.find("[[evaluation]]").unwrap()]
        .replace("byte-bpe.vocabulary = 400", "word-piece.vocabulary = 300")
        .replace("autoregressive = {}", "replaced-token-detection = { weight = 5.0 }")
        .replace("language = {}", "causal = false\ngenerator = GENERATOR");
    let own = "{ width = 16, backbone = { layers = 1, heads = 2, final_norm = true } }";
    place.file("tiny.toml", &recipe.replace("GENERATOR", own));
    place.succeeds(&["run", "tiny.toml"]);
    let metrics = fs::read_to_string(place.path("runs/tiny/metrics.jsonl")).unwrap();
    let losses: Vec<f64> = metrics
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["loss"].as_f64())
        .collect();
    assert!(losses[losses.len() - 1] < losses[0], "{losses:?}");
    let next = "objective.masked = {}\ninit.model = \"runs/tiny\"";
    let masked = recipe.replace("GENERATOR", own).replace("name = \"tiny\"", "name = \"next\"");
    place.file(
        "next.toml",
        &masked.replace("objective.replaced-token-detection = { weight = 5.0 }", next),
    );
    place.succeeds(&["run", "next.toml"]);
    let config = fs::read_to_string(place.path("runs/next/model/config.json")).unwrap();
    assert!(!config.contains("generator"), "{config}");
    place.file("bad.toml", &recipe.replace("GENERATOR", &own.replace("heads = 2", "heads = 3")));
    place.fails(&["check", "bad.toml"], 2, &["generator.backbone.heads"]);
}
