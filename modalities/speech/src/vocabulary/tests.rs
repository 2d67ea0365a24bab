use super::*;
use proptest::prelude::*;
use std::{fs, path::Path};

fn characters(transcripts: &[&str]) -> Vocabulary {
    Vocabulary::build(&Units::Characters, Specials::default(), transcripts.iter().copied()).unwrap()
}

fn bpe(size: usize, transcripts: &[&str]) -> Result<Vocabulary> {
    let units = Units::Bpe(Bpe { size, min_count: 1 });
    Vocabulary::build(&units, Specials::default(), transcripts.iter().copied())
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
}

#[test]
fn characters_come_behind_the_special_tokens() {
    let vocabulary = characters(&["ba", "a  c"]);
    assert_eq!(vocabulary.tokens(), ["<pad>", "<s>", "</s>", "<unk>", "|", "a", "b", "c"]);
    assert_eq!(vocabulary.encode("ab  ca").ids, [5, 6, 4, 7, 5]);
    assert_eq!(vocabulary.decode(&[1, 5, 0, 6, 4, 4, 7, 99, 2]), "ab c");
}

#[test]
fn letters_without_a_composed_form_are_one_grapheme() {
    // Ainu's small pu: katakana with a combining mark that NFC cannot compose.
    let text = "ㇷ\u{309a}ア";
    let graphemes = Vocabulary::build(&Units::Graphemes, Specials::default(), [text]).unwrap();
    assert_eq!(graphemes.encode(text).ids.len(), 2);
    assert_eq!(characters(&[text]).encode(text).ids.len(), 3);
    for vocabulary in [graphemes, characters(&[text])] {
        assert_eq!(vocabulary.decode(&vocabulary.encode(text).ids), text);
    }
}

#[test]
fn unknown_characters_are_reported() {
    let vocabulary = characters(&["ab"]);
    let encoded = vocabulary.encode("aếb|");
    assert_eq!(encoded.unknown, ["ế", "|"]);
    assert_eq!(encoded.ids, [5, 3, 6, 3]);
    let error = vocabulary.encode_known("call-7.wav", "a e\u{302}\u{301}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "transcript `call-7.wav` has `ế` (U+1EBF), which the vocabulary lacks"
    );
    let specials = Specials { unknown: None, ..Specials::default() };
    let silent = Vocabulary::build(&Units::Characters, specials, ["ab"]).unwrap();
    assert_eq!(silent.encode("axb").ids.len(), 2);
}

#[test]
fn pieces_are_frequent_pairs() {
    let transcripts = ["low low low lower", "newer lower"];
    let vocabulary = bpe(9, &transcripts).unwrap();
    assert_eq!(vocabulary, bpe(9, &transcripts).unwrap());
    assert!(vocabulary.id("low").is_some(), "{:?}", vocabulary.tokens());
    let low = vocabulary.encode("low");
    assert_eq!(low.ids, [vocabulary.id("low").unwrap()]);
    assert_eq!(vocabulary.decode(&vocabulary.encode("newer low").ids), "newer low");
    let unknown = vocabulary.encode("lowxlow");
    assert_eq!((unknown.unknown.as_slice(), unknown.ids.len()), (&["x".to_owned()][..], 3));
    let error = bpe(3, &transcripts).unwrap_err().to_string();
    assert_eq!(error, "`bpe.size` is 3; expected at least the 6 characters of the transcripts");
}

#[test]
fn directories_round_trip() {
    let transcripts = ["tiếng việt", "tiếng ainu"];
    for vocabulary in [characters(&transcripts), bpe(20, &transcripts).unwrap()] {
        let dir = tempfile::tempdir().unwrap();
        vocabulary.write(dir.path()).unwrap();
        let read = Vocabulary::read(dir.path(), None).unwrap();
        assert_eq!(read, vocabulary);
        assert_eq!(read.encode("tiếng").ids, vocabulary.encode("tiếng").ids);
    }
}

