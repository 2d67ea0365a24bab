use super::*;
use crate::files::tests::write_tar;
use proptest::prelude::*;
use std::fs;

/// Files in a folder of their own.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn texts(spec: &Documents) -> Vec<String> {
    spec.read().unwrap().map(|document| document.unwrap().text).collect()
}

fn failure(spec: &Documents) -> String {
    spec.read().unwrap().find_map(std::result::Result::err).unwrap().to_string()
}

#[test]
fn plain_text_is_split_as_asked() {
    let dir = folder(&[("a.txt", b"\xef\xbb\xbfone\ntwo\r\n\n \nthree"), ("b.md", b"four\n")]);
    let spec = Documents::new([dir.path()]);
    assert_eq!(texts(&spec), ["one\ntwo\r\n\n \nthree", "four\n"]);
    let lines = spec.clone().with_split(Split::Lines);
    assert_eq!(texts(&lines), ["one", "two", "three", "four"]);
    let mut reader = lines.read().unwrap();
    assert_eq!(reader.by_ref().count(), 4);
    let expected = Tally { documents: 4, bytes: 15, empty: 2, ..Tally::default() };
    assert_eq!(reader.tally(), expected);
    assert_eq!(expected.to_string(), "4 documents, 0.0 MB, 2 empty");
    assert_eq!(texts(&spec.with_split(Split::BlankLines)), ["one\ntwo", "three", "four"]);
}

#[test]
fn fields_of_json_lines() {
    let good = br#"{"text": "one", "url": "u", "score": 0.5}

{"score": null, "text": "two"}
"#;
    let dir = folder(&[("a.jsonl", good), ("b.jsonl", b"{\"text\": \"x\"}\n{\"body\": \"y\"}\n")]);
    let mut spec = Documents::new([dir.path().join("a.jsonl")]);
    spec.metadata = vec!["url".into(), "score".into()];
    let documents: Vec<_> = spec.read().unwrap().map(std::result::Result::unwrap).collect();
    let metadata = [("url".into(), "u".into()), ("score".into(), "0.5".into())].into();
    let first = Document { text: "one".into(), metadata, ..Document::default() };
    assert_eq!(documents[0], first);
    assert_eq!((documents[1].text.as_str(), documents[1].metadata.len()), ("two", 0));

    spec.paths = vec![dir.path().join("b.jsonl")];
    let text = failure(&spec);
    assert!(text.ends_with("b.jsonl: line 2: no field `text`; its fields are `body`"), "{text}");
    fs::write(dir.path().join("b.jsonl"), "{\"text\": \"x\"}\n{\"text\": ").unwrap();
    let text = failure(&spec);
    assert!(text.contains("b.jsonl: line 2: expected a JSON object: EOF"), "{text}");
}

#[test]
fn what_is_said_before_is_told_apart() {
    let lines = b"{\"text\": \"one\", \"url\": \"u\"}\n{\"text\": \"two\"}\n";
    let dir = folder(&[("a.jsonl", lines)]);
    let before = vec![Prefix::Text("{url}: ".into())];
    let spec = Documents { before, ..Documents::new([dir.path()]) };
    let documents = spec.read().unwrap().map(std::result::Result::unwrap);
    let found: Vec<_> = documents.map(|document| (document.text, document.prefix_len)).collect();
    assert_eq!(found, [("u: one".to_owned(), 3), ("two".to_owned(), 0)]);
}

#[test]
fn columns_of_tables() {
    let dir = folder(&[
        ("a.tsv", b"label\ttext\n1\tsay \"hi\n0\tbye\n"),
        ("b.csv", b"text;id\n\"two\nlines; \"\"quoted\"\"\";7\nplain;8\n"),
        ("c.tsv", b"label\ttext_a\n1\tx\n"),
        ("d.tsv", b"label\ttext\n1\tx\n2\n"),
    ]);
    let spec = |name: &str| Documents::new([dir.path().join(name)]);
    assert_eq!(texts(&spec("a.tsv")), ["say \"hi", "bye"]);
    assert_eq!(texts(&spec("b.csv")), ["two\nlines; \"quoted\"", "plain"]);
    let with_id = Documents { metadata: vec!["id".into()], ..spec("b.csv") };
    let ids: Vec<_> =
        with_id.read().unwrap().map(|document| document.unwrap().metadata["id"].clone()).collect();
    assert_eq!(ids, ["7", "8"]);
    let text = failure(&spec("c.tsv"));
    assert!(text.contains("no column `text`; did you mean `text_a`?"), "{text}");
    let text = failure(&spec("d.tsv"));
    assert!(text.contains("row 2 has 1 cell, the header has 2"), "{text}");
}

