//! Updates of all parameters in one call, in place where nobody else holds them: AdamW,
//! <https://arxiv.org/abs/1711.05101>, and the moving average of weights.
//!
//! Parameters come flat, `[values]`. Their values are divided among threads together, so that many
//! small parameters cost no more than one large one.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, tensor},
};
use burn::tensor::{Tensor, backend::Backend as BurnBackend};

/// What an update of AdamW is for all parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The decay of the mean of gradients and of that of their squares.
    pub betas: [f64; 2],
    /// Added to the root of the corrected mean square.
    pub epsilon: f64,
    /// Updates so far, this one included: both means are corrected for their start at zero.
    pub count: u64,
    /// What gradients are multiplied with first, 1 to leave them: clipping by their norm needs no
    /// pass of its own.
    pub gradient_scale: f64,
}

/// A parameter before an update of AdamW; all tensors are `[values]`.
#[derive(Debug, Clone)]
pub struct AdamWStep<B: BurnBackend> {
    /// Its values.
    pub weight: Tensor<B, 1>,
    /// Its gradient.
    pub gradient: Tensor<B, 1>,
    /// The mean of its gradients so far, zeros at first.
    pub mean: Tensor<B, 1>,
    /// The mean of their squares, zeros at first.
    pub square: Tensor<B, 1>,
    /// The learning rate.
    pub rate: f64,
    /// The decoupled weight decay, zero for none.
    pub decay: f64,
}

/// A parameter after an update of AdamW; all tensors are `[values]`.
#[derive(Debug, Clone)]
pub struct AdamWState<B: BurnBackend> {
    /// Its new values.
    pub weight: Tensor<B, 1>,
    /// The new mean of gradients.
    pub mean: Tensor<B, 1>,
    /// The new mean of squares.
    pub square: Tensor<B, 1>,
}

/// An update of AdamW, with PyTorch's conventions: decay first, epsilon outside the root, both means
/// corrected for their start at zero. The results are in the order of the parameters.
///
/// Tensors that are moved here, with no clone left elsewhere, are updated in place.
///
/// # Panics
/// When a parameter's tensors differ in length, or on the update number zero.
pub fn adamw<B: Backend>(settings: AdamW, parameters: Vec<AdamWStep<B>>) -> Vec<AdamWState<B>> {
    assert!(settings.count > 0, "the first update has the number one");
    let mut rates = Vec::with_capacity(parameters.len());
    let mut floats = Vec::with_capacity(parameters.len() * 4);
    for AdamWStep { weight, gradient, mean, square, rate, decay } in parameters {
        let [values] = weight.dims();
        for tensor in [&gradient, &mean, &square] {
            let [found] = tensor.dims();
            assert_eq!(found, values, "a parameter of {values} values and its state differ");
        }
        rates.push([rate, decay]);
        floats.extend([weight, gradient, mean, square].map(primitive));
    }
    let kernel = AdamWUpdate { settings, rates };
    let mut updated = B::run(&kernel, Tensors::floats(floats)).into_iter().map(tensor);
    let mut states = Vec::with_capacity(kernel.rates.len());
    while let (Some(weight), Some(mean), Some(square)) =
        (updated.next(), updated.next(), updated.next())
    {
        states.push(AdamWState { weight, mean, square });
    }
    states
}

/// `average * decay + weight * (1 - decay)` for each pair of `[values]`; averages that are moved
/// here, with no clone left elsewhere, are updated in place.
///
/// # Panics
/// When there are not as many weights as averages, or a pair differs in length.
pub fn ema<B: Backend>(
    averages: Vec<Tensor<B, 1>>,
    weights: Vec<Tensor<B, 1>>,
    decay: f64,
) -> Vec<Tensor<B, 1>> {
    assert_eq!(averages.len(), weights.len(), "weights do not belong to averages one by one");
    let mut floats = Vec::with_capacity(averages.len() * 2);
    for (average, weight) in averages.into_iter().zip(weights) {
        assert_eq!(average.dims(), weight.dims(), "an average and its weight differ in length");
        floats.extend([average, weight].map(primitive));
    }
    B::run(&Ema { decay }, Tensors::floats(floats)).into_iter().map(tensor).collect()
}

/// [`adamw`]. Floats: weight, gradient, mean and square of each parameter. Outputs: weight, mean and
/// square of each.
#[derive(Debug, Clone)]
struct AdamWUpdate {
    settings: AdamW,
    /// Rate and decay of each parameter.
    rates: Vec<[f64; 2]>,
}

/// [`ema`]. Floats: average and weight of each parameter. Outputs: the averages.
#[derive(Debug, Clone)]
struct Ema {
    decay: f64,
}

/// The numbers of an update of one parameter.
#[derive(Debug, Clone, Copy)]
struct Factors {
    /// Of the gradient.
    gradient: f64,
    /// Of the old mean, and of the gradient in the new one.
    mean: [f64; 2],
    /// The same for squares.
    square: [f64; 2],
    /// Of the mean square's root.
    root: f64,
    epsilon: f64,
    /// Of the weight: what decay leaves of it.
    weight: f64,
    /// Of the mean over the root: the rate, corrected.
    update: f64,
}

impl AdamWUpdate {
    fn factors(&self, [rate, decay]: [f64; 2]) -> Factors {
        let AdamW { betas: [mean, square], epsilon, count, gradient_scale } = self.settings;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        Factors {
            gradient: gradient_scale,
            mean: [mean, 1.0 - mean],
            square: [square, 1.0 - square],
            root: 1.0 / (1.0 - square.powi(count)).sqrt(),
            epsilon,
            weight: 1.0 - rate * decay,
            update: rate / (1.0 - mean.powi(count)),
        }
    }
}

impl_kernel!(AdamWUpdate, "adamw", adamw, cube in_place, |_, floats, _| {
    let parameters = floats.iter().step_by(4);
    parameters.flat_map(|shape| [0; 3].map(|_| Output::new(shape.clone()))).collect()
});

impl_kernel!(Ema, "ema", ema, cube in_place, |_, floats, _| {
    floats.iter().step_by(2).cloned().map(Output::new).collect()
});
