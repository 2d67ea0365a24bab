//! Adafactor, <https://arxiv.org/abs/1804.04235>: the squared mean of a matrix's gradients is kept as
//! a mean of each row and of each column, an update that is longer than usual is scaled down, and
//! steps may be relative to the size of the weights.
//!
//! Tensors of more than two dimensions are matrices of their first by all others.

use super::options::StepOptions;
use crate::recipe::Adafactor;
use burn::tensor::Tensor;
use kiln_core::Backend;

/// The states of a parameter of this shape: names and shapes.
pub(super) fn states(settings: &Adafactor, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
    let mut states = match matrix(shape) {
        Some([rows, columns]) => vec![("rows", vec![rows]), ("columns", vec![columns])],
        None => vec![("square", shape.to_vec())],
    };
    if settings.momentum > 0.0 {
        states.push(("momentum", shape.to_vec()));
    }
    states
}

/// The matrix as which the squares of a parameter are factored.
fn matrix(shape: &[usize]) -> Option<[usize; 2]> {
    let (rows, others) = shape.split_first()?;
    let columns = others.iter().product();
    (*rows > 1 && columns > 1).then_some([*rows, columns])
}

/// One step, `count` counted from one: the weight and its states. The first gradient of a parameter
/// sets its squares, whenever it comes.
pub(super) fn step<B: Backend>(
    settings: &Adafactor,
    options: StepOptions,
    count: u64,
    shape: &[usize],
    weight: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    state: Vec<Tensor<B, 1>>,
) -> (Tensor<B, 1>, Vec<Tensor<B, 1>>) {
    let kept = 1.0 - (count as f64).powf(-settings.decay);
    let [least_square, least_scale] = settings.epsilons;
    let square = gradient.clone().square().add_scalar(least_square);
    let mut old = state.into_iter();
    let mut mean = |new: Tensor<B, 1>| match old.next() {
        Some(old) => old.mul_scalar(kept).add(new.mul_scalar(1.0 - kept)),
        None => new,
    };
    let (mut update, mut state) = match matrix(shape) {
        Some(matrix) => {
            let square = square.reshape(matrix);
            let rows = mean(square.clone().mean_dim(1).flatten(0, 1));
            let columns = mean(square.mean_dim(0).flatten(0, 1));
            // The two roots apart: a product of small squares would vanish.
            let row = rows.clone().div(rows.clone().mean()).sqrt().recip().unsqueeze_dim::<2>(1);
            let column = columns.clone().sqrt().recip().unsqueeze_dim::<2>(0);
            let update = gradient.reshape(matrix).mul(row).mul(column);
            (update.flatten(0, 1), vec![rows, columns])
        }
        None => {
            let square = mean(square);
            (gradient.div(square.clone().sqrt()), vec![square])
        }
    };
    let size = |values: &Tensor<B, 1>| values.clone().square().mean().sqrt();
    update = update.clone().div(size(&update).div_scalar(settings.threshold).clamp_min(1.0));
    let mut rate = Tensor::<B, 1>::full([1], options.rate, &weight.device());
    if settings.relative {
        rate = rate.mul(size(&weight).clamp_min(least_scale));
    }
    update = update.mul(rate.clone());
    if settings.momentum > 0.0 {
        let old = old.next().unwrap_or_else(|| update.zeros_like());
        update = old.mul_scalar(settings.momentum).add(update.mul_scalar(1.0 - settings.momentum));
        state.push(update.clone());
    }
    let weight = match options.decay {
        0.0 => weight,
        decay => weight.mul(rate.mul_scalar(-decay).add_scalar(1.0)),
    };
    (weight.sub(update), state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};
    use burn_flex::Flex;

    fn tensor(values: &[f32]) -> Tensor<Flex, 1> {
        Tensor::from_floats(values, &Default::default())
    }

    /// Settings under which nothing is relative and hardly anything clipped.
    fn plain() -> Adafactor {
        Adafactor { relative: false, threshold: 1e9, ..Adafactor::default() }
    }

    #[test]
    fn squares_are_factored() {
        // Squares 1 4 / 9 16: rows 2.5 and 12.5, columns 5 and 10, the mean of rows 7.5, so their
        // estimate is 5/3 10/3 / 25/3 50/3.
        let options = StepOptions { rate: 0.1, decay: 0.0 };
        let gradient = [1.0, -2.0, 3.0, 4.0];
        let step = |state, count| {
            step(&plain(), options, count, &[2, 2], tensor(&[0.0; 4]), tensor(&gradient), state)
        };
        let (weight, state) = step(Vec::new(), 1);
        let root = |value: f32| value.sqrt();
        let expected = [
            -0.1 / root(5.0 / 3.0),
            0.2 / root(10.0 / 3.0),
            -0.3 / root(25.0 / 3.0),
            -0.4 / root(50.0 / 3.0),
        ];
        assert_close(&values(&weight), &expected, 1e-6);
        assert_close(&values(&state[0]), &[2.5, 12.5], 1e-6);
        assert_close(&values(&state[1]), &[5.0, 10.0], 1e-6);
        // The same squares again leave the means as they are, whatever is kept of the old ones.
        assert_close(&values(&step(state, 7).1[1]), &[5.0, 10.0], 1e-6);
    }

    #[test]
    fn old_squares_are_kept_ever_more() {
        // After the second step 2^-0.8 = 0.5743 of the square is new: 0.5743 · 4 + 0.4257 · 1.
        let options = StepOptions { rate: 0.5, decay: 0.0 };
        let state = vec![tensor(&[1.0])];
        let (weight, state) =
            step(&plain(), options, 2, &[1], tensor(&[1.0]), tensor(&[2.0]), state);
        assert_close(&values(&state[0]), &[2.723_05], 1e-4);
        assert_close(&values(&weight), &[1.0 - 0.5 * 2.0 / 2.723_05_f32.sqrt()], 1e-4);
    }

    #[test]
    fn long_updates_are_scaled_down_and_steps_are_relative() {
        let settings = Adafactor { threshold: 0.5, ..Adafactor::default() };
        let options = StepOptions { rate: 0.1, decay: 0.0 };
        // The update is ±1, scaled to ±0.5; the weights' size is 5, so a step is 0.1 · 5 · 0.5.
        let once = |options, weight: &[f32]| {
            let gradient = tensor(&[0.3, -7.0]);
            values(&step(&settings, options, 1, &[2], tensor(weight), gradient, Vec::new()).0)
        };
        assert_close(&once(options, &[1.0, 7.0]), &[0.75, 7.25], 1e-5);
        // Weights of zero take the least scale: 0.1 · 0.001 · 0.5.
        assert_close(&once(options, &[0.0, 0.0]), &[-5e-5, 5e-5], 1e-9);
        // Decay is relative, too: 1 − 0.1 · 5 · 0.2.
        let options = StepOptions { decay: 0.2, ..options };
        assert_close(&once(options, &[1.0, 7.0]), &[0.65, 6.55], 1e-5);
    }

    #[test]
    fn momentum_is_a_mean_of_updates() {
        let settings = Adafactor { momentum: 0.9, ..plain() };
        let options = StepOptions { rate: 1.0, decay: 0.0 };
        let zero = || tensor(&[0.0]);
        let (weight, state) = step(&settings, options, 1, &[1], zero(), tensor(&[3.0]), Vec::new());
        assert_close(&values(&weight), &[-0.1], 1e-6);
        let (weight, _) = step(&settings, options, 2, &[1], zero(), tensor(&[3.0]), state);
        assert_close(&values(&weight), &[-0.19], 1e-6);
    }

    #[test]
    fn states_are_small() {
        let names = |settings: &Adafactor, shape: &[usize]| states(settings, shape);
        let plain = plain();
        assert_eq!(names(&plain, &[3, 4]), [("rows", vec![3]), ("columns", vec![4])]);
        assert_eq!(names(&plain, &[3, 4, 2]), [("rows", vec![3]), ("columns", vec![8])]);
        assert_eq!(names(&plain, &[3]), [("square", vec![3])]);
        assert_eq!(names(&plain, &[1, 4]), [("square", vec![1, 4])]);
        let settings = Adafactor { momentum: 0.9, ..plain };
        assert_eq!(names(&settings, &[3])[1], ("momentum", vec![3]));
    }
}
