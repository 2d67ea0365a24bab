//! What a time-series recipe is made of.

use crate::{
    SeriesModelConfig,
    head::{label::LabelConfig, loss::PointLoss},
    presets::Preset,
};
use kiln_datasets::{Frequency, SplitProtocol, TableSpec};
use kiln_nn::{BackboneConfig, ConfigError};
use kiln_objectives::Objective;
use kiln_synthetic::{Corpus, Prices};
use kiln_train::recipe::ModalitySpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The modality of time-series recipes: `modality = "timeseries"`.
pub(crate) const MODALITY: &str = "timeseries";

/// The parts of time-series recipes.
#[derive(Debug, Clone)]
pub struct SeriesSpec;

impl ModalitySpec for SeriesSpec {
    type Data = SeriesData;
    type Model = ModelSpec;
    type Objective = Objective;
    type Evaluation = SeriesEvaluation;
}

/// Where windows come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SeriesData {
    /// An endless corpus of generated series, each seen once.
    Generated(GeneratedData),
    /// Windows cut from a CSV or Parquet file.
    Table(TableData),
    /// Windows cut from series in M4's layout.
    M4(M4Data),
    /// Windows cut from the real series that come with Kiln.
    Embedded(EmbeddedData),
    /// Windows cut from generated stock prices.
    Prices(PriceData),
}

/// A generated corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratedData {
    /// What is generated; its length is always the model's context and horizon together.
    pub corpus: Corpus,
    /// The share of windows, 0 to 1, whose history is cut short, so that the model learns to
    /// forecast short series.
    pub short_histories: f64,
    /// Windows set aside for validation.
    pub validation: usize,
}

impl Default for GeneratedData {
    fn default() -> Self {
        Self { corpus: Corpus::default(), short_histories: 0.2, validation: 512 }
    }
}

/// Windows of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableData {
    /// The file and its columns. A relative path is looked for in the working directory, then in
    /// the folder that `KILN_DATA` names.
    pub source: TableSpec,
    /// Which rows train and which validate.
    #[serde(default)]
    pub split: SplitProtocol,
    /// The share of the training windows that is used: 0.05 for few-shot.
    #[serde(default = "whole")]
    pub share: f64,
    /// Which windows that share is made of.
    #[serde(default)]
    pub share_of: ShareOf,
    /// Whether channels are standardised by the training part first, as benchmarks do.
    #[serde(default)]
    pub standardise: bool,
}

/// Windows of series in M4's layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct M4Data {
    /// The training file.
    pub train: PathBuf,
    /// Rows held out for validation at each end.
    #[serde(default)]
    pub validation: usize,
    /// The distance between rows.
    #[serde(default)]
    pub frequency: Frequency,
}

/// The series that come with Kiln.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedData {
    /// Which; all of them if empty.
    pub names: Vec<String>,
    /// Which rows train and which validate.
    pub split: SplitProtocol,
}

/// Generated stock prices, seen as daily log returns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PriceData {
    /// The market.
    pub market: Prices,
    /// Which rows train and which validate.
    pub split: SplitProtocol,
}

/// Which windows a share of them is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShareOf {
    /// The latest: as if recording had begun late.
    #[default]
    Latest,
    /// Windows at even distances over the whole training part; they overlap, so most rows are seen.
    Spread,
}

fn whole() -> f64 {
    1.0
}

/// The model of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelSpec {
    /// A published model by name, with changes.
    Preset(PresetSpec),
    /// The architecture and weights of a run, a model directory or a hub id.
    Directory(String),
    /// Parts, put together freely.
    Parts(Box<SeriesModelConfig>),
    /// A language model's blocks between a frontend and heads for series.
    Language(LanguageSpec),
}

/// A language model that reads patches in the place of words: <https://arxiv.org/abs/2504.08818>,
/// <https://arxiv.org/abs/2501.06386>.
///
/// Its blocks and their weights are kept, and what surrounds them is new. Adapters (`stage.adapt`)
/// or `stage.freeze = ["backbone.*"]` leave what it knows as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LanguageSpec {
    /// The language model: a run, a model directory or a hub id.
    pub directory: String,
    /// How many of its blocks are kept, from the first; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// What is around them. `width`, `backbone` and `causal` are the language model's.
    pub parts: Box<SeriesModelConfig>,
}

