//! Model directories of series models, read and written in the layout of their published family.
//!
//! One file a family: its `config.json` as a type, its translation to and from
//! [`SeriesModelConfig`], and its names. What no family can express is written as
//! `kiln-timeseries`, with our own configuration and names.

pub mod patchtsmixer;
pub mod patchtst;
pub mod tinytimemixer;

mod keys;
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
    ModelError,
    family::{self, PublishedConfig, Row},
};
use kiln_nn::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::Path;

impl PublishedConfig for SeriesModelConfig {
    type Format = Format;
    type Extras = Extras;

    const OWN: [&'static str; 2] = ["kiln-timeseries", "SeriesModel"];
    const OWN_FORMAT: Format = Format::KilnTimeseries;
    const FAMILIES: &'static [Row<Self>] = &[
        Row { format: Format::PatchTst, model_types: &["patchtst"], family: &patchtst::PatchTst },
        Row {
            format: Format::TinyTimeMixer,
            model_types: &["tinytimemixer"],
            family: &tinytimemixer::TinyTimeMixer,
        },
        Row {
            format: Format::PatchTsMixer,
            model_types: &["patchtsmixer"],
            family: &patchtsmixer::PatchTsMixer,
        },
    ];

    fn format(&mut self) -> &mut Option<Format> {
        &mut self.format
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn extras(&self) -> Extras {
        let reconcile = self.forecast.as_ref().and_then(|forecast| forecast.reconcile.as_ref());
        Extras {
            missing: self.scaler.missing,
            units: self.units,
            raw_values: reconcile.is_none_or(|reconcile| reconcile.raw_values),
        }
    }

    fn with_extras(mut self, extras: Extras) -> Self {
        self.scaler.missing = extras.missing;
        self.units = extras.units;
        if let Some(reconcile) = self.forecast.as_mut().and_then(|head| head.reconcile.as_mut()) {
            reconcile.raw_values = extras.raw_values;
        }
        self
    }

    /// None of the families has tokens of all channels.
    fn is_expressed_by(&self, _read: Self) -> bool {
        !self.frontend.joint
    }
}

/// What families cannot say, kept beside what they can; absent where all is as they have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Extras {
    missing: MissingFill,
    units: Units,
    raw_values: bool,
}

impl Default for Extras {
    fn default() -> Self {
        Self { missing: MissingFill::Raw, units: Units::Data, raw_values: true }
    }
}

/// Reads a model directory.
///
/// # Errors
/// When it cannot be read, has options that are not supported, or weights that do not fit.
pub fn load_model<B: Backend>(
    dir: &Path,
    device: &B::Device,
) -> Result<(SeriesModel<B>, SeriesModelConfig), ModelError> {
    family::load(dir, device, |config| SeriesModel::new(config, device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{head::ForecastConfig, presets::Preset};
    use burn_flex::Flex;
    use kiln_hub::{ModelDir, testing::config_error};
    use serde_json::Value;

    /// Writes and reads a model; its `config.json` and what was read of it.
    fn there_and_back(config: SeriesModelConfig) -> (Value, SeriesModelConfig) {
        let dir = tempfile::tempdir().unwrap();
        let model = SeriesModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        family::save::<Flex, _>(dir.path(), &config, &model).unwrap();
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
        assert_eq!(json["model_type"], "kiln-timeseries");
        assert_eq!(read, SeriesModelConfig { format: Some(Format::KilnTimeseries), ..config });
    }

    #[test]
    fn what_is_not_ours_or_not_supported_is_named() {
        let error = config_error::<SeriesModelConfig>;
        let message = error(r#"{"model_type": "bert"}"#);
        assert!(message.contains("`bert`") && message.contains("patchtst"), "{message}");
        let message = error(r#"{"model_type": "tinytimemixer", "multi_scale": true}"#);
        assert!(message.contains("config.json: `multi_scale` is true"), "{message}");
        let message = error(r#"{"model_type": "patchtst", "d_model": "wide"}"#);
        assert!(message.contains("config.json") && message.contains("wide"), "{message}");
    }
}
