use super::*;
use crate::transcript::Word;
use crate::vocabulary::{Specials, Vocabulary};
use kiln_metrics::ngram::{KneserNey, NgramModel};
use ndarray::{Array2, Axis, array, s};
use proptest::prelude::*;
use std::{collections::HashMap, f64::consts::LN_10, sync::Arc};

/// Every path of tokens.
pub(super) fn paths(frames: usize, tokens: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..tokens.pow(frames as u32)).map(move |mut code| {
        let digit = |_| {
            let token = code % tokens;
            code /= tokens;
            token
        };
        (0..frames).map(digit).collect()
    })
}

/// CTC's many-to-one map.
pub(super) fn collapse(path: &[usize], blank: usize) -> Vec<u32> {
    let mut path = path.to_vec();
    path.dedup();
    path.into_iter().filter(|token| *token != blank).map(|token| token as u32).collect()
}

/// Readings with these posteriors. Words of the best one start at 0 s, 1 s, 2 s, … and last 0.5 s.
pub(super) fn readings(weighted: &[(&str, f64)]) -> Decoded {
    let mut nbest: Vec<Hypothesis> = weighted
        .iter()
        .map(|(text, posterior)| Hypothesis {
            ids: vec![],
            text: (*text).into(),
            score: posterior.ln() - 7.0,
            acoustic: posterior.ln() - 7.0,
            language: 0.0,
        })
        .collect();
    nbest.sort_by(|a, b| b.score.total_cmp(&a.score));
    let word = |(index, text): (usize, &str)| Word {
        text: text.into(),
        start: index as f64,
        end: index as f64 + 0.5,
        confidence: 1.0,
    };
    Decoded { words: nbest[0].text.split_whitespace().enumerate().map(word).collect(), nbest }
}

/// Blank, `|`, `a`, `b`.
fn vocabulary() -> Arc<Vocabulary> {
    let tokens = ["<pad>", "|", "a", "b"].map(String::from).to_vec();
    Arc::new(Vocabulary::new(tokens, Specials::default()).unwrap())
}

fn log_softmax(mut logits: Array2<f32>) -> Array2<f32> {
    for mut row in logits.axis_iter_mut(Axis(0)) {
        let sum: f32 = row.iter().map(|value| value.exp()).sum();
        row.mapv_inplace(|value| value - sum.ln());
    }
    logits
}

fn logits(frames: usize) -> impl Strategy<Value = Array2<f32>> {
    prop::collection::vec(-3.0f32..3.0, frames * 4)
        .prop_map(move |values| log_softmax(Array2::from_shape_vec((frames, 4), values).unwrap()))
}

/// A beam that loses nothing.
fn complete() -> BeamConfig {
    BeamConfig {
        width: 100_000,
        nbest: 100_000,
        max_tokens: 100,
        min_probability: 0.0,
        max_distance: f64::INFINITY,
        sentence_end: true,
    }
}

fn model(order: usize) -> Arc<NgramModel> {
    let text = ["a ab b", "ab a", "b b a", "ba ab"];
    Arc::new(KneserNey { order, ..KneserNey::default() }.train(text).unwrap().model)
}

fn capabilities() -> Arc<NgramModel> {
    let text = ["a | a b | b", "a b | a", "b | b | a", "b a | a b"];
    Arc::new(KneserNey { order: 3, ..KneserNey::default() }.train(text).unwrap().model)
}

fn weights(unit: LanguageUnit) -> LanguageWeights {
    LanguageWeights { alpha: 0.7, beta: 0.9, unknown: -1.5, unit }
}

/// What a decoder is made of, for the search and for its definition.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    words: bool,
    tokens: bool,
    lexicon: bool,
}

const LEXICON: [&str; 3] = ["a", "ab", "bab"];

impl Parts {
    fn decoder(self, config: BeamConfig) -> Decoder {
        let mut decoder = Decoder::new(vocabulary(), config).unwrap();
        if self.words {
            decoder = decoder.with_language_model(model(2), weights(LanguageUnit::Word)).unwrap();
        }
        if self.tokens {
            let weights = weights(LanguageUnit::Token);
            decoder = decoder.with_language_model(capabilities(), weights).unwrap();
        }
        if self.lexicon {
            decoder = decoder.with_lexicon(LEXICON).unwrap();
        }
        decoder
    }