#[test]
fn row_groups_of_parquet() {
    use polars::prelude::{Column, DataFrame, ParquetWriter};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let rows: Vec<String> = (0..100).map(|row| format!("text {row}")).collect();
    let numbers: Vec<i64> = (0..100).collect();
    let columns = vec![Column::new("n".into(), numbers), Column::new("text".into(), &rows)];
    let mut frame = DataFrame::new(100, columns).unwrap();
    let writer = ParquetWriter::new(fs::File::create(&path).unwrap());
    writer.with_row_group_size(Some(30)).finish(&mut frame).unwrap();
    let spec = Documents { metadata: vec!["n".into()], ..Documents::new([&path]) };
    assert_eq!(texts(&spec), rows);
    let parts = spec.parts(1).unwrap();
    assert!(parts.len() > 1, "{parts:?}");
    let last = spec.read_part(parts.last().unwrap().clone()).last().unwrap().unwrap();
    assert_eq!((last.text.as_str(), last.metadata["n"].as_str()), ("text 99", "99"));
    let parted: Vec<_> =
        parts.into_iter().flat_map(|part| spec.read_part(part)).map(|d| d.unwrap().text).collect();
    assert_eq!(parted, rows);

    let text = failure(&Documents { field: "n".into(), ..spec.clone() });
    assert!(text.contains("column `n` holds i64, expected text"), "{text}");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let text = failure(&spec);
    assert!(text.contains("Parquet, but damaged"), "{text}");
}

