//! Objectives meet models of every modality through recipes alone: each combination that makes sense
//! trains, is killed, goes on to the same bits and has learned; each that makes none is refused with
//! the reason.

use crate::support::{Place, waves};
use std::{
    fs,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

/// A modality's part of a cell: its recipe but for the stage's objective.
struct Modality {
    name: &'static str,
    /// Of a supervised cell, where that wants other data.
    labelled: &'static str,
    data: &'static str,
    model: &'static str,
    /// The predicted token is so far ahead.
    ahead: usize,
}

const MODALITIES: [Modality; 3] = [
    Modality {
        name: "timeseries",
        labelled: "",
        data: "[data.table]\nsource = { path = \"series.csv\", time = \"day\" }\n",
        model: "context = 24\nhorizon = 4\nwidth = 8\nscaler.kind.prefix = 2\n\
                frontend.patch = 4\nbackbone.transformer = { layers = 2 }\nforecast = {}\n\
                token = {}\n",
        ahead: 1,
    },
    Modality {
        name: "speech",
        labelled: "",
        data: "[data]\nsources = [{ spoken = { sentences = \"digits\", size = 24, voices = 2 } }]\n\
               validation = 4\n",
        model: "audio = { sample_rate = 8000 }\nwidth = 16\nfrontend.stem.log-mel = { channels = 16, \
                spectrogram = { bins = 16, window = 200, hop = 80 } }\n\
                frontend.positions = { kernel = 1, groups = 1 }\n\
                backbone = { layers = 2, heads = 2, final_norm = true, positions = { rotary = {} } }\n\
                token.log-mel = { bins = 16, window = 200, hop = 80 }\n",
        ahead: 2,
    },
    Modality {
        name: "text",
        labelled: "[data]\ntokenizer.train.model.word-piece.vocabulary = 300\n\
                   [data.labelled]\nlength = 32\n\
                   train.stories = { task = \"tags\", stories = { size = 60 } }\n",
        data: "[data]\ntokenizer.train = { model.word-piece.vocabulary = 300, sentinels = 24 }\n\
               sources = [{ stories = { size = 60 } }]\npacking = { length = 32 }\n\
               validation.documents.documents = 4\n",
        model: "width = 16\nembedding = { positions = 64 }\n\
                backbone = { layers = 2, heads = 2, final_norm = true }\n",
        ahead: 1,
    },
];

/// An objective of a cell.
struct Setting {
    /// Its settings.
    settings: String,
    /// The rows that text learns it from, where that is not plain text.
    rows: &'static str,
    /// Whether 40 steps are enough for its loss to fall.
    falls: bool,
    learning_rate: f64,
}

/// The settings of an objective where a token is predicted so far ahead. Each that there is must be
/// here.
fn setting(objective: &str, ahead: usize) -> Setting {
    let plain = |settings: &str| Setting {
        settings: settings.into(),
        rows: "",
        falls: true,
        learning_rate: 1e-2,
    };
    let of = |settings: &str, rows| Setting { rows, ..plain(settings) };
    match objective {
        "supervised" => of("{}", "\"tags\""),
        "masked" | "denoising" | "permuted-lm" | "retromae" | "diffusion" => plain("{}"),
        "autoregressive" => plain(&format!("{{ ahead = {ahead} }}")),
        "wav2vec2-contrastive" => {
            plain("{ spans = { probability = 0.5, length = 2, least = 1 }, negatives = 5 }")
        }
        // At 1e-2 the embeddings of eight texts move too far in a step.
        "info-nce" => {
            Setting { learning_rate: 3e-3, ..plain("{ views.masked = { ratio = 0.3 } }") }
        }
        "cosent" => of("{}", "\"similarity\""),
        "cross-encoder" => of("{ softmax = {} }", "retrieval"),
        "self-distillation" => plain("{ blocks = 2, decay = 0.9, masked = { ratio = 0.4 } }"),
        "replaced-token-detection" => plain("{ weight = 5.0 }"),
        "dpo" => of("{}", "\"preferences\""),
        // What is sampled is hardly ever right after so few steps.
        "grpo" => Setting {
            falls: false,
            ..of("{ num_generations = 2, max_new_tokens = 4 }", "\"conversations\"")
        },
        "reward-weighted" => of("{ rwr = 1.0 }", "rated"),
        "pretext" => plain("{ tasks = { moving-average = 1.0 } }"),
        "mixture" => plain(&format!(
            "{{ sum = true, parts = [{{ objective.autoregressive = {{ ahead = {ahead} }} }}, \
             {{ objective.info-nce = {{ views.masked = {{ ratio = 0.3 }} }}, weight = 0.1 }}] }}"
        )),
        other => panic!("the matrix has no settings for `{other}`"),
    }
}

/// What labelled text is by default.
const STORIES: &str = "stories = { task = \"tags\", stories = { size = 60 } }";

/// Steps of a cell.
const STEPS: usize = 40;

/// The recipe of a cell with these settings of an objective.
fn cell(modality: &Modality, objective: &str, settings: &str, causal: bool) -> String {
    let Modality { name, labelled, data, model, .. } = modality;
    let Setting { rows, learning_rate, .. } = setting(objective, 1);
    let data = match rows {
        "" => (*data).to_owned(),
        _ if labelled.is_empty() => (*data).to_owned(),
        "rated" => labelled.replace(STORIES, "texts = { files = { paths = [\"rated.tsv\"] } }"),
        "retrieval" => labelled.replace(
            STORIES,
            "retrieval = { source.stories = { stories.size = 60, queries = 40 }, hard = 0, \
             random = 2 }",
        ),
        rows => labelled.replace("\"tags\"", rows),
    };
    // One vector is of one text.
    let alone = ["info-nce", "retromae", "mixture"].contains(&objective);
    let packing = if alone { "length = 32, cross = false" } else { "length = 32" };
    // A conversation of stories is longer than the other rows.
    let chat = ["\"preferences\"", "\"conversations\""].contains(&rows);
    let length = if chat { 320 } else { 32 };
    let model = model.replace("positions = 64", &format!("positions = {}", 2 * length));
    let additional = "additional = [\"<|im_start|>\", \"<|im_end|>\"]";
    let turns = format!("tokenizer.train.{additional}\n[data.labelled]\nlength = {length}");
    let data = if chat {
        data.replace("[data.labelled]\nlength = 32", &turns)
    } else {
        data.replace("length = 32", packing)
    };
    let labels = match (*name, objective) {
        ("timeseries", "pretext") => "labels = [{ moving-average = [2, 4] }]\n",
        _ => "",
    };
    format!(
        "name = \"cell\"\nmodality = \"{name}\"\n{data}[model.parts]\n{model}{labels}causal = {causal}\n\
         [[stage]]\nobjective.{objective} = {settings}\nsteps = {STEPS}\nbatch = 8\n\
         optimizer.adamw = {{ learning_rate = {learning_rate} }}\ncheckpoint_every = 10\nlog_every = 1\n"
    )
}

/// What becomes of a cell: `trains`, or the reason why it is refused.
fn outcome(modality: &Modality, objective: &str, causal: bool, rose: &mut Vec<String>) -> String {
    let Setting { settings, falls, .. } = setting(objective, modality.ahead);
    let place = Place::new();
    place.file("series.csv", &waves(160));
    place.file("rated.tsv", &rated());
    place.file("cell.toml", &cell(modality, objective, &settings, causal));
    let named = format!("{} {objective}, causal: {causal}", modality.name);
    if place.kiln(&["check", "cell.toml"]).status.code() != Some(0) {
        let raw = place.fails(&["check", "cell.toml"], 2, &["cell.toml", objective]);
        return reason(&raw).unwrap_or_else(|| panic!("{named}: no reason in\n{raw}"));
    }
    place.succeeds(&["run", "cell.toml"]);
    let losses = losses(&place);
    assert_eq!(losses.len(), STEPS, "{named}");
    assert!(losses.iter().all(|loss| loss.is_finite()), "{named}: {losses:?}");
    let (first, last) = (mean(&losses[..8]), mean(&losses[STEPS - 8..]));
    if last >= first && falls {
        rose.push(format!("{named}: {first} to {last}"));
    }
    let weights = |run: &str| fs::read(place.path(run).join("model/model.safetensors")).unwrap();
    killed_after(&place, "checkpoints/step-10");
    place.succeeds(&["run", "cell.toml", "--resume", "--dir", "killed"]);
    assert!(weights("killed") == weights("runs/cell"), "{named}: resumed to other weights");
    "trains".into()
}

/// The reason in a message: what follows the objective's name in backticks.
fn reason(raw: &str) -> Option<String> {
    let text = raw.replace(['│', '╰', '├', '─', '▶', '×'], " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let begin = text.match_indices(" `").map(|(at, _)| at).find(|at| {
        [
            "` needs ",
            "` trains ",
            "` encodes ",
            "` learns ",
            "` predicts ",
            "` permutes ",
            "` samples ",
        ]
        .iter()
        .any(|verb| {
            text[at + 2..]
                .split_once('`')
                .is_some_and(|(_, rest)| format!("`{rest}").starts_with(verb))
        })
    })?;
    let rest = text[begin + 2..].split_once("` ")?.1;
    // A message ends where its place in the recipe begins.
    let end = [" [cell.toml", " ╭", " , cell.toml"].iter().filter_map(|end| rest.find(end)).min();
    Some(rest[..end.unwrap_or(rest.len())].trim().replace('|', "\\|"))
}

