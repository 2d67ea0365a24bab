//! Limited-memory BFGS, Liu and Nocedal 1989, <https://doi.org/10.1007/BF01589116>, with a
//! backtracking line search.

use std::collections::VecDeque;

/// How many steps back curvature is remembered.
const MEMORY: usize = 10;

/// The sufficient decrease of Armijo's rule.
const DECREASE: f64 = 1e-4;

/// Where a function is smallest, and whether it was found.
pub(super) struct Minimum {
    pub point: Vec<f64>,
    /// Whether no component of the gradient is larger than the tolerance.
    pub converged: bool,
}

/// Minimises a smooth convex function, given as value and gradient, from `start`.
pub(super) fn minimise(
    start: Vec<f64>,
    max_iterations: usize,
    tolerance: f64,
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Minimum {
    let mut point = start;
    let (mut value, mut gradient) = function(&point);
    // Steps, changes of the gradient, and one over their product.
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
    let small = |gradient: &[f64]| gradient.iter().all(|g| g.abs() <= tolerance);
    for _ in 0..max_iterations {
        if small(&gradient) {
            break;
        }
        let direction = direction(&gradient, &memory);
        let slope = dot(&direction, &gradient);
        let mut length =
            if memory.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt() } else { 1.0 };
        let step = loop {
            let next: Vec<f64> =
                point.iter().zip(&direction).map(|(p, d)| p + length * d).collect();
            let (next_value, next_gradient) = function(&next);
            // Near the minimum rounding is larger than what is gained.
            let rounding = 4.0 * f64::EPSILON * value.abs();
            if next_value <= value + DECREASE * length * slope + rounding {
                break Some((next, next_value, next_gradient));
            }
            length /= 2.0;
            if length < 1e-12 {
                break None;
            }
        };
        let Some((next, next_value, next_gradient)) = step else { break };
        let moved = difference(&next, &point);
        let changed = difference(&next_gradient, &gradient);
        let curvature = dot(&moved, &changed);
        if curvature > f64::EPSILON * dot(&changed, &changed) {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((moved, changed, 1.0 / curvature));
        }
        (point, value, gradient) = (next, next_value, next_gradient);
    }
    let converged = small(&gradient);
    Minimum { point, converged }
}

/// Against the gradient, scaled by the curvature seen: the two loops of the paper.
fn direction(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut weights = Vec::with_capacity(memory.len());
    for (moved, changed, scale) in memory.iter().rev() {
        let weight = scale * dot(moved, &direction);
        add(&mut direction, -weight, changed);
        weights.push(weight);
    }
    if let Some((_, changed, scale)) = memory.back() {
        let first = 1.0 / (scale * dot(changed, changed));
        direction.iter_mut().for_each(|d| *d *= first);
    }
    for ((moved, changed, scale), weight) in memory.iter().zip(weights.iter().rev()) {
        let correction = weight - scale * dot(changed, &direction);
        add(&mut direction, correction, moved);
    }
    direction
}

fn dot(first: &[f64], second: &[f64]) -> f64 {
    first.iter().zip(second).map(|(a, b)| a * b).sum()
}

fn difference(first: &[f64], second: &[f64]) -> Vec<f64> {
    first.iter().zip(second).map(|(a, b)| a - b).collect()
}

fn add(sum: &mut [f64], scale: f64, values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += scale * value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_valley() {
        // 1/2 sum s_i (x_i - i)^2, its curvatures a thousand apart.
        let scales = [1.0, 1000.0, 30.0, 0.5];
        let function = |x: &[f64]| {
            let gradient: Vec<f64> = (0..4).map(|i| scales[i] * (x[i] - i as f64)).collect();
            let value = (0..4).map(|i| 0.5 * gradient[i] * (x[i] - i as f64)).sum();
            (value, gradient)
        };
        let minimum = minimise(vec![5.0; 4], 100, 1e-8, function);
        assert!(minimum.converged);
        for (i, x) in minimum.point.iter().enumerate() {
            assert!((x - i as f64).abs() < 1e-7, "{:?}", minimum.point);
        }
        assert!(!minimise(vec![5.0; 4], 2, 1e-8, function).converged);
    }
}
