//! Adapters in PEFT's layout, under the names of the published family.

use super::files::{FOLDER, PEFT_CONFIG, PEFT_WEIGHTS};
use crate::{HubError, NameMap, Place, Result, Weight, Weights, json_file::write_json};
use kiln_nn::adapt::{AdaptConfig, LoraConfig};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fs, path::Path};

/// How a published family would hold a model.
#[derive(Debug, Clone)]
pub struct Published {
    /// Their names.
    pub names: NameMap,
    /// PEFT's `task_type`: `CAUSAL_LM`.
    pub task_type: Option<&'static str>,
    /// Attention heads where PEFT's prefix and prompt tuning are ours: in decoders with rotary
    /// positions.
    pub decoder_heads: Option<usize>,
}

/// Writes adapters in PEFT's layout beside a model, where that can express them; whether it could.
///
/// `weights` holds the adapters and whatever else was trained, in our names; `base` names the model
/// that was adapted.
///
/// # Errors
/// When the files cannot be written.
pub fn write_peft(
    dir: &Path,
    adapt: &AdaptConfig,
    weights: &Weights,
    published: &Published,
    base: Option<&str>,
) -> Result<bool> {
    let Some((mut config, mut tensors)) = translate(adapt, weights, published) else {
        return Ok(false);
    };
    let others = others(weights);
    if !others.tensors.is_empty() {
        // PEFT saves whole modules (`modules_to_save`) only beside adapted layers.
        if adapt.prefix.is_some() || adapt.prompt.is_some() {
            return Ok(false);
        }
        // All parts of a fused layer must have been trained.
        let Ok(others) = published.names.to_theirs(others) else { return Ok(false) };
        let mut modules: Vec<String> = others.tensors.keys().map(|name| module(name)).collect();
        modules.dedup();
        config.insert("modules_to_save".into(), json!(modules));
        for (name, tensor) in others.tensors {
            tensors.insert(format!("{PREFIX}{name}"), tensor);
        }
    }
    config.insert("base_model_name_or_path".into(), json!(base));
    config.insert("task_type".into(), json!(published.task_type));
    config.insert("inference_mode".into(), json!(true));
    let folder = dir.join(FOLDER);
    fs::create_dir_all(&folder).map_err(HubError::io("create", &folder))?;
    write_json(&folder.join(PEFT_CONFIG), &config)?;
    Weights { tensors, ..Weights::default() }.write(&folder.join(PEFT_WEIGHTS))?;
    Ok(true)
}

/// What PEFT puts before the names of a model.
const PREFIX: &str = "base_model.model.";

type Tensors = BTreeMap<String, Weight>;

/// Configuration and tensors of a method that PEFT has.
fn translate(
    adapt: &AdaptConfig,
    weights: &Weights,
    published: &Published,
) -> Option<(Map<String, Value>, Tensors)> {
    let AdaptConfig { lora, ia3, bottleneck, parallel, prefix, prompt, bitfit, .. } = adapt;
    if bottleneck.is_some() || parallel.is_some() || bitfit.is_some() {
        return None;
    }
    let (config, tensors) = match (lora, ia3, prefix, prompt) {
        (Some(lora), None, None, None) => low_rank(lora, weights, &published.names),
        (None, Some(_), None, None) => factors(weights, &published.names)?,
        (None, None, Some(_), None) => prefixes(weights, published.decoder_heads?)?,
        (None, None, None, Some(_)) => prompts(weights, published.decoder_heads?)?,
        _ => return None,
    };
    match config {
        Value::Object(config) => Some((config, tensors)),
        _ => None,
    }
}

/// Weights that were trained beside the adapters.
fn others(weights: &Weights) -> Weights {
    let ours = [".lora.", ".ia3.", ".prefix.", ".prompt."];
    let own = |name: &str| ours.iter().any(|part| format!(".{name}").contains(part));
    let tensors = weights.tensors.iter().filter(|(name, _)| !own(name));
    Weights {
        tensors: tensors.map(|(name, tensor)| (name.clone(), tensor.clone())).collect(),
        ..Weights::default()
    }
}

/// The module of a parameter.
fn module(name: &str) -> String {
    name.rsplit_once('.').map_or(name, |(module, _)| module).to_owned()
}

/// A matrix, transposed.
fn transposed(weight: &Weight) -> Weight {
    let [rows, columns] = weight.shape[..] else { return weight.clone() };
    let values = (0..rows * columns).map(|at| weight.values[at % rows * columns + at / rows]);
    Weight { shape: vec![columns, rows], values: values.collect() }
}