fn rated() -> String {
    let rows = (0..40).map(|row| {
        let good = row % 2;
        format!("{good}\t{} boat in the harbour number {row}\n", ["a sad", "a red"][good])
    });
    format!("label\ttext\n{}", rows.collect::<String>())
}

/// Each objective that there is, on each modality, for encoders and causal decoders: it is refused
/// with a reason, or it trains, resumes to the same bits and saves. The table is kept in the docs;
/// with `KILN_BLESS` set it is written there.
#[test]
fn every_objective_on_every_modality_trains_or_is_refused_with_the_reason() {
    let mut notes: Vec<String> = Vec::new();
    let mut rose = Vec::new();
    let mut table = String::from("| objective |");
    for modality in &MODALITIES {
        table += &format!(" {} | {}, causal |", modality.name, modality.name);
    }
    table += &format!("\n|{}\n", " --- |".repeat(1 + 2 * MODALITIES.len()));
    for objective in kiln_objectives::NAMES {
        table += &format!("| `{objective}` |");
        for modality in &MODALITIES {
            for causal in [false, true] {
                let found = outcome(modality, objective, causal, &mut rose);
                if found == "trains" {
                    table += " trains |";
                    continue;
                }
                let known = notes.iter().position(|note| *note == found);
                let number = known.unwrap_or_else(|| {
                    notes.push(found);
                    notes.len() - 1
                });
                table += &format!(" refused ({}) |", number + 1);
            }
        }
        table += "\n";
    }
    let notes = notes.iter().enumerate().map(|(at, note)| format!("{}. {note}\n", at + 1));
    let page = format!("{PAGE}\n{table}\nRefused because it\n\n{}", notes.collect::<String>());
    println!("{page}");
    assert!(rose.is_empty(), "losses that do not fall: {rose:#?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/matrix.md");
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(path, &page).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(page, kept, "docs/matrix.md is out of date: run this test with KILN_BLESS=1");
}

