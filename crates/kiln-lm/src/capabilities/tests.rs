use super::*;
use crate::{
    config::{SpecialIds, TextModelConfig},
    examples::{Example, collate},
};
use burn::tensor::Bool;
use burn_flex::Flex;

pub(crate) fn batch(config: &TextModelConfig, examples: &[Example]) -> TextBatch<Flex> {
    collate(examples, &config.special).upload(&config.embedding, &Default::default())
}

pub(crate) fn text(ids: &[u32]) -> Example {
    Example { ids: ids.to_vec(), ..Example::default() }
}

pub(crate) fn encoder() -> TextModelConfig {
    TextModelConfig {
        causal: false,
        special: SpecialIds { mask: Some(9), ..SpecialIds::default() },
        ..TextModelConfig::default()
    }
}

fn encode(
    model: &TextModel<Flex>,
    batch: &TextBatch<Flex>,
    corruption: Corruption<Flex>,
) -> Vec<f32> {
    values(Encode::encode(model, batch, &corruption, None).values)
}

/// The hidden states of the first tokens of one text, with a prefix or without.
fn written(
    config: &TextModelConfig,
    model: &TextModel<Flex>,
    example: Example,
    prefix: Option<usize>,
    tokens: usize,
) -> Vec<f32> {
    let lengths = |length| Tensor::from_ints([length as i32], &Default::default());
    let attention = prefix
        .map_or_else(AttentionVisibility::causal, |one| AttentionVisibility::prefix(lengths(one)));
    let batch = batch(config, &[example]);
    let found = Encode::encode(model, &batch, &Corruption::none(), Some(&attention));
    values(found.values.narrow(1, 0, tokens))
}

fn values<const D: usize>(x: Tensor<Flex, D>) -> Vec<f32> {
    x.into_data().to_vec().unwrap()
}

#[test]
fn hidden_tokens_are_masked_and_disguised_ones_are_others() {
    let config = encoder();
    let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
    let hide = Tensor::<Flex, 2, Bool>::from_data([[false, true, false]], &Default::default());
    let one = batch(&config, &[text(&[1, 2, 3])]);
    let hidden = encode(&model, &one, Corruption::masked(hide.clone()));
    let masked = batch(&config, &[text(&[1, 9, 3])]);
    assert_eq!(hidden, encode(&model, &masked, Corruption::none()));
    let uniform = Tensor::from_floats([[0.1, 0.9, 0.1]], &Default::default());
    let random = Some(RandomReplacement { tokens: hide, uniform });
    let replaced = || Corruption { random_replacement: random.clone(), ..Corruption::none() };
    let found = encode(&model, &one, replaced());
    assert_eq!(found, encode(&model, &one, replaced()));
    assert_ne!(found, encode(&model, &one, Corruption::none()));
}

#[test]
fn a_prefix_is_seen_by_all() {
    let config = encoder();
    let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
    let read = |ids: &[u32], prefix: Option<usize>| written(&config, &model, text(ids), prefix, 1);
    // The first token sees the second within the prefix, but never the last.
    assert_eq!(read(&[1, 2, 3], Some(2)), read(&[1, 2, 4], Some(2)));
    assert_ne!(read(&[1, 2, 3], Some(2)), read(&[1, 5, 3], Some(2)));
    assert_eq!(read(&[1, 2, 3], None), read(&[1, 5, 3], None));
    for (one, other) in read(&[1, 2, 3], Some(1)).iter().zip(read(&[1, 2, 3], None)) {
        assert!((one - other).abs() < 1e-5);
    }
    // Documents in a row do not see each other in a prefix either.
    let packed = |last: u32| {
        let example = Example { documents: vec![0, 2], ..text(&[1, 2, last]) };
        written(&config, &model, example, Some(3), 2)
    };
    assert_eq!(packed(3), packed(4));
}

/// What teaches students sees documents in a row as they do.
#[test]
fn blocks_see_their_own_document() {
    let mut config = encoder();
    config.backbone.final_norm = false;
    let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
    let last = |ids: &[u32]| {
        let example = Example { documents: vec![0, 2], ..text(ids) };
        let batch = batch(&config, &[example]);
        let each = model.hidden_states(&batch);
        let whole = encode(&model, &batch, Corruption::none());
        assert_eq!(each.len(), config.backbone.layers);
        let top = values(each[each.len() - 1].clone());
        assert!(top.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-6));
        each.into_iter().map(|x| values(x.narrow(1, 0, 2))).collect::<Vec<_>>()
    };
    assert_eq!(last(&[1, 2, 3, 4]), last(&[1, 2, 5, 6]));
}
