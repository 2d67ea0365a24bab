use super::*;
use burn_flex::Flex;
use kiln_core::{Seed, Tokens};

fn layout() -> Layout {
    Layout { lengths: Some(vec![5, 3]), ..Layout::new(2, 5) }
}

const HIDDEN: [bool; 10] = [true, false, true, true, true, false, true, true, false, false];

#[test]
fn distractors_are_the_other_hidden_tokens_each_as_likely() {
    let mut rng = Seed::new(2).rng();
    let candidates = Candidates::draw(&HIDDEN, &layout(), 3000, &mut rng);
    assert_eq!(candidates.masked, [vec![0, 2, 3, 4], vec![1, 2]]);
    assert_eq!(candidates.picked(5), [0, 2, 3, 4, 6, 7]);
    let drawn = &candidates.distractors[0];
    assert_eq!(drawn.len(), 4 * 3000);
    for (own, drawn) in drawn.chunks(3000).enumerate() {
        for other in 0..4 {
            let count = drawn.iter().filter(|drawn| **drawn == other).count();
            if other == own {
                assert_eq!(count, 0);
            } else {
                assert!((850..1150).contains(&count), "{own} {other}: {count}");
            }
        }
    }
    assert!(
        candidates.distractors[1]
            .chunks(3000)
            .enumerate()
            .all(|(own, drawn)| { drawn.iter().all(|drawn| *drawn == 1 - own) })
    );
    let alone = Candidates::draw(&[false, true, false], &Layout::new(1, 3), 4, &mut rng);
    assert_eq!(alone.distractors, [Vec::<usize>::new()]);
}

/// Predictions of length 2 and 3, codes of lengths other than one: only directions count.
fn quantized(entries: [[i32; 2]; 4]) -> Quantized<Flex> {
    let device = Default::default();
    Quantized {
        tokens: Tokens::new(Tensor::zeros([2, 3, 1], &device)),
        predictions: Tensor::from_floats([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [1.0, 0.0]], &device),
        codes: Tensor::from_floats([[5.0, 0.0], [0.0, 1.0], [0.0, 2.0], [1.0, 0.0]], &device),
        entries: Tensor::from_ints(entries, &device),
        usage: Tensor::from_floats([[0.5, 0.5], [1.0, 0.0]], &device),
        power: Tensor::zeros([1], &device),
    }
}

/// Three tokens hidden in the first sequence, one alone in the second.
fn candidates() -> Candidates {
    Candidates {
        masked: vec![vec![0, 1, 2], vec![1]],
        distractors: vec![vec![1, 1, 0, 2, 1, 0], vec![]],
    }
}

#[test]
fn the_loss_by_hand() {
    // Of the third token, between both codes: all three cosines are one half of the square root
    // of two. The token alone is not counted.
    let matched =
        contrastive_loss(&quantized([[0, 0], [1, 1], [0, 1], [0, 0]]), &candidates(), 0.5);
    // First: own 1 against twice 0. Second: own 1 against 0 and the same 1 of the third.
    let e = 2f32.exp();
    let first = -(e / (e + 2.0)).ln();
    let second = -(e / (e + 1.0 + e)).ln();
    let third = 3f32.ln();
    let found = matched.value.into_scalar();
    assert!((found - (first + second + third) / 3.0).abs() < 1e-5, "{found}");
    assert_eq!(matched.count, 3);
    assert!(matched.accuracy.into_scalar() >= 0.33);
}

#[test]
fn distractors_with_the_same_code_do_not_count() {
    let matched =
        contrastive_loss(&quantized([[0, 0], [1, 1], [1, 1], [0, 0]]), &candidates(), 0.5);
    let e = 2f32.exp();
    let first = -(e / (e + 2.0)).ln();
    let second = -(e / (e + 1.0)).ln();
    let third = 2f32.ln();
    let found = matched.value.into_scalar();
    assert!((found - (first + second + third) / 3.0).abs() < 1e-5, "{found}");
    // All in one code: nothing to be told apart, the loss is zero. That is the collapse.
    let matched = contrastive_loss(&quantized([[0, 0]; 4]), &candidates(), 0.5);
    assert_eq!((matched.value.into_scalar(), matched.accuracy.into_scalar()), (0.0, 1.0));
}

#[test]
fn diversity_by_hand() {
    let (perplexity, missing) = diversity(quantized([[0, 0]; 4]).usage);
    // Two codes of the first group and one of the second, of four.
    assert!((perplexity.into_scalar() - 3.0).abs() < 1e-5);
    assert!((missing.into_scalar() - 0.25).abs() < 1e-6);
}

#[test]
fn a_model_without_a_quantizer_is_refused() {
    use crate::toy::{Groups, Toy};
    let batch = Tensor::<Flex, 3>::ones([2, 40, 1], &Default::default());
    let mut rng = Seed::new(0).rng();
    let mut context = StepContext::new(&mut rng);
    let batch = Groups::from(batch);
    let lack = Wav2vec2Contrastive::default().loss(&Toy, None, &batch, &mut context).unwrap_err();
    assert_eq!(lack.reason, "needs a vector quantizer");
}

#[test]
fn the_temperature_falls_to_its_end() {
    let gumbel = Gumbel { start: 2.0, end: 0.5, decay: 0.5 };
    assert_eq!([0, 1, 2, 9].map(|step| gumbel.at(step)), [2.0, 1.0, 0.5, 0.5]);
}

#[test]
fn settings_out_of_range_are_named() {
    let key = |contrastive: Wav2vec2Contrastive| contrastive.validate().unwrap_err().key;
    let default = Wav2vec2Contrastive::default;
    assert!(default().validate().is_ok());
    assert_eq!(
        key(Wav2vec2Contrastive { negatives: 0, ..default() }),
        "wav2vec2-contrastive.negatives"
    );
    assert_eq!(
        key(Wav2vec2Contrastive { temperature: 0.0, ..default() }),
        "wav2vec2-contrastive.temperature"
    );
    let spans = Spans { length: 0, ..Spans::default() };
    assert_eq!(
        key(Wav2vec2Contrastive { spans, ..default() }),
        "wav2vec2-contrastive.spans.length"
    );
    let gumbel = Gumbel { decay: 1.1, ..Gumbel::default() };
    assert_eq!(
        key(Wav2vec2Contrastive { gumbel, ..default() }),
        "wav2vec2-contrastive.gumbel.decay"
    );
}
