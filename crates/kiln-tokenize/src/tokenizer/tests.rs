use super::{
    chunk::Cut,
    text_tokenizer::{CONFIG, TEMPLATE},
    *,
};
use kiln_datasets::{DataError, Document};
use proptest::prelude::*;
use std::{collections::BTreeMap, fs, sync::LazyLock};

/// Lines of several scripts, repeated so that pairs are frequent.
const LINES: [&str; 6] = [
    "The quick brown fox jumps over the lazy dog, doesn't it?",
    "the lower, the lowest; newer and wider than 1234 56",
    "今天天气很好，我们去公园吧。今天的天气。",
    "สวัสดีครับ ยินดีต้อนรับ",
    "Được học tiếng Việt rất vui",
    "tabs\tand  spaces \nlines\n\n  indented",
];

fn documents(times: usize) -> impl Iterator<Item = std::result::Result<Document, DataError>> {
    let lines = LINES.into_iter().cycle().take(LINES.len() * times);
    lines.map(|text| Ok(Document { text: text.to_owned(), ..Document::default() }))
}

fn train(model: Model) -> TextTokenizer {
    TokenizerSpec::new(model).train(documents(20), &mut |_| {}).unwrap()
}

fn models() -> [Model; 6] {
    [
        Model::ByteBpe { vocabulary: 400 },
        Model::Bpe { vocabulary: 300 },
        Model::WordPiece { vocabulary: 300, lowercase: false },
        Model::Unigram { vocabulary: 200 },
        Model::Characters { vocabulary: 1000 },
        Model::Bytes {},
    ]
}

static TRAINED: LazyLock<Vec<TextTokenizer>> = LazyLock::new(|| models().map(train).into());

/// A task may begin with a mode of those that a model was trained with.
#[test]
fn sentinels_are_known_in_text() {
    for model in models() {
        let spec = TokenizerSpec { sentinels: 3, ..TokenizerSpec::new(model) };
        let tokenizer = spec.train(documents(5), &mut |_| {}).unwrap();
        let [first, last] = tokenizer.special().sentinels().unwrap();
        let ids = tokenizer.encode("<extra_id_2> the fox", false).unwrap().get_ids().to_vec();
        assert!(ids[0] == last && first != last && ids.len() > 2, "{ids:?}");
    }
}

#[test]
fn all_kinds_are_trained_alike_written_and_read() {
    for (model, first) in models().into_iter().zip(TRAINED.iter()) {
        let second = train(model.clone());
        assert_eq!(first.fingerprint(), second.fingerprint(), "{model:?} is deterministic");
        let dir = tempfile::tempdir().unwrap();
        first.write(dir.path()).unwrap();
        let read = TextTokenizer::open(dir.path()).unwrap();
        assert_eq!(read.fingerprint(), first.fingerprint(), "{model:?}");
        assert_eq!(read.special(), first.special());
        assert_eq!(read.cut, first.cut);
        assert_ne!(read.cut, Cut::Never, "{model:?}");
        let guessed = dir.path().join("elsewhere.json");
        fs::copy(dir.path().join(TOKENIZER_FILE), &guessed).unwrap();
        fs::remove_file(dir.path().join(CONFIG)).unwrap();
        let guessed = TextTokenizer::open(&guessed).unwrap();
        assert_eq!(guessed.special(), first.special(), "{model:?} has usual spellings");
    }
}

#[test]
fn what_was_seen_comes_back() {
    for (model, tokenizer) in models().into_iter().zip(TRAINED.iter()) {
        if matches!(model, Model::WordPiece { .. }) {
            continue;
        }
        for line in LINES {
            let ids = tokenizer.encode(line, false).unwrap().get_ids().to_vec();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), line, "{model:?}");
        }
        // Merged pairs make text shorter than its characters.
        let learned = !matches!(model, Model::Characters { .. } | Model::Bytes {});
        let tokens = tokenizer.encode(LINES[0], false).unwrap().len();
        assert_eq!(tokens < LINES[0].len(), learned, "{model:?}: {tokens}");
    }
}

