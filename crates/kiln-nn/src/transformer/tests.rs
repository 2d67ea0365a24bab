use super::*;
use burn::{module::Param, tensor::Distribution};
use burn_flex::Flex;

fn values(x: Tensor<Flex, 3>) -> Vec<f32> {
    x.into_data().to_vec().unwrap()
}

fn random(shape: [usize; 3]) -> Tensor<Flex, 3> {
    Tensor::random(shape, Distribution::Default, &Default::default())
}

#[test]
fn causal_blocks_do_not_leak() {
    let config = TransformerConfig { layers: 2, heads: 2, final_norm: true, ..Default::default() };
    config.validate(8).unwrap();
    let model = config.init::<Flex>(8, &Default::default());
    let x = random([3, 5, 8]);
    let changed = x.clone().slice_fill([0..3, 4..5, 0..8], 3.0);
    let first = |x| values(model.forward(Tokens::new(x), true).values.narrow(1, 0, 4));
    assert_eq!(first(x), first(changed));
}

#[test]
fn channels_see_each_other_only_with_channel_attention() {
    for channel_attention in [false, true] {
        for pre_norm in [false, true] {
            let config = TransformerConfig {
                layers: 1,
                heads: 2,
                channel_attention,
                pre_norm,
                ..Default::default()
            };
            let model = config.init::<Flex>(8, &Default::default());
            let x = random([6, 4, 8]);
            // The last channel of the first item.
            let changed = x.clone().slice_fill([2..3, 0..4, 0..8], 3.0);
            let run = |x| model.forward(Tokens { values: x, mask_pad: None, channels: 3 }, false);
            let first = |x| values(run(x).values.narrow(0, 0, 1));
            assert_eq!(first(x.clone()) != first(changed.clone()), channel_attention);
            let other = |x| values(run(x).values.narrow(0, 3, 3));
            assert_eq!(other(x), other(changed), "items never see each other");
        }
    }
}

#[test]
fn decoders_see_their_memory_but_not_its_padding() {
    let config = TransformerConfig { layers: 2, heads: 2, ..Default::default() };
    let decoder = config.init_cross_attention::<Flex>(8, &Default::default());
    let x = random([2, 3, 8]);
    let pad = Tensor::from_data([[false, false, true]; 2], &Default::default());
    let run = |values| {
        let memory = Tokens { values, mask_pad: Some(pad.clone()), channels: 1 };
        values_of(decoder.forward_cross_attention(Tokens::new(x.clone()), &memory, true))
    };
    let memory = random([2, 3, 8]);
    let plain = run(memory.clone());
    assert_eq!(plain, run(memory.clone().slice_fill([0..2, 2..3, 0..8], 3.0)));
    assert_ne!(plain, run(memory.slice_fill([0..2, 1..2, 0..8], 3.0)));
}

fn values_of(tokens: Tokens<Flex>) -> Vec<f32> {
    values(tokens.values)
}

#[test]
fn layers_are_dropped_in_training_only_and_each_is_seen() {
    use burn::backend::Autodiff;
    let config = TransformerConfig { layers: 2, heads: 2, layer_drop: 0.5, ..Default::default() };
    config.validate(8).unwrap();
    let model = config.init::<Autodiff<Flex>>(8, &Default::default());
    let x = Tensor::from_inner(random([1, 3, 8]));
    let same = |_: &usize| {
        let each = model.forward_each(Tokens::new(x.clone()), false);
        let same = |x: &Tensor<Autodiff<Flex>, 3>, y: &Tensor<Autodiff<Flex>, 3>| {
            x.clone().into_data() == y.clone().into_data()
        };
        same(&each[0], &x) && same(&each[1], &each[0])
    };
    let unchanged = (0..200).filter(same).count();
    assert!((25..80).contains(&unchanged), "a quarter leaves out both: {unchanged}");
    let still = burn::module::AutodiffModule::valid(&model);
    let x = x.inner();
    let each = still.forward_each(Tokens::new(x.clone()), false);
    assert_ne!(values(each[0].clone()), values(x.clone()));
    assert_eq!(values(each[1].clone()), values_of(still.forward(Tokens::new(x), false)));
}

#[test]
fn mistakes_name_the_key() {
    let config = TransformerConfig { heads: 3, ..Default::default() };
    assert_eq!(config.validate(8).unwrap_err().key, "heads");
    let config = TransformerConfig { layers: 0, ..Default::default() };
    assert_eq!(config.validate(8).unwrap_err().key, "layers");
}

