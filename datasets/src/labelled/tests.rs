use super::*;
use crate::tabular::parquet::guard;
use std::{collections::BTreeMap, fs};

/// A folder with one file, and the file.
fn file(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    (dir, Files::new([path]))
}

fn class(text: &str, label: &str) -> Labelled {
    Labelled { text: text.into(), second: None, label: Label::Class(label.into()) }
}

fn labelled(name: &str, text: &str, kind: LabelKind) -> crate::Result<Vec<Labelled>> {
    let (_dir, files) = file(name, text);
    LabelledSpec { files, kind, ..Default::default() }.read()
}

#[test]
fn the_same_rows_in_all_formats() {
    let expected = [class("a \"b", "1"), class("c", "0")];
    for (name, text) in [
        ("a.tsv", "label\ttext_a\n1\ta \"b\n\n0\tc\r\n"),
        ("a.csv", "text,label\n\"a \"\"b\",1\nc,0\n"),
        ("a.jsonl", "{\"text\": \"a \\\"b\", \"label\": 1}\n{\"text\": \"c\", \"label\": \"0\"}\n"),
        ("a.json", "[{\"text\": \"a \\\"b\", \"label\": 1},\n {\"text\": \"c\", \"label\": 0}]"),
    ] {
        assert_eq!(labelled(name, text, LabelKind::Class).unwrap(), expected, "{name}");
    }
    // A line break inside quotes, and no header.
    let (_dir, files) = file("b.csv", "\"a\n\nb\",1\n");
    let files = Files { header: false, ..files };
    let spec = LabelledSpec { files, ..Default::default() };
    assert_eq!(spec.read().unwrap(), [class("a\n\nb", "1")]);
}

#[test]
fn parquet_by_groups() {
    use polars::prelude::*;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let texts: Vec<String> = (0..7).map(|n| format!("text {n}")).collect();
    let labels: Vec<Series> =
        (0..7).map(|n| Series::new("".into(), (0..n % 3).collect::<Vec<i64>>())).collect();
    let columns = vec![
        Column::new("unused".into(), vec![1.5; 7]),
        Column::new("labels".into(), labels),
        Column::new("text".into(), texts),
    ];
    let mut frame = DataFrame::new(7, columns).unwrap();
    let writer = ParquetWriter::new(fs::File::create(&path).unwrap());
    writer.with_row_group_size(Some(3)).finish(&mut frame).unwrap();

    let kind = LabelKind::Classes { separator: ",".into() };
    let spec = LabelledSpec { files: Files::new([&path]), kind, ..Default::default() };
    let examples = spec.read().unwrap();
    assert_eq!(examples.len(), 7);
    for (n, example) in examples.iter().enumerate() {
        assert_eq!(example.text, format!("text {n}"));
        let classes = (0..n % 3).map(|n| n.to_string()).collect();
        assert_eq!(example.label, Label::Classes(classes));
    }
    let spec = LabelledSpec { kind: LabelKind::Value, ..spec };
    let error = spec.read().unwrap_err().to_string();
    assert!(error.contains("row 1: `label` is no text but a list"), "{error}");

    fs::write(&path, b"PAR1 and no more").unwrap();
    assert!(spec.read().unwrap_err().to_string().contains("Parquet, but damaged"));
    assert!(guard::<()>(&path, || Err(polars::prelude::PolarsError::NoData("x".into()))).is_err());
}

#[test]
fn kinds_of_labels() {
    let text = "text\tlabel\nx\tb; a\ny\t[\"c\", 2]\nz\t\n";
    let kind = LabelKind::Classes { separator: ";".into() };
    let labels: Vec<Label> =
        labelled("a.tsv", text, kind).unwrap().into_iter().map(|e| e.label).collect();
    let classes = |names: &[&str]| Label::Classes(names.iter().map(|n| (*n).into()).collect());
    assert_eq!(labels, [classes(&["b", "a"]), classes(&["c", "2"]), classes(&[])]);

    let text = "text_a\ttext_b\tscore\nx\ty\t2.5\n";
    let example = &labelled("a.tsv", text, LabelKind::Value).unwrap()[0];
    assert_eq!((example.second.as_deref(), &example.label), (Some("y"), &Label::Value(2.5)));
}