#[test]
fn special_tokens_stand_where_they_belong() {
    let [bytes, bpe, pieces, ..] = &TRAINED[..] else { unreachable!() };
    let encoding = pieces.encode_pair("the fox", "今天", true).unwrap();
    let tokens = encoding.get_tokens();
    assert_eq!((tokens[0].as_str(), tokens.last().unwrap().as_str()), ("[CLS]", "[SEP]"));
    assert_eq!(encoding.get_type_ids().iter().sum::<u32>(), 3, "two characters and a [SEP]");
    assert_eq!(encoding.get_tokens().iter().filter(|token| *token == "[SEP]").count(), 2);
    let the = encoding.get_offsets()[1];
    assert_eq!(the.0, 0, "offsets are in bytes of each text");
    assert_eq!(pieces.begin(), pieces.special().get(Role::Cls).map(|token| token.id));
    assert_eq!(pieces.special().ids(), [0, 1, 2, 3, 4]);
    let wrapped = bpe.encode("the", true).unwrap();
    assert_eq!(wrapped.get_ids()[0], bpe.need(Role::Bos, "a test").unwrap());
    assert_eq!(*wrapped.get_ids().last().unwrap(), bpe.end().unwrap());
    assert_eq!(
        bytes.encode("the", true).unwrap().get_ids(),
        bytes.encode("the", false).unwrap().get_ids()
    );
    assert_eq!(bytes.begin(), bytes.end(), "GPT-2 has one for both");
    let text = bytes.need(Role::Cls, "classification").unwrap_err().to_string();
    assert!(text.starts_with("the tokenizer has no cls token: classification needs one"), "{text}");
    let batch = bpe.encode_batch(&["the", "fox"], true).unwrap();
    assert_eq!(batch[0].get_ids(), wrapped.get_ids());
}

/// Written down, so that others that read the file do the same.
#[test]
fn what_stands_around_a_text_can_be_asked_for() {
    let model = Model::ByteBpe { vocabulary: 300 };
    let spec = |around| TokenizerSpec { around: Some(around), ..TokenizerSpec::new(model.clone()) };
    let [first, second] = ["the", "fox"].map(|text| {
        let plain = spec(Around::Nothing).train(documents(3), &mut |_| {}).unwrap();
        plain.encode(text, true).unwrap().get_ids().to_vec()
    });
    for (around, begin, end) in
        [(Around::Both, 1, 1), (Around::Begin, 1, 0), (Around::End, 0, 1), (Around::Nothing, 0, 0)]
    {
        let trained = spec(around).train(documents(3), &mut |_| {}).unwrap();
        let dir = tempfile::tempdir().unwrap();
        trained.write(dir.path()).unwrap();
        let read = TextTokenizer::open(dir.path()).unwrap();
        let border = [read.end().unwrap()];
        let (begins, ends) = (border.repeat(begin), border.repeat(end));
        let one = [&begins, &first, &ends].into_iter().flatten().copied().collect::<Vec<u32>>();
        assert_eq!(read.encode("the", true).unwrap().get_ids(), one, "{around:?}");
        let between = border.repeat(if begin > end { 1 } else { 0 });
        let two = [&one, &between, &second, &ends].into_iter().flatten().copied();
        let pair = read.encode_pair("the", "fox", true).unwrap();
        assert_eq!(pair.get_ids(), two.collect::<Vec<u32>>(), "{around:?}");
        let special = pair.get_special_tokens_mask().iter().sum::<u32>() as usize;
        assert_eq!(special, begin + 2 * end + between.len(), "{around:?}");
    }
    let special = BTreeMap::from([(Role::Eos, String::new())]);
    let none = TokenizerSpec { special, ..spec(Around::End) };
    let error = none.train(documents(3), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("`around` is asked for"), "{error}");
}

