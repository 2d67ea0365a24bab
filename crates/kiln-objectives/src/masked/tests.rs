use super::*;
use crate::toy::{Groups, Toy, context};
use burn_flex::Flex;
use kiln_core::Seed;

fn layout() -> Layout {
    Layout { channels: 3, ..Layout::new(6, 10) }
}

#[test]
fn hides_the_share_asked_for() {
    for kind in [MaskedKind::Random, MaskedKind::Block(3), MaskedKind::Tail] {
        let masked = Masked { ratio: 0.3, kind, ..Masked::default() };
        let hidden = masked.sample(&layout(), &mut Seed::new(1).rng());
        for row in hidden.chunks(10) {
            assert_eq!(row.iter().filter(|h| **h).count(), 3, "{kind:?}");
        }
    }
}

#[test]
fn tail_hides_the_end_and_channels_can_share() {
    let tail = Masked { ratio: 0.2, kind: MaskedKind::Tail, ..Masked::default() };
    let hidden = tail.sample(&layout(), &mut Seed::new(1).rng());
    assert!(hidden[..8].iter().all(|h| !h) && hidden[8] && hidden[9]);
    let shared = Masked { same_for_channels: true, ..Masked::default() };
    let hidden = shared.sample(&layout(), &mut Seed::new(1).rng());
    assert_eq!(hidden[..10], hidden[10..20]);
    assert_ne!(hidden[..10], hidden[30..40]);
}

#[test]
fn padding_is_not_hidden() {
    let layout = Layout { lengths: Some(vec![10, 5, 0]), ..Layout::new(3, 10) };
    for kind in [MaskedKind::Random, MaskedKind::Block(2), MaskedKind::Tail] {
        let masked = Masked { ratio: 0.4, kind, ..Masked::default() };
        let hidden = masked.sample(&layout, &mut Seed::new(1).rng());
        let count = |row: &[bool]| row.iter().filter(|hidden| **hidden).count();
        let counts: Vec<usize> = hidden.chunks(10).map(count).collect();
        assert_eq!(counts, [4, 2, 0], "{kind:?}");
        assert!(hidden[15..].iter().all(|hidden| !hidden), "{kind:?}");
    }
    let spans = Masked { ratio: 0.4, kind: MaskedKind::Spans(2), ..Masked::default() };
    let hidden = spans.sample(&layout, &mut Seed::new(1).rng());
    assert!(hidden[..10].iter().filter(|hidden| **hidden).count() >= 3);
    assert!(hidden[15..].iter().all(|hidden| !hidden));
}

#[test]
fn only_hidden_tokens_are_scored() {
    // The toy model sees zero at hidden tokens and repeats it: the error is the value squared.
    let batch = Tensor::<Flex, 3>::from_floats([[[7.0], [7.0], [2.0]]], &Default::default());
    let tail = Masked { ratio: 0.34, kind: MaskedKind::Tail, ..Masked::default() };
    let mut rng = Seed::new(0).rng();
    let loss = tail.loss(&Toy, None, &Groups::from(batch), &mut context(&mut rng)).unwrap();
    assert_eq!((loss.value.into_scalar(), loss.count), (4.0, 1));
}

#[test]
fn settings_out_of_range_are_named() {
    let error = Masked { ratio: 1.0, ..Masked::default() }.validate().unwrap_err();
    assert_eq!(error.to_string(), "objective.masked.ratio: is 1; expected above 0 and below 1");
}

#[test]
fn words_are_hidden_as_a_whole_and_what_is_fixed_never() {
    let flags = |text: &str| Some(text.chars().map(|c| c == 'x').collect::<Vec<bool>>());
    let layout = Layout {
        special_tokens_mask: flags("x........x"),
        word_starts: flags(".xx.x..xx."),
        ..Layout::new(1, 10)
    };
    assert_eq!(layout.units(0, true), [1..2, 2..4, 4..7, 7..8, 8..9]);
    assert_eq!(layout.units(0, false).len(), 8);
    for kind in [MaskedKind::Random, MaskedKind::Ngrams(3)] {
        let masked = Masked { ratio: 0.4, kind, whole_words: true, ..Masked::default() };
        for seed in 0..20 {
            let hidden = masked.sample(&layout, &mut Seed::new(seed).rng());
            let whole = |unit: &std::ops::Range<usize>| {
                let count = hidden[unit.clone()].iter().filter(|hidden| **hidden).count();
                assert!(count == 0 || count == unit.len(), "{kind:?}: {hidden:?}");
                count > 0
            };
            assert_eq!(layout.units(0, true).iter().filter(|unit| whole(unit)).count(), 2);
            assert!(!hidden[0] && !hidden[9]);
        }
    }
}

