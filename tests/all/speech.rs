//! Speech from a recipe to a transcript, and what is made of bad recordings.

use crate::support::{Place, holds};
use kiln_datasets::audio::Waveform;
use std::fs;

const RECIPE: &str = r#"
name = "words"
modality = "speech"

[data]
sources = [{ spoken = { sentences = "digits", size = 24, voices = 2 } }]
validation = 4

[model.parts]
audio = { sample_rate = 8000 }
width = 16
frontend.stem.log-mel = { channels = 16, spectrogram = { bins = 16, window = 200, hop = 80 } }
frontend.positions = { kernel = 4, groups = 2 }
backbone = { layers = 1, heads = 2, final_norm = true }
quantizer = { groups = 2, entries = 4, width = 8, projection = 8 }

[[stage]]
name = "pretrain"
objective.wav2vec2-contrastive = { spans = { probability = 0.5, length = 4, least = 1 }, negatives = 5 }
steps = 4
batch = 4
optimizer.adamw = { learning_rate = 1e-3 }

[[stage]]
name = "transcribe"
objective.supervised = {}
steps = 12
batch = 4
optimizer.adamw = { learning_rate = 1e-2 }
log_every = 1

[[evaluation]]
name = "others"
sources = [{ spoken = { sentences = "digits", size = 6, first_voice = 50, voices = 2 } }]
"#;

