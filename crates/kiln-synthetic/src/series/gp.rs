//! Samples of Gaussian processes whose kernels are put together at random: KernelSynth of Chronos
//! (<https://arxiv.org/abs/2403.07815>), by random Fourier features
//! (Rahimi and Recht, 2007) instead of a Cholesky factor.
//!
//! A stationary kernel is the Fourier transform of a distribution of frequencies. Drawing
//! frequencies from it, a sum of cosines is a sample of the process. Adding kernels adds samples;
//! multiplying kernels adds frequencies: so any sum and product of the bank is exact in expectation
//! and costs a few cosines a row. A linear kernel multiplies a sample by time.

use super::calendar::cycles;
use kiln_datasets::{Frequency, draw::Draw};
use kiln_host::Rng;
use rand_distr::{Distribution as _, Gamma};
use std::f64::consts::TAU;

/// Cosines a product of kernels gets.
const FEATURES: usize = 16;

/// A stationary kernel with unit variance; lengths in rows.
#[derive(Clone, Debug)]
enum Kernel {
    /// Squared exponential of this length scale: frequencies are normal.
    Smooth { length: f64 },
    /// Rational quadratic, a mixture of length scales: frequencies are Student's t.
    Mixed { length: f64, shape: f64 },
    /// Matérn 1/2, the Ornstein-Uhlenbeck process: frequencies are Cauchy.
    Rough { length: f64 },
    /// Exponential of a squared sine: multiples of one frequency, with these weights.
    Periodic { period: f64, weights: [f64; HARMONICS] },
}

const HARMONICS: usize = 6;

/// One product of the composition.
#[derive(Clone, Debug, Default)]
struct Product {
    kernels: Vec<Kernel>,
    /// How often the linear kernel is among its factors.
    linear: i32,
    /// Its standard deviation.
    scale: f64,
}

impl Kernel {
    fn draw(rng: &mut Rng, frequency: Frequency, rows: usize) -> Self {
        let window = rows.max(8) as f64;
        match rng.weighted(&[0.3, 0.12, 0.08, 0.5]) {
            0 => Self::Smooth { length: window * f64::from(rng.log_uniform(0.02, 3.0)) },
            1 => Self::Mixed {
                length: window * f64::from(rng.log_uniform(0.02, 2.0)),
                shape: f64::from(rng.log_uniform(0.1, 10.0)),
            },
            2 => Self::Rough { length: window * f64::from(rng.log_uniform(0.02, 1.0)) },
            _ => {
                let period = period(rng, frequency, rows);
                Self::Periodic { period, weights: harmonics(rng.log_uniform(0.4, 2.0).into()) }
            }
        }
    }

    /// A frequency of its spectrum, radians a row.
    fn frequency(&self, rng: &mut Rng) -> f64 {
        match self {
            Self::Smooth { length } => f64::from(rng.normal()) / length,
            Self::Mixed { length, shape } => {
                // A precision from a gamma distribution with mean 1.
                let precision = Gamma::new(*shape, 1.0 / shape).map_or(1.0, |g| g.sample(rng));
                f64::from(rng.normal()) * precision.sqrt() / length
            }
            Self::Rough { length } => {
                (std::f64::consts::PI * (f64::from(rng.unit()) - 0.5)).tan() / length
            }
            Self::Periodic { period, weights } => {
                f64::from(rng.sign()) * rng.weighted(weights) as f64 * TAU / period
            }
        }
    }
}

/// A period: mostly the calendar's, sometimes any that fits several times into the window.
fn period(rng: &mut Rng, frequency: Frequency, rows: usize) -> f64 {
    let most = rows.max(8) as f32 / 2.0;
    let cycles = cycles(frequency);
    let usable: Vec<f32> = cycles
        .iter()
        .flat_map(|cycle| [cycle.period, if cycle.week { 7.0 * cycle.period } else { 0.0 }])
        .filter(|period| (3.0..=2.0 * most).contains(period))
        .collect();
    if usable.is_empty() || rng.chance(0.2) {
        return rng.log_uniform(4.0, most.max(5.0)).into();
    }
    // The first is the calendar's usual one.
    let place = if rng.chance(0.5) { 0 } else { rng.below(usable.len()) };
    usable.get(place).copied().unwrap_or(12.0).into()
}

/// The Fourier weights of the kernel `exp(-2 sin²(πτ/p) / length²)`: Bessel functions
/// `I_j(1/length²)`, from their power series.
fn harmonics(length: f64) -> [f64; HARMONICS] {
    let half = 0.5 / (length * length);
    let mut weights = [0.0; HARMONICS];
    let mut leading = 1.0;
    for (j, weight) in weights.iter_mut().enumerate() {
        let (mut term, mut sum) = (leading, leading);
        for k in 1..40u32 {
            term *= half * half / (f64::from(k) * (f64::from(k) + j as f64));
            sum += term;
        }
        // Harmonics come with both signs, the constant only once; most of the constant is left
        // out, since a shift of the whole window is not seen.
        *weight = if j == 0 { 0.1 * sum } else { 2.0 * sum };
        leading *= half / (j + 1) as f64;
    }
    weights
}

