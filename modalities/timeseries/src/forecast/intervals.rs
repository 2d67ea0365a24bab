//! Intervals from quantiles.

/// The quantile at `wanted` between the nearest of `levels` (rising), linearly; beyond the outer
/// levels, the outer quantiles. `None` without levels or when they are not as many as `values`.
pub fn quantile(levels: &[f64], values: &[f32], wanted: f64) -> Option<f32> {
    if levels.len() != values.len() {
        return None;
    }
    let mut below: Option<(f64, f32)> = None;
    for (level, value) in levels.iter().copied().zip(values.iter().copied()) {
        // Levels such as 1 - 0.9 are not exactly 0.1.
        if (level - wanted).abs() < 1e-9 {
            return Some(value);
        }
        if level > wanted {
            let Some((low, at_low)) = below else { return Some(value) };
            let share = (wanted - low) / (level - low);
            return Some(at_low + (value - at_low) * share as f32);
        }
        below = Some((level, value));
    }
    below.map(|(_, value)| value)
}

/// The middle `level` (0.8: from quantile 0.1 to 0.9) of a distribution given by its quantiles.
/// The outer quantiles stand in for what lies beyond them, so that a level wider than the model's
/// outer levels gives the widest interval it knows.
pub fn interval(levels: &[f64], values: &[f32], level: f64) -> Option<(f32, f32)> {
    let tail = (1.0 - level) / 2.0;
    let (a, b) = (quantile(levels, values, tail)?, quantile(levels, values, 1.0 - tail)?);
    // Quantiles of a network may cross.
    Some((a.min(b), a.max(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_between_are_interpolated() {
        let (levels, values) = ([0.1, 0.5, 0.9], [1.0, 2.0, 4.0]);
        assert_eq!(quantile(&levels, &values, 0.5), Some(2.0));
        assert_eq!(quantile(&levels, &values, 0.3), Some(1.5));
        assert_eq!(quantile(&levels, &values, 0.01), Some(1.0));
        assert_eq!(interval(&levels, &values, 0.8), Some((1.0, 4.0)));
        assert_eq!(interval(&levels, &values, 0.4), Some((1.5, 3.0)));
        assert_eq!(interval(&levels, &[4.0, 2.0, 1.0], 0.8), Some((1.0, 4.0)), "crossed");
        assert_eq!(interval(&[], &[], 0.8), None);
        assert_eq!(quantile(&levels, &values[..2], 0.5), None);
    }
}
