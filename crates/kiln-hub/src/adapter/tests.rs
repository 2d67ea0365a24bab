use super::*;
use crate::{ModelDir, Rule, Weight, Weights, collect_where, json_file, module::names};
use burn_flex::Flex;
use kiln_nn::{
    Transformer, TransformerConfig,
    adapt::{self, AdaptConfig, BottleneckConfig, LoraConfig, PrefixConfig},
};
use std::{fs, path::Path};

fn weight(shape: &[usize], values: &[f32]) -> Weight {
    Weight { shape: shape.to_vec(), values: values.to_vec() }
}

fn weights(tensors: &[(&str, Weight)]) -> Weights {
    let tensors = tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
    Weights { tensors: tensors.collect(), ..Weights::default() }
}

/// A base with one layer, and an adapter's directory.
fn place(config: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let [base, adapter] = ["base", "adapter"].map(|name| dir.path().join(name));
    for one in [&base, &adapter] {
        fs::create_dir(one).unwrap();
    }
    let layer = weight(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let all = weights(&[("body.q.weight", layer), ("head.bias", weight(&[1], &[0.0]))]);
    ModelDir::write(&base, &serde_json::json!({ "model_type": "toy" }), &all).unwrap();
    fs::write(base.join("vocab.txt"), "a").unwrap();
    let config = config.replace("BASE", base.to_str().unwrap());
    fs::write(adapter.join(PEFT_CONFIG), config).unwrap();
    (dir, adapter)
}

fn with_weights(adapter: &Path, module: &str) {
    let down = weight(&[1, 3], &[1.0, 0.0, -1.0]);
    let up = weight(&[2, 1], &[10.0, 20.0]);
    let head = weight(&[1], &[7.0]);
    let names = [format!("{module}.lora_A.weight"), format!("{module}.lora_B.weight")];
    let all = [(&names[0][..], down), (&names[1][..], up), ("base_model.model.head.bias", head)];
    weights(&all).write(&adapter.join(PEFT_WEIGHTS)).unwrap();
}

const LORA: &str = r#"{"peft_type": "LORA", "base_model_name_or_path": "BASE", "r": 1,
    "lora_alpha": 1, "alpha_pattern": {"q": 0.5}, "unknown": true}"#;

#[test]
fn an_adapter_is_its_base_with_it_merged() {
    let (_dir, adapter) = place(LORA);
    // Under the class with a head as in the base's file, or without.
    for module in ["base_model.model.body.q", "base_model.model.q"] {
        with_weights(&adapter, module);
        let model = crate::resolve(adapter.to_str().unwrap(), Path::new("runs")).unwrap();
        assert_eq!(model.model_type(), "toy");
        assert_eq!(model.parameters().unwrap(), 7);
        let merged = model.weights().unwrap();
        let expected = [6.0, 2.0, -2.0, 14.0, 5.0, -4.0];
        assert_eq!(merged.tensors["body.q.weight"], weight(&[2, 3], &expected));
        assert_eq!(merged.tensors["head.bias"].values, [7.0]);
    }
    assert!(ModelDir::home(&adapter, "vocab.txt").ends_with("base"));
    assert!(ModelDir::home(&adapter, PEFT_CONFIG).ends_with("adapter"));
}

#[test]
fn what_cannot_be_merged_is_named() {
    let refused = |config: &str, module: &str| {
        let (_dir, adapter) = place(config);
        with_weights(&adapter, module);
        let opened = ModelDir::open(&adapter).and_then(|model| model.weights());
        opened.unwrap_err().to_string()
    };
    let q = "base_model.model.body.q";
    assert!(refused(&LORA.replace("LORA", "IA3"), q).contains("`peft_type` is IA3"));
    assert!(refused(&LORA.replace("\"r\"", "\"use_dora\": true, \"r\""), q).contains("use_dora"));
    assert!(refused(&LORA.replace("BASE", ""), q).contains("base_model_name_or_path"));
    assert!(refused(LORA, "base_model.model.body.k").contains("no such layer"));
    assert!(refused(LORA, "base_model.model.head").contains("no such layer"));
    let message = refused(&LORA.replace("BASE", "nowhere/at/all"), q);
    assert!(message.contains("nowhere/at/all"), "{message}");
}

