//! Product quantization: codes out of several codebooks side by side, as in wav2vec 2.0,
//! <https://arxiv.org/abs/2006.11477>, drawn by Gumbel-softmax, <https://arxiv.org/abs/1611.01144>.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor, TensorData, activation::softmax},
};
use kiln_core::{Backend, Rng};
use kiln_nn::{ConfigError, Dropout, Linear, LinearConfig};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A product quantizer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizerConfig {
    /// Codebooks.
    pub groups: usize,
    /// Entries of each.
    pub entries: usize,
    /// Features of a code, all groups together.
    pub width: usize,
    /// Features in which codes and predictions meet.
    pub projection: usize,
    /// The share dropped of what is coded.
    pub dropout: f64,
}

impl Default for QuantizerConfig {
    /// The published one of the base model.
    fn default() -> Self {
        Self { groups: 2, entries: 320, width: 256, projection: 256, dropout: 0.0 }
    }
}

impl QuantizerConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// When a size is zero or the groups do not divide the width.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("groups", self.groups)?;
        ConfigError::positive("entries", self.entries)?;
        ConfigError::positive("projection", self.projection)?;
        if self.width == 0 || !self.width.is_multiple_of(self.groups) {
            let expected = format!("a multiple of the {} groups", self.groups);
            return Err(ConfigError::new("width", self.width, expected));
        }
        ConfigError::dropout("dropout", self.dropout)
    }

    /// A quantizer with random weights of features of `channels` numbers, beside a backbone of
    /// `width` features.
    pub fn init<B: Backend>(
        &self,
        channels: usize,
        width: usize,
        device: &B::Device,
    ) -> Quantizer<B> {
        let codes = self.groups * self.entries;
        // As published: scores far enough apart to begin with many codes in use.
        let mut scores = LinearConfig::new(channels, codes).init(device);
        scores.weight = Initializer::Normal { mean: 0.0, std: 1.0 }.init([channels, codes], device);
        scores.bias = Some(Initializer::Zeros.init([codes], device));
        let uniform = Initializer::Uniform { min: 0.0, max: 1.0 };
        Quantizer {
            codevectors: uniform.init([1, codes, self.width / self.groups.max(1)], device),
            scores,
            project_codes: LinearConfig::new(self.width, self.projection).init(device),
            project_tokens: LinearConfig::new(width, self.projection).init(device),
            dropout: Dropout::new(self.dropout),
            groups: self.groups,
            entries: self.entries,
        }
    }
}

/// A product quantizer.
#[derive(Module, Debug)]
pub struct Quantizer<B: Backend> {
    /// `[1, groups * entries, width / groups]`
    pub codevectors: Param<Tensor<B, 3>>,
    /// From features to a score for each entry.
    pub scores: Linear<B>,
    /// From codes to where they meet predictions.
    pub project_codes: Linear<B>,
    /// From the backbone's tokens to where they meet codes.
    pub project_tokens: Linear<B>,
    dropout: Dropout,
    groups: usize,
    entries: usize,
}

/// What a quantizer makes of features.
#[derive(Clone, Debug)]
pub struct Coded<B: Backend> {
    /// `[rows, width]`, the codes of all groups side by side.
    pub codes: Tensor<B, 2>,
    /// `[rows, groups]`, which entries they are.
    pub entries: Tensor<B, 2, Int>,
    /// `[groups, entries]`, how likely each entry is, the mean over the rows: by the scores without
    /// noise where codes are drawn, else the share of rows that take it.
    pub usage: Tensor<B, 2>,
}

impl<B: Backend> Quantizer<B> {
    /// Codes for features, `[rows, channels]`. With a `temperature` they are drawn, and the gradient
    /// is that of the softmax; without one the best entry is taken, and scores have no gradient.
    pub fn forward(
        &self,
        features: Tensor<B, 2>,
        temperature: Option<f64>,
        rng: &mut Rng,
    ) -> Coded<B> {
        let [rows, _] = features.dims();
        let (groups, entries) = (self.groups, self.entries);
        let shape = [rows, groups, entries];
        let scores = self.scores.forward(self.dropout.forward(features)).reshape(shape);
        let (chosen, choices, usage) = match temperature {
            None => {
                let chosen = scores.argmax(2);
                let hard = one_hot(chosen.clone(), shape);
                (chosen, hard.clone(), hard)
            }
            Some(temperature) => {
                let usage = softmax(scores.clone(), 2);
                let noise = Tensor::from_data(gumbel(shape, rng), &scores.device());
                let soft = softmax((scores + noise).div_scalar(temperature), 2);
                let chosen = soft.clone().argmax(2);
                let hard = one_hot(chosen.clone(), shape);
                (chosen, soft.clone() + (hard - soft).detach(), usage)
            }
        };
        let [_, _, width] = self.codevectors.dims();
        let books = self.codevectors.val().reshape([groups, entries, width]);
        let codes = choices.swap_dims(0, 1).matmul(books);
        Coded {
            codes: codes.swap_dims(0, 1).reshape([rows, groups * width]),
            entries: chosen.reshape([rows, groups]),
            usage: usage.mean_dim(0).reshape([groups, entries]),
        }
    }
}