#[test]
fn mistakes_name_file_and_line() {
    let message =
        |name: &str, text: &str| labelled(name, text, LabelKind::Value).unwrap_err().to_string();
    let missing = message("a.tsv", "texts\tlabel\nx\t1\n");
    assert!(missing.contains("no column `text`; did you mean `texts`?"), "{missing}");
    let ragged = message("a.tsv", "text\tlabel\nx\t1\n\ny\n");
    assert!(
        ragged.ends_with("a.tsv: line 4: 1 cells, expected 2 as in the first line"),
        "{ragged}"
    );
    let label = message("a.csv", "text,label\nx,good\n");
    assert!(label.ends_with("line 2: `label` is `good`, expected a number"), "{label}");
    let empty = message("a.tsv", "text\tlabel\nx\t \n");
    assert!(empty.ends_with("line 2: `label` is empty"), "{empty}");
    let field = message("a.jsonl", "{\"txt\": 1, \"label\": 2}\n");
    assert!(field.ends_with("line 1: no field `text`; its fields are `txt`, `label`"), "{field}");
    assert!(message("a.jsonl", "\n{\"text\": \n").contains("line 2: not JSON: EOF"));
    assert!(message("a.json", "[\n3]").contains("line 2: expected a list of objects"));
    let quote = message("a.csv", "text,label\n\"x,1\ny,2\n");
    assert!(quote.contains("line 2: a quote is opened and never closed"), "{quote}");
    assert!(message("a.tsv", "text\tlabel\n").contains("there is no row"));
    assert!(message("a.tsv", "").contains("the file is empty"));
    assert!(message("a.bin", "x").contains("does not tell it, expected `tsv`"));
    assert!(LabelledSpec::default().read().unwrap_err().to_string().contains("at least one file"));
    let spec = LabelledSpec { files: Files::new(["no/such.tsv"]), ..Default::default() };
    assert!(spec.read().unwrap_err().to_string().contains("KILN_DATA"));
    // What comes before a mistake can be had.
    let (_dir, files) = file("a.tsv", "text\tlabel\nx\t1\ny\n");
    let spec = LabelledSpec { files, ..Default::default() };
    let rows: Vec<bool> = spec.stream().unwrap().map(|row| row.is_ok()).collect();
    assert_eq!(rows, [true, false]);
}

#[test]
fn encodings() {
    let (_dir, files) = file("a.tsv", b"text\tlabel\nx\t1\nespa\xf1ol\t1\n");
    let spec = |files| LabelledSpec { files, ..Default::default() };
    let error = spec(files.clone()).read().unwrap_err().to_string();
    assert!(error.contains("line 3: byte 5 is not UTF-8"), "{error}");
    assert!(error.contains("`encoding = \"latin-1\"`"), "{error}");
    let latin = Files { encoding: Encoding::Latin1, ..files };
    assert_eq!(spec(latin).read().unwrap()[1], class("español", "1"));
    let (_dir, files) = file("a.tsv", "\u{feff}text\tlabel\nx\t1\n");
    assert_eq!(spec(files).read().unwrap(), [class("x", "1")]);
    let (_dir, files) = file("a.tsv", "text\tlabel\nx\0\t1\n");
    assert!(spec(files).read().unwrap_err().to_string().contains("line 2: it has zero bytes"));
}

#[test]
fn recipes() {
    let text = "files = { paths = [\"a.tsv\"], encoding = \"latin-1\" }\n\
                kind = { classes = { separator = \";\" } }\n";
    let spec: LabelledSpec = toml::from_str(text).unwrap();
    assert_eq!(spec.kind, LabelKind::Classes { separator: ";".into() });
    assert_eq!((spec.files.encoding, spec.files.header), (Encoding::Latin1, true));
    assert!(toml::from_str::<LabelledSpec>("txt = \"a\"").is_err());
    let spec: TaggedSpec = toml::from_str("layout = { conll = { tag = 2 } }").unwrap();
    assert_eq!(spec.layout, TaggedLayout::Conll { token: 1, tag: Some(2) });
    let back: TaggedSpec = toml::from_str(&toml::to_string(&spec).unwrap()).unwrap();
    assert_eq!(back, spec);
    assert_eq!(
        toml::from_str::<BTreeMap<String, Holdout>>("a = { count = 3 }").unwrap()["a"],
        Holdout::Count(3)
    );
}

