use super::*;
use proptest::prelude::*;
use std::{collections::HashMap, io::BufReader, path::Path};

fn train(order: usize, text: &[&str]) -> Trained {
    KneserNey { order, ..KneserNey::default() }.train(text).unwrap()
}

fn parse(text: &str) -> Result<NgramModel> {
    NgramModel::parse_arpa(BufReader::new(text.as_bytes()), Path::new("lm.arpa"))
}

fn print(model: &NgramModel) -> String {
    let mut text = Vec::new();
    model.print_arpa(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// The probability of a word behind others, the last of which come last.
fn probability(model: &NgramModel, state: State, history: &[&str], word: &str) -> f64 {
    let state = history.iter().fold(state, |state, word| model.score(state, model.id(word)).1);
    10f64.powf(f64::from(model.score(state, model.id(word)).0))
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6 * expected.max(1.0), "{found}, expected {expected}");
}

/// What follows a context sums to one, in every context.
fn sums(model: &NgramModel) -> Vec<f64> {
    let start = model.id(START).0;
    let predicted = (0..model.words.len() as u32).filter(|word| *word != start);
    let sum = |context| {
        let score = |word| f64::from(model.score(State(context), WordId(word)).0);
        predicted.clone().map(|word| 10f64.powf(score(word))).sum()
    };
    (0..model.contexts.len() as u32).map(sum).collect()
}

#[test]
fn bigrams_by_hand() {
    // Adjusted counts of a, b, c: 1; of </s>: 2. So few counts fix the discounts 0.5, 1, 1.5.
    let Trained { model, discounts, sentences, words } = train(2, &["a b", "a b", "a c"]);
    assert_eq!((sentences, words), (3, 6));
    assert_eq!(discounts[1], Discounts { by_count: [0.5, 1.0, 1.5], fixed: true });
    let of = |history: &[&str], word| probability(&model, model.empty(), history, word);
    assert_close(of(&[], "a"), 0.5 / 5.0 + 0.5 / 5.0);
    assert_close(of(&[], "</s>"), 1.0 / 5.0 + 0.5 / 5.0);
    assert_close(of(&[], "never seen"), 0.1);
    assert_close(of(&["a"], "b"), 1.0 / 3.0 + 0.5 * 0.2);
    assert_close(of(&["a"], "c"), 0.5 / 3.0 + 0.5 * 0.2);
    assert_close(of(&["a"], "a"), 0.5 * 0.2);
    assert_close(of(&["b"], "</s>"), 0.5 + 0.5 * 0.3);
    assert_close(probability(&model, model.start(), &[], "a"), 0.5 + 0.5 * 0.2);
    assert_eq!(model.counts(), [6, 5]);
}

#[test]
fn discounts_by_hand() {
    // With the end of the sentence 5 words occur once, 3 twice, 2 three times, 1 four times.
    let trained = train(1, &["o p q r s s t t u u v v v w w w x x x x"]);
    let by_count = [5.0 / 11.0, 12.0 / 11.0, 23.0 / 11.0];
    assert!(!trained.discounts[0].fixed);
    for (found, expected) in trained.discounts[0].by_count.iter().zip(by_count) {
        assert_close(*found, expected);
    }
    let backoff = (5.0 * by_count[0] + 3.0 * by_count[1] + 3.0 * by_count[2]) / 21.0;
    let of = |word| probability(&trained.model, trained.model.empty(), &["x"], word);
    assert_close(of("x"), (4.0 - by_count[2]) / 21.0 + backoff / 12.0);
    assert_close(of("<unk>"), backoff / 12.0);
}

#[test]
fn sentences_and_perplexity() {
    let model = train(2, &["a b", "a b", "a c"]).model;
    let log10 = 0.6f64.log10() + (1.0 / 3.0 + 0.1f64).log10() + 0.65f64.log10();
    assert!((model.sentence("a b") - log10).abs() < 1e-6);
    let (mut sum, unknown) = model.perplexity("a b");
    assert_close(sum.perplexity().unwrap(), 10f64.powf(-log10 / 3.0));
    let (more, more_unknown) = model.perplexity("zebra");
    sum += more;
    assert_eq!(Perplexity::default().perplexity(), None);
    assert_eq!((sum.tokens, sum.bytes, unknown + more_unknown), (4, 4, 1));
}

#[test]
fn rare_ngrams_are_left_out() {
    let text = ["a b c", "a b c", "a b d", "e b c"];
    let all = train(3, &text).model;
    let options = KneserNey { order: 3, min_counts: vec![1, 2] };
    let pruned = options.train(text).unwrap().model;
    assert_eq!(pruned.counts()[..2], all.counts()[..2]);
    // Kept: <s> a b, a b c, b c </s>.
    assert_eq!(pruned.counts()[2], 3);
    for sum in sums(&pruned) {
        assert_close(sum, 1.0);
    }
}

#[test]
fn bad_training_is_refused() {
    let error = |order, min_counts: &[u64], text: &[&str]| {
        let options = KneserNey { order, min_counts: min_counts.to_vec() };
        options.train(text).unwrap_err().to_string()
    };
    assert_eq!(error(7, &[], &["a"]), "`order` is 7; expected 1 to 6");
    assert!(error(3, &[3, 2], &["a"]).starts_with("`min_counts` is [3, 2]"));
    assert!(error(3, &[], &["a", "b <s> c"]).contains("sentence 2 has the word `<s>`"));
    assert!(error(3, &[], &["", " "]).contains("no words in 2 sentences"));
}

const ARPA: &str = "made by hand\n\n\\data\\\nngram 1=4\nngram 2=3\nngram 3=1\n
\\1-grams:\n-99\t<s>\t-0.5\n-1 </s>\r\n-0.75\ta\t-0.25\n-1.5\tb\n
\\2-grams:\n-0.3\t<s> a\t-0.125\n-0.5\ta b\n-0.6 b </s>
\\3-grams:\n-0.0625\tb a b\n\n\\end\\\n";

#[test]
fn arpa_by_hand() {
    let model = parse(ARPA).unwrap();
    // `b a` has to be there for `b a b`: its probability is that of backing off.
    assert_eq!(model.counts(), [4, 4, 1]);
    let log10 = |state, history: &[&str], word| probability(&model, state, history, word).log10();
    assert_close(log10(model.start(), &[], "a"), -0.3);
    assert_close(log10(model.start(), &["a"], "b"), -0.125 - 0.5);
    assert_close(log10(model.start(), &["a"], "a"), -0.125 - 0.25 - 0.75);
    assert_close(log10(model.empty(), &["b"], "a"), -0.75);
    assert_close(log10(model.empty(), &["b", "a"], "b"), -0.0625);
    assert_close(log10(model.empty(), &["a"], "zebra"), -0.25 - 100.0);
    assert_close(model.sentence("a b"), -0.3 - 0.625 - 0.6);
    assert_eq!(model.words().map(|(_, word)| word).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn arpa_mistakes_are_named_by_line() {
    for (from, to, line, expected, found) in [
        ("\\data\\", "data", 22, "`\\data\\`", "the end of the file"),
        ("ngram 2=3", "ngram 3=3", 5, "`ngram 2=` and a count", "`ngram 3=3`"),
        ("ngram 1=4", "ngram 1=x", 4, "`ngram 1=` and a count", "`ngram 1=x`"),
        ("ngram 1=4", "ngram 1=5", 14, "5 n-grams of order 1 from line 9", "4 before this"),
        ("-1.5\tb", "-1.5", 12, "1 words", "`-1.5`"),
        ("-0.5\ta b", "x\ta b", 16, "a base-10 logarithm of a probability, at most 0", "`x\ta b`"),
        (
            "-0.5\ta b",
            "0.5\ta b",
            16,
            "a base-10 logarithm of a probability, at most 0",
            "`0.5\ta b`",
        ),
        ("-0.5\ta b", "-0.5\ta c", 16, "words that are 1-grams, too", "`c`, in `-0.5\ta c`"),
        ("-0.5\ta b", "-0.5\ta b\tz", 16, "a number for the backoff", "`-0.5\ta b\tz`"),
        ("-0.5\ta b", "-0.3\t<s> a", 18, "each n-gram of order 2 once", "`<s> a` twice"),
        ("-1.5\tb", "-1.5\ta", 12, "each word once", "`a`, in `-1.5\ta`"),
        ("\tb a b", "\tb a b\t-1", 19, "3 words and no backoff", "`-0.0625\tb a b\t-1`"),
        ("\\end\\", "", 22, "an n-gram or `\\end\\`", "the end of the file"),
        ("\\end\\", "\\4-grams:", 21, "`\\end\\`", "`\\4-grams:`"),
    ] {
        assert!(ARPA.contains(from), "{from}");
        let error = parse(&ARPA.replace(from, to)).unwrap_err();
        let NgramError::Arpa { line: at, expected: wanted, found: instead, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((at, wanted.as_str(), instead.as_str()), (line, expected, found), "{from}");
    }
    let bytes: &[u8] = b"\\data\\\nngram 1=\xff\n";
    let error = NgramModel::parse_arpa(BufReader::new(bytes), Path::new("lm.arpa")).unwrap_err();
    assert_eq!(error.to_string(), "lm.arpa, line 2: expected UTF-8, found other bytes");
    assert!(NgramModel::read_arpa(Path::new("none.arpa")).is_err());
}

#[test]
fn arpa_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lm.arpa");
    let model = train(4, &["a b c a b", "b c d e", "a b c d", "e"]).model;
    model.write_arpa(&path).unwrap();
    let read = NgramModel::read_arpa(&path).unwrap();
    assert_eq!(print(&read), print(&model));
    assert_eq!(read.sentence("a b c z e"), model.sentence("a b c z e"));
    let by_hand = parse(ARPA).unwrap();
    assert!(!print(&by_hand).contains("<unk>"));
    assert_eq!(print(&parse(&print(&by_hand)).unwrap()), print(&by_hand));
}

/// Backoff by its definition, on strings.
fn by_definition(table: &HashMap<Vec<String>, (f64, f64)>, history: &[&str], word: &str) -> f64 {
    let ngram = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let found = table.get(&ngram(&[history, &[word]].concat()));
    if let Some((log10, _)) = found {
        return *log10;
    }
    let Some((_, shorter)) = history.split_first() else {
        return by_definition(table, &[], UNKNOWN);
    };
    let backoff = table.get(&ngram(history)).map_or(0.0, |(_, backoff)| *backoff);
    backoff + by_definition(table, shorter, word)
}

fn table(arpa: &str) -> HashMap<Vec<String>, (f64, f64)> {
    let lines = arpa.lines().filter(|line| line.starts_with(['-', '0']));
    let entry = |line: &str| {
        let mut fields = line.split('\t');
        let log10 = fields.next()?.parse().ok()?;
        let words = fields.next()?.split(' ').map(String::from).collect();
        Some((words, (log10, fields.next().map_or(0.0, |text| text.parse().unwrap()))))
    };
    lines.filter_map(entry).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn probabilities_sum_to_one_and_follow_the_definition(
        text in prop::collection::vec("[a-d]( [a-d]){0,7}", 1..12),
        order in 1usize..=6,
        least in prop::collection::vec(0u64..4, 0..4),
    ) {
        let mut min_counts = least;
        min_counts.sort_unstable();
        let model = KneserNey { order, min_counts }.train(&text).unwrap().model;
        for sum in sums(&model) {
            prop_assert!((sum - 1.0).abs() < 1e-5, "{}", sum);
        }
        let table = table(&print(&model));
        for sentence in &text {
            let words: Vec<&str> = std::iter::once(START).chain(sentence.split(' ')).collect();
            let mut state = model.start();
            for (at, word) in words.iter().enumerate().skip(1) {
                let history = &words[(at + 1).saturating_sub(order)..at];
                let (log10, next) = model.score(state, model.id(word));
                let expected = by_definition(&table, history, word);
                prop_assert!((f64::from(log10) - expected).abs() < 1e-4, "{} {}", log10, expected);
                state = next;
            }
        }
    }
}

#[test]
fn real_text() {
    let Some(path) = kiln_host::testing::data("text/tinyshakespeare.txt") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let options = crate::error_rate::Normalisation::default();
    let lines: Vec<String> =
        text.lines().map(|line| options.apply(line)).filter(|line| !line.is_empty()).collect();
    let (held_out, known) = lines.split_at(lines.len() / 10);
    let perplexity = |order, min_counts: &[u64]| {
        let options = KneserNey { order, min_counts: min_counts.to_vec() };
        let trained = options.train(known).unwrap();
        assert!(trained.discounts.iter().all(|discounts| !discounts.fixed));
        let mut sum = Perplexity::default();
        held_out.iter().for_each(|line| sum += trained.model.perplexity(line).0);
        println!("order {order}: {:?}, {:?}", trained.model.counts(), sum);
        let contexts = trained.model.contexts.len() as u32;
        // A few of the many contexts.
        for context in (0..contexts).step_by((contexts as usize / 7).max(1)) {
            let score = |word| f64::from(trained.model.score(State(context), WordId(word)).0);
            let words = (0..trained.model.words.len() as u32).filter(|word| *word != 1);
            assert_close(words.map(|word| 10f64.powf(score(word))).sum(), 1.0);
        }
        sum.perplexity().unwrap()
    };
    let (unigrams, trigrams) = (perplexity(1, &[]), perplexity(3, &[]));
    let pruned = perplexity(3, &[1, 2]);
    println!("perplexity {unigrams:.1}, {trigrams:.1}, pruned {pruned:.1}");
    assert!(trigrams < pruned && pruned < unigrams, "{unigrams} {trigrams} {pruned}");
}