/// `[rows, groups, 1]` as ones in `[rows, groups, entries]`.
fn one_hot<B: Backend>(chosen: Tensor<B, 3, Int>, shape: [usize; 3]) -> Tensor<B, 3> {
    let entries = Tensor::<B, 1, Int>::arange(0..shape[2] as i64, &chosen.device());
    chosen.expand(shape).equal(entries.unsqueeze::<3>().expand(shape)).float()
}

/// Noise whose largest sum with scores falls on each with its softmax probability.
fn gumbel(shape: [usize; 3], rng: &mut Rng) -> TensorData {
    let count = shape.iter().product();
    let draw = |_| {
        // Never zero: the logarithm stays finite.
        let uniform = (f64::from(rng.random::<u32>()) + 0.5) / 4_294_967_296.0;
        -(-uniform.ln()).ln() as f32
    };
    TensorData::new((0..count).map(draw).collect::<Vec<f32>>(), shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::Autodiff;
    use burn_flex::Flex;
    use kiln_core::Seed;

    type A = Autodiff<Flex>;

    const CONFIG: QuantizerConfig =
        QuantizerConfig { groups: 2, entries: 3, width: 4, projection: 5, dropout: 0.0 };

    fn quantizer<B: Backend>() -> Quantizer<B> {
        let device = Default::default();
        let mut quantizer = CONFIG.init::<B>(1, 7, &device);
        // Scores are the feature times these.
        quantizer.scores.weight = Param::from_data([[0.0, 1.0, 2.0, 1.0, 0.0, -1.0]], &device);
        let books = [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0], [11.0, 12.0]]];
        quantizer.codevectors = Param::from_data(books, &device);
        quantizer
    }

    #[test]
    fn the_best_entries_by_hand() {
        let device = Default::default();
        let features = Tensor::<Flex, 2>::from_floats([[1.0], [-1.0]], &device);
        let coded = quantizer().forward(features, None, &mut Seed::new(1).rng());
        let codes: Vec<f32> = coded.codes.into_data().to_vec().unwrap();
        assert_eq!(codes, [5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 11.0, 12.0]);
        let entries: Vec<i64> = coded.entries.into_data().iter().collect();
        assert_eq!(entries, [2, 0, 0, 2]);
        let usage: Vec<f32> = coded.usage.into_data().to_vec().unwrap();
        assert_eq!(usage, [0.5, 0.0, 0.5, 0.5, 0.0, 0.5]);
    }

    #[test]
    fn draws_follow_the_scores_and_are_whole_codes() {
        let device = Default::default();
        let features = Tensor::<A, 2>::ones([6000, 1], &device);
        let quantizer = quantizer::<A>();
        for temperature in [2.0, 0.5] {
            let rng = &mut Seed::new(4).rng();
            let coded = quantizer.forward(features.clone(), Some(temperature), rng);
            let entries: Vec<i64> = coded.entries.into_data().iter().collect();
            let usage: Vec<f32> = coded.usage.clone().into_data().to_vec().unwrap();
            for (group, usage) in usage.chunks(3).enumerate() {
                for (entry, expected) in usage.iter().enumerate() {
                    let drawn = entries.iter().skip(group).step_by(2);
                    let share = drawn.filter(|e| **e == entry as i64).count() as f32 / 6000.0;
                    assert!((share - expected).abs() < 0.025, "{temperature}: {share} {expected}");
                }
            }
            let codes: Vec<f32> = coded.codes.into_data().to_vec().unwrap();
            for (row, pair) in codes.chunks(4).zip(entries.chunks(2)) {
                let first = 1.0 + 2.0 * pair[0] as f32;
                assert!((row[0] - first).abs() < 1e-4, "{row:?} {pair:?}");
            }
        }
    }

    #[test]
    fn scores_learn_only_where_codes_are_drawn() {
        let device = Default::default();
        for temperature in [None, Some(1.0)] {
            let quantizer = quantizer::<A>();
            let features = Tensor::<A, 2>::from_floats([[0.3], [0.9]], &device);
            let coded = quantizer.forward(features, temperature, &mut Seed::new(2).rng());
            let gradients = coded.codes.sum().backward();
            let scores = quantizer.scores.weight.val().grad(&gradients);
            let learns = scores.is_some_and(|g| g.abs().sum().into_scalar() > 1e-4);
            assert_eq!(learns, temperature.is_some());
            let books = quantizer.codevectors.val().grad(&gradients).unwrap();
            // Each row takes one entry of each group: two features, two rows, two groups.
            assert!((books.sum().into_scalar() - 8.0).abs() < 1e-4);
        }
    }

    #[test]
    fn mistakes_name_the_key() {
        let config = QuantizerConfig { width: 5, ..CONFIG };
        assert_eq!(config.validate().unwrap_err().key, "width");
        assert!(QuantizerConfig::default().validate().is_ok());
    }
}
