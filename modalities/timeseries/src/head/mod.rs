//! Heads: from tokens to forecasts, patches and labels.

pub(crate) mod channels;
pub mod distribution;
pub mod label;
pub mod loss;
pub mod reconcile;

use crate::patch::ChannelLinear;
use burn::{module::Module, tensor::Tensor};
use channels::{channel_list, select};
use distribution::Distribution;
use kiln_core::Backend;
use kiln_nn::{ConfigError, Dropout, Linear, LinearConfig};
use reconcile::{ReconcileConfig, Reconciler};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A head that forecasts the whole horizon at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForecastConfig {
    /// What of the tokens it reads.
    pub pooling: Pooling,
    /// Whether all channels share one projection; otherwise each has its own.
    pub shared: bool,
    /// The share dropped of what it reads.
    pub dropout: f64,
    /// Levels of quantiles that are forecast beside the point, rising, between 0 and 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<f64>,
    /// Only so many rows of the horizon are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<usize>,
    /// The channels that are forecast, rising; all but the covariates if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<usize>>,
    /// Forecasts of all channels reconciled with each other and with covariates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<ReconcileConfig>,
}

impl Default for ForecastConfig {
    fn default() -> Self {
        Self {
            pooling: Pooling::Flatten,
            shared: true,
            dropout: 0.0,
            quantiles: Vec::new(),
            keep: None,
            targets: None,
            reconcile: None,
        }
    }
}

/// What of the tokens a head reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// All tokens side by side.
    #[default]
    Flatten,
    /// The class token.
    Class,
    /// Their mean.
    Mean,
    /// Their greatest values.
    Max,
}

impl Pooling {
    /// `[batch, tokens, width]` to `[batch, features]`.
    pub fn forward<B: Backend>(self, x: Tensor<B, 3>) -> Tensor<B, 2> {
        let [batch, tokens, width] = x.dims();
        match self {
            Self::Flatten => x.reshape([batch, tokens * width]),
            Self::Class => x.narrow(1, 0, 1).reshape([batch, width]),
            Self::Mean => x.mean_dim(1).reshape([batch, width]),
            Self::Max => x.max_dim(1).reshape([batch, width]),
        }
    }

    /// How many features [`Self::forward`] gives.
    pub fn features(self, tokens: usize, width: usize) -> usize {
        if self == Self::Flatten { tokens * width } else { width }
    }
}

/// What a forecast head is built for.
#[derive(Debug, Clone, Copy)]
pub struct ForecastShape {
    /// Tokens that it reads.
    pub tokens: usize,
    /// Features of a token.
    pub width: usize,
    /// Rows of the horizon.
    pub horizon: usize,
    /// Channels, where the weights fix them.
    pub channels: usize,
    /// Whether tokens hold all of them.
    pub joint: bool,
    /// What it forecasts, where that is a distribution.
    pub distribution: Option<Distribution>,
}

impl ForecastConfig {
    /// Rows that are forecast.
    pub fn rows(&self, horizon: usize) -> usize {
        self.keep.unwrap_or(horizon)
    }

    /// Whether the weights fix how many channels there are.
    pub fn fixes_channels(&self) -> bool {
        !self.shared || self.reconcile.is_some() || self.targets.is_some()
    }

