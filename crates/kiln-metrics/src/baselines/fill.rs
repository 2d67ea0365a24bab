//! Histories without gaps, for methods that need every value.

/// `history` without its missing start, each later gap filled with the value before it. Empty when
/// there is no value at all.
pub(super) fn carried_forward(history: &[f32]) -> Vec<f64> {
    let mut last = f64::NAN;
    let mut filled = Vec::with_capacity(history.len());
    for value in history.iter().copied().map(f64::from) {
        // Infinities come from broken exports; no method could go on from one.
        if value.is_finite() {
            last = value;
        }
        if !last.is_nan() {
            filled.push(last);
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_take_the_value_before() {
        let nan = f32::NAN;
        assert_eq!(carried_forward(&[nan, 1.0, nan, nan, 4.0, nan]), [1.0, 1.0, 1.0, 4.0, 4.0]);
        assert!(carried_forward(&[nan, nan]).is_empty());
    }
}