#[test]
fn chinese_is_divided_by_characters() {
    let pieces = &TRAINED[2];
    let encoding = pieces.encode("今天天气", false).unwrap();
    assert_eq!(encoding.get_tokens(), ["今", "天", "天", "气"]);
    let words: Vec<_> = encoding.get_word_ids().iter().map(|word| word.unwrap()).collect();
    assert_eq!(words, [0, 1, 2, 3]);
}

#[test]
fn line_breaks_are_known_though_lines_have_none() {
    for model in models() {
        if matches!(model, Model::WordPiece { .. }) {
            continue;
        }
        let lines = documents(5).filter(|line| !line.as_ref().unwrap().text.contains('\n'));
        let tokenizer = TokenizerSpec::new(model.clone()).train(lines, &mut |_| {}).unwrap();
        let ids = tokenizer.encode("the\nfox", false).unwrap().get_ids().to_vec();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), "the\nfox", "{model:?}");
    }
}

#[test]
fn no_vocabulary_is_larger_than_asked_for() {
    let most = [400, 300, 300, 200, 1000, 259];
    for ((model, tokenizer), most) in models().into_iter().zip(TRAINED.iter()).zip(most) {
        assert!(tokenizer.vocabulary() <= most, "{model:?}: {}", tokenizer.vocabulary());
    }
    let tight = train(Model::WordPiece { vocabulary: 40, lowercase: false });
    assert_eq!(tight.vocabulary(), 40);
}

#[test]
fn own_special_tokens() {
    let special = BTreeMap::from([(Role::Mask, "<hide>".into()), (Role::Pad, String::new())]);
    let additional = vec!["<tool>".to_owned()];
    let model = Model::ByteBpe { vocabulary: 300 };
    let spec = TokenizerSpec { special, additional, ..TokenizerSpec::new(model) };
    let tokenizer = spec.train(documents(3), &mut |_| {}).unwrap();
    assert_eq!(tokenizer.special().get(Role::Mask).unwrap().text, "<hide>");
    assert_eq!(tokenizer.special().get(Role::Pad), None);
    let [tool] = tokenizer.special().additional() else { panic!("one more token") };
    let ids = tokenizer.encode("fox<tool>", false).unwrap().get_ids().to_vec();
    assert_eq!(ids.last(), Some(&tool.id));
    let mut encoded = Encoded::default();
    IdEncoder::new(&tokenizer, true).encode("fox<tool>", &mut encoded).unwrap();
    assert_eq!(encoded.ids, ids);
}

#[test]
fn mistakes_are_named() {
    let fail = |spec: TokenizerSpec, times| {
        spec.train(documents(times), &mut |_| {}).unwrap_err().to_string()
    };
    let byte = |vocabulary| TokenizerSpec::new(Model::ByteBpe { vocabulary });
    let text = fail(byte(100), 1);
    assert_eq!(text, "`vocabulary` is 100, expected at least 259: 3 special tokens and more");
    assert_eq!(fail(byte(300), 0), "training the tokenizer failed: there is no text");
    let special = BTreeMap::from([(Role::Unk, String::new())]);
    let text =
        fail(TokenizerSpec { special, ..TokenizerSpec::new(Model::Bpe { vocabulary: 100 }) }, 1);
    assert!(text.starts_with("`special.unk` is left out"), "{text}");
    let unigram = TokenizerSpec::new(Model::Unigram { vocabulary: 100 });
    let around = unigram.surroundings().unwrap();
    let nothing = unigram::learn_unigram(&around, Vec::new(), &Default::default(), 100);
    let text = nothing.unwrap_err().to_string();
    assert!(text.contains("found nothing to learn from; give it more text"), "{text}");

    let dir = tempfile::tempdir().unwrap();
    let text = TextTokenizer::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("no tokenizer.json there"), "{text}");
    TRAINED[2].write(dir.path()).unwrap();
    fs::write(dir.path().join(CONFIG), r#"{"mask_token": "<nowhere>"}"#).unwrap();
    let text = TextTokenizer::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("`mask_token` is `<nowhere>`, which the vocabulary lacks"), "{text}");
    fs::write(dir.path().join(TOKENIZER_FILE), "{").unwrap();
    let text = TextTokenizer::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("not a tokenizer: EOF"), "{text}");
}

