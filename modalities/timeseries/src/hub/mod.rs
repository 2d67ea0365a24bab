//! Model directories of series models, read and written in the layout of their published family.
//!
//! One file a family: its `config.json` as a type, its translation to and from
//! [`SeriesModelConfig`], and its names. What no family can express is written as
//! `kiln-timeseries`, with our own configuration and names.

pub mod patchtsmixer;
pub mod patchtst;
pub mod tinytimemixer;

mod mixer_names;
mod spelling;

use crate::{
    config::{Format, SeriesModelConfig},
    head::loss::Units,
    model::SeriesModel,
    scaler::MissingFill,
};
use kiln_core::Backend;
use kiln_hub::{
    HubError, Mode, ModelDir, ModelError, NameMap, Rule, Weight, Weights, adapter::Published,
    model_dir::CONFIG,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

/// The `model_type` of models that no published family can express.
pub const KILN: &str = "kiln-timeseries";

/// The `model_type`s that [`load_model`] reads.
pub const MODEL_TYPES: [&str; 4] =
    [patchtst::MODEL_TYPE, patchtsmixer::MODEL_TYPE, tinytimemixer::MODEL_TYPE, KILN];

/// Reads a model directory.
///
/// # Errors
/// When it cannot be read, has options that are not supported, or weights that do not fit.
pub fn load_model<B: Backend>(
    dir: &Path,
    device: &B::Device,
) -> Result<(SeriesModel<B>, SeriesModelConfig), ModelError> {
    let (config, weights) = read(dir)?;
    let mut model =
        SeriesModel::new(config.clone(), device).map_err(ModelError::in_file(dir, CONFIG))?;
    kiln_hub::apply::<B, _>(&mut model, &weights, Mode::Strict)?;
    kiln_hub::adapter::attach(dir, &mut model, device)?;
    Ok((model, config))
}

/// Reads the configuration of a model directory.
///
/// # Errors
/// When it cannot be read or has options that are not supported.
pub fn read_config(dir: &Path) -> Result<SeriesModelConfig, ModelError> {
    config_of(&ModelDir::open(dir)?)
}

/// Reads configuration and weights, the latter in our names: for starting weights that need not
/// match in full, see [`kiln_hub::apply`] and [`Mode::Lenient`].
///
/// # Errors
/// When it cannot be read or has options that are not supported.
pub fn read(dir: &Path) -> Result<(SeriesModelConfig, Weights), ModelError> {
    let model_dir = ModelDir::open(dir)?;
    let config = config_of(&model_dir)?;
    let weights = names(&config)?.to_ours(counters_in(model_dir.weights()?))?;
    Ok((config, weights))
}

/// Writes a model directory, which must exist.
///
/// # Errors
/// When it cannot be written.
pub fn save_model<B: Backend>(
    model: &SeriesModel<B>,
    config: &SeriesModelConfig,
    dir: &Path,
) -> Result<(), ModelError> {
    let (format, json) = config_json(config);
    let config = SeriesModelConfig { format: Some(format), ..config.clone() };
    let weights = names(&config)?.to_theirs(kiln_hub::collect::<B, _>(model)?)?;
    Ok(ModelDir::write(dir, &json, &counters_out(weights, format))?)
}

/// The `config.json` of a model, and the format that it is in.
pub fn config_json(config: &SeriesModelConfig) -> (Format, Value) {
    let extras = Extras {
        missing: config.scaler.missing,
        units: config.units,
        raw_values: config
            .forecast
            .as_ref()
            .and_then(|forecast| forecast.reconcile.as_ref())
            .is_none_or(|reconcile| reconcile.raw_values),
    };
    let families: [(Format, ToJson); 3] = [
        (Format::PatchTst, patchtst::to_json),
        (Format::TinyTimeMixer, tinytimemixer::to_json),
        (Format::PatchTsMixer, patchtsmixer::to_json),
    ];
    for (format, to_json) in families {
        let other = config.format.is_some_and(|asked| asked != format);
        // None of them has tokens of all channels.
        if other || config.frontend.joint {
            continue;
        }
        if let Some(mut json) = to_json(config) {
            if let (Some(object), true) = (json.as_object_mut(), extras != Extras::default()) {
                object.insert("kiln".into(), json!(extras));
            }
            return (format, json);
        }
    }
    let config = SeriesModelConfig { format: None, ..config.clone() };
    (
        Format::KilnTimeseries,
        json!({ "model_type": KILN, "architectures": ["SeriesModel"], "model": config }),
    )
}

/// How the published family of a model would hold it; `None` where none can.
///
/// # Errors
/// When the family's names are wrong.
pub fn published(config: &SeriesModelConfig) -> Result<Option<Published>, HubError> {
    let (format, _) = config_json(config);
    if format == Format::KilnTimeseries {
        return Ok(None);
    }
    let config = SeriesModelConfig { format: Some(format), ..config.clone() };
    Ok(Some(Published { names: names(&config)?, task_type: None, decoder_heads: None }))
}

/// Writes our configuration as a family's, where that can express it.
type ToJson = fn(&SeriesModelConfig) -> Option<Value>;

/// What families cannot say, kept beside what they can; absent where all is as they have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Extras {
    missing: MissingFill,
    units: Units,
    raw_values: bool,
}

