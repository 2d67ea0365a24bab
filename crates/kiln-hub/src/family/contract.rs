//! What a family of published models is, and a configuration that has families.

use super::json::{family_json, parse_over_defaults};
use crate::{ModelDir, ModelError, Result, Rule, Weights, adapter::Published};
use kiln_nn::ConfigError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::path::Path;

/// A family of published models.
pub trait Family {
    /// Our configuration of its models.
    type Ours: PublishedConfig;
    /// Its `config.json`, with its names and defaults; keys that do not matter are ignored.
    type Theirs: Default + Serialize + DeserializeOwned;

    /// Other names of keys, each with the name that is meant.
    const ALIASES: &'static [(&'static str, &'static str)] = &[];

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
    /// When it is not what the family's classes write, or as [`Family::to_ours`].
    fn read(&self, json: &Value) -> std::result::Result<C, Unreadable>;

    /// Writes a `config.json` with this `model_type`; `None` where it cannot express the model.
    fn write(&self, model_type: &str, ours: &C) -> Option<Value>;

    /// As [`Family::rules`].
    fn rules(&self, ours: &C) -> Vec<Rule>;
}

impl<C: PublishedConfig, F: Family<Ours = C>> AnyFamily<C> for F {
    fn read(&self, json: &Value) -> std::result::Result<C, Unreadable> {
        let theirs = parse_over_defaults(json, F::ALIASES).map_err(Unreadable::Json)?;
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
    fn extras(&self) -> Self::Extras {
        Self::Extras::default()
    }

    /// The configuration with what families have no keys for.
    fn with_extras(self, _extras: Self::Extras) -> Self {
        self
    }

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