    /// What language model and lexicon say of a label; `None` where it is forbidden.
    fn language(self, ids: &[u32]) -> Option<f64> {
        let text = vocabulary().decode(ids);
        let words: Vec<&str> = text.split_whitespace().collect();
        if self.lexicon && words.iter().any(|word| !LEXICON.contains(word)) {
            return None;
        }
        let spelled: Vec<String> =
            ids.iter().map(|id| vocabulary().tokens()[*id as usize].clone()).collect();
        let (model, units, known) = match self {
            Self { words: true, .. } => (model(2), words, &["a", "b", "ab", "ba"][..]),
            Self { tokens: true, .. } => {
                (capabilities(), spelled.iter().map(String::as_str).collect(), &["a", "b", "|"][..])
            }
            _ => return Some(0.0),
        };
        let unknown = units.iter().filter(|unit| !known.contains(unit)).count() as f64;
        let log10 = model.sentence(&units.join(" "));
        Some(0.7 * LN_10 * log10 + 0.9 * units.len() as f64 - 1.5 * unknown)
    }

    /// Every text's score by the definition: all paths of all its labels.
    fn exhaustive(self, log_probs: &Array2<f32>) -> HashMap<String, f64> {
        let mut labels: HashMap<Vec<u32>, f64> = HashMap::new();
        for path in paths(log_probs.nrows(), log_probs.ncols()) {
            let frames = path.iter().enumerate();
            let score: f64 = frames.map(|(t, token)| f64::from(log_probs[(t, *token)])).sum();
            *labels.entry(collapse(&path, 0)).or_default() += score.exp();
        }
        let mut texts: HashMap<String, f64> = HashMap::new();
        for (label, probability) in labels {
            if let Some(language) = self.language(&label) {
                *texts.entry(vocabulary().decode(&label)).or_default() +=
                    probability * language.exp();
            }
        }
        texts.into_iter().map(|(text, sum)| (text, sum.ln())).collect()
    }
}

fn all_parts() -> impl Strategy<Value = Parts> {
    (0..3, any::<bool>()).prop_map(|(language, lexicon)| Parts {
        words: language == 1,
        tokens: language == 2,
        lexicon,
    })
}