#[test]
fn published_directories_are_read() {
    let dir = tempfile::tempdir().unwrap();
    // As fine-tuned XLSR checkpoints have it: other names, tokens added behind.
    write(dir.path(), VOCAB, r#"{"a": 1, "b": 0, "|": 2, "[UNK]": 3, "[PAD]": 4}"#);
    write(
        dir.path(),
        "special_tokens_map.json",
        r#"{"unk_token": "[UNK]", "pad_token": {"content": "[PAD]", "lstrip": false}}"#,
    );
    write(dir.path(), "added_tokens.json", r#"{"<s>": 5, "</s>": 6}"#);
    let read = Vocabulary::read(dir.path(), None).unwrap();
    assert_eq!((read.blank(), read.unknown(), read.len()), (4, Some(3), 7));
    assert_eq!(read.clone().fit(5).unwrap().tokens(), ["b", "a", "|", "[UNK]", "[PAD]"]);
    assert_eq!(
        read.fit(4).unwrap_err().to_string(),
        "vocabulary: has 7 tokens; the model's head has 4"
    );
}

#[test]
fn one_of_several_languages_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), VOCAB, r#"{"vie": {"<pad>": 0, "ế": 1}, "ain": {"<pad>": 0, "k": 1}}"#);
    let vie = Vocabulary::read(dir.path(), Some("vie")).unwrap();
    assert_eq!(vie.tokens(), ["<pad>", "ế"]);
    let error = Vocabulary::read(dir.path(), Some("eng")).unwrap_err().to_string();
    assert!(error.ends_with("has no language `eng`; it has vie, ain"), "{error}");
    assert!(Vocabulary::read(dir.path(), None).is_err());
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (text, expected) in [
        (r#"{"<pad>": 0, "a": 2}"#, "`a` has the id 2; expected 1"),
        (r#"{"<pad>": 0, "a": "x"}"#, "`a` has \"x\" for an id; expected a number"),
        (r#"{"a": 0}"#, "the padding token `<pad>`, CTC's blank, is missing"),
        (r#"{"a": 0"#, "vocab.json"),
        ("", "vocab.json"),
    ] {
        write(dir.path(), VOCAB, text);
        let error = Vocabulary::read(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    write(dir.path(), VOCAB, r#"{"<pad>": 0, "a": 1}"#);
    for (text, expected) in [
        (r#"{"model": {"type": "WordPiece"}}"#, "expected a model of type BPE, found WordPiece"),
        (r#"{"model": {"type": "BPE", "vocab": {"b": 1}, "merges": []}}"#, "piece `b` is not in"),
        (r#"{"model": {"type": "BPE", "end_of_word_suffix": "_"}}"#, "expected none"),
    ] {
        write(dir.path(), "tokenizer.json", text);
        let error = Vocabulary::read(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json: ") && error.contains(expected), "{error}");
    }
    let twice = Vocabulary::new(vec!["<pad>".into(), "<pad>".into()], Specials::default());
    assert!(twice.unwrap_err().to_string().contains("has the ids 0 and 1"));
}

#[test]
fn a_union_keeps_the_older_ids() {
    let old = characters(&["tiếng"]);
    let union = old.union([&characters(&["ainu"]), &characters(&["việt"])]).unwrap();
    assert_eq!(union.tokens()[..old.len()], *old.tokens());
    assert_eq!(union.tokens()[old.len()..], ["a", "u", "v", "ệ"]);
    assert!(union.encode("tiếng việt ainu").unknown.is_empty());
    assert!(old.union([&bpe(20, &["ab"]).unwrap()]).is_err());
}

#[test]
fn a_union_of_pieces_cuts_as_before() {
    let (old, new) = (bpe(9, &["low lower"]).unwrap(), bpe(9, &["bow bower"]).unwrap());
    let union = old.union([&new]).unwrap();
    assert_eq!(union.tokens()[..old.len()], *old.tokens());
    assert_eq!(union.encode("lower low").ids, old.encode("lower low").ids);
    let bow = union.encode("bower");
    assert!(bow.unknown.is_empty());
    assert_eq!(union.decode(&bow.ids), "bower");
}

proptest! {
    #[test]
    fn what_is_known_comes_back(words in prop::collection::vec("[a-dếệ]{1,6}", 1..5)) {
        let text = words.join(" ");
        for vocabulary in [characters(&[&text]), bpe(40, &[&text]).unwrap()] {
            let encoded = vocabulary.encode(&text);
            prop_assert!(encoded.unknown.is_empty());
            prop_assert_eq!(vocabulary.decode(&encoded.ids), text.clone());
        }
    }
}

const VOCAB: &str = "vocab.json";