/// A preset with changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PresetSpec {
    /// Which.
    pub name: Preset,
    /// Rows of history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// Rows forecast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon: Option<usize>,
    /// Channels, where the model mixes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Levels of quantiles forecast beside the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<Vec<f64>>,
    /// What the point forecast is trained for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<PointLoss>,
    /// Ids of resolutions that a prefix token tells apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolutions: Option<usize>,
    /// Rows of a patch; patches then do not overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<usize>,
    /// Features of a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// The share dropped, wherever the preset drops any; 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// A head that predicts patches, for masked and autoregressive stages.
    #[serde(default)]
    pub token_head: bool,
    /// Heads that label whole windows, for pretext tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelConfig>,
}

impl PresetSpec {
    /// The preset's configuration with the changes made.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn config(&self) -> Result<SeriesModelConfig, ConfigError> {
        let mut config = self.name.config();
        config.context = self.context.unwrap_or(config.context);
        config.horizon = self.horizon.unwrap_or(config.horizon);
        config.channels = self.channels.or(config.channels);
        config.loss = self.loss.unwrap_or(config.loss);
        config.frontend.resolutions = self.resolutions.unwrap_or(config.frontend.resolutions);
        if let (Some(quantiles), Some(forecast)) = (&self.quantiles, &mut config.forecast) {
            forecast.quantiles.clone_from(quantiles);
        }
        if let Some(patch) = self.patch {
            config.frontend.patch = patch;
            config.frontend.stride = None;
        }
        config.width = self.width.unwrap_or(config.width);
        if let Some(dropout) = self.dropout {
            set_dropout(&mut config, dropout);
        }
        if self.token_head {
            config.token = Some(Default::default());
        }
        config.labels.clone_from(&self.labels);
        config.validate()?;
        Ok(config)
    }
}

/// Sets every dropout that is not zero.
fn set_dropout(config: &mut SeriesModelConfig, share: f64) {
    let forecast = config.forecast.iter_mut().map(|head| &mut head.dropout);
    let decoder = config.decoder.iter_mut().map(|decoder| &mut decoder.backbone);
    let backbones = [&mut config.backbone].into_iter().chain(decoder);
    let blocks = backbones.flat_map(|backbone| match backbone {
        BackboneConfig::Mixer(mixer) => vec![&mut mixer.dropout],
        BackboneConfig::Transformer(transformer) => vec![
            &mut transformer.attention_dropout,
            &mut transformer.hidden_dropout,
            &mut transformer.residual_dropout,
        ],
    });
    for dropout in forecast.chain(blocks).chain([&mut config.frontend.dropout]) {
        if *dropout > 0.0 {
            *dropout = share;
        }
    }
}

/// How a finished model is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SeriesEvaluation {
    /// All windows of the test part of a file.
    Table(TableEvaluation),
    /// One forecast at the end of each series, in M4's layout.
    M4(M4Evaluation),
    /// The ends of the real series that come with Kiln.
    Embedded(EmbeddedEvaluation),
    /// Daily portfolios of the stocks that are forecast to rise most.
    Portfolio(PortfolioEvaluation),
}

/// Rolling windows of a file's test part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableEvaluation {
    /// The name in tables.
    pub name: String,
    /// The file and its columns.
    pub source: TableSpec,
    /// Which rows are the test part.
    #[serde(default)]
    pub split: SplitProtocol,
    /// Rows forecast.
    pub horizon: usize,
    /// Rows from one window to the next; 1 is the benchmarks' protocol.
    #[serde(default = "one")]
    pub stride: usize,
    /// Whether errors are in standard deviations of the training part, as benchmarks do.
    #[serde(default = "yes")]
    pub standardise: bool,
    /// Rows in the season that baselines are told; by the frequency if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<usize>,
}

/// One forecast a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct M4Evaluation {
    /// The name in tables.
    pub name: String,
    /// What may be looked at.
    pub train: PathBuf,
    /// What is to be forecast.
    pub test: PathBuf,
    /// The distance between rows.
    #[serde(default)]
    pub frequency: Frequency,
    /// The season that M4 scales errors by and tells baselines.
    #[serde(default = "one")]
    pub season: usize,
}

/// The ends of the embedded series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedEvaluation {
    /// Which; all of them if empty.
    pub names: Vec<String>,
    /// Windows from the end of each series, a horizon apart.
    pub windows: usize,
}

impl Default for EmbeddedEvaluation {
    fn default() -> Self {
        Self { names: Vec::new(), windows: 8 }
    }
}

/// Daily portfolios on generated prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PortfolioEvaluation {
    /// The market.
    pub market: Prices,
    /// Which days are traded.
    pub split: SplitProtocol,
    /// Stocks held each day.
    pub top: usize,
}

impl Default for PortfolioEvaluation {
    fn default() -> Self {
        Self { market: Prices::default(), split: SplitProtocol::default(), top: 5 }
    }
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}
