//! What the commands of text do with models that were trained for it, as far as a small one shows.

use crate::support::{Place, joined, lines, text, text_recipe};
use kiln_datasets::vectors::read_parquet;
use serde_json::{Value, json};
use std::fs;

/// A model of one small block, trained for a second.
fn recipe(name: &str, data: &str, model: &str, stage: &str) -> String {
    let parts = format!("embedding = {{ positions = 64 }}\n{model}");
    text_recipe(name, data, &parts, stage)
        .replace("batch = 4", "batch = 8")
        .replace("learning_rate = 1e-2", "learning_rate = 2e-2")
}

/// Numbers of a list.
fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// An encoder that was taught whether a second text follows from the first.
fn pairs() -> Place {
    let place = Place::new();
    let row = |n: usize| {
        let wet = n.is_multiple_of(2);
        let street = if wet { "the street is wet" } else { "the street is dry" };
        format!("{}\tit rains in Brel\t{street}\n", if wet { "follows" } else { "contradicts" })
    };
    let rows: String = (0..60).map(row).collect();
    place.file("rows.tsv", &format!("label\ttext_a\ttext_b\n{rows}"));
    let data = "tokenizer.train.model.word-piece = { vocabulary = 60, lowercase = true }\n\
                labelled = { length = 32, train.texts.files.paths = [\"rows.tsv\"] }";
    let stage = "objective.supervised = {}\nsteps = 40";
    place.run(&recipe("pairs", data, "causal = false", stage));
    place
}

#[test]
fn pairs_are_classified_and_texts_embedded() {
    let place = pairs();
    let classify = ["classify", "--model", "runs/pairs"];
    let rain = "it rains in Brel";
    let [wet, dry] = ["the street is wet", "the street is dry"];
    let typed = joined(&classify, &["--text", rain, "--pair", wet, "--text", rain, "--pair", dry]);
    let typed = lines(&place.succeeds(&typed));
    assert_eq!(
        (&typed[0]["label"], &typed[1]["label"]),
        (&json!("follows"), &json!("contradicts"))
    );
    assert_eq!((&typed[0]["pair"], &typed[1]["id"]), (&json!(wet), &json!("2")));
    assert!(lines(&place.succeeds(&joined(&classify, &["--text", rain])))[0].get("pair").is_none());

    // Files have the second text in a field of its own.
    place.file("more.tsv", &format!("n\ta\tb\n7\t{rain}\t{wet}\n8\t{rain}\t{dry}\n"));
    let object = |n: usize, b: &str| json!({ "n": n, "a": rain, "b": b }).to_string() + "\n";
    place.file("more.jsonl", &(object(7, wet) + &object(8, dry)));
    for file in ["more.tsv", "more.jsonl"] {
        let found = joined(&classify, &[file, "--field", "a", "--pair-field", "b", "--id", "n"]);
        let found = lines(&place.succeeds(&found));
        assert_eq!(
            (found.len(), &found[0]["id"], &found[0]["source"]),
            (2, &json!("7"), &json!(file))
        );
        for (found, typed) in found.iter().zip(&typed) {
            for key in ["label", "pair", "text", "probability"] {
                assert_eq!(found[key], typed[key], "{file} {key}");
            }
        }
    }
    place.file("fewer.jsonl", &(object(1, wet) + "{\"a\": \"it rains\"}\n"));
    let fewer = joined(&classify, &["fewer.jsonl", "--field", "a", "--pair-field", "b"]);
    place.fails(&fewer, 2, &["fewer.jsonl", "document 2", "`b`"]);
    let unlike = joined(&classify, &["--text", rain, "--text", rain, "--pair", wet]);
    place.fails(&unlike, 2, &["2 texts and 1 pairs", "--pair for each --text"]);

    embedded_and_searched(&place);
}