fn low_rank(lora: &LoraConfig, weights: &Weights, names: &NameMap) -> (Value, Tensors) {
    // Fused layers have one update, with the ranks of all.
    let mut layers: BTreeMap<String, Vec<(Place, &Weight, &Weight)>> = BTreeMap::new();
    for (name, down) in &weights.tensors {
        let Some(ours) = name.strip_suffix(".lora.down") else { continue };
        let Some(up) = weights.tensors.get(&format!("{ours}.lora.up")) else { continue };
        let place = names.place(&format!("{ours}.weight"));
        layers.entry(module(&place.theirs)).or_default().push((place, down, up));
    }
    let mut tensors = Tensors::new();
    let (mut ranks, mut alphas) = (BTreeMap::new(), BTreeMap::new());
    let fan_in_fan_out = layers.values().flatten().any(|(place, ..)| place.transposed);
    let targets: Vec<String> = layers.keys().cloned().collect();
    for (name, parts) in layers {
        let rank = lora.rank * parts.len();
        let of_rank = rank as f64;
        let root = if lora.rank_stabilised { of_rank.sqrt() } else { of_rank };
        if rank != lora.rank {
            ranks.insert(name.clone(), rank);
            alphas.insert(name.clone(), number(lora.scale() * root));
        }
        let inputs = parts.first().map_or(0, |(_, down, _)| down.shape[0]);
        let values = parts.iter().flat_map(|(_, down, _)| transposed(down).values);
        let down = Weight { shape: vec![rank, inputs], values: values.collect() };
        let outputs = parts.first().map_or(0, |(place, _, up)| place.part.all(up.shape[1]));
        let mut up = Weight::zeros(&[outputs, rank]);
        for (number, (place, _, part)) in parts.iter().enumerate() {
            let rows = place.part.rows(part.shape[1]);
            for (row, values) in rows.zip(transposed(part).values.chunks_exact(lora.rank)) {
                let at = row * rank + number * lora.rank;
                if let Some(slot) = up.values.get_mut(at..at + lora.rank) {
                    slot.copy_from_slice(values);
                }
            }
        }
        tensors.insert(format!("{PREFIX}{name}.lora_A.weight"), down);
        tensors.insert(format!("{PREFIX}{name}.lora_B.weight"), up);
    }
    let config = json!({
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": number(lora.alpha),
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rank_stabilised,
        "fan_in_fan_out": fan_in_fan_out,
        "bias": "none",
        "target_modules": targets,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
    });
    (config, tensors)
}

/// Whole numbers without a point, as PEFT writes them.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

fn factors(weights: &Weights, names: &NameMap) -> Option<(Value, Tensors)> {
    let mut tensors = Tensors::new();
    let (mut targets, mut feed_forward) = (Vec::new(), Vec::new());
    let mut fan_in_fan_out = false;
    for (name, factors) in &weights.tensors {
        let (ours, of_inputs) = match name.strip_suffix(".ia3.outputs") {
            Some(ours) => (ours, false),
            None => match name.strip_suffix(".ia3.inputs") {
                Some(ours) => (ours, true),
                None => continue,
            },
        };
        let place = names.place(&format!("{ours}.weight"));
        let theirs = module(&place.theirs);
        let size = factors.values.len();
        fan_in_fan_out |= place.transposed;
        let all = place.part.all(size);
        if of_inputs && all > size {
            // A fused layer has one input; ours have one each.
            return None;
        }
        let shape = if of_inputs { [1, size] } else { [all, 1] };
        let whole = tensors
            .entry(format!("{PREFIX}{theirs}.ia3_l"))
            .or_insert_with(|| Weight { shape: shape.to_vec(), values: vec![1.0; all] });
        for (row, factor) in place.part.rows(size).zip(&factors.values) {
            *whole.values.get_mut(row)? = *factor;
        }
        if of_inputs {
            feed_forward.push(theirs.clone());
        }
        targets.push(theirs);
    }
    targets.dedup();
    let config = json!({
        "peft_type": "IA3",
        "target_modules": targets,
        "feedforward_modules": feed_forward,
        "fan_in_fan_out": fan_in_fan_out,
    });
    Some((config, tensors))
}

fn prefixes(weights: &Weights, heads: usize) -> Option<(Value, Tensors)> {
    let of = |layer: usize, what: &str| {
        weights.tensors.get(&format!("backbone.layers.{layer}.attention.prefix.{what}"))
    };
    let layers = (0..).take_while(|layer| of(*layer, "keys").is_some()).count();
    let all = weights.tensors.keys().filter(|name| name.ends_with(".prefix.keys")).count();
    let [tokens, kv_heads, head_width] = of(0, "keys")?.shape[..] else { return None };
    if layers != all {
        return None;
    }
    let width = kv_heads * head_width;
    let mut values = Vec::with_capacity(tokens * 2 * layers * width);
    for token in 0..tokens {
        for layer in 0..layers {
            for what in ["keys", "values"] {
                let row = token * width..(token + 1) * width;
                values.extend_from_slice(of(layer, what)?.values.get(row)?);
            }
        }
    }
    let tensor = Weight { shape: vec![tokens, 2 * layers * width], values };
    let mut config = virtual_tokens("PREFIX_TUNING", tokens, width, kv_heads);
    config["num_layers"] = json!(layers);
    config["encoder_hidden_size"] = json!(heads * head_width);
    config["prefix_projection"] = json!(false);
    Some((config, [("prompt_embeddings".to_owned(), tensor)].into()))
}

fn prompts(weights: &Weights, heads: usize) -> Option<(Value, Tensors)> {
    let mut prompts = weights.tensors.iter().filter(|(name, _)| name.ends_with("prompt.vectors"));
    let (_, tensor) = prompts.next().filter(|(name, _)| *name == "backbone.prompt.vectors")?;
    let [tokens, width] = tensor.shape[..] else { return None };
    let config = virtual_tokens("PROMPT_TUNING", tokens, width, heads);
    let only = prompts.next().is_none();
    only.then(|| (config, [("prompt_embeddings".to_owned(), tensor.clone())].into()))
}

fn virtual_tokens(method: &str, tokens: usize, width: usize, heads: usize) -> Value {
    json!({
        "peft_type": method,
        "num_virtual_tokens": tokens,
        "token_dim": width,
        "num_attention_heads": heads,
        "num_transformer_submodules": 1,
    })
}