impl Default for Extras {
    fn default() -> Self {
        Self { missing: MissingFill::Raw, units: Units::Data, raw_values: true }
    }
}

fn config_of(dir: &ModelDir) -> Result<SeriesModelConfig, ModelError> {
    let wrong = ModelError::in_file(&dir.path, CONFIG);
    let (format, config) = match dir.model_type() {
        patchtst::MODEL_TYPE => {
            (Format::PatchTst, patchtst::to_ours(&dir.parse_config()?).map_err(wrong)?)
        }
        patchtsmixer::MODEL_TYPE => {
            (Format::PatchTsMixer, patchtsmixer::to_ours(&dir.parse_config()?).map_err(wrong)?)
        }
        tinytimemixer::MODEL_TYPE => {
            (Format::TinyTimeMixer, tinytimemixer::to_ours(&dir.parse_config()?).map_err(wrong)?)
        }
        KILN => {
            let own: Own = dir.parse_config()?;
            own.model.validate().map_err(wrong)?;
            return Ok(SeriesModelConfig { format: Some(Format::KilnTimeseries), ..own.model });
        }
        found => {
            let (found, expected) = (found.to_owned(), MODEL_TYPES.join(" or "));
            return Err(ModelError::ModelType { path: dir.path.clone(), found, expected });
        }
    };
    let Extended { kiln } = dir.parse_config()?;
    let mut config = SeriesModelConfig { format: Some(format), ..config };
    config.scaler.missing = kiln.missing;
    config.units = kiln.units;
    if let Some(reconcile) = config.forecast.as_mut().and_then(|head| head.reconcile.as_mut()) {
        reconcile.raw_values = kiln.raw_values;
    }
    config.validate().map_err(ModelError::in_file(&dir.path, CONFIG))?;
    Ok(config)
}

/// Our own `config.json`.
#[derive(Deserialize)]
struct Own {
    model: SeriesModelConfig,
}

/// The part of a family's `config.json` that is ours.
#[derive(Deserialize)]
struct Extended {
    #[serde(default)]
    kiln: Extras,
}

fn names(config: &SeriesModelConfig) -> Result<NameMap, HubError> {
    let rules: Vec<Rule> = match config.format {
        Some(Format::PatchTst) => patchtst::rules(config),
        Some(Format::PatchTsMixer) => patchtsmixer::rules(config),
        Some(Format::TinyTimeMixer) => tinytimemixer::rules(config),
        Some(Format::KilnTimeseries) | None => Vec::new(),
    };
    NameMap::new(&rules)
}

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

fn counters_out(mut weights: Weights, format: Format) -> Weights {
    if format == Format::KilnTimeseries {
        return weights;
    }
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

const COUNTER: &str = ".num_batches_tracked";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{head::ForecastConfig, presets::Preset};
    use burn_flex::Flex;

    /// Writes and reads a model; its `config.json` and what was read of it.
    fn there_and_back(config: SeriesModelConfig) -> (Value, SeriesModelConfig) {
        let dir = tempfile::tempdir().unwrap();
        let model = SeriesModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        save_model(&model, &config, dir.path()).unwrap();
        let (again, read) = load_model::<Flex>(dir.path(), &Default::default()).unwrap();
        assert_eq!(
            kiln_hub::collect::<Flex, _>(&model).unwrap(),
            kiln_hub::collect::<Flex, _>(&again).unwrap()
        );
        (ModelDir::open(dir.path()).unwrap().config, read)
    }

    #[test]
    fn presets_are_written_as_their_families_and_keep_what_those_cannot_say() {
        for (preset, model_type) in [
            (Preset::TinyTimeMixer1m, "tinytimemixer"),
            (Preset::PatchTst, "patchtst"),
            (Preset::PatchTsMixer, "patchtsmixer"),
        ] {
            let config = preset.config();
            let (json, read) = there_and_back(config.clone());
            assert_eq!(json["model_type"], model_type);
            assert_eq!(json["kiln"]["missing"], "zero");
            let expected = SeriesModelConfig { channels: Some(1), format: read.format, ..config };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn what_no_family_can_express_is_written_as_ours() {
        let forecast = Some(ForecastConfig { quantiles: vec![0.1, 0.9], ..Default::default() });
        let config = SeriesModelConfig { forecast, ..Preset::TinyTimeMixer1m.config() };
        let (json, read) = there_and_back(config.clone());
        assert_eq!(json["model_type"], KILN);
        assert_eq!(read, SeriesModelConfig { format: Some(Format::KilnTimeseries), ..config });
    }

    #[test]
    fn what_is_not_ours_or_not_supported_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |json: &str| {
            std::fs::write(dir.path().join("config.json"), json).unwrap();
            read_config(dir.path()).unwrap_err().to_string()
        };
        let message = error(r#"{"model_type": "bert"}"#);
        assert!(message.contains("`bert`") && message.contains("patchtst"), "{message}");
        let message = error(r#"{"model_type": "tinytimemixer", "multi_scale": true}"#);
        assert!(message.contains("config.json: `multi_scale` is true"), "{message}");
        let message = error(r#"{"model_type": "patchtst", "d_model": "wide"}"#);
        assert!(message.contains("config.json") && message.contains("wide"), "{message}");
    }
}