/// The head of the table's page.
const PAGE: &str = "\
# Objectives and modalities

Each objective on each modality, with small models that attend to both sides or are causal. Where it
trains, a test sees that its loss falls, that a killed run resumes to the same bits, and that the model
is saved; where it is refused, `kiln check` says why. This page is written by the test `matrix` of
`tests/all`, from the list of objectives in `kiln-objectives`.
";

/// Each part of a mixture has the head that it trains.
#[test]
fn parts_of_mixtures_have_their_heads() {
    let place = Place::new();
    place.file("series.csv", &waves(160));
    let masked = "{ objective.masked = { ratio = 0.3 } }";
    let mixed = format!("{{ sum = true, parts = [{masked}, {{ objective.supervised = {{}} }}] }}");
    for (modality, heads) in
        [(&MODALITIES[0], ["forecast", "token"]), (&MODALITIES[1], ["ctc", "token"])]
    {
        place.file("cell.toml", &cell(modality, "mixture", &mixed, false));
        place.succeeds(&["run", "cell.toml", "--overwrite"]);
        let config = fs::read_to_string(place.path("runs/cell/model/config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        for head in heads {
            assert!(config["model"][head].is_object(), "{head}: {config}");
        }
    }
}

/// Words of a lexicon are hidden before others.
#[test]
fn a_lexicon_guides_what_is_hidden() {
    let place = Place::new();
    let guided = cell(&MODALITIES[2], "masked", "{ ratio = 0.3, lexicon = 0.7 }", false).replace(
        "packing",
        "lexicon = { paths = [\"words.txt\"], words = [\"harbour\"] }\npacking",
    );
    place.file("cell.toml", &guided);
    place.fails(&["check", "cell.toml"], 2, &["words.txt"]);
    place.file("words.txt", "boat\nmarket\n");
    place.succeeds(&["run", "cell.toml"]);
    let losses = losses(&place);
    assert!(mean(&losses[STEPS - 8..]) < mean(&losses[..8]));
}

/// A language model's blocks between a frontend and heads for series: what they read is new, and
/// adapters or freezing leave what they know as it is.
#[test]
fn language_models_forecast() {
    let text = &MODALITIES[2];
    let series = MODALITIES[0].data;
    let place = Place::new();
    place.file("series.csv", &waves(160));
    for (name, objective, causal) in
        [("decoder", "autoregressive", true), ("encoder", "masked", false)]
    {
        let words = cell(text, objective, "{}", causal).replace("\"cell\"", &format!("\"{name}\""));
        place.file("words.toml", &words);
        place.succeeds(&["run", "words.toml"]);
        let together = "channels = 2, frontend.joint = true, ";
        for (objective, held, channels) in [
            ("supervised = {}", "", ""),
            ("supervised = {}", "freeze = [\"backbone.*\"]\n", together),
            ("autoregressive = {}", "adapt.lora = { rank = 2 }\n", ""),
            ("autoregressive = {}", "", together),
        ] {
            let recipe = format!(
                "name = \"series\"\nmodality = \"timeseries\"\n{series}[model.language]\n\
                 directory = \"runs/{name}\"\nlayers = 1\n\
                 parts = {{ context = 24, horizon = 4, {channels}scaler.kind.prefix = 2, \
                 frontend.patch = 4, forecast = {{}}, token = {{}} }}\n[[stage]]\nobjective.{objective}\n{held}\
                 steps = {STEPS}\nbatch = 8\noptimizer.adamw = {{ learning_rate = 1e-2 }}\n\
                 log_every = 1\n"
            );
            place.file("series.toml", &recipe);
            let planned = place.succeeds(&["check", "series.toml"]);
            assert!(planned.contains("parameters"), "{planned}");
            place.succeeds(&["run", "series.toml", "--overwrite"]);
            let losses = losses_of(&place, "series");
            let (first, last) = (mean(&losses[..8]), mean(&losses[STEPS - 8..]));
            assert!(last < first, "{name}, {objective}, {held}{channels}: {first} to {last}");
            let forecast = ["forecast", "--model", "runs/series", "--input", "series.csv"];
            let more = ["--time", "day", "--horizon", "4", "--out", "out.csv", "--target", "a"];
            let one = [&forecast[..], &more].concat();
            if channels.is_empty() {
                place.succeeds(&one);
            } else {
                place.fails(&one, 2, &["2 channels"]);
                place.succeeds(&[&one[..], &["--target", "b"]].concat());
            }
        }
    }
    let wrong = "name = \"series\"\nmodality = \"timeseries\"\n[data.table]\n\
                 source = { path = \"series.csv\", time = \"day\" }\n[model.language]\n\
                 directory = \"runs/series\"\nparts = { context = 24, horizon = 4 }\n[[stage]]\n\
                 objective.supervised = {}\nsteps = 2\nbatch = 2\n";
    place.file("series.toml", wrong);
    place.fails(&["check", "series.toml"], 2, &["expected bert or"]);
}

/// Kills the run `killed` as soon as a file of it is there.
fn killed_after(place: &Place, file: &str) {
    let words = ["run", "cell.toml", "--dir", "killed"];
    let mut child =
        place.command(&words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !place.path("killed").join(file).exists() && begun.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(place.path("killed").join(file).exists());
}

#[test]
fn mixers_meet_the_objectives_that_need_no_order() {
    for objective in [
        "supervised = {}",
        "masked = {}",
        "autoregressive = {}",
        "pretext.tasks = { moving-average = 1.0 }",
    ] {
        let place = Place::new();
        place.file("series.csv", &waves(160));
        place.file("cell.toml", &recipe(objective, "mixer"));
        if objective.starts_with("autoregressive") {
            place.fails(&["check", "cell.toml"], 2, &["cell.toml", "kept from seeing later ones"]);
            continue;
        }
        place.succeeds(&["run", "cell.toml"]);
        let losses = losses(&place);
        let (first, last) = (mean(&losses[..10]), mean(&losses[losses.len() - 10..]));
        assert!(last < first, "{objective}: {first} to {last}");
    }
}

fn recipe(objective: &str, backbone: &str) -> String {
    format!(
        r#"name = "cell"
modality = "timeseries"

[data.table]
source = {{ path = "series.csv", time = "day" }}

[model.parts]
context = 24
horizon = 4
width = 8
frontend.patch = 4
backbone.{backbone} = {{ layers = 1 }}
forecast = {{}}
token = {{}}
labels = [{{ series = 2 }}, {{ moving-average = [3, 6] }}]

[[stage]]
objective.{objective}
steps = 60
batch = 16
optimizer.adamw = {{ learning_rate = 1e-2 }}
log_every = 1
"#
    )
}

#[test]
fn half_precision_learns_nearly_the_same() {
    for backbone in ["transformer", "mixer"] {
        let [full, half] = ["f32", "bf16"].map(|precision| {
            let place = Place::new();
            place.file("series.csv", &waves(160));
            place.file("cell.toml", &recipe("supervised = {}", backbone));
            let precision = format!("stage.0.precision={precision}");
            place.succeeds(&["run", "cell.toml", "--set", &precision]);
            losses(&place)
        });
        assert_ne!(full, half, "{backbone}: half precision rounds");
        let apart: Vec<f64> = full.iter().zip(&half).map(|(f, h)| (f - h).abs() / f).collect();
        assert!(mean(&apart) < 0.03, "{backbone}: {full:?} and {half:?}");
    }
}

/// The losses of the run `cell`, step by step.
fn losses(place: &Place) -> Vec<f64> {
    losses_of(place, "cell")
}

/// The losses of a run, step by step.
pub fn losses_of(place: &Place, run: &str) -> Vec<f64> {
    let metrics = fs::read_to_string(place.path(&format!("runs/{run}/metrics.jsonl"))).unwrap();
    metrics
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["kind"] == "step")
        .filter_map(|line| line["loss"].as_f64())
        .collect()
}

/// Their mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