/// A sample of a random composition of up to five kernels, with noise.
pub(crate) fn generate(rng: &mut Rng, frequency: Frequency, rows: usize) -> Vec<f32> {
    let products = compose(rng, frequency, rows);
    let mut values = vec![0.0f64; rows];
    for product in &products {
        add_sample(rng, product, &mut values);
    }
    let noise = if rng.chance(0.7) { f64::from(rng.log_uniform(0.01, 0.6)) } else { 0.0 };
    values.into_iter().map(|value| (value + noise * f64::from(rng.normal())) as f32).collect()
}

/// Draws kernels and folds them with sums and products, multiplied out.
fn compose(rng: &mut Rng, frequency: Frequency, rows: usize) -> Vec<Product> {
    let mut products: Vec<Product> = Vec::new();
    for place in 0..1 + rng.below(5) {
        let linear = rng.chance(0.12);
        let kernel = if linear { None } else { Some(Kernel::draw(rng, frequency, rows)) };
        if place > 0 && rng.chance(0.4) {
            for product in &mut products {
                product.linear += i32::from(linear);
                product.kernels.extend(kernel.clone());
            }
        } else {
            products.push(Product {
                kernels: kernel.into_iter().collect(),
                linear: i32::from(linear),
                scale: rng.log_uniform(0.3, 1.5).into(),
            });
        }
    }
    products
}

/// Adds a sample of one product of kernels.
fn add_sample(rng: &mut Rng, product: &Product, values: &mut [f64]) {
    let rows = values.len();
    let feature_scale = product.scale / (FEATURES as f64).sqrt();
    // cos((t+1)ω+φ) = 2 cos(ω) cos(tω+φ) - cos((t-1)ω+φ): a cosine for a product and a
    // difference. In f64 it stays exact to 1e-6 over any window for the frequencies that matter.
    let (mut now, mut before, mut twice) = ([0.0; FEATURES], [0.0; FEATURES], [0.0; FEATURES]);
    let features = if product.kernels.is_empty() { 1 } else { FEATURES };
    for feature in 0..features {
        let omega: f64 = product.kernels.iter().map(|kernel| kernel.frequency(rng)).sum();
        let (a, b) = (f64::from(rng.normal()), f64::from(rng.normal()));
        let scale = if product.kernels.is_empty() { product.scale } else { feature_scale };
        now[feature] = scale * a;
        before[feature] = scale * (a * omega.cos() - b * omega.sin());
        twice[feature] = 2.0 * omega.cos();
    }
    let slope = 2.0 / rows.max(1) as f64;
    let turn = f64::from(rng.between(-0.2, 1.2)) * 2.0;
    for (row, value) in values.iter_mut().enumerate() {
        let mut sum = 0.0;
        for feature in 0..FEATURES {
            sum += now[feature];
            let next = twice[feature] * now[feature] - before[feature];
            before[feature] = now[feature];
            now[feature] = next;
        }
        if product.linear > 0 {
            // Without a stationary factor the linear kernel is a line through `turn`.
            sum *= (row as f64 * slope - turn).powi(product.linear);
        }
        *value += sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Seed;

    /// The covariance at `lag` over many samples of a product of kernels.
    fn covariance(kernels: Vec<Kernel>, lag: usize) -> f64 {
        let mut rng = Seed::new(9).rng();
        let product = Product { kernels, linear: 0, scale: 1.0 };
        let samples = 4000;
        let total: f64 = (0..samples)
            .map(|_| {
                let mut values = vec![0.0; 40];
                add_sample(&mut rng, &product, &mut values);
                values[3] * values[3 + lag]
            })
            .sum();
        total / f64::from(samples)
    }

    #[test]
    fn samples_have_their_kernels_covariance() {
        let smooth = || Kernel::Smooth { length: 10.0 };
        let rough = || Kernel::Rough { length: 20.0 };
        let kernel = |lag: f64| (-lag * lag / 200.0).exp();
        for lag in [0, 5, 10, 20] {
            let found = covariance(vec![smooth()], lag);
            assert!((found - kernel(lag as f64)).abs() < 0.08, "{found} at {lag}");
            // The product of kernels is the product of covariances.
            let found = covariance(vec![smooth(), rough()], lag);
            let expected = kernel(lag as f64) * (-(lag as f64) / 20.0).exp();
            assert!((found - expected).abs() < 0.08, "{found} for {expected} at {lag}");
        }
    }

    #[test]
    fn a_periodic_kernel_repeats() {
        let periodic = Kernel::Periodic { period: 12.0, weights: harmonics(1.0) };
        assert!((covariance(vec![periodic.clone()], 12) - 1.0).abs() < 0.08);
        assert!(covariance(vec![periodic], 6) < 0.0);
    }

    #[test]
    fn harmonics_are_bessel_functions() {
        // I_1(1) / I_2(1) = 0.565159 / 0.135748
        let weights = harmonics(1.0);
        assert!((weights[1] / weights[2] - 4.16331).abs() < 1e-4);
    }

    #[test]
    fn the_recurrence_keeps_its_amplitude() {
        let mut rng = Seed::new(10).rng();
        let slow = Product { kernels: vec![Kernel::Smooth { length: 1e4 }], linear: 0, scale: 1.0 };
        let mut values = vec![0.0; 5000];
        add_sample(&mut rng, &slow, &mut values);
        assert!(values.iter().all(|v| v.abs() < 6.0));
        let step = values.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f64::max);
        assert!(step < 1e-2, "smooth over thousands of rows: {step}");
    }
}
