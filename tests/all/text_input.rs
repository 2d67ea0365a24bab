//! Text that is none, or too much, and parts of models that do not fit: a message, or what can be
//! said all the same, and never a panic.

use crate::support::{Place, joined, lines, text, text_recipe};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

/// A classifier of bytes with nothing around texts, and no tokens for most characters.
fn classifier() -> String {
    let data = "tokenizer.train.model.bytes = {}\n\
                labelled = { length = 16, train.texts.files.paths = [\"rows.jsonl\"] }";
    let parts = "causal = false\nembedding = { positions = 16 }";
    text_recipe("classes", data, parts, "objective.supervised = {}\nsteps = 6")
        + "[[evaluation]]\nname = \"rows\"\nkind.task = {}\n"
}

/// A decoder that writes stories.
fn decoder() -> String {
    let data = "tokenizer.train.model.byte-bpe.vocabulary = 300\n\
                sources = [{ stories = { size = 20 } }]\npacking = { length = 16 }\n\
                validation.documents.documents = 2";
    let parts = "embedding = { positions = 24 }\nlanguage = {}";
    text_recipe("writer", data, parts, "objective.autoregressive = {}\nsteps = 2")
        + "[[evaluation]]\nname = \"stories\"\nkind.language = { limit = 4 }\n"
}

/// What a command that succeeded printed.
fn printed(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    lines(&text(&output.stdout))
}

