//! Standardisation with the training part's mean and standard deviation.

use ndarray::{Array1, Array2, ArrayView2, Axis};

/// Standardization (z-score): a mean and a standard deviation per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardizer {
    /// `[channels]`, in the units of the data.
    pub mean: Array1<f32>,
    /// `[channels]`, in the units of the data, never 0.
    pub std: Array1<f32>,
}

impl Standardizer {
    /// Fits `[time, channels]`: pass only the training part. Missing values are left out; a channel
    /// that is constant or has no value gets a deviation of 1.
    pub fn fit(values: ArrayView2<'_, f32>) -> Self {
        let (mean, std) = values
            .axis_iter(Axis(1))
            .map(|channel| {
                let present = || channel.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v));
                let count = present().count().max(1) as f64;
                let mean = present().sum::<f64>() / count;
                let variance = present().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                let std = variance.sqrt();
                // Rounding alone gives a constant channel a deviation of about 1e-16 of its size.
                let constant = std <= 1e-7 * mean.abs() || std == 0.0;
                (mean as f32, if constant { 1.0 } else { std as f32 })
            })
            .unzip::<f32, f32, Vec<_>, Vec<_>>();
        Self { mean: mean.into(), std: std.into() }
    }

    /// `[time, channels]` in units of the data to units of standard deviations.
    pub fn apply(&self, values: &mut Array2<f32>) {
        *values -= &self.mean;
        *values /= &self.std;
    }

    /// Undoes [`Self::apply`].
    pub fn invert(&self, values: &mut Array2<f32>) {
        *values *= &self.std;
        *values += &self.mean;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn missing_and_constant_channels() {
        let nan = f32::NAN;
        let mut values = array![[1.0, 5.0, nan], [nan, 5.0, nan], [3.0, 5.0, nan]];
        let scale = Standardizer::fit(values.view());
        assert_eq!(scale.mean, array![2.0, 5.0, 0.0]);
        assert_eq!(scale.std, array![1.0, 1.0, 1.0]);
        scale.apply(&mut values);
        assert_eq!((values[[0, 0]], values[[2, 0]], values[[0, 1]]), (-1.0, 1.0, 0.0));
        assert!(values[[1, 0]].is_nan());
    }

    #[test]
    fn there_and_back() {
        let values = array![[10.0, -3.0], [14.0, 0.5], [30.0, 9.0]];
        let scale = Standardizer::fit(values.view());
        // Population deviation: mean 18, squares 64 + 16 + 144 over 3.
        assert!((scale.std[0] - (224.0f32 / 3.0).sqrt()).abs() < 1e-5);
        let mut round = values.clone();
        scale.apply(&mut round);
        scale.invert(&mut round);
        assert!((&round - &values).iter().all(|d| d.abs() < 1e-5));
    }
}