#[test]
fn the_ratio_moves_and_some_tokens_are_seen_or_exchanged() {
    let decay = Some(RatioDecay { to: 0.1, steps: 10 });
    let masked = Masked {
        ratio: 0.3,
        decay,
        random_replacement: 0.1,
        keep_unchanged: 0.1,
        ..Masked::default()
    };
    masked.validate().unwrap();
    assert!((masked.at(5).ratio - 0.2).abs() < 1e-12 && masked.at(99).ratio == 0.1);
    let chosen = vec![true; 4000];
    let partly = masked.replace_some(&chosen, &mut Seed::new(3).rng());
    let drawn = MaskedTokens { shape: [1, 4000], chosen, share: 1.0, partly };
    let corruption = drawn.corruption(&Default::default());
    let count = |tokens: Tensor<Flex, 2, Bool>| tokens.int().sum().into_scalar();
    let (hidden, replaced) =
        (count(corruption.mask.unwrap()), count(corruption.random_replacement.unwrap().tokens));
    assert!((hidden - 3200).abs() < 120 && (replaced - 400).abs() < 90, "{hidden} {replaced}");
    assert!(
        Masked { random_replacement: 0.7, keep_unchanged: 0.4, ..Masked::default() }
            .validate()
            .is_err()
    );
}

#[test]
fn terms_are_hidden_first_and_whole() {
    let terms = vec![vec![2..4, 6..8, 9..10]];
    let fixed = (0..10).map(|at| at == 9).collect();
    let layout = Layout {
        lexicon_spans: Some(terms),
        special_tokens_mask: Some(fixed),
        ..Layout::new(1, 10)
    };
    let masked = Masked { ratio: 0.55, lexicon: 0.8, ..Masked::default() };
    for seed in 0..20 {
        let hidden = masked.sample(&layout, &mut Seed::new(seed).rng());
        assert!(hidden[2] && hidden[3] && hidden[6] && hidden[7] && !hidden[9]);
        assert_eq!(hidden.iter().filter(|hidden| **hidden).count(), 5);
    }
    let half = Masked { lexicon: 0.4, ..masked };
    let one = |seed| half.sample(&layout, &mut Seed::new(seed).rng());
    assert!((0..20).map(one).any(|hidden| !(hidden[2] && hidden[6])));
    assert!(Masked { lexicon: 1.5, ..half }.validate().is_err());
}

#[test]
fn documents_in_a_row_have_their_parts_and_no_run_crosses_a_border() {
    let layout = Layout { documents: Some(vec![0, 6, 16, 20]), ..Layout::new(1, 20) };
    let segments = layout.segments(0);
    let count = |row: &[bool]| row.iter().filter(|hidden| **hidden).count();
    for kind in [MaskedKind::Random, MaskedKind::Block(3), MaskedKind::Ngrams(3), MaskedKind::Tail]
    {
        let masked = Masked { ratio: 0.5, kind, ..Masked::default() };
        for seed in 0..20 {
            let hidden = masked.sample(&layout, &mut Seed::new(seed).rng());
            let counts: Vec<usize> =
                segments.iter().map(|segment| count(&hidden[segment.clone()])).collect();
            assert_eq!(counts, [3, 5, 2], "{kind:?}");
        }
    }
    let tail = Masked { ratio: 0.5, kind: MaskedKind::Tail, ..Masked::default() };
    let hidden = tail.sample(&layout, &mut Seed::new(0).rng());
    assert!(!hidden[2] && hidden[3] && hidden[5] && !hidden[6]);
    // Runs of seven stand in the one document that has room for them.
    let spans = Masked { ratio: 0.4, kind: MaskedKind::Spans(7), ..Masked::default() };
    let sample = |seed| spans.sample(&layout, &mut Seed::new(seed).rng());
    let drawn: Vec<Vec<bool>> = (0..20).map(sample).collect();
    assert!(drawn.iter().all(|hidden| count(&hidden[..6]) + count(&hidden[16..]) == 0));
    assert!(drawn.iter().any(|hidden| count(&hidden[6..16]) == 7));
    // A term that would cross a border is none.
    let lexicon_spans = Some(vec![vec![4..8, 9..11]]);
    let guided = Masked { ratio: 0.3, lexicon: 1.0, ..Masked::default() };
    let hidden = guided.sample(&Layout { lexicon_spans, ..layout }, &mut Seed::new(1).rng());
    assert!(hidden[9] && hidden[10] && count(&hidden) == 6);
}
