//! Text models of every kind of corpus, mixture and order of documents, through the binary.

use crate::{
    matrix::{losses_of, mean},
    support::{Place, rated_texts},
};
use polars::prelude::{Column, DataFrame, ParquetWriter};
use std::{
    fs::{self, File},
    path::PathBuf,
};

/// A recipe over some data.
fn recipe(data: &str) -> String {
    format!(
        r#"name = "tiny"
modality = "text"

[data]
tokenizer.train.model.byte-bpe.vocabulary = 300
packing = {{ length = 24, cross = false }}
validation.documents.documents = 4
{data}

[model.parts]
width = 32
embedding = {{ positions = 64 }}
backbone = {{ layers = 1, heads = 2, final_norm = true }}
language = {{}}
initial_deviation = 0.02

[[stage]]
objective.autoregressive = {{}}
steps = 60
batch = 8
optimizer.adamw = {{ learning_rate = 1e-2 }}
schedule.constant = {{}}
checkpoint_every = 10
log_every = 1
"#
    )
}

fn documents(path: &str, more: &str) -> String {
    format!("{{ documents = {{ paths = [\"{path}\"]{more} }} }}")
}

/// Short documents, no two alike.
fn texts() -> Vec<String> {
    let whos = ["Anna", "Ben", "The miller", "A goat", "My aunt"];
    let whats = ["a red boat", "the old bell", "two coins", "some bread", "a map", "nothing"];
    let wheres = ["by the mill", "in the harbour", "at school"];
    let text = |n: usize| {
        let (who, what, place) = (whos[n % 5], whats[n % 6], wheres[n / 30 % 3]);
        format!("{who} saw {what} {place} and went home again.")
    };
    (0..90).map(text).collect()
}

fn jsonl(place: &Place, name: &str, rows: impl IntoIterator<Item = serde_json::Value>) -> PathBuf {
    let lines: String = rows.into_iter().map(|row| format!("{row}\n")).collect();
    place.file(name, &lines)
}

fn of_texts(place: &Place, name: &str, texts: &[String]) -> PathBuf {
    jsonl(place, name, texts.iter().map(|text| serde_json::json!({ "text": text })))
}

/// The losses of a recipe, which fall.
fn learns(place: &Place, recipe: &str) -> Vec<f64> {
    place.run(recipe);
    let losses = losses_of(place, "tiny");
    assert_eq!(losses.len(), 60);
    let (first, last) = (mean(&losses[..5]), mean(&losses[55..]));
    assert!(last < first - 1.0, "from {first} to {last}");
    losses
}

/// Killed on its way, a run ends with the bits of the one that was not.
fn resumes(place: &Place) {
    place.kills_and_resumes(20);
    let weights = |run: &str| fs::read(place.path(run).join("model/model.safetensors")).unwrap();
    assert!(weights("runs/tiny") == weights("killed"), "it goes on to other weights");
}

#[test]
fn a_corpus_is_the_same_in_every_format() {
    let place = Place::new();
    let texts = texts();
    of_texts(&place, "a.jsonl", &texts);
    place.file("a.txt", &texts.join("\n"));
    place.file("b.txt", &texts.join("\n\n"));
    let row = |(number, text): (usize, &String)| format!("{number}\t{text}\n");
    let rows: String = texts.iter().enumerate().map(row).collect();
    place.file("a.tsv", &format!("id\ttext\n{rows}"));
    place.file("a.csv", &format!("id,text\n{rows}").replace('\t', ","));
    fs::create_dir(place.path("folder")).unwrap();
    let mut shard = tar::Builder::new(File::create(place.path("a.tar")).unwrap());
    let name = |number: usize| format!("{number:04}.txt");
    for (number, text) in texts.iter().enumerate() {
        place.file(&format!("folder/{}", name(number)), text);
        shard.append_path_with_name(place.path("folder").join(name(number)), name(number)).unwrap();
    }
    shard.finish().unwrap();
    let mut frame = DataFrame::new(texts.len(), vec![Column::new("text".into(), &texts)]).unwrap();
    let parquet = File::create(place.path("a.parquet")).unwrap();
    ParquetWriter::new(parquet).finish(&mut frame).unwrap();

    let run = |path: &str, more: &str| {
        learns(&place, &recipe(&format!("sources = [{}]", documents(path, more))))
    };
    let expected = run("a.jsonl", "");
    for (path, more) in [
        ("a.txt", ", split = \"lines\""),
        ("b.txt", ", split = \"blank-lines\""),
        ("folder", ""),
        ("a.tsv", ""),
        ("a.csv", ""),
        ("a.tar", ""),
        ("a.parquet", ""),
    ] {
        assert_eq!(run(path, more), expected, "{path}");
    }
}