#[test]
fn layers_that_are_one_have_one_update() {
    let names = crate::NameMap::new(&[
        Rule::Transposed { theirs: "c_attn" },
        Rule::Fused { theirs: "c_attn", ours: &["query", "key", "value"] },
    ]);
    let published = Published { names: names.unwrap(), task_type: None, decoder_heads: None };
    let lora = LoraConfig { rank: 1, alpha: 2.0, ..LoraConfig::default() };
    let adapt = AdaptConfig { lora: Some(lora), ..AdaptConfig::default() };
    let all = weights(&[
        ("query.lora.down", weight(&[2, 1], &[1.0, 2.0])),
        ("query.lora.up", weight(&[1, 2], &[3.0, 4.0])),
        ("value.lora.down", weight(&[2, 1], &[5.0, 6.0])),
        ("value.lora.up", weight(&[1, 2], &[7.0, 8.0])),
    ]);
    let dir = tempfile::tempdir().unwrap();
    assert!(write_peft(dir.path(), &adapt, &all, &published, Some("base")).unwrap());
    let folder = dir.path().join(FOLDER);
    let written = Weights::read_file(&folder.join(PEFT_WEIGHTS)).unwrap().tensors;
    let part = |name: &str| &written[&format!("base_model.model.c_attn.{name}.weight")];
    assert_eq!(*part("lora_A"), weight(&[2, 2], &[1.0, 2.0, 5.0, 6.0]));
    let up = [3.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 7.0, 0.0, 8.0];
    assert_eq!(*part("lora_B"), weight(&[6, 2], &up));
    let config: serde_json::Value = json_file::read_json(&folder.join(PEFT_CONFIG)).unwrap();
    assert_eq!(config["target_modules"], serde_json::json!(["c_attn"]));
    assert_eq!((&config["r"], &config["fan_in_fan_out"]), (&1.into(), &true.into()));
    assert_eq!(
        (&config["rank_pattern"]["c_attn"], &config["alpha_pattern"]["c_attn"]),
        (&2.into(), &4.into())
    );
    assert_eq!(config["base_model_name_or_path"], "base");
    // Biases of its own PEFT does not write.
    let bitfit = AdaptConfig { bitfit: Some(Default::default()), ..adapt };
    assert!(!write_peft(dir.path(), &bitfit, &all, &published, None).unwrap());
}

#[test]
fn adapters_are_attached_in_full_or_not_at_all() {
    let device = Default::default();
    let config = TransformerConfig { layers: 1, heads: 2, ..TransformerConfig::default() };
    let adapt = AdaptConfig {
        bottleneck: Some(BottleneckConfig { width: 2, ..BottleneckConfig::default() }),
        prefix: Some(PrefixConfig { tokens: 2, ..PrefixConfig::default() }),
        ..AdaptConfig::default()
    };
    let new = || config.init::<Flex>(4, &device);
    let mut model = new();
    let bare = names(&model);
    adapt::insert(&mut model, &adapt, &device).unwrap();
    let own = collect_where(&model, |name| !bare.contains(name)).unwrap();
    assert_eq!(own.tensors.len(), 10);
    let dir = tempfile::tempdir().unwrap();
    let attach = |model: &mut Transformer<Flex>| attach(dir.path(), model, &device);
    assert!(attach(&mut new()).unwrap().is_empty());
    write(dir.path(), vec![adapt.clone()], &own).unwrap();
    let mut again = new();
    assert_eq!(attach(&mut again).unwrap(), std::slice::from_ref(&adapt));
    assert_eq!(collect_where(&again, |name| !bare.contains(name)).unwrap(), own);
    let mut part = own.clone();
    let (lost, _) = part.tensors.pop_first().unwrap();
    write(dir.path(), vec![adapt.clone()], &part).unwrap();
    let message = attach(&mut new()).unwrap_err().to_string();
    assert!(message.contains(&lost), "{message}");
    let prefix = PrefixConfig { modules: vec!["nothing".into()], tokens: 1 };
    write(dir.path(), vec![AdaptConfig { prefix: Some(prefix), ..adapt }], &own).unwrap();
    let message = attach(&mut new()).unwrap_err().to_string();
    assert!(message.contains("prefix.modules.0"), "{message}");
}