    /// The channels that are forecast, of `channels` whose last `known` are covariates.
    pub fn targets(&self, channels: usize, known: usize) -> Vec<usize> {
        match (&self.targets, self.reconcile.as_ref().and_then(ReconcileConfig::covariates)) {
            (Some(targets), _) => targets.clone(),
            (None, Some(covariates)) => {
                (0..channels).filter(|at| !covariates.contains(at)).collect()
            }
            (None, None) => (0..channels.saturating_sub(known)).collect(),
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When a setting is out of range or two contradict each other.
    pub fn validate(&self, shape: ForecastShape, class_token: bool) -> Result<(), ConfigError> {
        ConfigError::dropout("dropout", self.dropout)?;
        if self.pooling == Pooling::Class && !class_token {
            return Err(ConfigError::new(
                "pooling",
                "class",
                "another one: the frontend makes no class token",
            ));
        }
        if let Some(keep) = self.keep
            && !(1..=shape.horizon).contains(&keep)
        {
            let expected = format!("between 1 and the horizon of {}", shape.horizon);
            return Err(ConfigError::new("keep", keep, expected));
        }
        let inside = self.quantiles.iter().all(|level| *level > 0.0 && *level < 1.0);
        if !inside || self.quantiles.windows(2).any(|pair| pair[0] >= pair[1]) {
            let found = format!("{:?}", self.quantiles);
            return Err(ConfigError::new("quantiles", found, "rising levels between 0 and 1"));
        }
        if shape.joint && !self.shared {
            let expected = "true where a token holds all channels (`frontend.joint`)";
            return Err(ConfigError::new("shared", false, expected));
        }
        if let Some(targets) = &self.targets {
            channel_list("targets", targets, shape.channels)?;
        }
        if let Some(reconcile) = &self.reconcile {
            if shape.distribution.is_some() {
                return Err(ConfigError::new("reconcile", "given", "none with a loss of nll"));
            }
            let targets = self.targets(shape.channels, 0);
            reconcile
                .validate(shape.channels, &targets)
                .map_err(|error| error.within("reconcile"))?;
        }
        Ok(())
    }

    /// A head with random weights.
    pub fn init<B: Backend>(&self, shape: ForecastShape, device: &B::Device) -> ForecastHead<B> {
        let features = self.pooling.features(shape.tokens, shape.width);
        let together = if shape.joint { shape.channels } else { 1 };
        let shared = self.shared || shape.joint;
        let project =
            |rows| ChannelLinear::init(features, rows * together, shared, shape.channels, device);
        let parameters = shape.distribution.map_or(1, Distribution::parameters);
        let levels = self.quantiles.len();
        ForecastHead {
            parameters: (0..parameters).map(|_| project(shape.horizon)).collect(),
            quantiles: (levels > 0).then(|| project(shape.horizon * levels)),
            reconcile: self.reconcile.as_ref().map(|reconcile| {
                let targets = self.targets(shape.channels, 0).len();
                reconcile.init(self.rows(shape.horizon), targets, device)
            }),
            dropout: Dropout::new(self.dropout),
            pooling: self.pooling,
            levels,
            joint: shape.joint,
        }
    }
}

/// Forecasts the whole horizon at once, in scaled units.
#[derive(Module, Debug)]
pub struct ForecastHead<B: Backend> {
    /// One for a point forecast, or one for each parameter of a distribution.
    pub parameters: Vec<ChannelLinear<B>>,
    /// All levels of each row side by side.
    pub quantiles: Option<ChannelLinear<B>>,
    /// Reconciles channels.
    pub reconcile: Option<Reconciler<B>>,
    dropout: Dropout,
    #[module(skip)]
    pooling: Pooling,
    levels: usize,
    joint: bool,
}

/// What a forecast head gives, in scaled units.
#[derive(Clone, Debug)]
pub struct HeadOutput<B: Backend> {
    /// One for a point forecast, or the parameters of a distribution before they are mapped to
    /// their domain; `[batch, rows, targets]` each.
    pub parameters: Vec<Tensor<B, 3>>,
    /// `[batch, rows, targets, levels]`
    pub quantiles: Option<Tensor<B, 4>>,
}

impl<B: Backend> ForecastHead<B> {
    /// From tokens `[batch * channels, tokens, width]`, or `[batch, tokens, width]` where they hold all
    /// channels: the first `rows` rows of `targets`, not yet reconciled.
    pub fn forward(
        &self,
        tokens: Tensor<B, 3>,
        channels: usize,
        rows: usize,
        targets: &[usize],
    ) -> HeadOutput<B> {
        let features = self.dropout.forward(self.pooling.forward(tokens));
        let [sequences, _] = features.dims();
        let batch = if self.joint { sequences } else { sequences / channels.max(1) };
        let features = features.unsqueeze_dim::<3>(1);
        // `[batch, values, targets]`, as many values as asked for.
        let each = |linear: &ChannelLinear<B>, values: usize| {
            let all = linear.forward(features.clone(), sequences / batch.max(1));
            let [_, _, made] = all.dims();
            let all = if self.joint {
                all.reshape([batch, made / channels.max(1), channels]).narrow(1, 0, values)
            } else {
                all.narrow(2, 0, values).reshape([batch, channels, values]).swap_dims(1, 2)
            };
            select(all, targets)
        };
        let parameters = self.parameters.iter().map(|linear| each(linear, rows)).collect();
        let quantiles = self.quantiles.as_ref().map(|linear| {
            each(linear, rows * self.levels)
                .reshape([batch, rows, self.levels, targets.len()])
                .swap_dims(2, 3)
        });
        HeadOutput { parameters, quantiles }
    }
}

/// A head that predicts a patch from each token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenHeadConfig {
    /// The share dropped of what it reads.
    pub dropout: f64,
}

/// Predicts a patch from each token.
#[derive(Module, Debug)]
pub struct TokenHead<B: Backend> {
    /// From the width to the rows of a patch.
    pub projection: Linear<B>,
    dropout: Dropout,
}

impl TokenHeadConfig {
    /// A head with random weights.
    pub fn init<B: Backend>(&self, width: usize, patch: usize, device: &B::Device) -> TokenHead<B> {
        TokenHead {
            projection: LinearConfig::new(width, patch).init(device),
            dropout: Dropout::new(self.dropout),
        }
    }
}

impl<B: Backend> TokenHead<B> {
    /// `[batch, tokens, width]` to `[batch, tokens, patch]`.
    pub fn forward(&self, tokens: Tensor<B, 3>) -> Tensor<B, 3> {
        self.projection.forward(self.dropout.forward(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    const SHAPE: ForecastShape = ForecastShape {
        tokens: 2,
        width: 3,
        horizon: 4,
        channels: 3,
        joint: false,
        distribution: None,
    };

    #[test]
    fn shapes_of_points_and_quantiles() {
        let config = ForecastConfig {
            quantiles: vec![0.1, 0.9],
            keep: Some(3),
            targets: Some(vec![0, 2]),
            shared: false,
            ..Default::default()
        };
        config.validate(SHAPE, false).unwrap();
        let head = config.init::<Flex>(SHAPE, &Default::default());
        let tokens = Tensor::ones([6, 2, 3], &Default::default());
        let output = head.forward(tokens, 3, 3, &config.targets(3, 0));
        assert_eq!(output.parameters[0].dims(), [2, 3, 2]);
        assert_eq!(output.quantiles.unwrap().dims(), [2, 3, 2, 2]);
    }

    #[test]
    fn pooling_by_hand() {
        let x = Tensor::<Flex, 3>::from_floats([[[1.0, 4.0], [3.0, 2.0]]], &Default::default());
        let pooled = |pooling: Pooling| -> Vec<f32> {
            pooling.forward(x.clone()).into_data().to_vec().unwrap()
        };
        assert_eq!(pooled(Pooling::Flatten), [1.0, 4.0, 3.0, 2.0]);
        assert_eq!(pooled(Pooling::Class), [1.0, 4.0]);
        assert_eq!(pooled(Pooling::Mean), [2.0, 3.0]);
        assert_eq!(pooled(Pooling::Max), [3.0, 4.0]);
    }

    #[test]
    fn targets_leave_covariates_out() {
        assert_eq!(ForecastConfig::default().targets(3, 1), [0, 1]);
        let config = ForecastConfig { targets: Some(vec![0, 2]), ..Default::default() };
        assert_eq!(config.targets(3, 1), [0, 2]);
    }

    #[test]
    fn mistakes_name_the_key() {
        let key = |config: ForecastConfig| config.validate(SHAPE, false).unwrap_err().key;
        let default = ForecastConfig::default;
        assert_eq!(key(ForecastConfig { keep: Some(5), ..default() }), "keep");
        assert_eq!(key(ForecastConfig { quantiles: vec![0.9, 0.1], ..default() }), "quantiles");
        assert_eq!(key(ForecastConfig { targets: Some(vec![3]), ..default() }), "targets");
        assert_eq!(key(ForecastConfig { pooling: Pooling::Class, ..default() }), "pooling");
    }
}
