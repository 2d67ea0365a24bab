//! Convex mixtures of series: TSMixup of Chronos (<https://arxiv.org/abs/2403.07815>).

use super::standardize::standardize;
use kiln_datasets::draw::Draw;
use kiln_host::Rng;

/// Mixes series of one length with weights from a flat Dirichlet distribution, each scaled to
/// unit variance first.
pub(crate) fn mix(rng: &mut Rng, mut parts: Vec<Vec<f32>>) -> Vec<f32> {
    // Exponential variables over their sum are a Dirichlet with all parameters 1.
    let weights: Vec<f32> = parts.iter().map(|_| rng.exponential().max(1e-3)).collect();
    let total: f32 = weights.iter().sum();
    let length = parts.iter().map(Vec::len).min().unwrap_or(0);
    let mut values = vec![0.0; length];
    for (part, weight) in parts.iter_mut().zip(weights) {
        standardize(part);
        for (value, part) in values.iter_mut().zip(part) {
            *value += weight / total * *part;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    #[test]
    fn mixtures_are_convex() {
        let mut rng = Seed::new(18).rng();
        let values = mix(&mut rng, vec![vec![1.0, -1.0], vec![40.0, 20.0]]);
        // Both parts are (1, -1) once standardised, and weights add up to 1.
        assert!((values[0] - 1.0).abs() < 1e-5 && (values[1] + 1.0).abs() < 1e-5, "{values:?}");
        assert!(mix(&mut rng, Vec::new()).is_empty());
    }
}
