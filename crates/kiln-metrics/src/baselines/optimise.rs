//! The minimum of a smooth function of few numbers, within a box.

/// Golden-section search for the minimum of `cost` on `[low, high]`.
pub(super) fn golden_section(low: f64, high: f64, cost: impl Fn(f64) -> f64) -> f64 {
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (low, high);
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut cost_left, mut cost_right) = (cost(left), cost(right));
    while high - low > 1e-4 {
        if cost_left <= cost_right {
            (high, right, cost_right) = (right, left, cost_left);
            left = high - ratio * (high - low);
            cost_left = cost(left);
        } else {
            (low, left, cost_left) = (left, right, cost_right);
            right = low + ratio * (high - low);
            cost_right = cost(right);
        }
    }
    (low + high) / 2.0
}

/// Nelder and Mead's simplex search for the minimum of `cost` in the unit box, from `start`, with
/// at most `limit` evaluations. Returns the best point and its cost.
pub(super) fn nelder_mead<const N: usize>(
    start: [f64; N],
    limit: usize,
    cost: impl Fn(&[f64; N]) -> f64,
) -> ([f64; N], f64) {
    let mut evaluations = 0;
    let mut evaluate = |mut point: [f64; N]| {
        evaluations += 1;
        for value in &mut point {
            *value = value.clamp(0.0, 1.0);
        }
        let cost = cost(&point);
        // A NaN would be taken for the best by comparisons.
        (point, if cost.is_nan() { f64::INFINITY } else { cost }, evaluations)
    };
    let first = evaluate(start);
    let mut simplex = vec![(first.0, first.1)];
    for axis in 0..N {
        let mut point = start;
        point[axis] += if point[axis] < 0.5 { 0.25 } else { -0.25 };
        let (point, value, _) = evaluate(point);
        simplex.push((point, value));
    }
    loop {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (best, worst) = (simplex[0], simplex[N]);
        let mut centre = [0.0; N];
        for (point, _) in &simplex[..N] {
            for (sum, value) in centre.iter_mut().zip(point) {
                *sum += value / N as f64;
            }
        }
        let toward = |by: f64| -> [f64; N] {
            std::array::from_fn(|axis| centre[axis] + by * (worst.0[axis] - centre[axis]))
        };
        let (reflected, value, used) = evaluate(toward(-1.0));
        if used >= limit || worst.1 - best.1 <= 1e-6 * best.1.abs() {
            return if value < best.1 { (reflected, value) } else { best };
        }
        if value < best.1 {
            let (expanded, further, _) = evaluate(toward(-2.0));
            simplex[N] = if further < value { (expanded, further) } else { (reflected, value) };
        } else if value < simplex[N - 1].1 {
            simplex[N] = (reflected, value);
        } else {
            let (contracted, inside, _) = evaluate(toward(0.5));
            if inside < worst.1 {
                simplex[N] = (contracted, inside);
            } else {
                for vertex in &mut simplex[1..] {
                    let half = std::array::from_fn(|axis| (vertex.0[axis] + best.0[axis]) / 2.0);
                    let (point, value, _) = evaluate(half);
                    *vertex = (point, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_section_finds_the_valley_and_the_border() {
        assert!((golden_section(0.0, 1.0, |x| (x - 0.3).powi(2)) - 0.3).abs() < 1e-3);
        assert!((golden_section(0.0, 1.0, |x| -x) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn simplex_finds_the_valley_and_the_border() {
        let cost = |p: &[f64; 3]| {
            1.0 + (p[0] - 0.2).powi(2) + 3.0 * (p[1] - 0.7).powi(2) + (p[2] + 1.0).powi(2)
        };
        let (point, value) = nelder_mead([0.5; 3], 300, cost);
        assert!((value - 2.0).abs() < 1e-3, "{value}");
        for (found, expected) in point.iter().zip([0.2, 0.7, 0.0]) {
            assert!((found - expected).abs() < 0.03, "{point:?}");
        }
    }

    #[test]
    fn simplex_survives_costs_that_are_no_number() {
        let (_, value) = nelder_mead([0.5; 2], 50, |_| f64::NAN);
        assert_eq!(value, f64::INFINITY);
    }
}