/// The binary, given bytes on its standard input.
fn fed(place: &Place, words: &[&str], bytes: &[u8]) -> Output {
    let mut command = place.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever fails before it has read all closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

/// Blank texts and characters of several tokens are trained on, measured and classified.
#[test]
fn whatever_a_text_is_it_is_classified() {
    let place = Place::new();
    let texts = ["", "a boat", "🚣海边的红船🙂🙂🙂", " ", "漂亮的船在海边漂亮的船在海边", "boats"];
    let row = |n: usize| json!({ "text": texts[n % 6], "label": (["a", "b"][n % 2]) }).to_string();
    let rows: Vec<String> = (0..60).map(row).collect();
    place.file("rows.jsonl", &(rows.join("\n") + "\n"));
    assert!(place.run(&classifier()).contains("accuracy"));

    let classify = |more: &[&str]| {
        let words = [&["classify", "--model", "runs/classes"][..], more].concat();
        let output = place.kiln(&words);
        (printed(&output), text(&output.stderr))
    };
    let sure = |line: &Value| line["probability"].as_f64().unwrap();
    let (found, said) = classify(&["rows.jsonl"]);
    assert!(found.len() == 60 && found.iter().all(|line| sure(line) >= 0.5));
    assert!(said.contains("20 texts were too long"), "{said}");
    let (alone, said) = classify(&["--text", ""]);
    assert!((sure(&alone[0]) - sure(&found[0])).abs() < 1e-5 && !said.contains("too long"));

    // Not UTF-8, blank lines, nothing at all.
    fs::write(place.path("bad.txt"), b"a b\xffoat\n\n\xe6\xb5\n").unwrap();
    let (found, said) = classify(&["bad.txt", "--split", "lines"]);
    assert_eq!(
        found.iter().map(|line| &line["text"]).collect::<Vec<_>>(),
        ["a b\u{fffd}oat", "", "\u{fffd}"]
    );
    assert!(said.contains("2 not all UTF-8"), "{said}");
    place.file("empty.txt", "");
    assert!(classify(&["empty.txt"]).0.len() <= 1);
    assert!(classify(&["empty.txt", "--split", "lines"]).0.is_empty());
    let output = fed(&place, &["classify", "--model", "runs/classes"], b"one\xff\n\ntwo");
    assert_eq!(printed(&output).len(), 3);
    fs::write(place.path("zero.txt"), b"a\0b").unwrap();
    let zero = ["classify", "--model", "runs/classes", "zero.txt"];
    place.fails(&zero, 2, &["zero.txt", "zero bytes"]);

    // One line of 20 MB (200 only take longer), of which the beginning counts.
    let mut line = "海 ".repeat(5 << 20).into_bytes();
    line.push(b'\n');
    fs::write(place.path("line.txt"), line).unwrap();
    let (found, said) = classify(&["line.txt", "--split", "lines"]);
    assert_eq!(found.len(), 1);
    assert!(said.contains("1 cut into pieces") && said.contains("1 texts were too long"), "{said}");
    let embed = ["embed", "--model", "runs/classes", "line.txt", "--out", "line.npy"];
    place.succeeds(&embed);
}

#[test]
fn what_a_writer_cannot_read_is_told() {
    let place = Place::new();
    let recipe = decoder();
    place.run(&recipe);
    let words = ["generate", "--model", "runs/writer", "--max-new-tokens", "4"];
    let output = fed(&place, &words, b"One m\xffrning");
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("standard input"), "{said}");
    fs::write(place.path("bad.txt"), b"One\nm\xffrning\n").unwrap();
    place.fails(&joined(&words, &["--prompts", "bad.txt"]), 2, &["bad.txt", "UTF-8"]);
    place.fails(&joined(&words, &["--prompts", "none.txt"]), 2, &["none.txt"]);
    place.file("empty.txt", "");
    place.fails(&joined(&words, &["--prompts", "empty.txt"]), 2, &["holds no prompts"]);
    // A blank prompt begins with the model's own beginning.
    place.file("blank.txt", "One\n\nA boat\n");
    assert_eq!(place.succeeds(&joined(&words, &["--prompts", "blank.txt"])).lines().count(), 3);

    // More than there are positions for: in one prompt, in one of several, in what is measured.
    let long = "boats sail ".repeat(20);
    place.fails(&joined(&words, &["--prompt", &long]), 2, &["the prompt has", "positions for 24"]);
    place.file("long.txt", &format!("One\n{long}\n"));
    place.fails(
        &joined(&words, &["--prompts", "long.txt"]),
        2,
        &["prompt 2 has", "positions for 24"],
    );
    let longer = recipe.replace("length = 16", "length = 32");
    place.file("longer.toml", &longer.replace("= 24", "= 32"));
    let evaluate = ["evaluate", "--model", "runs/writer", "longer.toml"];
    place.fails(
        &evaluate,
        2,
        &["sequences of 32 tokens", "positions for 24", "data.packing.length"],
    );
    place.refuses(&longer, &["positions for 24"]);

    // Tokenizers without a beginning-of-sequence token, sentinels, a mask token.
    let bare = "tokenizer.train = { model.byte-bpe.vocabulary = 300, special = { bos = \"\", eos = \"<end>\" } }";
    let bare = recipe.replace("tokenizer.train.model.byte-bpe.vocabulary = 300", bare);
    let bare = bare.replace("\"writer\"", "\"bare\"");
    place.run(&bare);
    let nothing = ["generate", "--model", "runs/bare", "--prompts", "blank.txt"];
    place.fails(&nothing, 2, &["prompt 2 is empty", "no token to begin with"]);
    place.fails(&["generate", "--model", "runs/bare", "--prompt", ""], 2, &["the prompt is empty"]);
    let encoder = &recipe[..recipe.find("[[evaluation]]").unwrap()];
    let encoder = encoder.replace("width = 16", "width = 16\ncausal = false");
    let encoder = encoder.replace("\"writer\"", "\"lacks\"");
    for (objective, expected) in [("denoising = {}", "sentinels"), ("masked = {}", "mask")] {
        let without = "tokenizer.train = { model.byte-bpe.vocabulary = 300, special.mask = \"\" }";
        let lacking = encoder
            .replace("autoregressive = {}", objective)
            .replace("tokenizer.train.model.byte-bpe.vocabulary = 300", without);
        let lacking = if objective.starts_with("denoising") {
            lacking.replace("language = {}", "language = {}\ndecoder = { layers = 1, heads = 2 }")
        } else {
            lacking
        };
        place.file("lacks.toml", &lacking);
        place.fails(&["run", "lacks.toml", "--overwrite"], 2, &[expected]);
    }

    // A tokenizer that knows more than the model.
    let file = "runs/writer/model/tokenizer.json";
    let mut tokenizer = place.json(file);
    tokenizer["model"]["vocab"]["kiln"] = 300.into();
    place.file(file, &tokenizer.to_string());
    let model = ["--model", "runs/writer"];
    for words in [
        &["generate", "--prompt", "kiln"][..],
        &["classify", "--text", "kiln"],
        &["tag", "--text", "kiln"],
        &["embed", "--text", "kiln"],
        &["search", "--in", "blank.txt", "kiln"],
        &["evaluate"],
    ] {
        place.fails(&[words, &model].concat(), 2, &["has 301 ids", "the model knows 300"]);
    }
}