fn tagged(files: Files, layout: TaggedLayout) -> crate::Result<Vec<Tagged>> {
    TaggedSpec { files, layout, scheme: TagScheme::Auto }.read()
}

#[test]
fn tagged_sentences() {
    let text = "-DOCSTART- -X- O\n\nEU NNP I-ORG\nrejects\tVBZ O\n \nGerman JJ I-MISC\n";
    let (_dir, files) = file("eng.train", text);
    let conll = |token, tag| TaggedLayout::Conll { token, tag };
    let sentences = tagged(files.clone(), TaggedLayout::default()).unwrap();
    assert_eq!(sentences.len(), 2);
    assert_eq!(sentences[0].tokens, ["EU", "rejects"]);
    assert_eq!(sentences[0].tags, ["B-ORG", "O"]);
    assert_eq!(sentences[1].entities(), [Entity { kind: "MISC", tokens: 0..1 }]);
    let parts = tagged(files.clone(), conll(1, Some(2))).unwrap();
    assert_eq!(parts[0].tags, ["NNP", "VBZ"], "plain tags are left alone");
    let message = |layout| tagged(files.clone(), layout).unwrap_err().to_string();
    assert!(message(conll(0, None)).contains("`token` is 0, expected a column, counted from 1"));
    assert!(message(conll(1, Some(4))).contains("line 3: 3 columns, expected at least 4"));
    assert!(message(conll(3, None)).contains("line 3: 3 columns, expected at least 4"));

    let (_dir, files) = file("bad", "a O\n\nb X\n\nc B-X\n");
    let message = tagged(files.clone(), TaggedLayout::default()).unwrap_err().to_string();
    assert!(message.contains("line 3: the sentence has a tag that is neither `O`"), "{message}");
    let read = |scheme| TaggedSpec { files: files.clone(), scheme, ..Default::default() }.read();
    assert_eq!(read(TagScheme::Bio).unwrap()[1].tags, ["O"]);
    assert_eq!(read(TagScheme::Plain).unwrap()[1].tags, ["X"]);
}

#[test]
fn tagged_rows() {
    let rows = |names: &[&str]| TaggedLayout::Rows {
        tokens: None,
        tags: None,
        names: names.iter().map(|name| (*name).into()).collect(),
    };
    // The second token is an ideographic space.
    let (_dir, files) = file("a.tsv", "text_a\tlabel\n[ \u{3000} 港\tO O B-LOC\n");
    assert_eq!(tagged(files, rows(&[])).unwrap()[0].tokens, ["[", "\u{3000}", "港"]);
    let json = "{\"tokens\": [\"a\", \"b\"], \"ner_tags\": [1, 0]}\n";
    let (_dir, files) = file("a.jsonl", json);
    assert_eq!(tagged(files.clone(), rows(&["O", "B-X"])).unwrap()[0].tags, ["B-X", "O"]);
    let message = tagged(files, rows(&["O"])).unwrap_err().to_string();
    assert!(message.contains("line 1: the tag 1 has no name: there are 1 `names`"), "{message}");
    let (_dir, files) = file("a.tsv", "text_a\tlabel\na b\tO\n");
    let message = tagged(files, rows(&[])).unwrap_err().to_string();
    assert!(message.contains("line 2: 2 tokens and 1 tags, expected as many"), "{message}");
}

