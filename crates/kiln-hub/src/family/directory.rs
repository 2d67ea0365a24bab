//! Model directories in the layout of a published family or in our own.

use super::contract::{PublishedConfig, Row, Unreadable};
use crate::{
    HubError, Mode, ModelDir, ModelError, NameMap, Result, Weight, Weights,
    adapter::{self, Published},
    apply, collect,
    json_file::CONFIG,
};
use burn::module::Module;
use kiln_core::Backend;
use kiln_nn::{ConfigError, adapt::Adapt};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::path::Path;

/// Our own `config.json`.
#[derive(Deserialize)]
#[serde(bound = "C: DeserializeOwned")]
struct Own<C> {
    model: C,
}

/// The part of a family's `config.json` that is ours.
#[derive(Deserialize)]
#[serde(bound = "E: Default + DeserializeOwned")]
struct Extended<E> {
    #[serde(default)]
    kiln: E,
}

/// The `model_type`s that [`read`] reads.
pub fn model_types<C: PublishedConfig>() -> impl Iterator<Item = &'static str> {
    C::FAMILIES.iter().flat_map(|row| row.model_types).copied().chain([C::OWN[0]])
}

/// The `config.json` of a model, and the format that it is in.
pub fn config_json<C: PublishedConfig>(config: &C) -> (C::Format, Value) {
    let mut plain = config.clone();
    let asked = plain.format().take();
    for Row { format, model_types, family } in C::FAMILIES {
        if asked.is_some_and(|asked| asked != *format) {
            continue;
        }
        // A family can express a configuration that it reads back unchanged.
        if let Some(model_type) = model_types.first()
            && let Some(mut json) = family.write(model_type, config)
            && let Ok(read) = family.read(&json)
            && config.is_expressed_by(read)
        {
            let extras = config.extras();
            if let (Some(object), true) = (json.as_object_mut(), extras != C::Extras::default()) {
                object.insert("kiln".into(), json!(extras));
            }
            return (*format, json);
        }
    }
    let [model_type, class] = C::OWN;
    let json = json!({ "model_type": model_type, "architectures": [class], "model": plain });
    (C::OWN_FORMAT, json)
}

/// Reads the configuration of a model directory.
///
/// # Errors
/// When it cannot be read or has options that are not supported.
pub fn read_config<C: PublishedConfig>(dir: &Path) -> std::result::Result<C, ModelError> {
    config_of(&ModelDir::open(dir)?)
}

/// Reads configuration and weights, the latter in our names: for starting weights that need not
/// match in full, see [`apply`] and [`Mode::Lenient`].
///
/// # Errors
/// When it cannot be read or has options that are not supported.
pub fn read<C: PublishedConfig>(dir: &Path) -> std::result::Result<(C, Weights), ModelError> {
    let dir = ModelDir::open(dir)?;
    let mut config: C = config_of(&dir)?;
    let mut weights = names(&config)?.to_ours(counters_in(dir.weights()?))?;
    config.complete(&mut weights);
    Ok((config, weights))
}

/// Reads a model directory: the module that `init` makes of the configuration, with the weights.
///
/// # Errors
/// When it cannot be read, has options that are not supported, or weights that do not fit.
pub fn load<B: Backend, C: PublishedConfig, M: Module<B> + Adapt<B>>(
    dir: &Path,
    device: &B::Device,
    init: impl FnOnce(C) -> std::result::Result<M, ConfigError>,
) -> std::result::Result<(M, C), ModelError> {
    let (config, weights) = read::<C>(dir)?;
    let mut model = init(config.clone()).map_err(ModelError::in_file(dir, CONFIG))?;
    apply::<B, _>(&mut model, &weights, Mode::Strict)?;
    adapter::attach(dir, &mut model, device)?;
    Ok((model, config))
}

