//! Exponential moving average (EMA) of the weights.
//!
//! Averages generalise better than the last step's weights, and more so when training is short and
//! noisy. While few updates were made the decay is shortened to `(1 + updates) / (10 + updates)`,
//! as in TensorFlow and timm, so that the random start does not linger. Running statistics are
//! averages already and are taken as they are.

use crate::named::Flat;
use kiln_core::Backend;
use kiln_kernels::ema;

/// The average of the trained weights.
#[derive(Debug)]
pub(crate) struct Average<B: Backend> {
    decay: f64,
    weights: Flat<B>,
}

impl<B: Backend> Average<B> {
    /// An average that starts at `weights`.
    pub fn new(decay: f64, weights: Flat<B>) -> Self {
        Self { decay, weights }
    }

    /// Takes in the weights after update number `updates`.
    pub fn update(&mut self, weights: &Flat<B>, updates: u64) {
        let decay = self.decay.min((1.0 + updates as f64) / (10.0 + updates as f64));
        let (mut names, mut averages, mut news) = (Vec::new(), Vec::new(), Vec::new());
        for (name, weight) in weights {
            if let Some(average) = self.weights.remove(name) {
                names.push(name.clone());
                averages.push(average);
                news.push(weight.clone());
            }
        }
        self.weights.extend(names.into_iter().zip(ema(averages, news, decay)));
    }

    /// The averages by name.
    pub fn weights(&self) -> &Flat<B> {
        &self.weights
    }

    /// Goes back to saved averages.
    pub fn restore(&mut self, weights: Flat<B>) {
        self.weights = weights;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};
    use burn_flex::Flex;

    #[test]
    fn short_memory_first_then_the_decay_asked_for() {
        let device = Default::default();
        let tensor = |value: f32| burn::tensor::Tensor::<Flex, 1>::from_floats([value], &device);
        let mut average = Average::new(0.5, [("w".to_owned(), tensor(0.0))].into());
        let weights = |name: &str, value| [(name.to_owned(), tensor(value))].into();
        average.update(&weights("w", 11.0), 1);
        assert_close(&values(&average.weights()["w"]), &[9.0], 1e-6);
        average.update(&weights("w", 1.0), 1000);
        assert_close(&values(&average.weights()["w"]), &[5.0], 1e-6);
        average.update(&weights("unknown", 1.0), 1000);
        assert_eq!(average.weights().len(), 1);
    }
}
