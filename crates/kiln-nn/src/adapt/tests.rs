use super::*;
use crate::{
    Activation, AttentionVisibility, BackboneShape, DecoderCache, ForwardOptions, MixerConfig,
    PositionConfig, Positions, RotaryConfig, TransformerConfig, transformer::LocalConfig,
};
use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Bool, Distribution, Int, Tensor},
};
use burn_flex::Flex;
use kiln_core::Tokens;

const WIDTH: usize = 8;

fn random(shape: [usize; 3]) -> Tensor<Flex, 3> {
    Tensor::random(shape, Distribution::Default, &Default::default())
}

fn values(tokens: Tensor<Flex, 3>) -> Vec<f32> {
    tokens.into_data().to_vec().unwrap()
}

fn assert_close(one: &[f32], other: &[f32], tolerance: f32) {
    assert_eq!(one.len(), other.len());
    for (a, b) in one.iter().zip(other) {
        assert!((a - b).abs() <= tolerance * a.abs().max(1.0), "{a} and {b}");
    }
}

/// Transformers of all kinds of blocks: biases or none, gates or none, shared heads.
fn configs() -> [TransformerConfig; 3] {
    let plain = TransformerConfig { layers: 2, heads: 4, ..TransformerConfig::default() };
    let positions = Some(PositionConfig::Rotary(RotaryConfig::default()));
    [
        plain.clone(),
        TransformerConfig { pre_norm: false, hidden_dropout: 0.1, ..plain.clone() },
        TransformerConfig {
            kv_heads: Some(2),
            gated: true,
            bias: false,
            attention_bias: crate::AttentionBias::NoOutput,
            activation: Activation::Silu,
            positions,
            ..plain
        },
    ]
}

/// All methods that change nothing at first, everywhere.
fn everywhere() -> AdaptConfig {
    let all = || vec!["*".to_owned()];
    AdaptConfig {
        lora: Some(LoraConfig { rank: 2, alpha: 2.0, modules: all(), ..LoraConfig::default() }),
        ia3: Some(Ia3Config {
            modules: vec!["*.query".into(), "*.value".into(), "*.output".into()],
            feed_forward: vec!["*.output".into()],
        }),
        bottleneck: Some(BottleneckConfig { width: 3, modules: all(), ..Default::default() }),
        parallel: Some(ParallelConfig { width: 3, modules: all(), ..Default::default() }),
        ..AdaptConfig::default()
    }
}

/// Moves all parameters a little: adapters no longer change nothing.
struct Shake(f64);

impl<B: kiln_core::Backend> ModuleMapper<B> for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|x| {
            let noise = Tensor::random(x.shape(), Distribution::Normal(0.0, self.0), &x.device());
            x + noise
        })
    }
}

#[test]
fn adapters_change_nothing_at_first() {
    let device = Default::default();
    let x = random([2, 5, WIDTH]);
    for config in configs() {
        let mut model = config.init::<Flex>(WIDTH, &device);
        let run =
            |model: &Transformer<Flex>| values(model.forward(Tokens::new(x.clone()), true).values);
        let before = run(&model);
        insert(&mut model, &everywhere(), &device).unwrap();
        assert_close(&run(&model), &before, 1e-5);
        let model = model.map(&mut Shake(0.2));
        assert!(run(&model).iter().zip(&before).any(|(a, b)| (a - b).abs() > 0.1));
    }
    let shape = BackboneShape { width: WIDTH, tokens: 5, channels: 2 };
    let config = MixerConfig { channel_mixing: true, attention_heads: 2, ..Default::default() };
    let mut mixer = config.init::<Flex>(shape, &device);
    let run = |model: &crate::Mixer<Flex>| {
        let tokens = Tokens { values: x.clone(), mask_pad: None, channels: 2 };
        values(model.forward(tokens).values)
    };
    let before = run(&mixer);
    insert(&mut mixer, &everywhere(), &device).unwrap();
    assert_close(&run(&mixer), &before, 1e-5);
    assert_ne!(run(&mixer.map(&mut Shake(0.2))), before);
}