/// Writes a model directory, which must exist.
///
/// # Errors
/// When it cannot be written.
pub fn save<B: Backend, C: PublishedConfig>(
    dir: &Path,
    config: &C,
    model: &impl Module<B>,
) -> std::result::Result<(), ModelError> {
    let (config, json) = formatted(config);
    let weights = names(&config)?.to_theirs(collect::<B, _>(model)?)?;
    ModelDir::write(dir, &json, &counters_out(weights))?;
    Ok(config.write_files(dir)?)
}

/// How the published family of a model would hold it; `None` where none can.
///
/// # Errors
/// When the family's names are wrong.
pub fn published<C: PublishedConfig>(config: &C) -> Result<Option<Published>> {
    let (mut config, _) = formatted(config);
    if *config.format() == Some(C::OWN_FORMAT) {
        return Ok(None);
    }
    let names = names(&config)?;
    Ok(Some(config.published(Published { names, task_type: None, decoder_heads: None })))
}

/// A configuration with the format in which it is written, and its `config.json`.
fn formatted<C: PublishedConfig>(config: &C) -> (C, Value) {
    let (format, json) = config_json(config);
    let mut config = config.clone();
    *config.format() = Some(format);
    (config, json)
}

fn config_of<C: PublishedConfig>(dir: &ModelDir) -> std::result::Result<C, ModelError> {
    let found = dir.model_type();
    let (mut config, format): (C, _) = if found == C::OWN[0] {
        (dir.parse_config::<Own<C>>()?.model, C::OWN_FORMAT)
    } else {
        let row = C::FAMILIES.iter().find(|row| row.model_types.contains(&found));
        let Some(Row { format, family, .. }) = row else {
            let expected = model_types::<C>().collect::<Vec<_>>().join(" or ");
            let expected = expected + C::elsewhere(found);
            let (path, found) = (dir.path.clone(), found.to_owned());
            return Err(ModelError::ModelType { path, found, expected });
        };
        let ours = family.read(&dir.config).map_err(|error| match error {
            Unreadable::Setting(error) => ModelError::in_file(&dir.path, CONFIG)(error),
            Unreadable::Json(error) => ModelError::Hub(HubError::Config {
                path: dir.path.join(CONFIG),
                cause: error.to_string(),
            }),
        })?;
        let Extended { kiln } = dir.parse_config()?;
        (ours.with_extras(kiln), *format)
    };
    *config.format() = Some(format);
    config.read_files(dir)?;
    config.validate().map_err(ModelError::in_file(&dir.path, CONFIG))?;
    Ok(config)
}

/// The names of a model's weights in the layout that its configuration asks for.
///
/// # Errors
/// When the family's rules are wrong.
pub fn names<C: PublishedConfig>(config: &C) -> Result<NameMap> {
    let format = *config.clone().format();
    let row = C::FAMILIES.iter().find(|row| Some(row.format) == format);
    row.map_or_else(|| Ok(NameMap::default()), |row| NameMap::new(&row.family.rules(config)))
}

const COUNTER: &str = ".num_batches_tracked";

/// Batch norm's counters, 64-bit scalars in the file, are floats `[1]` in our modules.
fn counters_in(mut weights: Weights) -> Weights {
    let counters: Vec<String> =
        weights.passthrough.keys().filter(|name| name.ends_with(COUNTER)).cloned().collect();
    for name in counters {
        if let Some(raw) = weights.passthrough.remove(&name)
            && let Some(Ok(bytes)) = raw.bytes.get(..8).map(<[u8; 8]>::try_from)
        {
            let value = i64::from_le_bytes(bytes) as f32;
            weights.tensors.insert(name, Weight { shape: vec![1], values: vec![value] });
        }
    }
    weights
}

fn counters_out(mut weights: Weights) -> Weights {
    let counters: Vec<String> =
        weights.tensors.keys().filter(|name| name.ends_with(COUNTER)).cloned().collect();
    for name in counters {
        if let Some(value) =
            weights.tensors.remove(&name).and_then(|weight| weight.values.first().copied())
        {
            weights.insert_i64(name, value as i64);
        }
    }
    weights
}