#[test]
fn questions() {
    let nested = r#"{"data": [{"title": "t", "paragraphs": [{"context": "Äa bc Äa.", "qas": [
        {"id": "1", "question": "exact?", "answers": [{"text": "Äa", "answer_start": 6}]},
        {"id": 2, "question": "off?", "answers": [{"text": "Äa", "answer_start": 5}]},
        {"id": "3", "question": "lost?", "answers": [{"text": "x", "answer_start": -1}]},
        {"id": "4", "question": "none?", "is_impossible": true,
         "plausible_answers": [], "answers": [{"text": "bc", "answer_start": 3}]}]}]}]}"#;
    let (_dir, files) = file("dev.json", nested);
    let all = QuestionSpec { files }.read().unwrap();
    assert_eq!(all.spans, SpanTally { exact: 1, repaired: 1, missing: 1 });
    let spans: Vec<Option<_>> =
        all.questions.iter().map(|q| q.answers.first().map(|a| a.span.clone())).collect();
    // Ä is two bytes; of two places the nearer one is taken.
    assert_eq!(spans, [Some(Some(7..10)), Some(Some(7..10)), Some(None), None]);
    assert_eq!(all.questions[1].id, "2");
    assert_eq!(&all.questions[0].context[7..10], "Äa");

    let flat = r#"{"id": "a", "context": "x y", "question": "q", "answers": {"text": ["y"], "answer_start": [2]}}
{"id": "b", "context": "x y", "question": "q", "answers": [{"text": "x", "answer_start": 0}]}
{"id": "c", "context": "x y", "question": "q", "answers": {"text": [], "answer_start": []}}"#;
    let (_dir, files) = file("dev.jsonl", flat);
    let all = QuestionSpec { files }.read().unwrap();
    assert_eq!(all.spans.exact, 2);
    assert_eq!(all.questions[0].answers[0].span, Some(2..3));
    assert!(all.questions[2].answers.is_empty());
    let (_dir, files) = file("dev.json", "{\"data\": [\n{}]}");
    let message = QuestionSpec { files }.read().unwrap_err().to_string();
    assert!(message.contains("line 2: expected SQuAD's layout: missing field `paragraphs`"));
}