const TIMES: FrameTimes = FrameTimes { start: 10.0, stride: 0.02 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_wide_beam_finds_what_exhaustive_search_finds(
        parts in all_parts(),
        log_probs in (1usize..6).prop_flat_map(logits),
    ) {
        let expected = parts.exhaustive(&log_probs);
        let found = parts.decoder(complete()).decode(log_probs.view(), TIMES).unwrap();
        prop_assert_eq!(found.nbest.len(), expected.len());
        for hypothesis in &found.nbest {
            let score = expected[&hypothesis.text];
            prop_assert!((hypothesis.score - score).abs() < 1e-6, "{:?} {}", hypothesis, score);
        }
        let best = expected.values().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!((found.nbest[0].score - best).abs() < 1e-6);
        prop_assert!(found.nbest.is_sorted_by(|a, b| a.score >= b.score));
        prop_assert!((found.posteriors(1.0).iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_beam_as_wide_as_by_default_loses_nothing_here(
        parts in all_parts(),
        log_probs in logits(4),
    ) {
        let found = parts.decoder(BeamConfig::default()).decode(log_probs.view(), TIMES).unwrap();
        let expected = parts.exhaustive(&log_probs);
        let best = expected.values().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!((expected[found.text()] - best).abs() < 0.05, "{:?} {}", found, best);
    }

    #[test]
    fn frames_in_chunks_give_the_same(
        parts in all_parts(),
        log_probs in logits(40),
        chunks in prop::collection::vec(1usize..9, 40),
    ) {
        let decoder = parts.decoder(BeamConfig { width: 12, nbest: 3, ..BeamConfig::default() });
        let whole = decoder.decode(log_probs.view(), TIMES).unwrap();
        let mut stream = BeamStream::new(&decoder, TIMES, None);
        let mut words = Vec::new();
        let mut frame = 0;
        for chunk in chunks {
            let end = (frame + chunk).min(40);
            words.extend(stream.push(log_probs.slice(s![frame..end, ..])).unwrap());
            frame = end;
        }
        words.extend(stream.finish().unwrap().words);
        let texts = |words: &[Word]| words.iter().map(|w| w.text.clone()).collect::<Vec<_>>();
        prop_assert_eq!(texts(&words), texts(&whole.words));
        prop_assert!(words.is_sorted_by(|a, b| a.end <= b.start));
        prop_assert!(words.iter().all(|w| w.start >= 10.0 && w.start <= w.end && w.end < 10.81));
    }

    #[test]
    fn greedy_in_chunks_gives_the_same(
        log_probs in logits(40),
        chunks in prop::collection::vec(1usize..9, 40),
    ) {
        let vocabulary = vocabulary();
        let whole = greedy(&vocabulary, log_probs.view(), TIMES).unwrap();
        let mut stream = GreedyStream::new(&vocabulary, TIMES);
        let mut words = Vec::new();
        let mut frame = 0;
        for chunk in chunks {
            let end = (frame + chunk).min(40);
            words.extend(stream.push(log_probs.slice(s![frame..end, ..])).unwrap());
            frame = end;
        }
        let (last, best) = stream.finish();
        words.extend(last);
        prop_assert_eq!(&words, &whole.words);
        prop_assert_eq!(&best, &whole.nbest[0]);
        // By definition.
        let path: Vec<usize> = log_probs
            .outer_iter()
            .map(|row| (0..4).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap())
            .collect();
        prop_assert_eq!(&best.ids, &collapse(&path, 0));
        prop_assert_eq!(words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" "), best.text);
    }

    #[test]
    fn nothing_waits_longer_than_the_look_ahead(
        parts in all_parts(),
        log_probs in logits(60),
        look_ahead in 0usize..12,
    ) {
        let decoder = parts.decoder(BeamConfig { width: 12, ..BeamConfig::default() });
        let mut stream = BeamStream::new(&decoder, TIMES, Some(look_ahead));
        let mut words = Vec::new();
        for frame in 0..60 {
            words.extend(stream.push(log_probs.slice(s![frame..frame + 1, ..])).unwrap());
            // What is left starts with a word that has not ended, or ended not long ago.
            let waiting = stream.partial();
            prop_assert!(waiting.split_whitespace().count() <= look_ahead + 2, "{}", waiting);
        }
        words.extend(stream.finish().unwrap().words);
        prop_assert!(words.is_sorted_by(|a, b| a.end <= b.start + 1e-9), "{:?}", words);
        if parts.lexicon {
            prop_assert!(words.iter().all(|word| LEXICON.contains(&word.text.as_str())));
        }
    }
}

/// `ab a`, said clearly: one token every second frame.
fn clear() -> Array2<f32> {
    let path = [0, 2, 0, 3, 3, 1, 0, 2, 0, 0];
    let row = |t: usize, token: usize| if path[t] == token { 0.97f32.ln() } else { 0.01f32.ln() };
    Array2::from_shape_fn((path.len(), 4), |(t, token)| row(t, token))
}

#[test]
fn words_have_times_and_confidence() {
    let beam = Decoder::new(vocabulary(), BeamConfig::default()).unwrap();
    for decoded in [
        greedy(&vocabulary(), clear().view(), TIMES).unwrap(),
        beam.decode(clear().view(), TIMES).unwrap(),
    ] {
        assert_eq!(decoded.text(), "ab a");
        let times: Vec<_> = decoded.words.iter().map(|word| (word.start, word.end)).collect();
        assert_eq!(times, [(10.02, 10.1), (10.14, 10.16)]);
        assert!(decoded.words.iter().all(|word| (word.confidence - 0.97).abs() < 1e-6));
    }
}

#[test]
fn several_paths_beat_the_best_path() {
    // The best path is blank, blank; but `a` has three paths.
    let log_probs = array![[0.55f32, 0.0, 0.45, 0.0], [0.55, 0.0, 0.45, 0.0]].mapv(f32::ln);
    assert_eq!(greedy(&vocabulary(), log_probs.view(), TIMES).unwrap().text(), "");
    let decoder = Decoder::new(vocabulary(), BeamConfig { nbest: 2, ..BeamConfig::default() });
    let found = decoder.unwrap().decode(log_probs.view(), TIMES).unwrap();
    assert_eq!(found.text(), "a");
    assert!((found.nbest[0].score.exp() - (1.0 - 0.55 * 0.55)).abs() < 1e-6);
    assert_eq!(found.transcript(true).alternatives[0].text, "");
    assert!(found.transcript(false).alternatives.is_empty());
}

#[test]
fn a_word_cut_by_the_end_is_left_out_with_a_lexicon() {
    let mut log_probs = clear().slice(s![..9, ..]).to_owned();
    // `ab b`: `b` alone is no word.
    log_probs.row_mut(7).assign(&array![0.01f32, 0.01, 0.01, 0.97].mapv(f32::ln));
    let narrow = BeamConfig { width: 1, ..BeamConfig::default() };
    let parts = Parts { lexicon: true, ..Parts::default() };
    assert_eq!(parts.decoder(narrow).decode(log_probs.view(), TIMES).unwrap().text(), "ab");
}

#[test]
fn long_searches_forget_what_died() {
    let decoder = Parts { words: true, ..Parts::default() }.decoder(BeamConfig::default());
    let log_probs = log_softmax(Array2::from_shape_fn((3000, 4), |(t, token)| {
        ((t * 7 + token * 13) % 11) as f32 / 3.0
    }));
    let mut search = beam::Search::new(&decoder);
    for frame in log_probs.outer_iter() {
        search.advance(frame);
    }
    let label = search.finish()[0].ids.len();
    assert!(label > 500, "{label}");
    assert!(search.prefixes.len() < 8192 + 3 * label, "{}", search.prefixes.len());
    assert_eq!(decoder.decode(log_probs.view(), TIMES).unwrap().nbest, search.finish());
}

#[test]
fn several_at_once() {
    let decoder = Decoder::new(vocabulary(), BeamConfig::default()).unwrap();
    let (clear, empty) = (clear(), Array2::zeros((0, 4)));
    let wrong = Array2::from_elem((1, 4), f32::NAN);
    let found = decoder.decode_all(&[clear.view(), empty.view(), wrong.view()], TIMES);
    assert_eq!(found[0].as_ref().unwrap().text(), "ab a");
    let nothing = found[1].as_ref().unwrap();
    assert_eq!((nothing.text(), nothing.words.len(), nothing.nbest.len()), ("", 0, 1));
    assert!(found[2].is_err());
}

#[test]
fn what_is_impossible_gives_an_answer() {
    let decoder = Decoder::new(vocabulary(), BeamConfig::default()).unwrap();
    let log_probs = Array2::from_elem((3, 4), f32::NEG_INFINITY);
    let found = decoder.decode(log_probs.view(), TIMES).unwrap();
    assert_eq!((found.text(), found.nbest[0].score), ("", f64::NEG_INFINITY));
    assert_eq!(found.posteriors(1.0), [1.0]);
}

#[test]
fn lattices_of_what_was_decoded() {
    let decoder = Parts { words: true, ..Parts::default() }
        .decoder(BeamConfig { nbest: 5, ..BeamConfig::default() });
    let decoded = decoder.decode(clear().view(), TIMES).unwrap();
    let lattice = Lattice::new(&decoder, clear().view(), &decoded, TIMES, 1.0).unwrap();
    let best = lattice.arcs.iter().find(|arc| arc.word.as_deref() == Some("ab")).unwrap();
    assert_eq!((best.start, best.end), (10.02, 10.1));
    assert!(best.posterior > 0.5);
    assert!(ConfusionNetwork::new(&decoded, 1.0).slots.len() >= 2);
}

#[test]
fn mistakes_are_named() {
    let decoder = Decoder::new(vocabulary(), BeamConfig::default()).unwrap();
    let error =
        |log_probs: Array2<f32>| decoder.decode(log_probs.view(), TIMES).unwrap_err().to_string();
    assert_eq!(
        error(Array2::zeros((2, 3))),
        "log-probabilities have 3 columns; the vocabulary has 4 tokens"
    );
    assert_eq!(
        error(array![[-1.0, -1.0, -1.0, -1.0], [-1.0, 2.5, -1.0, -1.0]]),
        "frame 1, token 1: 2.5 is no natural logarithm of a probability; expected the output of a \
         log-softmax"
    );
    let config = |config| Decoder::new(vocabulary(), config).unwrap_err().to_string();
    assert!(config(BeamConfig { width: 0, ..BeamConfig::default() }).contains("`width` is 0"));
    assert!(
        config(BeamConfig { max_distance: f64::NAN, ..BeamConfig::default() }).contains("`max_d")
    );
    let upper = Arc::new(KneserNey::default().train(["AB A"]).unwrap().model);
    let error = decoder.clone().with_language_model(upper, LanguageWeights::default());
    assert!(error.unwrap_err().to_string().contains("which starts with `AB`; compare case"));
    let weights = LanguageWeights { alpha: f64::NAN, ..LanguageWeights::default() };
    assert!(decoder.clone().with_language_model(model(2), weights).is_err());
    assert!(decoder.with_lexicon(["xyz"]).is_err());
    let tokens = vec!["<pad>".to_owned(), "a".to_owned()];
    let whole = Arc::new(Vocabulary::new(tokens, Specials::default()).unwrap());
    let decoder = Decoder::new(whole, BeamConfig::default()).unwrap();
    assert!(decoder.with_lexicon(["a"]).unwrap_err().to_string().contains("between words"));
}
