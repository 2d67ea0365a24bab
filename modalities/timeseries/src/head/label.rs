//! Heads that label whole windows, for pretext tasks (<https://arxiv.org/abs/2506.16746>): which
//! series a window was cut from, which group that series belongs to, its moving averages.

use burn::{module::Module, tensor::Tensor};
use kiln_core::Backend;
use kiln_nn::{ConfigError, Linear, LinearConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is to be told of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LabelConfig {
    /// Which of so many series it was cut from.
    Series(usize),
    /// Which of so many groups its series belongs to.
    Group(usize),
    /// The mean of its last rows, for each of these numbers of rows, in scaled units.
    MovingAverage(Vec<usize>),
}

impl LabelConfig {
    /// The name of the task in recipes.
    pub fn task(&self) -> &'static str {
        match self {
            Self::Series(_) => "series",
            Self::Group(_) => "group",
            Self::MovingAverage(_) => "moving-average",
        }
    }

    /// Classes, or numbers that are predicted.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Series(classes) | Self::Group(classes) => *classes,
            Self::MovingAverage(windows) => windows.len(),
        }
    }

    /// Checks the settings for windows of `context` rows.
    ///
    /// # Errors
    /// When there is nothing to tell apart, or a moving average is longer than the context.
    pub fn validate(&self, context: usize) -> Result<(), ConfigError> {
        match self {
            Self::Series(classes) | Self::Group(classes) if *classes < 2 => {
                Err(ConfigError::new(self.task(), classes, "at least 2 to tell apart"))
            }
            Self::MovingAverage(windows)
                if windows.is_empty()
                    || windows.iter().any(|rows| *rows == 0 || *rows > context) =>
            {
                let expected = format!("one or more lengths between 1 and {context} rows");
                Err(ConfigError::new(self.task(), format!("{windows:?}"), expected))
            }
            _ => Ok(()),
        }
    }

    /// A head with random weights.
    pub fn init<B: Backend>(&self, width: usize, device: &B::Device) -> LabelHead<B> {
        LabelHead { projection: LinearConfig::new(width, self.outputs()).init(device) }
    }
}

/// Labels a window.
#[derive(Module, Debug)]
pub struct LabelHead<B: Backend> {
    /// From the width to the outputs.
    pub projection: Linear<B>,
}

impl<B: Backend> LabelHead<B> {
    /// `[batch, width]` to `[batch, outputs]`.
    pub fn forward(&self, pooled: Tensor<B, 2>) -> Tensor<B, 2> {
        self.projection.forward(pooled)
    }
}

/// The means of the last rows of `[batch, rows, channels]`, one for each number of rows:
/// `[batch * channels, windows]`.
pub fn moving_averages<B: Backend>(values: Tensor<B, 3>, windows: &[usize]) -> Tensor<B, 2> {
    let [batch, rows, channels] = values.dims();
    let means = windows
        .iter()
        .map(|window| {
            let window = (*window).clamp(1, rows.max(1));
            let mean = values.clone().narrow(1, rows - window, window).mean_dim(1);
            mean.reshape([batch * channels, 1])
        })
        .collect();
    Tensor::cat(means, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn moving_averages_by_hand() {
        let values = Tensor::<Flex, 3>::from_floats(
            [[[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]],
            &Default::default(),
        );
        let means = moving_averages(values, &[1, 2]);
        assert_eq!(means.into_data().to_vec::<f32>().unwrap(), [4.0, 3.0, 40.0, 30.0]);
    }

    #[test]
    fn nothing_to_tell_apart() {
        assert_eq!(LabelConfig::Series(1).validate(8).unwrap_err().key, "series");
        assert!(LabelConfig::MovingAverage(vec![9]).validate(8).is_err());
        assert!(LabelConfig::MovingAverage(vec![8]).validate(8).is_ok());
    }
}