#[test]
fn merged_folded_and_apart_are_the_same() {
    let device = Default::default();
    let x = random([2, 5, WIDTH]);
    for config in configs() {
        let mut model = config.init::<Flex>(WIDTH, &device);
        insert(&mut model, &everywhere(), &device).unwrap();
        let mut model = model.map(&mut Shake(0.1));
        let run =
            |model: &Transformer<Flex>| values(model.forward(Tokens::new(x.clone()), true).values);
        let weight = |model: &Transformer<Flex>| {
            let weight = model.layers[1].attention.value.weight.val();
            weight.into_data().to_vec::<f32>().unwrap()
        };
        let (apart, base) = (run(&model), weight(&model));
        let each = |model: &mut Transformer<Flex>, change: fn(&mut Linear<Flex>)| {
            visit(model, |_, place| {
                if let Place::Linear(linear) = place {
                    change(linear);
                }
            });
        };
        for _ in 0..2 {
            each(&mut model, Linear::merge);
            assert_close(&run(&model), &apart, 1e-5);
        }
        assert_ne!(weight(&model), base);
        each(&mut model, Linear::unmerge);
        assert_close(&weight(&model), &base, 1e-6);
        assert_close(&run(&model), &apart, 1e-5);
        fold(&mut model);
        let layer = &model.layers[0];
        assert!(layer.attention.query.lora.is_none() && layer.feed_forward.output.ia3.is_none());
        assert_close(&run(&model), &apart, 1e-5);
        strip(&mut model);
        assert!(run(&model).iter().zip(&apart).any(|(a, b)| (a - b).abs() > 0.01));
        assert!(model.layers[0].attention.adapters.is_empty());
    }
}

#[test]
fn dropout_is_of_the_update_alone_and_weights_are_held() {
    type B = burn::backend::Autodiff<Flex>;
    let device = Default::default();
    let mut linear = crate::LinearConfig::new(4, 4).init::<B>(&device);
    linear.add_lora(&LoraConfig { rank: 2, dropout: 0.5, ..LoraConfig::default() }, &device);
    let x = Tensor::<B, 2>::ones([3, 4], &device);
    let own = kiln_kernels::linear(x.clone(), linear.weight.val(), None, None);
    let out = linear.forward(x.clone()) - linear.bias.as_ref().unwrap().val().unsqueeze();
    out.into_data().assert_approx_eq::<f32>(&own.into_data(), burn::tensor::Tolerance::default());
    let gradients = linear.forward(x).sum().backward();
    let lora = linear.lora.as_ref().unwrap();
    assert!(linear.weight.val().grad(&gradients).is_none());
    assert!(lora.up.val().grad(&gradients).is_some() && lora.down.val().grad(&gradients).is_some());
}

fn with(config: AdaptConfig, transformer: &TransformerConfig) -> Transformer<Flex> {
    let mut model = transformer.init::<Flex>(WIDTH, &Default::default());
    insert(&mut model, &config, &Default::default()).unwrap();
    model.map(&mut Shake(0.2))
}

/// Prefixes, and a prompt.
fn prefix_and_prompt() -> [AdaptConfig; 2] {
    let prompt = PromptConfig { tokens: 3, modules: vec![String::new()] };
    [
        AdaptConfig {
            prefix: Some(PrefixConfig { tokens: 3, ..Default::default() }),
            ..Default::default()
        },
        AdaptConfig { prompt: Some(prompt), ..AdaptConfig::default() },
    ]
}

#[test]
fn documents_in_a_row_each_see_prefix_and_prompt() {
    let device = Default::default();
    for adapt in prefix_and_prompt() {
        for (number, transformer) in configs().into_iter().enumerate() {
            let local = (number != 1).then_some(LocalConfig { window: 2, global_every: 2 });
            let model = with(adapt.clone(), &TransformerConfig { local, ..transformer });
            let x = random([1, 5, WIDTH]);
            let offsets = Tensor::<Flex, 1, Int>::from_data([0, 2, 5], &device);
            let row = |offsets: Option<Tensor<Flex, 1, Int>>| {
                // Queries are turned against the prefix, which is not: by their own document's places.
                let ids = Tensor::from_data([[0, 1, 0, 1, 2]], &device);
                let positions = Some(Positions { ids, count: 3, arranged: false });
                let visibility = AttentionVisibility::causal_if(number > 0);
                let visibility = visibility.with_documents(offsets);
                let options = ForwardOptions { positions, ..visibility.into() };
                model.forward_with(Tokens::new(x.clone()), options).values
            };
            let alone = |from, count| {
                let tokens = Tokens::new(x.clone().narrow(1, from, count));
                values(model.forward(tokens, number > 0).values)
            };
            let together = values(row(Some(offsets)));
            assert_close(&together, &[alone(0, 2), alone(2, 3)].concat(), 1e-5);
            assert_ne!(together, values(row(None)));
        }
    }
}

/// A document of a row, whose prefix reaches past learned prefix and prompt.
#[test]
fn prefix_lms_have_prefix_and_prompt() {
    let device = Default::default();
    for adapt in prefix_and_prompt() {
        for transformer in configs() {
            let model = with(adapt.clone(), &transformer);
            let x = random([1, 5, WIDTH]);
            let ints = |ints: &[i64]| Tensor::<Flex, 1, Int>::from_data(ints, &device);
            let ids = Tensor::from_data([[0, 1, 0, 1, 2]], &device);
            let positions = Some(Positions { ids, count: 3, arranged: false });
            let visibility = AttentionVisibility::prefix(ints(&[0, 2]));
            let visibility = visibility.with_documents(ints(&[0, 2, 5]));
            let options = ForwardOptions { positions, ..visibility.into() };
            let row = values(model.forward_with(Tokens::new(x.clone()), options).values);
            let alone = |from, count, length: i64| {
                let visibility = AttentionVisibility::prefix(ints(&[length]));
                let tokens = Tokens::new(x.clone().narrow(1, from, count));
                values(model.forward_with(tokens, visibility.into()).values)
            };
            assert_close(&row, &[alone(0, 2, 0), alone(2, 3, 2)].concat(), 1e-5);
        }
    }
}

