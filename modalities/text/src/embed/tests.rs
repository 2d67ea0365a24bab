use super::*;
use burn_flex::Flex;
use kiln_datasets::{
    Documents,
    documents::Split,
    vectors::{Passage, Vectors},
};
use kiln_lm::{TextModel, TextModelConfig, batch::HostText, config::Pooling};
use kiln_nn::TransformerConfig;
use serde_json::json;
use std::{fs, ops::ControlFlow, path::Path};

type E = Embedder<Flex>;

/// A small encoder with a tokenizer of words that puts tokens around texts.
fn write_model(dir: &Path) {
    let words =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "three", "four", "five", "six", "a"];
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
    let special = |id: usize| {
        json!({"id": id, "content": words[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let ends = |id: usize| json!({"id": words[id], "ids": [id], "tokens": [words[id]]});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0), special(1), special(2), special(3)],
        "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[CLS]": ends(2), "[SEP]": ends(3)}},
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    });
    let mut embedding = TextModelConfig::default().embedding;
    embedding.positions = 16;
    let config = TextModelConfig {
        vocabulary: words.len(),
        width: 8,
        embedding,
        backbone: TransformerConfig { layers: 2, heads: 2, ..TransformerConfig::default() },
        causal: false,
        language: None,
        initial_deviation: Some(0.5),
        ..TextModelConfig::default()
    };
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    TextModel::<Flex>::new(config, &Default::default()).unwrap().save(dir).unwrap();
}

fn open(dir: &Path) -> E {
    E::load(dir, &Default::default()).unwrap()
}

fn embedded(embedder: &E, texts: &[&str], request: &Request) -> Vectors {
    embedder.embed(texts, request, &mut |_| ControlFlow::Continue(())).unwrap().0
}

/// The states of a text's tokens, one by one.
fn states(dir: &Path, ids: &[u32]) -> Vec<Vec<f32>> {
    let model = TextModel::<Flex>::load(dir, &Default::default()).unwrap();
    let text =
        HostText::of(&[ids], 0).upload::<Flex>(&model.config().embedding, &Default::default());
    let values: Vec<f32> = model.encode_text(&text).values.into_data().to_vec().unwrap();
    values.chunks(8).map(<[f32]>::to_vec).collect()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (one, other) in found.iter().zip(expected) {
        assert!((one - other).abs() < 1e-5, "{found:?} is not {expected:?}");
    }
}

/// The mean of states, weighted by their place where that is asked for.
fn mean(states: &[Vec<f32>], weight: impl Fn(usize) -> f32, all: f32) -> Vec<f32> {
    (0..8)
        .map(|at| {
            let terms = states.iter().enumerate().map(|(place, state)| weight(place) * state[at]);
            terms.sum::<f32>() / all
        })
        .collect()
}

#[test]
fn poolings_are_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path());
    let embedder = open(dir.path());
    // The first text has padding beside the second.
    let texts = ["one two three", "six five four three two one"];
    let states = states(dir.path(), &[2, 4, 5, 6, 3]);
    for (pooling, expected) in [
        (Pooling::First, states[0].clone()),
        (Pooling::Last, states[4].clone()),
        (Pooling::Mean, mean(&states, |_| 1.0, 5.0)),
        (Pooling::MeanRoot, mean(&states, |_| 1.0, 5f32.sqrt())),
        (Pooling::WeightedMean, mean(&states, |place| place as f32 + 1.0, 15.0)),
        (
            Pooling::Max,
            (0..8)
                .map(|at| states.iter().map(|state| state[at]).fold(f32::MIN, f32::max))
                .collect(),
        ),
    ] {
        let request = Request { pooling: Some(pooling), ..Request::default() };
        let vectors = embedded(&embedder, &texts, &request);
        assert_near(vectors.rows().next().unwrap(), &expected);
    }
    let plain = embedded(&embedder, &texts, &Request::default());
    assert_near(plain.rows().next().unwrap(), &mean(&states, |_| 1.0, 5.0));
}

#[test]
fn texts_keep_their_order_however_they_are_batched() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path());
    let embedder = open(dir.path());
    let words = ["one", "two", "three", "four", "five", "six"];
    let texts: Vec<String> = (0..40_usize)
        .map(|n| (0..n * 7 % 11).map(|at| words[(n + at * at) % 6]).collect::<Vec<_>>().join(" "))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let together = embedded(&embedder, &texts, &Request::default());
    let small = embedded(&embedder, &texts, &Request { batch_tokens: 20, ..Request::default() });
    assert_near(&small.values, &together.values);
    for (text, vector) in texts.iter().zip(together.rows()) {
        assert_near(&embedded(&embedder, &[text], &Request::default()).values, vector);
    }
    // The stream gives back what came in.
    let passage = |text: &&str| Ok(Passage { text: (*text).to_owned(), ..Passage::default() });
    let mut found = Vec::new();
    let summary = embedder
        .stream(
            &Request::default(),
            &mut texts.iter().map(passage),
            &mut |passages, vectors| {
                assert_eq!(passages.len(), vectors.len());
                found.extend_from_slice(&vectors.values);
                Ok(())
            },
            &mut |_| ControlFlow::Continue(()),
        )
        .unwrap();
    assert_eq!((summary.texts, summary.truncated, summary.blank), (40, 0, 0));
    assert_near(&found, &together.values);
}