#[test]
fn a_chat_template_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    TRAINED[0].write(dir.path()).unwrap();
    fs::write(dir.path().join(TEMPLATE), "{{ messages }}").unwrap();
    let read = TextTokenizer::open(dir.path()).unwrap();
    assert_eq!(read.chat_template(), Some("{{ messages }}"));
    let again = tempfile::tempdir().unwrap();
    read.write(again.path()).unwrap();
    let read = TextTokenizer::open(again.path()).unwrap();
    assert_eq!(read.chat_template(), Some("{{ messages }}"));
}

#[test]
fn a_recipe_says_which() {
    let spec: TokenizerSpec = toml::from_str(
        "model = { word-piece = { vocabulary = 500, lowercase = true } }\n\
         special = { mask = '<m>' }\nadditional = ['<a>']\n",
    )
    .unwrap();
    assert_eq!(spec.model, Model::WordPiece { vocabulary: 500, lowercase: true });
    assert_eq!(spec.special[&Role::Mask], "<m>");
    assert!(toml::from_str::<TokenizerSpec>("model = { byte-bpe = { size = 5 } }").is_err());
}

/// Characters whose class is known to the fast encoder have that class.
#[test]
fn classes_of_characters_are_those_of_the_tokenizer() {
    let plain = |c: &char| !c.is_whitespace() && words::words(&c.to_string()).is_some();
    let text: String =
        ('\0'..'\u{20000}').filter(plain).flat_map(|c| [c, 'a', c, '1', c, '!']).collect();
    assert!(text.chars().count() > 200_000, "{}", text.chars().count());
    let tokenizer = &TRAINED[5];
    let mut encoded = Encoded::default();
    IdEncoder::new(tokenizer, true).encode(&text, &mut encoded).unwrap();
    let whole = tokenizer.encode(&text, false).unwrap();
    let words = whole.get_word_ids();
    let word_starts: Vec<bool> =
        (0..words.len()).map(|at| at == 0 || words[at] != words[at - 1]).collect();
    assert!(encoded == Encoded { ids: whole.get_ids().to_vec(), word_starts });
}

proptest! {
    /// What is remembered is what the tokenizer says of the whole text.
    #[test]
    fn the_fast_encoder_agrees(
        texts in prop::collection::vec(
            "(the|fox|'ll|\\.|1| |  |\n|\t|\r|\u{b}|\u{85}|\u{3000}|\u{301}|今天|今天天气很好，我们|气们去|▁|，|。|'s|А|か|漢字1|ế|<s>|\\[SEP\\]|\\PC){0,12}",
            1..4,
        )
    ) {
        for tokenizer in TRAINED.iter() {
            let mut encoder = IdEncoder::new(tokenizer, true);
            let mut bare = IdEncoder::new(tokenizer, false);
            for text in &texts {
                let whole = tokenizer.encode(text, false).unwrap();
                let words = whole.get_word_ids();
                let word_starts: Vec<bool> = (0..words.len())
                    .map(|at| at == 0 || words[at].is_none() || words[at] != words[at - 1])
                    .collect();
                for _ in 0..2 {
                    let mut encoded = Encoded::default();
                    encoder.encode(text, &mut encoded).unwrap();
                    prop_assert_eq!(&encoded.ids, whole.get_ids(), "{:?} {:?}", tokenizer.cut, text);
                    let mut ids = Encoded::default();
                    bare.encode(text, &mut ids).unwrap();
                    prop_assert_eq!(&ids, &Encoded { ids: encoded.ids.clone(), word_starts: vec![] });
                    prop_assert_eq!(&encoded.word_starts, &word_starts, "{:?} {:?}", tokenizer.cut, text);
                }
            }
        }
    }
}
