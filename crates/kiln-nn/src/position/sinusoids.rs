//! Fixed positions, added to tokens.

/// Sines and cosines of falling frequency (<https://arxiv.org/abs/1706.03762>), centred and scaled
/// to a standard deviation of 0.1 as PatchTST does; `[tokens, width]` in row-major order.
pub fn sinusoids(tokens: usize, width: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(tokens * width);
    for position in 0..tokens {
        for feature in 0..width {
            let even = (feature / 2 * 2) as f64;
            let angle = position as f64 * (-(10_000f64.ln()) * even / width as f64).exp();
            values.push(if feature % 2 == 0 { angle.sin() } else { angle.cos() });
        }
    }
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance =
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let deviation = variance.sqrt().max(f64::EPSILON);
    values.iter().map(|value| ((value - mean) / (deviation * 10.0)) as f32).collect()
}

/// Sines in the first half of the features, cosines in the second, of falling frequency, as Whisper
/// has them (<https://arxiv.org/abs/2212.04356>); `[tokens, width]` in row-major order, the width
/// even.
pub fn sinusoid_halves(tokens: usize, width: usize) -> Vec<f32> {
    let half = width / 2;
    let step = 10_000f64.ln() / half.saturating_sub(1).max(1) as f64;
    let mut values = Vec::with_capacity(tokens * 2 * half);
    for position in 0..tokens {
        let angle = |feature: usize| position as f64 * (-step * feature as f64).exp();
        values.extend((0..half).map(|feature| angle(feature).sin() as f32));
        values.extend((0..half).map(|feature| angle(feature).cos() as f32));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centred_with_a_deviation_of_a_tenth() {
        let values = sinusoids(9, 32);
        assert_eq!(values.len(), 288);
        let mean = values.iter().sum::<f32>() / 288.0;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 287.0).sqrt();
        assert!(mean.abs() < 1e-6);
        assert!((deviation - 0.1).abs() < 1e-5);
        // Position 0 has all sines 0 and all cosines 1: two distinct values.
        assert!((values[0] - values[2]).abs() < 1e-7 && values[1] > values[0]);
    }

    #[test]
    fn halves_by_hand() {
        let values = sinusoid_halves(2, 4);
        assert_eq!(values[..4], [0.0, 0.0, 1.0, 1.0]);
        // The fastest turns by one radian a token, the slowest by 1/10 000.
        for (found, expected) in values[4..].iter().zip([0.841_471, 1e-4, 0.540_302, 1.0]) {
            assert!((found - expected).abs() < 1e-5, "{values:?}");
        }
    }
}
