//! Families of published models: `config.json` and the names of weights, as Hugging Face's classes
//! have them, and model directories in their layout or in our own.

use crate::{
    HubError, Mode, ModelDir, ModelError, NameMap, Result, Rule, Weight, Weights,
    adapter::{self, Published},
    apply, collect,
    model_dir::CONFIG,
};
use burn::module::Module;
use kiln_core::Backend;
use kiln_nn::{ConfigError, adapt::Adapt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::path::Path;

/// A family of published models.
pub trait Family {
    /// Our configuration of its models.
    type Ours: PublishedConfig;
    /// Its `config.json`, with its names and defaults; keys that do not matter are ignored.
    type Theirs: Serialize + DeserializeOwned;

    /// Parses `config.json`.
    ///
    /// # Errors
    /// When it is not what the family's classes write.
    fn parse(&self, json: &Value) -> serde_json::Result<Self::Theirs> {
        serde_json::from_value(json.clone())
    }

    /// Their configuration as ours.
    ///
    /// # Errors
    /// When an option is out of range or not supported.
    fn to_ours(&self, theirs: &Self::Theirs) -> std::result::Result<Self::Ours, ConfigError>;

    /// Our configuration as theirs, with the name of the class; `None` where they cannot express it.
    fn to_theirs(&self, ours: &Self::Ours) -> Option<(String, Self::Theirs)>;

    /// Rules between their names of weights and ours.
    fn rules(&self, ours: &Self::Ours) -> Vec<Rule>;
}

/// Why a family's `config.json` cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// A setting that makes no sense or is not supported.
    Setting(ConfigError),
    /// It is not what the family's classes write.
    Json(serde_json::Error),
}

/// A row of a table of families.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "families are no data")]
pub struct Row<C: PublishedConfig> {
    /// The format.
    pub format: C::Format,
    /// The `model_type`s that the family reads; it writes the first.
    pub model_types: &'static [&'static str],
    /// The family.
    pub family: &'static dyn AnyFamily<C>,
}

/// A [`Family`] of any `config.json`.
pub trait AnyFamily<C> {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// As [`Family::parse`] and [`Family::to_ours`].
    fn read(&self, json: &Value) -> std::result::Result<C, Unreadable>;

    /// Writes a `config.json` with this `model_type`; `None` where it cannot express the model.
    fn write(&self, model_type: &str, ours: &C) -> Option<Value>;

    /// As [`Family::rules`].
    fn rules(&self, ours: &C) -> Vec<Rule>;
}

impl<C: PublishedConfig, F: Family<Ours = C>> AnyFamily<C> for F {
    fn read(&self, json: &Value) -> std::result::Result<C, Unreadable> {
        let theirs = self.parse(json).map_err(Unreadable::Json)?;
        self.to_ours(&theirs).map_err(Unreadable::Setting)
    }

    fn write(&self, model_type: &str, ours: &C) -> Option<Value> {
        let (class, theirs) = self.to_theirs(ours)?;
        family_json(model_type, &class, &theirs)
    }

    fn rules(&self, ours: &C) -> Vec<Rule> {
        Family::rules(self, ours)
    }
}

/// A configuration that model directories hold: in the layout of a published family, or in our own,
/// which expresses every model.
pub trait PublishedConfig: Clone + Serialize + DeserializeOwned + 'static {
    /// Names of the layouts.
    type Format: Copy + PartialEq + 'static;
    /// What families have no keys for, kept beside theirs as `kiln`; the default where all is as
    /// they have it.
    type Extras: Default + PartialEq + Serialize + DeserializeOwned;

    /// The `model_type` and the class of our own layout.
    const OWN: [&'static str; 2];
    /// Our own layout.
    const OWN_FORMAT: Self::Format;
    /// The table of families; the first that can express a model writes it.
    const FAMILIES: &'static [Row<Self>];

    /// The layout that is asked for, or was read.
    fn format(&mut self) -> &mut Option<Self::Format>;

    /// Checks that the settings fit together.
    ///
    /// # Errors
    /// When one is out of range or two contradict each other.
    fn validate(&self) -> std::result::Result<(), ConfigError>;

    /// What families have no keys for.
    fn extras(&self) -> Self::Extras;

    /// The configuration with what families have no keys for.
    fn with_extras(self, extras: Self::Extras) -> Self;

    /// Whether a family that reads back `read` can express it.
    fn is_expressed_by(&self, _read: Self) -> bool {
        true
    }

    /// Takes in other files of the directory, and adds to weights, in our names, what may be absent.
    ///
    /// # Errors
    /// When a file is not what was expected.
    fn read_files(&mut self, _dir: &ModelDir) -> std::result::Result<(), ModelError> {
        Ok(())
    }

    /// Writes other files into the directory.
    ///
    /// # Errors
    /// When one cannot be written.
    fn write_files(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    /// Lets configuration and weights, in our names, agree where files may leave something out.
    fn complete(&mut self, _weights: &mut Weights) {}

    /// How a published family holds adapters, where that differs from others.
    fn published(&self, published: Published) -> Published {
        published
    }

    /// What an error adds for a `model_type` that is read elsewhere.
    fn elsewhere(_model_type: &str) -> &'static str {
        ""
    }
}

/// For configurations that families have all keys for.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NoExtras {}

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
        // A family can express what it reads as it was written.
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

/// Refuses settings that a family knows and we do not.
///
/// # Errors
/// When one of them is not as we have it.
pub fn refuse(settings: &[(&str, bool, &str)]) -> std::result::Result<(), ConfigError> {
    for (key, fine, expected) in settings {
        if !fine {
            return Err(ConfigError::new(*key, "set otherwise", *expected));
        }
    }
    Ok(())
}

/// One of the classes that a family knows, out of `architectures`; the first if that is absent.
///
/// # Errors
/// When it is another one.
pub fn known_class(
    architectures: &Option<Vec<String>>,
    known: &[&'static str],
) -> std::result::Result<&'static str, ConfigError> {
    let name = class(architectures, known.first().copied().unwrap_or_default());
    known.iter().find(|known| **known == name).copied().ok_or_else(|| {
        let expected = match known {
            [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => known.join(""),
        };
        ConfigError::new("architectures", name, expected)
    })
}

/// A family's configuration as JSON, with its `model_type` and class first.
pub fn family_json(model_type: &str, class: &str, config: &impl Serialize) -> Option<Value> {
    let mut object = Map::new();
    object.insert("model_type".into(), json!(model_type));
    object.insert("architectures".into(), json!([class]));
    if let Value::Object(rest) = serde_json::to_value(config).ok()? {
        object.extend(rest.into_iter().filter(|(key, _)| key != "architectures"));
    }
    Some(Value::Object(object))
}

/// A class name out of `architectures`, or the default.
pub fn class<'a>(architectures: &'a Option<Vec<String>>, default: &'a str) -> &'a str {
    architectures.as_ref().and_then(|names| names.first()).map_or(default, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_written_in_front_and_read() {
        #[derive(Serialize)]
        struct Config {
            architectures: Option<Vec<String>>,
            width: usize,
        }
        let config = Config { architectures: None, width: 3 };
        let json = family_json("bert", "BertModel", &config).unwrap();
        let text = r#"{"model_type":"bert","architectures":["BertModel"],"width":3}"#;
        assert_eq!(json.to_string(), text);
        assert_eq!(class(&config.architectures, "BertModel"), "BertModel");
        assert_eq!(class(&Some(vec!["BertForMaskedLM".into()]), "BertModel"), "BertForMaskedLM");
    }
}