#[test]
fn a_mixture_changes_by_step() {
    let place = Place::new();
    of_texts(&place, "a.jsonl", &texts());
    let others: Vec<String> = (0..90).map(|n| format!("9{n}8 {}7 {n}{n} = 65{n}", n * n)).collect();
    place.file("b.tsv", &format!("text\n{}", others.join("\n")));
    let sources = [documents("a.jsonl", ""), documents("b.tsv", "")].join(", ");
    let mixed = |weights: &str| recipe(&format!("sources = [{sources}]\n{weights}"));
    let both = learns(&place, &mixed("weights = [1.0, 3.0]"));
    let phases = "weights = [1.0, 0.0]\nphases = [{ step = 30, weights = [0.0, 1.0] }]";
    let losses = learns(&place, &mixed(phases));
    resumes(&place);
    // What was never seen is a surprise, once.
    let (before, at, later) = (mean(&losses[27..30]), losses[30], mean(&losses[57..]));
    assert!(at > before + 1.0 && at > later + 1.0, "{before}, {at}, {later}");
    // From the first step on seen beside the other it is none.
    assert!((30..60).all(|step| both[step] < at), "{both:?}");
    place.file("bad.toml", &mixed("weights = [1.0]"));
    place.fails(&["run", "bad.toml", "--overwrite"], 2, &["1 weights", "2 sources"]);
}

#[test]
fn easy_documents_come_first() {
    let place = Place::new();
    let easy = (0..160).map(|n| format!("la la la la la la la la{}", [".", "!"][n % 2]));
    let hard = (0..160).map(|n| format!("x{} z{}", n * 31, n * 17));
    let texts: Vec<String> = easy.zip(hard).flat_map(|(easy, hard)| [hard, easy]).collect();
    of_texts(&place, "a.jsonl", &texts);
    let source = documents("a.jsonl", "");
    for by in ["compression", "diversity"] {
        let order = format!("sources = [{source}]\norder = {{ by = \"{by}\" }}");
        place.run(&recipe(&order).replace("steps = 60", "steps = 39"));
        let losses = losses_of(&place, "tiny");
        // Half of the documents, but for those that are kept, are 19 or 20 steps.
        let (before, behind) = (mean(&losses[14..18]), mean(&losses[21..24]));
        assert!(behind > before + 1.0, "{by}: {before}, then {behind}");
    }
    resumes(&place);
    let two = format!("sources = [{source}, {source}]\norder = {{ by = \"mtld\" }}");
    place.refuses(&recipe(&two), &["data.order", "one source"]);
}

/// Where a document comes from is random here: who tried to learn it would not get far.
#[test]
fn of_metadata_nothing_is_learned() {
    let place = Place::new();
    let by = |n: u64| format!("{:08x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32);
    let row = |n| serde_json::json!({ "text": "la la la la", "by": by(n) });
    jsonl(&place, "a.jsonl", (0..90).map(row));
    let before = ", before = [{ text = \"{by}: \" }]";
    let [told, bare] = [before, ""].map(|more| documents("a.jsonl", more));
    let views = format!("sources = [{told}, {bare}]\nweights = [1.0, 0.0]\n");
    let evaluation = |source: usize| {
        format!(
            "\n[[evaluation]]\nname = \"view {source}\"\nkind.language = {{ source = {source} }}\n"
        )
    };
    let cooled = "phases = [{ step = 30, weights = [0.0, 1.0] }]";
    let text = recipe(&(views + cooled)) + &evaluation(0) + &evaluation(1);
    let losses = learns(&place, &text);
    resumes(&place);
    let last = mean(&losses[25..30]);
    assert!(last < 0.6, "{last}");
    let results = place.json("runs/tiny/results.json");
    let nats = |view: &str| {
        let is =
            |row: &&serde_json::Value| row["dataset"] == view && row["metric"] == "cross-entropy";
        results.as_array().unwrap().iter().find(is).unwrap()["value"].as_f64().unwrap()
    };
    // Read alone at the end, it is known best alone.
    assert!(nats("view 1") < 0.5 && nats("view 0") > nats("view 1"), "{results}");
    let beyond = text.replace("source = 1 }", "source = 2 }");
    place.refuses(&beyond, &["`data.sources` of the last stage"]);
}

/// Texts are told to be good or bad, and measured as good ones.
#[test]
fn good_and_bad_are_told() {
    let place = Place::new();
    place.file("a.tsv", &rated_texts(80));
    let data = "[data.labelled]\nlength = 24\nheld.count = 20\ncontrol = { least = 0.5 }\n\
                train.texts = { files = { paths = [\"a.tsv\"] } }";
    let text = recipe(data)
        .replace("tokenizer.train.model.byte-bpe.vocabulary = 300", TOLD_APART)
        .replace("autoregressive = {}", "reward-weighted.rwr = 1000.0")
        + "\n[[evaluation]]\nname = \"held out\"\nkind.task = {}\n";
    learns(&place, &text);
    // As a good text a bad one is unlikely.
    let row = &place.json("runs/tiny/results.json")[0];
    assert!(row["metric"] == "spearman" && row["value"].as_f64() > Some(0.6), "{row}");
    let supervised = text.replace("reward-weighted.rwr = 1000.0", "supervised = {}");
    place.refuses(&supervised, &["data.labelled.control", "reward-weighted"]);
}

const TOLD_APART: &str = "tokenizer.train = { model.byte-bpe = { vocabulary = 300 }, \
                          additional = [\"<|good|>\", \"<|bad|>\"] }";