#[test]
fn pairs_and_triplets() {
    let (_dir, files) = file("a.txt", "Hello.\t你好。\n");
    let files = Files { header: false, ..files };
    let translated = [Pair { first: "Hello.".into(), second: "你好。".into(), label: None }];
    let spec = PairSpec { files, ..Default::default() };
    assert_eq!(spec.read().unwrap(), translated);
    let (_dir, files) = file("a.jsonl", r#"{"translation": {"en": "Hello.", "zh": "你好。"}}"#);
    let [first, second] = ["translation.en", "translation.zh"].map(|name| Some(name.to_owned()));
    let nested = PairSpec { files, first, second, ..Default::default() };
    assert_eq!(nested.read().unwrap(), translated);

    let (_dir, files) = file("a.tsv", "premise\thypothesis\tlabel\np\th\tneutral\n");
    let spec = PairSpec { files, kind: Some(LabelKind::Class), ..Default::default() };
    assert_eq!(spec.read().unwrap()[0].label, Some(Label::Class("neutral".into())));
    let spec = PairSpec { kind: None, label: Some("label".into()), ..spec };
    assert!(spec.read().unwrap_err().to_string().contains("`kind` is missing"));

    let (_dir, files) = file("a.jsonl", r#"{"query": "q", "pos": ["a", "b"], "neg": ["c", "d"]}"#);
    let triplets = TripletSpec { files, ..Default::default() }.read().unwrap();
    assert_eq!((triplets.len(), triplets[1].positive.as_str()), (2, "b"));
    assert_eq!(triplets[1].negatives, ["c", "d"]);
    let (_dir, files) = file("a.tsv", "anchor\tpositive\tn1\tn2\na\tp\tx\ty\n");
    let spec =
        TripletSpec { files, negatives: vec!["n1".into(), "n2".into()], ..Default::default() };
    assert_eq!(spec.read().unwrap()[0].negatives, ["x", "y"]);
    let (_dir, files) = file("a.jsonl", r#"{"query": "q", "pos": "a", "neg": []}"#);
    let message = TripletSpec { files, ..Default::default() }.read().unwrap_err().to_string();
    assert!(message.contains("line 1: `negative` lists nothing"), "{message}");
}

#[test]
fn retrieval() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    fs::create_dir(dir.path().join("qrels")).unwrap();
    write(
        "corpus.jsonl",
        "{\"_id\": \"d1\", \"title\": \"T\", \"text\": \"x\"}\n{\"_id\": 2, \"title\": \"\", \"text\": \"y\"}\n",
    );
    write(
        "queries.jsonl",
        "{\"_id\": \"q1\", \"text\": \"a\"}\n{\"_id\": \"q2\", \"text\": \"b\"}\n",
    );
    write("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq2\td1\t2\nq2\t2\t-1\n");
    write("qrels/trec.tsv", "q1 0 2 1\n");
    write("qrels/bad.tsv", "q1\td9\t1\n");
    let read = |split: &str| RetrievalSpec { path: dir.path().into(), split: split.into() }.read();
    let test = read("test").unwrap();
    assert_eq!(test.documents[0], Passage { id: "d1".into(), text: "T x".into() });
    assert_eq!(test.queries, [Passage { id: "q2".into(), text: "b".into() }]);
    let judged = |query, document, grade| Relevance { query, document, grade };
    assert_eq!(test.relevance, [judged(0, 0, 2), judged(0, 1, 0)]);
    assert_eq!(read("trec").unwrap().relevance, [judged(0, 1, 1)]);
    let message = read("bad").unwrap_err().to_string();
    assert!(message.contains("line 1: no document has the id `d9`"), "{message}");
    assert!(read("dev").unwrap_err().to_string().contains("dev.tsv: no such file"));
    write(
        "corpus.jsonl",
        "{\"_id\": \"d1\", \"text\": \"x\"}\n{\"_id\": \"d1\", \"text\": \"y\"}\n",
    );
    assert!(read("test").unwrap_err().to_string().contains("a list with `d1` twice"));
}

fn said(messages: &[Message]) -> Vec<(Role, &str)> {
    messages.iter().map(|message| (message.role, message.content.as_str())).collect()
}

#[test]
fn conversations() {
    use Role::{Assistant, System, User};
    let text = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
{"prompt": "a", "completion": "b"}
{"instruction": "a", "input": "x", "output": "b"}
{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}
"#;
    let (_dir, files) = file("a.jsonl", text);
    let spec = ConversationSpec { files, system: Some("be brief".into()), ..Default::default() };
    let all = spec.read().unwrap();
    let brief = [(System, "be brief"), (User, "a"), (Assistant, "b")];
    assert_eq!(said(&all[0].messages), brief);
    assert_eq!(said(&all[1].messages), [(System, "s"), (User, "a"), (Assistant, "b")]);
    assert_eq!(said(&all[2].messages), brief);
    assert_eq!(said(&all[3].messages)[1], (User, "a\n\nx"));
    assert_eq!(said(&all[4].messages), brief);

    let message = |text: &str| {
        let (_dir, files) = file("a.jsonl", text);
        ConversationSpec { files, ..Default::default() }.read().unwrap_err().to_string()
    };
    assert!(message(r#"{"messages": []}"#).contains("the assistant says nothing"));
    assert!(message(r#"{"text": "a"}"#).contains("neither `messages` nor `prompt` is there"));
    let role = message(r#"{"messages": [{"role": "me", "content": "a"}]}"#);
    assert!(role.contains("a message of `me`, expected `system`"), "{role}");
}

#[test]
fn preferences() {
    use Role::{Assistant, User};
    let text = r#"{"prompt": "p", "chosen": "c", "rejected": "r"}
{"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}], "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]}
"#;
    let (_dir, files) = file("a.jsonl", text);
    let all = PreferenceSpec { files, ..Default::default() }.read().unwrap();
    assert_eq!(all[0], all[1]);
    assert_eq!(said(&all[0].prompt), [(User, "p")]);
    assert_eq!((all[0].chosen.as_str(), all[0].rejected.as_str()), ("c", "r"));

    let message = |text: &str| {
        let (_dir, files) = file("a.jsonl", text);
        PreferenceSpec { files, ..Default::default() }.read().unwrap_err().to_string()
    };
    assert!(message(r#"{"chosen": "c", "rejected": "r"}"#).contains("no `prompt`, nor is it"));
    let chosen = r#""chosen": [{"role": "user", "content": "p"}]"#;
    assert!(
        message(&format!(r#"{{{chosen}, "rejected": "r"}}"#)).contains("does not end in an answer")
    );
    assert_eq!(Message::new(Assistant, "x").role, Assistant);
}
