use super::{layout::TOKENS, *};
use crate::tokenizer::{Model, TextTokenizer, TokenizerSpec};
use kiln_datasets::{
    Documents,
    documents::{PIECE, Split},
};
use std::{fs, path::Path};

const LINES: &str = "the fox, the dog\n今天天气很好\n\nthe lazy dog!\n";

fn tokenizer(model: Model) -> TextTokenizer {
    let document = kiln_datasets::Document { text: LINES.repeat(5), ..Default::default() };
    TokenizerSpec::new(model).train([Ok(document)], &mut |_| {}).unwrap()
}

fn pieces() -> TextTokenizer {
    tokenizer(Model::WordPiece { vocabulary: 60, lowercase: false })
}

/// A corpus of lines in a folder, and what a cache is made of.
fn corpus(text: &str) -> (tempfile::TempDir, CacheSpec) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, text).unwrap();
    let documents = Documents::new([path]).with_split(Split::Lines);
    (dir, CacheSpec { documents, words: true })
}

fn build(dir: &Path, spec: &CacheSpec, tokenizer: &TextTokenizer) -> Result<TokenCache> {
    TokenCache::open_or_build(dir, spec, tokenizer, &mut |_| {})
}

#[test]
fn documents_come_back_as_ids() {
    let (dir, spec) = corpus(LINES);
    for model in [Model::WordPiece { vocabulary: 60, lowercase: false }, Model::Bytes {}] {
        let tokenizer = tokenizer(model);
        let cache = build(&dir.path().join("cache"), &spec, &tokenizer).unwrap();
        let lines: Vec<&str> = LINES.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!((cache.documents(), cache.meta().tally.empty), (3, 1));
        let mut begins = Vec::new();
        let mut all = Vec::new();
        for (line, document) in lines.into_iter().zip(0..) {
            let expected = tokenizer.encode(line, false).unwrap();
            assert_eq!(cache.document(document), expected.get_ids());
            all.extend_from_slice(expected.get_ids());
            let words = expected.get_word_ids();
            begins.extend((0..words.len()).map(|at| at == 0 || words[at] != words[at - 1]));
        }
        assert_eq!(cache.tokens(0..u64::MAX), all);
        assert_eq!(cache.tokens(3..7), all[3..7]);
        let mut found = Vec::new();
        cache.append_word_starts(0..cache.len(), &mut found);
        assert_eq!(found, begins);
        assert_eq!(cache.document(3), [0; 0], "there is no such document");
        assert_eq!(cache.document(u64::MAX), [0; 0]);
    }
}

#[test]
fn ids_wider_than_two_bytes() {
    let (dir, spec) = corpus("a");
    let tokens: String = (0..70_000).map(|id| format!(",\"t{id}\":{id}")).collect();
    let json = format!(
        r#"{{"version":"1.0","added_tokens":[],"model":{{"type":"WordLevel","unk_token":"a","vocab":{{"a":70000{tokens}}}}}}}"#
    );
    let path = dir.path().join("tokenizer.json");
    fs::write(&path, json).unwrap();
    let cache = build(dir.path(), &spec, &TextTokenizer::open(&path).unwrap()).unwrap();
    assert_eq!((cache.meta().width, cache.document(0)), (4, vec![70_000]));
}

#[test]
fn a_cache_is_built_once_and_anew_when_something_changed() {
    let (dir, spec) = corpus(LINES);
    let tokenizer = pieces();
    let first = build(dir.path(), &spec, &tokenizer).unwrap();
    let mut built = false;
    let again = TokenCache::open_or_build(dir.path(), &spec, &tokenizer, &mut |_| built = true);
    assert_eq!((again.unwrap().dir(), built), (first.dir(), false));
    let other = [
        (spec.clone(), self::tokenizer(Model::Bytes {})),
        (CacheSpec { words: false, ..spec.clone() }, tokenizer.clone()),
        (
            CacheSpec { documents: spec.documents.clone().with_split(Split::File), ..spec.clone() },
            tokenizer.clone(),
        ),
    ];
    for (spec, tokenizer) in other {
        assert_ne!(build(dir.path(), &spec, &tokenizer).unwrap().dir(), first.dir());
    }
    fs::write(&spec.documents.paths[0], "the dog").unwrap();
    let changed = build(dir.path(), &spec, &tokenizer).unwrap();
    assert_eq!((changed.documents(), first.documents()), (1, 3), "the old one is still mapped");
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(left, [""; 0], "nothing is left of building");
}

#[test]
fn who_builds_at_once_gets_the_same() {
    let (dir, spec) = corpus(&LINES.repeat(2000));
    let tokenizer = pieces();
    let caches: Vec<_> = std::thread::scope(|scope| {
        let build = || build(dir.path(), &spec, &tokenizer).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(build)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(caches[0].documents(), 6000);
    for cache in &caches[1..] {
        assert_eq!(cache.dir(), caches[0].dir());
        assert_eq!(cache.tokens(0..cache.len()), caches[0].tokens(0..cache.len()));
    }
}

#[test]
fn pieces_of_a_long_document_are_one_again() {
    let text = "the fox ".repeat(PIECE / 4);
    let (dir, spec) = corpus(&format!("{text}\nthe dog"));
    let cache = build(dir.path(), &spec, &pieces()).unwrap();
    assert_eq!((cache.documents(), cache.meta().tally.cut), (2, 1));
    let range = cache.range(0);
    let words = text.split_whitespace().count() as u64;
    assert!(range.end.is_multiple_of(words) && range.end > 0, "{range:?} of {words} words");
}

#[test]
fn damage_is_found() {
    let (dir, spec) = corpus(LINES);
    let tokenizer = pieces();
    let path = build(dir.path(), &spec, &tokenizer).unwrap().dir().join(TOKENS);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[1..]).unwrap();
    let text = build(dir.path(), &spec, &tokenizer).unwrap_err().to_string();
    let size = bytes.len();
    assert!(text.contains(&format!("expected {size} bytes, found {}", size - 1)), "{text}");

    let (dir, spec) = corpus("\n \n");
    let text = build(dir.path(), &spec, &tokenizer).unwrap_err().to_string();
    assert_eq!(text, "the documents hold no text: 0 documents, 0.0 MB, 2 empty");
}