/// All that text models use beside attention and feed-forward.
fn settings() -> Vec<TransformerConfig> {
    use crate::{
        AttentionBias, NormConfig, NormKind, PositionConfig, RelativeConfig, RotaryConfig,
    };
    let base = TransformerConfig { layers: 3, heads: 4, hidden: Some(12), ..Default::default() };
    let rotary = |local_base| {
        Some(PositionConfig::Rotary(RotaryConfig { local_base, ..RotaryConfig::default() }))
    };
    let llama = TransformerConfig {
        kv_heads: Some(2),
        positions: rotary(None),
        gated: true,
        bias: false,
        attention_bias: AttentionBias::NoOutput,
        norm: NormConfig::new(NormKind::Rms),
        final_norm: true,
        ..base.clone()
    };
    let modern = TransformerConfig {
        positions: rotary(Some(100.0)),
        local: Some(LocalConfig { window: 2, global_every: 2 }),
        first_norm: false,
        ..base.clone()
    };
    let t5 = TransformerConfig {
        head_width: Some(3),
        attention_scale: Some(1.0),
        positions: Some(PositionConfig::Relative(RelativeConfig { buckets: 4, distance: 6 })),
        ..base.clone()
    };
    let alibi = TransformerConfig { positions: Some(PositionConfig::Alibi), ..base };
    vec![llama, modern, t5, alibi]
}

#[test]
fn a_cache_changes_nothing() {
    for config in settings() {
        config.validate(8).unwrap();
        let model = config.init_cross_attention::<Flex>(8, &Default::default());
        let (x, memory) = (random([2, 6, 8]), Tokens::new(random([2, 3, 8])));
        let whole = values_of(model.forward_cross_attention(Tokens::new(x.clone()), &memory, true));
        let mut cache = DecoderCache::default();
        let mut parts = Vec::new();
        for (from, count) in [(0, 3), (3, 1), (4, 2)] {
            let part = Tokens::new(x.clone().narrow(1, from, count));
            let cache = Some(&mut cache);
            let options = ForwardOptions {
                memory: Some(&memory),
                cache,
                ..AttentionVisibility::causal().into()
            };
            parts.push(model.forward_with(part, options).values);
        }
        assert_eq!(cache.len(), 6);
        let parts = values(Tensor::cat(parts, 1));
        for (one, other) in whole.iter().zip(&parts) {
            assert!((one - other).abs() < 1e-5, "{config:?}: {one} is not {other}");
        }
    }
}

#[test]
fn documents_in_a_row_are_as_if_alone() {
    for config in settings() {
        let model = config.init::<Flex>(8, &Default::default());
        let (one, other) = (random([1, 3, 8]), random([1, 4, 8]));
        let device = Default::default();
        let run = |x: &Tensor<Flex, 3>| values(model.forward(Tokens::new(x.clone()), false).values);
        let alone = [run(&one), run(&other)].concat();
        let ids = Tensor::from_ints([[0, 1, 2, 0, 1, 2, 3]], &device);
        let documents = Tensor::from_ints([0, 3, 7], &device);
        let options = ForwardOptions {
            positions: Some(crate::Positions { ids, count: 4, arranged: false }),
            ..AttentionVisibility::bidirectional().with_documents(documents).into()
        };
        let together = model.forward_with(Tokens::new(Tensor::cat(vec![one, other], 1)), options);
        for (one, other) in alone.iter().zip(values(together.values)) {
            assert!((one - other).abs() < 1e-5, "{config:?}: {one} is not {other}");
        }
    }
}

/// A prefix LM attends to the prefix both ways: with blocks of all kinds, documents, and a window.
#[test]
fn prefixes_are_attended_to_by_all() {
    let device = Default::default();
    for config in settings() {
        let model = config.init::<Flex>(8, &device);
        let x = random([1, 6, 8]);
        let changed = |at: usize| x.clone().slice_fill([0..1, at..at + 1, 0..8], 3.0);
        let documents = Tensor::<Flex, 1, Int>::from_ints([0, 2, 6], &device);
        let lengths = Tensor::<Flex, 1, Int>::from_ints([0, 2], &device);
        let ids = Tensor::from_ints([[0, 1, 0, 1, 2, 3]], &device);
        let third = |x: Tensor<Flex, 3>| {
            let visibility = AttentionVisibility::prefix(lengths.clone());
            let options = ForwardOptions {
                positions: Some(crate::Positions { ids: ids.clone(), count: 4, arranged: false }),
                ..visibility.with_documents(documents.clone()).into()
            };
            values(model.forward_with(Tokens::new(x), options).values.narrow(1, 2, 1))
        };
        let before = third(x.clone());
        assert_ne!(before, third(changed(3)), "{config:?}: of the prefix");
        for at in [1, 4, 5] {
            assert_eq!(before, third(changed(at)), "{config:?}: not of the prefix");
        }
    }
}

/// Blocks that give the same whatever they read: the first 1 and 3, the second 5 and -1.
fn constant(every_layer: EveryLayer) -> Transformer<Flex> {
    let device = Default::default();
    let every_layer = Some(every_layer);
    let config = TransformerConfig { layers: 2, heads: 1, every_layer, ..Default::default() };
    config.validate(2).unwrap();
    let mut model = config.init::<Flex>(2, &device);
    let gifts = [([1.0, 1.0], [0.0, 2.0]), ([5.0, 0.0], [0.0, -1.0])];
    for (block, (attention, feed_forward)) in model.layers.iter_mut().zip(gifts) {
        for (linear, bias) in [
            (&mut block.attention.output, attention),
            (&mut block.feed_forward.output, feed_forward),
        ] {
            linear.weight = Param::from_tensor(linear.weight.val().zeros_like());
            linear.bias = Some(Param::from_tensor(Tensor::from_floats(bias, &device)));
        }
    }
    model
}