#[test]
fn from_a_recipe_to_a_transcript() {
    let place = Place::new();
    holds(&place.run(RECIPE), &["wer", "constant"]);
    for file in ["config.json", "vocab.json", "model.safetensors", "preprocessor_config.json"] {
        assert!(place.path("runs/words/model").join(file).exists(), "{file}");
    }
    holds(&place.read("runs/words/metrics.jsonl"), &["codebook_perplexity", "masked_share"]);

    tone(&place, "a.wav", 8000, 2.0);
    tone(&place, "b.wav", 44_100, 0.3);
    let transcribe =
        |more: &[&'static str]| [&["transcribe", "--model", "runs/words"][..], more].concat();
    let json = place.succeeds(&transcribe(&["a.wav", "--format", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["words"].is_array(), "{json}");
    place.succeeds(&transcribe(&["a.wav", "b.wav", "--format", "srt", "--out", "o"]));
    assert!(place.path("o/a.srt").exists() && place.path("o/b.srt").exists());
    assert!(place.succeeds(&["inspect", "runs/words"]).contains("8000 Hz"));

    // With a language model of what is said.
    place.file("said.txt", "one two three\ntwo three\nthree one\n");
    let counts = place.succeeds(&["data", "ngram", "said.txt", "--order", "2", "--out", "lm.arpa"]);
    assert!(counts.contains("3 sentences, 7 words"), "{counts}");
    place.succeeds(&transcribe(&["a.wav", "--lm", "lm.arpa", "--beam", "4"]));

    // What cannot be decoded is named, and what else was asked for is done.
    place.file("text.wav", "no sound at all");
    place.file("empty.wav", "");
    for file in ["text.wav", "empty.wav", "missing.wav"] {
        place.fails(&transcribe(&[file]), 2, &[file]);
    }
    let both = transcribe(&["text.wav", "b.wav"]);
    place.fails(&both, 2, &["1 of 2 recordings", "text.wav"]);
    place.fails(&["forecast", "--model", "runs/words", "--input", "said.txt", "-n", "2"], 2, &[]);
}

/// The recipe with recordings that `list.tsv` names in the place of spoken ones; `more` follows the
/// list in its source.
fn listed(more: &str) -> String {
    let spoken = r#"sources = [{ spoken = { sentences = "digits", size = 24, voices = 2 } }]"#;
    RECIPE.replace(spoken, &manifest(more))
}

fn manifest(more: &str) -> String {
    format!("sources = [{{ manifest = {{ list = {{ tsv.path = \"list.tsv\" }}{more} }} }}]")
}

#[test]
fn bad_recordings_are_passed_over_until_there_are_too_many() {
    let place = Place::new();
    fs::create_dir(place.path("clips")).unwrap();
    let mut table = String::from("path\ttext\n");
    for at in 0..20 {
        tone(&place, &format!("clips/{at}.wav"), 8000, 1.0);
        table += &format!("clips/{at}.wav\tone two\n");
    }
    let recipe = listed("").replace("validation = 4", "validation = 0\nbad_share = 0.1");
    place.file("words.toml", &recipe);
    let run = ["run", "words.toml", "--set", "stage.0.steps=1", "--overwrite"];
    // A file that is not there, and a transcript that is too long for its second.
    let long = "one two three four five six seven eight nine ".repeat(4);
    let few = format!("{table}clips/gone.wav\tone\nclips/3.wav\t{long}\n");
    place.file("list.tsv", &few);
    holds(&place.says(&run), &["passed over", "gone.wav"]);
    let many = (0..9).fold(few, |table, at| format!("{table}clips/gone-{at}.wav\tone\n"));
    place.file("list.tsv", &many);
    place.fails(&run, 2, &["recordings cannot be used", "data.bad_share"]);
}

/// Self-training with speakers and augmented spectrograms: a stage that learns from transcripts of
/// its own model.
#[test]
fn a_model_learns_from_its_own_transcripts() {
    let place = Place::new();
    fs::create_dir(place.path("clips")).unwrap();
    let mut table = String::from("path\ttext\tspeaker\n");
    for at in 0..12 {
        tone(&place, &format!("clips/{at}.wav"), 8000, 0.6);
        table += &format!("clips/{at}.wav\tone two\tvoice-{}\n", at % 3);
    }
    place.file("list.tsv", &table);
    let taught = format!(
        "name = \"again\"\nobjective.supervised = {{}}\nsteps = 2\nbatch = 2\n\
         optimizer.adamw = {{ learning_rate = 1e-3 }}\n\
         [stage.data]\n{}\nvalidation = 1\nspec_augment = {{ warp = [0.9, 1.1], masks = {{}} }}\n\
         [stage.data.self_training]\nconfidence = 0.0\n{}\n",
        manifest(", without = [\"voice-2\"]"),
        manifest(", speakers = [\"voice-2\"]"),
    );
    let recipe = listed(", without = [\"voice-2\"]")
        .replace("hop = 80", "hop = 80, range = 50, standardise = \"speaker\"")
        .replace("[[evaluation]]", &format!("[[stage]]\n{taught}\n[[evaluation]]"));
    place.file("words.toml", &recipe);
    holds(&place.says(&["run", "words.toml"]), &["of 4 recordings were transcribed"]);
    let files = ["clips/2.wav", "clips/5.wav", "--one-speaker"];
    let heard = place.succeeds(&[&["transcribe", "--model", "runs/words"][..], &files].concat());
    assert_eq!(heard.lines().count(), 2, "{heard}");
    // Before there is a model there is nothing to do it with.
    let set = "data.self_training.sources=[]";
    place.file("words.toml", RECIPE);
    place.fails(&["check", "words.toml", "--set", set], 2, &["self_training", "needs a model"]);
    let set = "data.spec_augment.masks.widest=2.0";
    place.fails(&["check", "words.toml", "--set", set], 2, &["masks.widest", "a share"]);
}

#[test]
fn variants_are_compared_in_one_table() {
    let place = Place::new();
    let variants = "[[variant]]\nname = 'start'\nhidden = true\nskip = [1]\n[[variant]]\nname = 'adapted'\n\
                from = 'start'\nskip = [0]\n[[variant]]\nname = 'scratch'\nskip = [0]\n";
    place.file("words.toml", &format!("{RECIPE}{variants}"));
    let checked = place.succeeds(&["check", "words.toml"]);
    assert_eq!(checked.matches("# variant: ").count(), 3, "{checked}");
    let table = place.succeeds(&["run", "words.toml"]);
    assert!(table.contains("adapted") && table.contains("scratch"), "{table}");
    assert!(!table.contains("start"), "{table}");
    assert!(place.path("runs/words/adapted/model/vocab.json").exists());
    assert!(place.path("runs/words/comparison.txt").exists());
    // All of it is there already.
    assert!(place.succeeds(&["run", "words.toml", "--resume"]).contains("adapted"));
}

/// A tone that comes and goes.
fn tone(place: &Place, name: &str, rate: u32, seconds: f64) {
    let count = (seconds * f64::from(rate)) as usize;
    let sample = |at: usize| {
        let time = at as f64 / f64::from(rate);
        let loud = (3.0 * time).sin().abs();
        (0.3 * loud * (2.0 * std::f64::consts::PI * 300.0 * time).sin()) as f32
    };
    let waveform = Waveform::new((0..count).map(sample).collect(), rate);
    waveform.write_wav(&place.path(name)).unwrap();
}
