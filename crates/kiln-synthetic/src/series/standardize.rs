//! Standardization: zero mean, unit variance.

/// Shifts to mean 0 and scales to variance 1; a constant becomes zeros.
pub(crate) fn standardize(values: &mut [f32]) {
    let count = values.len().max(1) as f64;
    let (mut sum, mut squares) = (0.0f64, 0.0f64);
    for value in values.iter() {
        let value = f64::from(*value);
        sum += value;
        squares += value * value;
    }
    let mean = sum / count;
    let variance = squares / count - mean * mean;
    let scale = if variance > 1e-12 * (squares / count) { variance.sqrt().recip() } else { 0.0 };
    for value in values {
        *value = ((f64::from(*value) - mean) * scale) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardized() {
        let mut values = [1.0, 3.0];
        standardize(&mut values);
        assert_eq!(values, [-1.0, 1.0]);
        let mut constant = [5.3f32; 7];
        standardize(&mut constant);
        assert_eq!(constant, [0.0; 7]);
    }
}