#[test]
fn every_layer_counts() {
    let device = Default::default();
    let run = |kind| {
        let entered = Tensor::<Flex, 3>::from_floats([[[9.0, 2.0]]], &device);
        values_of(constant(kind).forward(Tokens::new(entered), false))
    };
    // What entered is not in what leaves, unless that is a mean.
    assert_eq!(run(EveryLayer::Biased), [5.0, -1.0]);
    assert_eq!(run(EveryLayer::Zero), [5.0, -1.0]);
    let close = |found: &[f32], expected: &[f32]| {
        let near = found.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-4);
        assert!(near, "{found:?} is not {expected:?}");
    };
    close(&run(EveryLayer::Normalized), &[1.0, -1.0]);
    close(&run(EveryLayer::WeightedOutput), &[(9.0 + 1.0 + 5.0) / 3.0, (2.0 + 3.0 - 1.0) / 3.0]);
    // At first the last of two counts e / (1 + e).
    let inputs = constant(EveryLayer::Biased).inputs.unwrap();
    let mut given = Vec::new();
    let one = |x: f32| Tensor::<Flex, 3>::from_floats([[[x, 0.0]]], &device);
    close(&values(inputs.read(&mut given, one(1.0))), &[1.0, 0.0]);
    close(&values(inputs.read(&mut given, one(2.0))), &[0.268_94 + 2.0 * 0.731_06, 0.0]);
    let config = TransformerConfig {
        every_layer: Some(EveryLayer::Zero),
        channel_attention: true,
        ..Default::default()
    };
    assert_eq!(config.validate(8).unwrap_err().key, "channel_attention");
}

#[test]
fn attention_has_no_residual_where_every_layer_counts() {
    let x = random([1, 3, 8]);
    for kind in [EveryLayer::Biased, EveryLayer::Zero] {
        let every_layer = Some(kind);
        let config = TransformerConfig { layers: 1, heads: 2, every_layer, ..Default::default() };
        let model = config.init::<Flex>(8, &Default::default());
        let block = &model.layers[0];
        let normed = block.attention_norm.as_ref().unwrap().forward(x.clone());
        let attended = block.attention.forward(normed, &AttentionVisibility::bidirectional());
        let read = match kind {
            EveryLayer::Biased => attended.clone(),
            _ => x.clone() + attended.clone(),
        };
        let fed =
            block.feed_forward.forward(block.feed_forward_norm.as_ref().unwrap().forward(read));
        let found = values_of(model.forward(Tokens::new(x.clone()), false));
        for (one, other) in found.iter().zip(values(attended + fed)) {
            assert!((one - other).abs() < 1e-5, "{kind:?}: {one} is not {other}");
        }
    }
}

#[test]
fn parallel_blocks_read_the_same() {
    let device = Default::default();
    let config = TransformerConfig { layers: 1, heads: 2, parallel: true, ..Default::default() };
    assert!(TransformerConfig { pre_norm: false, ..config.clone() }.validate(8).is_err());
    let model = config.init::<Flex>(8, &device);
    let x = Tensor::<Flex, 3>::random([1, 3, 8], Distribution::Default, &device);
    let block = &model.layers[0];
    let normed = block.attention_norm.as_ref().unwrap().forward(x.clone());
    let attended = block.attention.forward(normed, &AttentionVisibility::bidirectional());
    let fed =
        block.feed_forward.forward(block.feed_forward_norm.as_ref().unwrap().forward(x.clone()));
    let expected: Vec<f32> = (x.clone() + attended + fed).into_data().to_vec().unwrap();
    let found: Vec<f32> = model.forward(Tokens::new(x), false).values.into_data().to_vec().unwrap();
    for (one, other) in found.iter().zip(&expected) {
        assert!((one - other).abs() < 1e-5);
    }
}

#[test]
fn parallel_blocks_may_share_a_norm() {
    let config = TransformerConfig {
        layers: 1,
        heads: 4,
        kv_heads: Some(1),
        parallel: true,
        shared_norm: true,
        ..Default::default()
    };
    config.validate(8).unwrap();
    let two = TransformerConfig { parallel: false, ..config.clone() };
    assert_eq!(two.validate(8).unwrap_err().key, "shared_norm");
    let model = config.init::<Flex>(8, &Default::default());
    let x = random([1, 3, 8]);
    let block = &model.layers[0];
    assert!(block.feed_forward_norm.is_none());
    let normed = block.attention_norm.as_ref().unwrap().forward(x.clone());
    let attended = block.attention.forward(normed.clone(), &AttentionVisibility::bidirectional());
    let expected = values(x.clone() + attended + block.feed_forward.forward(normed));
    for (one, other) in values_of(model.forward(Tokens::new(x), false)).iter().zip(&expected) {
        assert!((one - other).abs() < 1e-5);
    }
}
