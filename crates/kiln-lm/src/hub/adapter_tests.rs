//! Adapters of published families: apart, part of the weights, and as PEFT has them.

use super::{
    decoder_tests::{small_falcon, small_opt},
    *,
};
use crate::{batch::HostText, presets::Preset};
use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Distribution, Tensor},
};
use burn_flex::Flex;
use kiln_hub::{
    Weight, adapter, collect_where,
    family::{config_json, published},
    testing::python_adapts,
};
use kiln_nn::adapt::{
    self, AdaptConfig, BottleneckConfig, Ia3Config, LoraConfig, ParallelConfig, PrefixConfig,
    PromptConfig,
};

/// Small ones of families that hold layers one by one, as one, and the other way round.
fn families() -> Vec<TextModelConfig> {
    let small = |preset: Preset| {
        let mut config = preset.config();
        (config.width, config.vocabulary) = (16, 40);
        for stack in std::iter::once(&mut config.backbone).chain(&mut config.decoder) {
            (stack.layers, stack.heads, stack.hidden) = (2, 4, Some(32));
            stack.head_width = stack.head_width.map(|_| 8);
        }
        config
    };
    let mut llama = small(Preset::TinyLlama);
    llama.backbone.kv_heads = Some(2);
    let falcon = small_falcon(Some(2), Some(2));
    let presets = [Preset::Gpt2, Preset::BertBase, Preset::T5Small].map(small);
    presets.into_iter().chain([llama, small_opt(), falcon]).collect()
}

/// Logits of the vocabulary for two texts; of an encoder-decoder with the source as its target.
fn scores(model: &TextModel<Flex>) -> Weight {
    let ids: [Vec<u32>; 2] = [vec![3, 5, 7, 9, 11], vec![4, 6, 8, 10, 12]];
    let text = HostText::of(&ids, 0).upload::<Flex>(&model.config().embedding, &Default::default());
    let read = model.encode_text(&text);
    let tokens = model.decode(&text, &read, None).unwrap_or(read);
    let scores = model.scores(tokens.values).unwrap();
    let shape = scores.dims().to_vec();
    Weight { shape, values: scores.into_data().to_vec().unwrap() }
}

fn assert_close(one: &Weight, other: &Weight, what: &str) {
    assert_eq!(one.shape, other.shape);
    for (a, b) in one.values.iter().zip(&other.values) {
        assert!((a - b).abs() < 1e-4, "{what}: {a} and {b}");
    }
}

/// Moves adapters and what else is named.
struct Shake {
    path: Vec<String>,
}

fn is_trained(name: &str) -> bool {
    let parts = ["lora", "ia3", "adapters", "prefix", "prompt", "dense"];
    name.split('.').any(|part| parts.contains(&part))
}

impl ModuleMapper<Flex> for Shake {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Flex, D>>,
    ) -> Param<Tensor<Flex, D>> {
        if !is_trained(&self.path.join(".")) {
            return param;
        }
        let noise = Distribution::Normal(0.0, 0.3);
        param.map(|x| x.clone() + Tensor::random(x.shape(), noise, &x.device()))
    }
}

fn methods() -> Vec<(&'static str, AdaptConfig)> {
    let none = AdaptConfig::default;
    let modules = ["*.attention.query", "*.attention.value", "*.feed_forward.output"];
    let lora =
        LoraConfig { rank: 2, modules: modules.map(Into::into).into(), ..Default::default() };
    let stable = LoraConfig { rank_stabilised: true, alpha: 1.5, ..lora.clone() };
    vec![
        ("lora", AdaptConfig { lora: Some(lora), ..none() }),
        ("stable", AdaptConfig { lora: Some(stable), ..none() }),
        ("ia3", AdaptConfig { ia3: Some(Ia3Config::default()), ..none() }),
        ("prefix", AdaptConfig { prefix: Some(PrefixConfig::default()), ..none() }),
        ("prompt", AdaptConfig { prompt: Some(PromptConfig::default()), ..none() }),
        (
            "many",
            AdaptConfig {
                lora: Some(LoraConfig::default()),
                bottleneck: Some(BottleneckConfig::default()),
                parallel: Some(ParallelConfig::default()),
                ..none()
            },
        ),
    ]
}

#[test]
fn written_adapters_are_read_by_kiln_and_by_peft() {
    let (device, place) = (Default::default(), tempfile::tempdir().unwrap());
    let (mut failures, mut written) = (Vec::new(), Vec::new());
    for config in families() {
        let (format, _) = config_json(&config);
        for (method, adapt) in methods() {
            let what = format!("{format:?}-{method}");
            let [base, dir] = ["base", "model"].map(|kind| place.path().join(&what).join(kind));
            for dir in [&base, &dir] {
                std::fs::create_dir_all(dir).unwrap();
            }
            let mut model = TextModel::<Flex>::new(config.clone(), &device).unwrap();
            model.save(&base).unwrap();
            adapt::insert(&mut model, &adapt, &device).unwrap();
            let mut model = model.map(&mut Shake { path: Vec::new() });
            let expected = scores(&model);
            let published = published(&config).unwrap().unwrap();
            let weights = collect_where(&model, is_trained).unwrap();
            let base = base.to_str();
            if adapter::write_peft(&dir, &adapt, &weights, &published, base).unwrap() {
                written.push(dir.clone());
                let scores = Weights {
                    tensors: [("scores".to_owned(), expected.clone())].into(),
                    ..Weights::default()
                };
                scores.write(&dir.join("scores.safetensors")).unwrap();
            }
            adapt::fold(&mut model);
            assert_close(&scores(&model), &expected, &what);
            let folded = collect_where(&model, is_trained).unwrap();
            adapt::strip(&mut model);
            model.save(&dir).unwrap();
            if let Some(rest) = adapt.unfolded() {
                let names = kiln_hub::module::names(&model);
                let mut rests = folded;
                rests.tensors.retain(|name, _| !names.contains(name));
                adapter::write(&dir, vec![rest], &rests).unwrap();
            }
            let load = |dir: &Path| TextModel::<Flex>::load(dir, &device).unwrap();
            assert_close(&scores(&load(&dir)), &expected, &what);
            if adapt.lora.is_some() && method != "many" {
                assert_close(&scores(&load(&dir.join("adapter"))), &expected, &what);
            }
        }
    }
    python_adapts(&written, &mut failures);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // PEFT counts the places of prefix and prompt as we do only where positions are turned.
    let is = |dir: &Path, method: &str| dir.to_string_lossy().contains(&format!("-{method}/"));
    let count = |method: &str| written.iter().filter(|dir| is(dir, method)).count();
    assert_eq!(
        ["lora", "stable", "ia3", "prefix", "prompt", "many"].map(count),
        [6, 6, 6, 1, 1, 0]
    );
}