/// Vectors are the same however they are written, and find their own text.
fn embedded_and_searched(place: &Place) {
    let documents = ["it rains in Brel", "the street is dry", ""];
    place.file("documents.txt", &(documents.join("\n") + "\n"));
    let embed = ["embed", "--model", "runs/pairs", "documents.txt", "--split", "lines"];
    let embed = |more: &[&str]| place.succeeds(&[&embed[..], more].concat());
    let printed = lines(&embed(&[]));
    assert_eq!(printed.len(), 3);
    let printed: Vec<Vec<f32>> = printed.iter().map(|line| numbers(&line["embedding"])).collect();
    assert!(printed.iter().all(|vector| vector.len() == 16) && printed[0] != printed[1]);

    embed(&["--out", "vectors.npy"]);
    let bytes = fs::read(place.path("vectors.npy")).unwrap();
    assert!(text(&bytes[..128]).contains("'shape': (3, 16)"), "{}", text(&bytes[..128]));
    let stored =
        bytes[128..].chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    assert_eq!(stored.collect::<Vec<f32>>(), printed.concat());

    embed(&["--out", "vectors.parquet", "--with-text"]);
    let stored = read_parquet(&place.path("vectors.parquet")).unwrap();
    assert_eq!(stored.vectors.values, printed.concat());
    let passages = stored.passages.iter();
    let found: Vec<(&str, &str)> =
        passages.map(|passage| (&passage.id[..], &passage.text[..])).collect();
    assert_eq!(found, [("1", documents[0]), ("2", documents[1]), ("3", "")]);
    assert!(stored.passages.iter().all(|passage| passage.source == "documents.txt"));
    let other = ["embed", "--model", "runs/pairs", "--text", "x", "--out", "vectors.csv"];
    place.fails(&other, 2, &["vectors.csv", ".npy or .parquet"]);

    let search = ["search", "--model", "runs/pairs", "--in", "documents.txt", "--split", "lines"];
    let asked = ["--index", "index.parquet", "--json", "--top", "1", documents[1]];
    let first = place.succeeds(&joined(&search, &asked));
    let hits: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&hits[0]["id"], &hits[0]["text"]), (&json!("2"), &json!(documents[1])));
    assert!((hits[0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-5 && hits[1].is_null());
    // The second search takes its vectors from the index.
    let output = place.kiln(&joined(&search, &[&asked[..], &["-v"]].concat()));
    assert_eq!(text(&output.stdout), first);
    let said = text(&output.stderr);
    assert!(said.contains("0 documents embedded, 2 from the index"), "{said}");
    let plain = place.succeeds(&joined(&search, &[documents[0]]));
    assert!(plain.starts_with("1.0000  documents.txt:1"), "{plain}");
}

#[test]
fn words_are_tagged_to_the_end_of_long_documents() {
    let place = Place::new();
    // Only a word itself tells its tag.
    let sentences = "the DET\nboat NOUN\nsails VERB\n\nsleeps VERB\na DET\nharbour NOUN\n\n\
                     harbour NOUN\nsails VERB\nthe DET\n\na DET\nsleeps VERB\nboat NOUN\n\n";
    place.file("tags.txt", &sentences.repeat(20));
    let data = "tokenizer.train.model.word-piece = { vocabulary = 60, lowercase = true }\n\
                labelled = { length = 32, train.tagged = { files.paths = [\"tags.txt\"], \
                scheme = \"plain\" } }";
    let stage = "objective.supervised = {}\nsteps = 60";
    place.run(&recipe("tags", data, "causal = false", stage));
    let tag = ["tag", "--model", "runs/tags"];
    let line = &lines(&place.succeeds(&joined(&tag, &["--text", "a boat  sleeps"])))[0];
    let mention = |label: &str, text: &str, start: usize| json!({ "label": label, "text": text, "start": start, "end": start + text.len() });
    let expected =
        [mention("DET", "a", 0), mention("NOUN", "boat", 2), mention("VERB", "sleeps", 8)];
    assert_eq!(line["mentions"], json!(expected), "{line}");

    // More words than a model has positions for, and more bytes than are read at once.
    let word = "boat".repeat(26);
    let mut long = format!("{word} ").repeat(10_100);
    long.push_str("the harbour sleeps");
    assert!(long.len() > 1 << 20);
    place.file("long.txt", &long);
    let output = place.kiln(&joined(&tag, &["long.txt"]));
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("1 cut into pieces"), "{said}");
    let found = lines(&text(&output.stdout));
    assert_eq!(found.len(), 2);
    let mut words = 0;
    for line in &found {
        assert_eq!(line["id"], "1");
        let text = line["text"].as_str().unwrap();
        for mention in line["mentions"].as_array().unwrap() {
            let place = |key: &str| mention[key].as_u64().unwrap() as usize;
            assert_eq!(&text[place("start")..place("end")], mention["text"]);
            words += 1;
        }
    }
    assert_eq!(words, 10_103);
    let last = found[1]["mentions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["text"], &last["label"]), (&json!("sleeps"), &json!("VERB")));
    place.fails(&["classify", "--model", "runs/tags", "--text", "x"], 2, &["tags of words"]);
}

#[test]
fn words_are_chosen_as_asked_for() {
    let place = Place::new();
    let data = "tokenizer.train.model.byte-bpe.vocabulary = 400\n\
                sources = [{ stories = { size = 60 } }]\npacking = { length = 32 }";
    let stage = "objective.autoregressive = {}\nsteps = 40";
    place.run(&recipe("writer", data, "language = {}", stage));
    let words = ["generate", "--model", "runs/writer", "--prompt", "One", "--max-new-tokens", "24"];
    let generate = |more: &[&str]| place.succeeds(&joined(&words, more));
    let greedy = generate(&[]);
    // Of one token there is nothing to draw.
    for one in [["--top-k", "1"], ["--top-p", "1e-9"], ["--min-p", "1"]] {
        assert_eq!(generate(&one), greedy, "{one:?}");
    }
    let drawn = generate(&["--top-k", "50", "--temperature", "3"]);
    assert_ne!(drawn, greedy);
    assert_ne!(drawn, generate(&["--top-k", "50", "--temperature", "3", "--seed", "7"]));
    // A penalty alone draws nothing: whatever the seed, the text is the same, and another.
    let penalty = ["--repetition-penalty", "1.8"];
    let penalised = generate(&penalty);
    assert_eq!(penalised, generate(&[&penalty[..], &["--seed", "7"]].concat()));
    assert_eq!(penalised, generate(&[&penalty[..], &["--top-k", "1"]].concat()));
    assert_ne!(penalised, greedy);
    assert_eq!(generate(&["--repetition-penalty", "1"]), greedy);
    // A stop is not part of the text.
    let written = greedy.trim_end();
    let stop = written.char_indices().nth(4).map(|(at, c)| &written[at..at + c.len_utf8()]);
    let stop = stop.unwrap();
    let until = written.find(stop).unwrap();
    let stopped = generate(&[&format!("--stop={stop}")]);
    assert_eq!(stopped.trim_end(), written[..until].trim_end());
    for (option, value) in [("--top-p", "0"), ("--min-p", "2"), ("--repetition-penalty", "0")] {
        let setting = option[2..].replace('-', "_");
        place.fails(&joined(&words, &[option, value]), 2, &[&setting, "above 0"]);
    }
}

#[test]
fn a_tokenizer_is_trained_and_used() {
    let place = Place::new();
    let corpus = "A red boat sails to the harbour.\nUn café à Brel, 我们去北京看海。\n".repeat(40);
    place.file("corpus.txt", &corpus);
    let train = ["data", "tokenizer", "corpus.txt", "--out", "tokenizer"];
    let kind = ["--kind", "byte-bpe", "--vocabulary", "300"];
    let special = ["--special", "mask=<hide>", "--add", "<turn>"];
    let said = place.succeeds(&[&train[..], &kind, &special].concat());
    assert!(said.contains("80 documents") && said.contains("300 tokens"), "{said}");
    let tokenizer = place.json("tokenizer/tokenizer.json");
    assert_eq!(tokenizer["model"]["vocab"].as_object().unwrap().len(), 300);
    let config = place.json("tokenizer/tokenizer_config.json");
    assert_eq!(config["mask_token"], "<hide>");
    assert_eq!(config["additional_special_tokens"], json!(["<turn>"]));
    assert_eq!(config["eos_token"], "<|endoftext|>");
    // A recipe takes it as it is.
    let data = "tokenizer.directory = \"tokenizer\"\n\
                sources = [{ documents = { paths = [\"corpus.txt\"], split = \"lines\" } }]\n\
                packing = { length = 16 }\nvalidation.documents.documents = 2";
    let stage = "objective.masked = {}\nsteps = 2";
    place.run(&recipe("hide", data, "causal = false", stage));
    let file = |dir: &str| fs::read(place.path(dir).join("tokenizer.json")).unwrap();
    assert!(file("runs/hide/model") == file("tokenizer"), "another tokenizer than was given");
    place.fails(&joined(&train, &["--lowercase"]), 2, &["word-piece"]);
    place.fails(&joined(&train, &["--special", "musk=<m>"]), 2, &["musk", "mask"]);
    place.fails(&joined(&train, &["--kind", "unigram", "--special", "unk="]), 2, &["special.unk"]);
}

#[test]
fn who_was_taught_to_talk_is_talked_to() {
    let place = Place::new();
    let row = json!({ "prompt": "Who sails?", "completion": "Anna sails the red boat." });
    place.file("talks.jsonl", &format!("{row}\n").repeat(40));
    let data = "tokenizer.train = { model.byte-bpe.vocabulary = 300, \
                additional = [\"<|im_start|>\", \"<|im_end|>\"] }\n\
                labelled = { length = 64, train.conversations.files.paths = [\"talks.jsonl\"] }";
    let stage = "objective.autoregressive = {}\nsteps = 120";
    place.file("talk.toml", &recipe("talk", data, "language = {}", stage));
    assert!(!place.says(&["run", "talk.toml"]).contains("im_start"));
    let config = place.json("runs/talk/model/tokenizer_config.json");
    let template = config["chat_template"].as_str().unwrap();
    assert!(template.contains("add_generation_prompt"), "{template}");

    let generate = |more: &[&str]| {
        let words =
            [&["generate", "--model", "runs/talk", "--max-new-tokens", "40"][..], more].concat();
        place.succeeds(&words)
    };
    let answer = generate(&["--chat", "--prompt", "Who sails?"]);
    assert_eq!(answer.trim_end(), "Anna sails the red boat.");
    // The same by hand: the template's text as it stands.
    let by_hand = "<|im_start|>user\nWho sails?<|im_end|>\n<|im_start|>assistant\n";
    let raw = generate(&["--prompt", by_hand]);
    assert!(raw.starts_with(answer.trim_end()), "{raw}");
    let told = format!("<|im_start|>system\nBe brief.<|im_end|>\n{by_hand}");
    let briefly = generate(&["--chat", "--system", "Be brief.", "--prompt", "Who sails?"]);
    let raw = generate(&["--prompt", &told]);
    assert!(raw.starts_with(briefly.trim_end()), "{raw} is not {briefly}");
    let alone = ["generate", "--model", "runs/talk", "--system", "Be brief."];
    place.fails(&alone, 2, &["--chat"]);

    // Marks that are no tokens are told of; without a template there is no conversation.
    let pieces =
        recipe("pieces", data, "language = {}", "objective.autoregressive = {}\nsteps = 2");
    place.file("pieces.toml", &pieces.replace("\"<|im_start|>\", \"<|im_end|>\"", ""));
    let said = place.says(&["run", "pieces.toml"]);
    assert!(said.contains("`<|im_start|>`"), "{said}");
    let file = "runs/pieces/model/tokenizer_config.json";
    let mut config = place.json(file);
    config.as_object_mut().unwrap().remove("chat_template").unwrap();
    place.file(file, &config.to_string());
    let chat = ["generate", "--model", "runs/pieces", "--chat", "--prompt", "Who sails?"];
    place.fails(&chat, 2, &["no chat template"]);
}
