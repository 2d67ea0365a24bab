//! Whether a forecast is what was asked for.

use crate::forecaster::{Forecast, ForecastError};

impl Forecast {
    /// Refuses a forecast of the wrong shape, or with a number that is not finite: neither can be
    /// scored or shown.
    pub(crate) fn check(
        &self,
        horizon: usize,
        targets: usize,
        levels: usize,
    ) -> Result<(), ForecastError> {
        let wanted = (horizon, targets);
        let fault = if self.point.dim() != wanted {
            format!("it gave a forecast of {:?} where {wanted:?} was asked for", self.point.dim())
        } else if let Some(quantiles) = &self.quantiles
            && quantiles.dim() != (horizon, targets, levels)
        {
            let wanted = (horizon, targets, levels);
            format!("it gave quantiles of {:?} where {wanted:?} was asked for", quantiles.dim())
        } else if self.point.iter().chain(self.quantiles.iter().flatten()).any(|v| !v.is_finite()) {
            "its forecast is NaN or infinite".into()
        } else {
            return Ok(());
        };
        Err(ForecastError::Model(format!("the model cannot be used: {fault}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Array3};

    #[test]
    fn shapes_and_numbers_are_checked() {
        let quantiles = Some(Array3::zeros((3, 2, 1)));
        let good = Forecast { point: Array2::zeros((3, 2)), quantiles };
        assert_eq!(good.check(3, 2, 1), Ok(()));
        let message = |forecast: &Forecast, sizes: (usize, usize, usize)| {
            forecast.check(sizes.0, sizes.1, sizes.2).unwrap_err().to_string()
        };
        assert!(message(&good, (4, 2, 1)).contains("(3, 2) where (4, 2)"));
        assert!(message(&good, (3, 2, 9)).contains("(3, 2, 1) where (3, 2, 9)"));
        let mut bad = good;
        bad.quantiles = None;
        bad.point[[1, 1]] = f32::INFINITY;
        assert!(message(&bad, (3, 2, 0)).contains("NaN or infinite"));
    }
}