#[test]
fn long_texts_are_cut_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path());
    let embedder = open(dir.path());
    let long = "one two three ".repeat(50_000);
    let texts = ["one two three one two three one two three one two three one two", &long, "one"];
    let go_on = &mut |_| ControlFlow::Continue(());
    let (vectors, summary) = embedder.embed(&texts, &Request::default(), go_on).unwrap();
    assert_eq!((summary.texts, summary.truncated, summary.tokens), (3, 1, 16 + 16 + 3));
    let rows: Vec<&[f32]> = vectors.rows().collect();
    assert_near(rows[0], rows[1]);
    let request = Request { longest: Some(3), ..Request::default() };
    let (vectors, summary) = embedder.embed(&texts, &request, go_on).unwrap();
    assert_eq!(summary.truncated, 2);
    let rows: Vec<&[f32]> = vectors.rows().collect();
    assert_near(rows[0], rows[2]);
    for (longest, expected) in [(17, "positions for 16"), (2, "hold nothing")] {
        let request = Request { longest: Some(longest), ..Request::default() };
        let error = embedder.embed(&texts, &request, go_on).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// A directory of sentence-transformers around the small encoder.
fn write_sentence(dir: &Path) {
    let inside = dir.join("0_Transformer");
    write_model(&inside);
    fs::write(inside.join("sentence_bert_config.json"), r#"{"max_seq_length": 6}"#).unwrap();
    let module = |path: &str, kind: &str| json!({"path": path, "type": format!("m.{kind}")});
    let modules = json!([
        module("0_Transformer", "Transformer"),
        module("1_Pooling", "Pooling"),
        module("2_Dense", "Dense"),
        module("3_Normalize", "Normalize"),
    ]);
    fs::write(dir.join("modules.json"), modules.to_string()).unwrap();
    fs::create_dir_all(dir.join("1_Pooling")).unwrap();
    let pooling = r#"{"pooling_mode_cls_token": true, "include_prompt": false}"#;
    fs::write(dir.join("1_Pooling/config.json"), pooling).unwrap();
    let prompts = r#"{"prompts": {"query": "one "}}"#;
    fs::write(dir.join("config_sentence_transformers.json"), prompts).unwrap();
    fs::create_dir_all(dir.join("2_Dense")).unwrap();
    let dense = json!({"in_features": 8, "out_features": 2, "bias": true,
        "activation_function": "torch.nn.modules.activation.Tanh"});
    fs::write(dir.join("2_Dense/config.json"), dense.to_string()).unwrap();
    let mut weights = kiln_hub::Weights::default();
    // The first output is the first feature, the second the last and a half.
    let mut values = vec![0.0; 16];
    (values[0], values[15]) = (1.0, 1.0);
    let weight = kiln_hub::Weight { shape: vec![2, 8], values };
    weights.tensors.insert("linear.weight".into(), weight);
    let bias = kiln_hub::Weight { shape: vec![2], values: vec![0.0, 0.5] };
    weights.tensors.insert("linear.bias".into(), bias);
    weights.write(&dir.join("2_Dense/model.safetensors")).unwrap();
}

#[test]
fn directories_of_sentence_transformers() {
    let dir = tempfile::tempdir().unwrap();
    write_sentence(dir.path());
    let expected = |state: &[f32]| {
        let (x, y) = (state[0].tanh(), (state[7] + 0.5).tanh());
        let length = (x * x + y * y).sqrt();
        [x / length, y / length]
    };
    let plain = states(&dir.path().join("0_Transformer"), &[2, 5, 6, 7, 8, 3]);
    let prompted = states(&dir.path().join("0_Transformer"), &[2, 4, 5, 6, 7, 3]);
    // Both names of the model are one.
    for path in [dir.path().to_path_buf(), dir.path().join("0_Transformer")] {
        let embedder = open(&path);
        // Six tokens at most.
        let text = ["two three four five six"];
        let vectors = embedded(&embedder, &text, &Request::default());
        assert_eq!(vectors.width, 2);
        assert_near(&vectors.values, &expected(&plain[0]));
        // The first token that is not the prompt's.
        let request = Request { prompt: Prompt::Query, ..Request::default() };
        let vectors = embedded(&embedder, &text, &request);
        assert_near(&vectors.values, &expected(&prompted[2]));
        let named = Prompt::Named("passage".into());
        let request = Request { prompt: named, ..Request::default() };
        let error = embedder.embed(&text, &request, &mut |_| ControlFlow::Continue(()));
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "the model has no prompt `passage`; it has query");
    }
}

#[test]
fn what_does_not_belong_together_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path());
    let go_on = &mut |_| ControlFlow::Continue(());
    let path = dir.path().join("tokenizer.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"six\":9", "\"six\":90")).unwrap();
    let error = E::load(dir.path(), &Default::default()).unwrap_err();
    assert!(error.to_string().contains("has 91 ids and the model knows 11"), "{error}");
    // Without special tokens a blank text has no token.
    let mut tokenizer: serde_json::Value = serde_json::from_str(&text).unwrap();
    tokenizer["post_processor"] = serde_json::Value::Null;
    fs::write(&path, tokenizer.to_string()).unwrap();
    let (vectors, summary) =
        open(dir.path()).embed(&["", "one"], &Request::default(), go_on).unwrap();
    assert!(summary.bare && summary.blank == 1);
    let rows: Vec<&[f32]> = vectors.rows().collect();
    assert!(rows[0].iter().all(|x| *x == 0.0) && rows[1].iter().any(|x| *x != 0.0));
    let stop = &mut |_| ControlFlow::Break(());
    let stopped = open(dir.path()).embed(&["one"], &Request::default(), stop).unwrap_err();
    assert!(matches!(stopped, EmbedError::Interrupted));
    fs::remove_file(&path).unwrap();
    let error = E::load(dir.path(), &Default::default()).unwrap_err();
    assert!(error.to_string().contains("no tokenizer.json"), "{error}");
}