#[test]
fn padding_is_not_seen_behind_prefix_and_prompt() {
    let pad = Tensor::<Flex, 2, Bool>::from_data([[false, false, true]], &Default::default());
    for adapt in prefix_and_prompt() {
        let model = with(adapt, &configs()[0]);
        let x = random([1, 3, WIDTH]);
        let tokens = Tokens { values: x.clone(), mask_pad: Some(pad.clone()), channels: 1 };
        let out = model.forward(tokens, false);
        assert_eq!(out.mask_pad.unwrap().dims(), [1, 3]);
        let alone = model.forward(Tokens::new(x.narrow(1, 0, 2)), false);
        assert_close(&values(out.values.narrow(1, 0, 2)), &values(alone.values), 1e-5);
    }
}

#[test]
fn a_cache_gives_what_all_tokens_at_once_give() {
    for adapt in prefix_and_prompt() {
        for transformer in configs() {
            let model = with(adapt.clone(), &transformer);
            let x = random([2, 4, WIDTH]);
            let whole = values(model.forward(Tokens::new(x.clone()), true).values);
            let mut cache = DecoderCache::default();
            let mut parts = Vec::new();
            for (from, count) in [(0, 2), (2, 1), (3, 1)] {
                let visibility = AttentionVisibility::causal();
                let options = ForwardOptions { cache: Some(&mut cache), ..visibility.into() };
                let part = Tokens::new(x.clone().narrow(1, from, count));
                parts.push(model.forward_with(part, options).values);
                assert_eq!(cache.len(), from + count);
            }
            assert_close(&values(Tensor::cat(parts, 1)), &whole, 1e-5);
        }
    }
}

#[test]
fn decoders_are_adapted_in_cross_attention() {
    let device = Default::default();
    let config = TransformerConfig { layers: 1, heads: 2, ..TransformerConfig::default() };
    let mut model = config.init_cross_attention::<Flex>(WIDTH, &device);
    let adapt = AdaptConfig {
        prefix: Some(PrefixConfig {
            tokens: 2,
            modules: vec!["*.cross_attention.attention".into()],
        }),
        ..AdaptConfig::default()
    };
    insert(&mut model, &adapt, &device).unwrap();
    assert!(model.layers[0].attention.prefix.is_none());
    let cross = model.layers[0].cross_attention.as_ref().unwrap();
    assert_eq!(cross.attention.prefix.as_ref().unwrap().len(), 2);
    let memory = Tokens::new(random([1, 3, WIDTH]));
    let x = random([1, 2, WIDTH]);
    let out = |model: &Transformer<Flex>| {
        values(model.forward_cross_attention(Tokens::new(x.clone()), &memory, true).values)
    };
    let adapted = out(&model);
    strip(&mut model);
    assert_ne!(out(&model), adapted);
}

#[test]
fn mistakes_are_named() {
    let device = Default::default();
    let mut model = configs()[0].init::<Flex>(WIDTH, &device);
    let lora = |modules: &[&str]| {
        let modules = modules.iter().map(|one| (*one).to_owned()).collect();
        AdaptConfig {
            lora: Some(LoraConfig { modules, ..LoraConfig::default() }),
            ..AdaptConfig::default()
        }
    };
    let mut error = |config: &AdaptConfig| {
        insert(&mut model, config, &device).map_err(|error| error.to_string())
    };
    let message = error(&lora(&["*.query", "layers.0.atention.query"])).unwrap_err();
    assert!(message.starts_with("`lora.modules.1` is `layers.0.atention.query`"), "{message}");
    assert!(message.contains("near it: layers.0.attention.query,"), "{message}");
    assert!(error(&AdaptConfig::default()).unwrap_err().contains("it or another method"));
    assert!(error(&lora(&[])).unwrap_err().contains("`lora.modules` is empty"));
    let prompt = PromptConfig { tokens: 0, ..PromptConfig::default() };
    let prompt = AdaptConfig { prompt: Some(prompt), ..AdaptConfig::default() };
    assert!(error(&prompt).unwrap_err().contains("`prompt.tokens` is 0"));
    error(&lora(&["*.query"])).unwrap();
    let message = error(&lora(&["*.query"])).unwrap_err();
    assert!(message.contains("modules without"), "{message}");
}
