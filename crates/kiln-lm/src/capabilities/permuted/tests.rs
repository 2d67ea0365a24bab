//! Tokens in another order, told where they stand by each kind of positions.

use crate::{
    TextModel, TextModelConfig,
    capabilities::tests::{batch, encoder, text},
    config::EmbeddingConfig,
    examples::{Example, TextBatch, collate},
};
use burn::backend::Autodiff;
use burn_flex::Flex;
use kiln_core::{
    Corruption, Encode as _, EncodePermuted as _, PermutedSequence, PlaceVisibility, Seed,
    StepContext,
};
use kiln_nn::{LocalConfig, PositionConfig, RelativeConfig, RotaryConfig, TransformerConfig};
use kiln_objectives::{Objective, PermutedLm};

const ORDER: [usize; 6] = [4, 0, 5, 2, 1, 3];

/// An encoder whose weights are large enough for positions to tell.
fn knowing(positions: Option<PositionConfig>, local: Option<LocalConfig>) -> TextModelConfig {
    let learned = if positions.is_some() { 0 } else { 16 };
    let embedding = EmbeddingConfig { positions: learned, ..EmbeddingConfig::default() };
    let backbone =
        TransformerConfig { layers: 2, heads: 4, positions, local, ..Default::default() };
    TextModelConfig { width: 16, embedding, backbone, initial_deviation: Some(0.3), ..encoder() }
}

fn kinds() -> Vec<TextModelConfig> {
    let relative = PositionConfig::Relative(RelativeConfig { buckets: 8, distance: 16 });
    let rotary = PositionConfig::Rotary(RotaryConfig::default());
    let local = Some(LocalConfig { window: 2, global_every: 2 });
    vec![
        knowing(None, None),
        knowing(Some(rotary.clone()), None),
        knowing(Some(rotary), local),
        knowing(Some(relative.clone()), None),
        knowing(Some(relative), local),
        knowing(Some(PositionConfig::Alibi), None),
    ]
}

/// Two sequences of six, the second of two documents.
fn two(config: &TextModelConfig) -> TextBatch<Flex> {
    let packed = Example { documents: vec![0, 4], ..text(&[7, 8, 9, 10, 11, 12]) };
    batch(config, &[text(&[1, 2, 3, 4, 5, 6]), packed])
}

fn arranged(config: &TextModelConfig, model: &TextModel<Flex>, order: [usize; 6]) -> Vec<f32> {
    let places = vec![order.map(|at| (at, false)).to_vec(); 2];
    let (rank, first, end) = (vec![0; 12], vec![0; 12], vec![1; 12]);
    let visibility = PlaceVisibility::Ranked { rank, first, end };
    let sequence = PermutedSequence { places, visibility };
    let values = model.encode_permuted(&two(config), &sequence);
    values.into_data().to_vec().unwrap()
}

#[test]
fn a_token_is_the_same_wherever_it_is_put() {
    for config in kinds() {
        let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        let encoded = model.encode(&two(&config), &Corruption::none(), None).values;
        let encoded: Vec<f32> = encoded.into_data().to_vec().unwrap();
        for order in [[0, 1, 2, 3, 4, 5], ORDER] {
            let found = arranged(&config, &model, order);
            for (place, found) in found.chunks(config.width).enumerate() {
                let token = place / 6 * 6 + order[place % 6];
                let expected = &encoded[token * config.width..][..config.width];
                for (one, other) in found.iter().zip(expected) {
                    assert!((one - other).abs() < 1e-4, "{config:?}: {one} is not {other}");
                }
            }
        }
        // As another text the same ids in the same order are something else.
        let shuffled = batch(&config, &[text(&ORDER.map(|at| at as u32 + 1))]);
        let shuffled = model.encode(&shuffled, &Corruption::none(), None).values;
        let shuffled: Vec<f32> = shuffled.into_data().to_vec().unwrap();
        let found = arranged(&config, &model, ORDER);
        assert!(shuffled.iter().zip(&found).any(|(one, other)| (one - other).abs() > 1e-2));
    }
}

/// The scores of distances learn from an order drawn at random, as MPNet's did.
#[test]
fn relative_positions_learn_from_permutations() {
    type A = Autodiff<Flex>;
    let relative = PositionConfig::Relative(RelativeConfig::default());
    let mut config = knowing(Some(relative), None);
    config.embedding = EmbeddingConfig { positions: 16, first_position: 2, ..config.embedding };
    let model = TextModel::<A>::new(config.clone(), &Default::default()).unwrap();
    let host = collate(&[text(&[1, 2, 3, 4, 5, 6]), text(&[7, 8, 3])], &config.special);
    let batch = host.upload::<A>(&config.embedding, &Default::default());
    let mut rng = Seed::new(1).rng();
    let permuted = Objective::PermutedLm(PermutedLm { ratio: 0.5, ..PermutedLm::default() });
    let loss = permuted.loss(&model, None, &batch, &mut StepContext::new(&mut rng)).unwrap();
    assert_eq!(loss.count, 5, "three of six, and half of three");
    let gradients = loss.value.backward();
    let table = model.backbone.relative.as_ref().unwrap().weight.val().grad(&gradients).unwrap();
    let table: Vec<f32> = table.abs().sum_dim(1).into_data().to_vec().unwrap();
    // Six tokens are up to five apart, either way.
    let reached: Vec<usize> = (0..32).filter(|bucket| table[*bucket] > 0.0).collect();
    assert_eq!(reached, [0, 1, 2, 3, 4, 5, 17, 18, 19, 20, 21]);
}