#[test]
fn passages_are_numbered_by_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), b"one\n\ntw\xffo\n").unwrap();
    fs::write(dir.path().join("b.jsonl"), "{\"text\": \"x\", \"n\": 7}\n{\"text\": \"\"}\n")
        .unwrap();
    let documents = Documents {
        blank: true,
        metadata: Vec::new(),
        ..Documents::new([dir.path()]).with_split(Split::Lines)
    };
    let found = |documents: &Documents, id| {
        let passages = Passages::new(documents.clone(), id, |_| true).unwrap();
        passages.map(|passage| passage.unwrap()).map(|p| (p.id, p.text)).collect::<Vec<_>>()
    };
    let pair = |id: &str, text: &str| (id.to_owned(), text.to_owned());
    let expected =
        [pair("1", "one"), pair("2", ""), pair("3", "tw\u{fffd}o"), pair("1", "x"), pair("2", "")];
    assert_eq!(found(&documents, None), expected);
    let documents = Documents { paths: vec![dir.path().join("b.jsonl")], ..documents };
    assert_eq!(found(&documents, Some("n")), [pair("7", "x"), pair("2", "")]);
    let stream = Passages::of_stream(&b"a\n\nb"[..], &documents, Split::Lines).unwrap();
    let texts: Vec<Passage> = stream.map(|passage| passage.unwrap()).collect();
    assert_eq!((texts.len(), texts[2].text.as_str(), texts[2].source.as_str()), (3, "b", "-"));
}

#[test]
fn a_search_finds_what_is_alike_and_keeps_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let (model, folder) = (dir.path().join("model"), dir.path().join("texts"));
    write_model(&model);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("a.txt"), "one two three\n\nfour five\n").unwrap();
    fs::write(folder.join("b.txt"), "six six six").unwrap();
    let mut wanted = search::Search {
        query: "four five".into(),
        documents: Documents::new([&folder]).with_split(Split::BlankLines),
        id: None,
        top: 2,
        index: Some(dir.path().join("index.parquet")),
        request: Request::default(),
        rerank: None,
    };
    let run = |wanted: &search::Search| {
        let go_on = &mut |_| ControlFlow::Continue(());
        search::search(&model, kiln_train::recipe::Device::Cpu, wanted, go_on).unwrap()
    };
    let found = run(&wanted);
    assert_eq!((found.embedded, found.kept, found.hits.len()), (3, 0, 2));
    let best = &found.hits[0];
    assert_eq!((best.text.as_str(), best.id.as_str()), ("four five", "2"));
    assert!(best.source.ends_with("a.txt") && (best.score - 1.0).abs() < 1e-5);
    // Nothing is made again, then only what changed, and nothing stays of what is gone.
    let again = run(&wanted);
    assert_eq!((again.embedded, again.kept, &again.hits), (0, 3, &found.hits));
    fs::write(folder.join("b.txt"), "five four four").unwrap();
    fs::write(folder.join("c.txt"), "six").unwrap();
    let more = run(&wanted);
    assert_eq!((more.embedded, more.kept), (2, 2));
    fs::remove_file(folder.join("a.txt")).unwrap();
    wanted.top = 9;
    let less = run(&wanted);
    assert_eq!((less.embedded, less.kept, less.hits.len()), (0, 2, 2));
    // Another request is another index.
    wanted.request.longest = Some(3);
    assert_eq!(run(&wanted).embedded, 2);
    fs::write(wanted.index.as_ref().unwrap(), "text").unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    let error =
        search::search(&model, kiln_train::recipe::Device::Cpu, &wanted, go_on).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn the_best_rows_come_first() {
    let values = vec![1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 3.0, 0.0];
    let vectors = Vectors { width: 2, values };
    assert_eq!(search::best(&[1.0, 1.0], &vectors, 3), [(3.0, 2), (3.0, 3), (2.0, 1)]);
    assert_eq!(search::best(&[1.0, 1.0], &vectors, 9).len(), 4);
}
