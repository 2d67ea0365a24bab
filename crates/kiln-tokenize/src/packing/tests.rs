use super::*;
use crate::{
    cache::CacheSpec,
    tokenizer::{Model, Role, TokenizerSpec},
};
use kiln_datasets::{
    Documents,
    documents::{Prefix, Split},
};
use proptest::prelude::*;

/// Bytes as tokens: ids that can be told by hand. `<|endoftext|>` begins and ends.
fn source(text: &str, packing: &Packing) -> Result<PackedSource, PackingError> {
    of_file("a.txt", text, Documents::default().with_split(Split::Lines), packing)
}

fn of_file(
    name: &str,
    text: &str,
    documents: Documents,
    packing: &Packing,
) -> Result<PackedSource, PackingError> {
    let tokenizer = TokenizerSpec::new(Model::Bytes {}).train([], &mut |_| {}).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    let documents = Documents { paths: vec![path], ..documents };
    let spec = CacheSpec { documents, words: true };
    let cache = TokenCache::open_or_build(dir.path(), &spec, &tokenizer, &mut |_| {}).unwrap();
    assert_eq!(tokenizer.special().get(Role::Eos).unwrap().id, 1);
    let all = (0..cache.documents()).collect();
    PackedSource::new(Arc::new(cache), all, &tokenizer, packing)
}

/// As text again, `|` for what stands around documents.
fn texts(source: &PackedSource) -> Vec<String> {
    let tokenizer = TokenizerSpec::new(Model::Bytes {}).train([], &mut |_| {}).unwrap();
    let text = |index| {
        let packed = source.example(index).unwrap();
        assert_eq!(packed.ids.len(), packed.word_starts.len());
        tokenizer.decode(&packed.ids, false).unwrap().replace("<|endoftext|>", "|")
    };
    (0..source.len()).map(text).collect()
}

fn packing(length: usize, borders: Borders, cross: bool) -> Packing {
    Packing { length, borders, cross }
}

#[test]
fn sequences_by_hand() {
    let text = "abcde\nfg\nhijk\n";
    let expect = |packing: Packing, expected: &[&str]| {
        assert_eq!(texts(&source(text, &packing).unwrap()), expected, "{packing:?}");
    };
    expect(packing(4, Borders::End, true), &["abcd", "e|fg", "|hij"]);
    expect(packing(4, Borders::Around, true), &["|abc", "de||", "fg||", "hijk"]);
    expect(packing(4, Borders::End, false), &["abcd", "e|", "fg|", "hijk", "|"]);
    expect(packing(4, Borders::Around, false), &["|ab|", "|cd|", "|e|", "|fg|", "|hi|", "|jk|"]);
    let source = source(text, &packing(9, Borders::End, true)).unwrap();
    let packed = source.example(0).unwrap();
    assert_eq!(
        (packed.document_starts.as_slice(), packed.segments()),
        (&[0, 6][..], vec![0..6, 6..9])
    );
    assert_eq!(packed.word_starts, [true, false, false, false, false, true, true, false, true]);
    let later = self::source(text, &packing(4, Borders::End, true)).unwrap();
    assert_eq!(later.example(1).unwrap().segments(), [0..2, 2..4]);
    assert_eq!(later.example(2).unwrap().document_starts, [1]);
    assert!(later.example(3).unwrap_err().to_string().contains("there are 3 sequences"));
}

/// The prefix of a document is in its sequences, but not in the loss mask.
#[test]
fn prefixes_are_outside_the_loss_mask() {
    let text = "{\"text\":\"abc\",\"by\":\"X\"}\n{\"text\":\"de\"}\n";
    let before = vec![Prefix::Text("{by}:".to_owned())];
    let expect = |packing: Packing, expected: &[(&str, &str)]| {
        let documents = Documents { before: before.clone(), ..Documents::default() };
        let source = of_file("a.jsonl", text, documents, &packing).unwrap();
        let counted = |index| {
            let counted = source.example(index).unwrap().loss_mask;
            counted.iter().map(|counted| if *counted { '+' } else { '-' }).collect::<String>()
        };
        let counted: Vec<String> = (0..source.len()).map(counted).collect();
        let found: Vec<(String, String)> = texts(&source).into_iter().zip(counted).collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(text, counted)| ((*text).into(), (*counted).into())).collect();
        assert_eq!(found, expected, "{packing:?}");
    };
    expect(packing(4, Borders::End, true), &[("X:ab", "--++"), ("c|de", "++++")]);
    expect(packing(4, Borders::Around, true), &[("|X:a", "+--+"), ("bc||", "++++")]);
    let pieces = [("X:ab", "--++"), ("c|", "++"), ("de|", "+++")];
    expect(packing(4, Borders::End, false), &pieces);
    let pieces = [("|X:|", "+--+"), ("|ab|", "++++"), ("|c|", "+++"), ("|de|", "++++")];
    expect(packing(4, Borders::Around, false), &pieces);
    let plain = source("abc", &packing(2, Borders::End, true)).unwrap();
    assert_eq!(plain.example(0).unwrap().loss_mask, [false; 0]);
}

#[test]
fn mistakes_are_named() {
    let fail = |packing| source("abc", &packing).unwrap_err().to_string();
    let text = fail(packing(5, Borders::End, true));
    assert!(text.starts_with("the documents have 4 tokens, a sequence needs 5"), "{text}");
    assert_eq!(fail(packing(2, Borders::Around, true)), "`length` is 2, expected at least 3");
}

#[test]
fn documents_are_held_out_by_seed() {
    let (training, held) = ValidationSplit::Share(0.1).split(100, Seed::new(1)).unwrap();
    assert_eq!((training.len(), held.len()), (90, 10));
    let mut all = [training, held.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    assert_eq!(ValidationSplit::Documents(10).split(100, Seed::new(1)).unwrap().1, held);
    assert_ne!(ValidationSplit::Documents(10).split(100, Seed::new(2)).unwrap().1, held);
    assert_eq!(ValidationSplit::Share(0.001).split(100, Seed::new(1)).unwrap().1.len(), 1);
    assert_eq!(ValidationSplit::Share(0.0).split(100, Seed::new(1)).unwrap().1.len(), 0);
    let text = ValidationSplit::Documents(3).split(3, Seed::new(1)).unwrap_err().to_string();
    assert!(text.starts_with("3 of 3 documents") && text.contains("`split`"), "{text}");
    assert!(ValidationSplit::Share(1.5).split(3, Seed::new(1)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// What is packed, put together, is the documents with their borders.
    #[test]
    fn nothing_is_lost(
        lines in prop::collection::vec("[a-c]{1,9}", 1..8), length in 3_usize..12,
        around in any::<bool>(),
    ) {
        let borders = if around { Borders::Around } else { Borders::End };
        let whole: String =
            lines.iter().map(|l| if around { format!("|{l}|") } else { format!("{l}|") }).collect();
        match source(&lines.join("\n"), &packing(length, borders, true)) {
            Ok(source) => {
                let kept = whole.len() / length * length;
                prop_assert_eq!(texts(&source).concat(), &whole[..kept]);
            }
            Err(error) => prop_assert!(whole.len() < length, "{}", error),
        }
        let single = source(&lines.join("\n"), &packing(length, borders, false)).unwrap();
        let bare = texts(&single).concat().replace('|', "");
        prop_assert_eq!(bare, lines.concat());
    }
}