#[test]
fn members_of_shards() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let members: [(&str, &[u8]); 4] = [
        ("x/1.txt", b"one\n"),
        ("x/1.json", br#"{"url": "u"}"#),
        ("x/2.json", br#"{"text": "two", "url": "v"}"#),
        ("x/2.jpg", b"no text"),
    ];
    write_tar(&path, &members);
    let spec = Documents { metadata: vec!["url".into()], ..Documents::new([&path]) };
    let documents: Vec<_> = spec.read().unwrap().map(std::result::Result::unwrap).collect();
    let found: Vec<_> =
        documents.iter().map(|d| (d.text.as_str(), d.metadata["url"].as_str())).collect();
    assert_eq!(found, [("one\n", "u"), ("two", "v")]);
    let parts = spec.parts(1).unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(spec.read_part(parts[1].clone()).next().unwrap().unwrap(), documents[1]);
}

#[test]
fn what_is_not_utf8() {
    let dir = folder(&[("a.txt", b"one\ntw\xffo\nthree\n")]);
    let spec = |invalid| Documents { invalid, ..Documents::new([dir.path()]) };
    let spec = |invalid| spec(invalid).with_split(Split::Lines);
    assert_eq!(texts(&spec(Invalid::Replace)), ["one", "tw\u{fffd}o", "three"]);
    assert_eq!(texts(&spec(Invalid::Skip)), ["one", "three"]);
    let mut reader = spec(Invalid::Skip).read().unwrap();
    assert_eq!(reader.by_ref().count(), 2);
    assert_eq!((reader.tally().skipped, reader.tally().empty), (1, 0));
    let text = failure(&spec(Invalid::Stop));
    assert!(text.contains("a.txt: line 2: the byte 0xff is not UTF-8"), "{text}");
}

#[test]
fn what_is_not_there_or_no_text() {
    let noise: Vec<u8> = (0..5000_u32).map(|n| (n * 97 % 255 + 1) as u8).collect();
    let dir = folder(&[("zero.txt", b"a\0b"), ("noise.txt", &noise), ("x.bin", b"x")]);
    let spec = |name: &str| Documents::new([dir.path().join(name)]);
    assert!(failure(&spec("zero.txt")).contains("it contains zero bytes"));
    assert!(failure(&spec("noise.txt")).contains("it is not text"));
    let text = spec("nose.txt").read().unwrap_err().to_string();
    assert!(text.ends_with("no such file; did you mean `noise.txt`?"), "{text}");
    let text = spec("*.jsonl").read().unwrap_err().to_string();
    assert!(text.contains("*.jsonl: no documents"), "{text}");
    let text = Documents::default().read().unwrap_err().to_string();
    assert_eq!(text, "`paths` is empty, expected at least one file of documents");
    assert_eq!(spec("").files().unwrap().len(), 2, "x.bin is none that a folder is asked for");
    assert_eq!(texts(&spec("*.bin")), ["x"]);
}

#[test]
fn long_documents_come_in_pieces() {
    // Three-byte characters without white space, so that no cut falls on a multiple of them.
    let long = "語".repeat(PIECE) + "\nshort\n";
    let json = serde_json::json!({"text": long}).to_string();
    let dir = folder(&[("a.txt", long.as_bytes()), ("b.jsonl", json.as_bytes())]);
    for (name, split, after) in [
        ("a.txt", Split::Lines, Some("short")),
        ("a.txt", Split::File, None),
        ("b.jsonl", Split::File, None),
    ] {
        let spec = Documents::new([dir.path().join(name)]).with_split(split);
        let mut reader = spec.read().unwrap();
        let documents: Vec<_> = reader.by_ref().map(std::result::Result::unwrap).collect();
        assert!(documents.iter().all(|document| document.text.len() <= PIECE));
        assert_eq!((reader.tally().cut, reader.tally().replaced), (1, 0), "{name}");
        let begins: Vec<_> = documents.iter().map(|document| !document.continues).collect();
        assert!(begins[0] && !begins[1] && begins.len() >= 4);
        assert_eq!(reader.tally().documents, if after.is_some() { 2 } else { 1 });
        let whole: String = documents.iter().map(|document| document.text.as_str()).collect();
        let expected = if after.is_some() { long.replace('\n', "") } else { long.clone() };
        assert_eq!(whole, expected);
    }
}

#[test]
fn cuts_prefer_breaks_and_keep_characters_whole() {
    assert_eq!(plain::border(b"one two\nthree four"), 8 + 6, "the nearer half has only a space");
    assert_eq!(plain::border(b"one two three\nfour"), 14);
    assert_eq!(plain::border("aé".as_bytes()), 1);
    assert_eq!(plain::border(&"語語".as_bytes()[..5]), 3);
    assert_eq!(plain::border(&[0x80; 6]), 6);
}

#[test]
fn a_recipe_says_which() {
    let spec: Documents = toml::from_str(
        "paths = ['a*.tsv']\nformat = 'tsv'\ncolumn = 'body'\nsplit = 'blank-lines'\n",
    )
    .unwrap();
    assert_eq!((spec.field.as_str(), spec.split), ("body", Split::BlankLines));
    assert!(toml::from_str::<Documents>("path = 'a'").is_err());
}

#[test]
fn real_documents() {
    let Some(path) = kiln_host::testing::data("text") else { return };
    let spec = Documents {
        field: "text_a".into(),
        metadata: vec!["label".into()],
        ..Documents::new([path.join("book_review/*.tsv")])
    };
    let mut reader = spec.read().unwrap();
    let labels: std::collections::BTreeSet<_> =
        reader.by_ref().map(|document| document.unwrap().metadata["label"].clone()).collect();
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), ["0", "1"]);
    assert!(reader.tally().documents > 10_000, "{}", reader.tally());
}

proptest! {
    #[test]
    fn parts_read_what_the_whole_reads(
        lines in prop::collection::vec("[a-cé ]{0,9}", 0..30), bytes in 1_u64..40, last in any::<bool>()
    ) {
        let mut text = lines.join("\n");
        text.push_str(if last { "\n" } else { "" });
        let dir = folder(&[("a.txt", text.as_bytes())]);
        let spec = Documents::new([dir.path().join("a.txt")]).with_split(Split::Lines);
        let parts = spec.parts(bytes).unwrap();
        let parted: Vec<_> = parts.into_iter().flat_map(|part| spec.read_part(part)).collect();
        let parted: Vec<_> = parted.into_iter().map(|document| document.unwrap().text).collect();
        prop_assert_eq!(&parted, &texts(&spec));
        let expected: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        prop_assert_eq!(parted, expected);
    }
}
