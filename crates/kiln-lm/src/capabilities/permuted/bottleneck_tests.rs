//! Texts told again from a vector and what is shown beside it.

use crate::{
    TextModel, TextModelConfig,
    capabilities::tests::{batch, encoder, text},
    config::Stacks,
};
use burn::tensor::{Int, Tensor};
use burn_flex::Flex;
use kiln_core::{
    BottleneckDecode as _, Corruption, DecoderInput, HostBatch as _, Language as _,
    PermutedSequence, PlaceVisibility,
};
use kiln_nn::{PositionConfig, RotaryConfig, TransformerConfig};

/// An encoder with two decoders, whose weights are large enough to tell.
fn model(positions: Option<PositionConfig>) -> TextModel<Flex> {
    let backbone = TransformerConfig { layers: 1, heads: 4, positions, ..Default::default() };
    let bottleneck = Some(Stacks(vec![backbone.clone(); 2]));
    let deviation = Some(0.3);
    let config = TextModelConfig {
        width: 16,
        backbone,
        bottleneck,
        initial_deviation: deviation,
        ..encoder()
    };
    TextModel::new(config, &Default::default()).unwrap()
}

/// What a decoder makes of texts, `[texts, places, width]`, from vectors that depend on a power.
fn told(
    model: &TextModel<Flex>,
    stack: usize,
    texts: &[&[u32]],
    power: f32,
    shown: DecoderInput<Flex>,
) -> Tensor<Flex, 3> {
    let texts: Vec<_> = texts.iter().map(|ids| text(ids)).collect();
    let ramp = Tensor::<Flex, 1, Int>::arange(1..17, &Default::default()).float();
    let vectors = ramp.powf_scalar(power).reshape([1, 16]).repeat_dim(0, texts.len());
    model.bottleneck_decode(stack, &batch(model.config(), &texts), vectors, &shown)
}

fn alike(one: Tensor<Flex, 3>, other: Tensor<Flex, 3>) -> bool {
    (one - other).abs().max().into_scalar() < 1e-5
}

#[test]
fn decoders_are_of_their_own_and_padding_tells_nothing() {
    let model = model(None);
    let view = || DecoderInput::Corrupted(Corruption::none());
    let alone = told(&model, 0, &[&[1, 2]], 1.0, view());
    let company = told(&model, 0, &[&[1, 2], &[3, 4, 5]], 1.0, view());
    assert!(alike(alone.clone(), company.narrow(0, 0, 1).narrow(1, 0, 2)));
    assert!(!alike(alone.clone(), told(&model, 0, &[&[1, 2]], 2.0, view())));
    assert!(!alike(alone, told(&model, 1, &[&[1, 2]], 1.0, view())));
    assert_eq!(model.decoders(), 2);
}

#[test]
fn what_asks_sees_the_vector_and_what_was_drawn_for_it() {
    let rotary = PositionConfig::Rotary(RotaryConfig::default());
    for positions in [None, Some(rotary), Some(PositionConfig::Alibi)] {
        let model = model(positions);
        // Two tokens, then one that asks for the first and sees the second, and one that asks for
        // the second and sees neither.
        let shown = || {
            let places = vec![vec![(0, false), (1, false), (0, true), (1, true)]];
            let visibility = PlaceVisibility::Sampled(vec![0, 1, 1, 3]);
            DecoderInput::Permuted(PermutedSequence { places, visibility })
        };
        let at = |ids: &[u32], power: f32, place: usize| {
            told(&model, 0, &[ids], power, shown()).narrow(1, place, 1)
        };
        assert!(alike(at(&[1, 2], 1.0, 2), at(&[3, 2], 1.0, 2)));
        assert!(!alike(at(&[1, 2], 1.0, 2), at(&[1, 3], 1.0, 2)));
        assert!(alike(at(&[1, 2], 1.0, 3), at(&[4, 3], 1.0, 3)));
        assert!(!alike(at(&[1, 2], 1.0, 3), at(&[1, 2], 2.0, 3)));
    }
}

#[test]
fn halves_are_batches() {
    let model = model(None);
    let one = batch(model.config(), &[text(&[1, 2, 3]), text(&[4])]);
    let [first, second] = model.split_half(&one).unwrap();
    assert_eq!(first.token_ids(), [vec![1, 2], vec![4]]);
    assert_eq!(second.token_ids(), [vec![3], vec![]]);
    assert_eq!(one.split_half().unwrap(), [first.layout(), second.layout()]);
    assert!(model.split_half(&batch(model.config(), &[text(&[4])])).is_none());
}
