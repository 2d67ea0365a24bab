//! Muon: orthogonalised momentum, <https://kellerjordan.github.io/posts/muon/>.
//!
//! For matrices between hidden layers; embeddings, heads, vectors and everything else get AdamW at
//! a share of the rate. The matrix is Burn's `[input, output]`, so the factor for tall updates is
//! the root of output over input.

use super::options::StepOptions;
use crate::recipe::{AdamW, Muon};
use burn::tensor::Tensor;
use kiln_core::Backend;

/// Iterations of Newton and Schulz; five bring singular values into about 0.7 to 1.2.
const ITERATIONS: usize = 5;

/// The quintic's coefficients, chosen by the author for their steep slope at zero.
const QUINTIC: [f64; 3] = [3.4445, -4.7750, 2.0315];

/// One step for a hidden matrix; the state is the momentum.
pub(super) fn step<B: Backend>(
    settings: &Muon,
    options: StepOptions,
    [rows, columns]: [usize; 2],
    weight: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    state: Vec<Tensor<B, 1>>,
) -> (Tensor<B, 1>, Vec<Tensor<B, 1>>) {
    let keep = settings.momentum;
    let momentum = state.into_iter().next().unwrap_or_else(|| gradient.zeros_like());
    let momentum = momentum.mul_scalar(keep) + gradient.clone().mul_scalar(1.0 - keep);
    // Nesterov's look ahead, which the author uses throughout.
    let direction = gradient.mul_scalar(1.0 - keep) + momentum.clone().mul_scalar(keep);
    let direction = orthogonalise(direction.reshape([rows, columns]));
    let factor = (columns as f64 / rows as f64).max(1.0).sqrt();
    let update = direction.reshape([rows * columns]).mul_scalar(options.rate * factor);
    (options.decayed(weight) - update, vec![momentum])
}

/// The settings for everything else: AdamW with the momenta that Muon's author pairs it with.
pub(super) fn others(settings: &Muon) -> AdamW {
    AdamW {
        learning_rate: settings.learning_rate * settings.adamw_share,
        weight_decay: settings.weight_decay,
        betas: [0.9, 0.95],
        epsilon: 1e-10,
    }
}

/// The options for everything else.
pub(super) fn others_options(settings: &Muon, options: StepOptions) -> StepOptions {
    StepOptions { rate: options.rate * settings.adamw_share, ..options }
}

/// The nearest matrix with orthonormal rows or columns, roughly: `[rows, columns]` to the same.
fn orthogonalise<B: Backend>(matrix: Tensor<B, 2>) -> Tensor<B, 2> {
    let [rows, columns] = matrix.dims();
    // The smaller side first, so that the products below are small.
    let tall = rows > columns;
    let mut x = if tall { matrix.transpose() } else { matrix };
    let norm = x.clone().square().sum().sqrt().add_scalar(1e-7);
    x = x / norm.reshape([1, 1]);
    let [a, b, c] = QUINTIC;
    for _ in 0..ITERATIONS {
        let gram = x.clone().matmul(x.clone().transpose());
        let polynomial = gram.clone().mul_scalar(b) + gram.clone().matmul(gram).mul_scalar(c);
        x = x.clone().mul_scalar(a) + polynomial.matmul(x);
    }
    if tall { x.transpose() } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn singular_values_come_near_one() {
        let device = Default::default();
        // Singular values 3 and 0.2: a rotation of a diagonal.
        let (sin, cos) = (0.6_f32, 0.8_f32);
        let matrix = Tensor::<Flex, 2>::from_floats(
            [[3.0 * cos, 3.0 * sin, 0.0], [-0.2 * sin, 0.2 * cos, 0.0]],
            &device,
        );
        for matrix in [matrix.clone(), matrix.transpose()] {
            let [rows, columns] = matrix.dims();
            let near = orthogonalise(matrix);
            assert_eq!(near.dims(), [rows, columns]);
            let gram = if rows < columns {
                near.clone().matmul(near.transpose())
            } else {
                near.clone().transpose().matmul(near)
            };
            let gram = gram.into_data().into_vec::<f32>().unwrap();
            for (at, value) in gram.iter().enumerate() {
                let diagonal = at % 3 == 0;
                let range = if diagonal { 0.4..1.5 } else { -0.1..0.1 };
                assert!(range.contains(value), "{gram:?}");
            }
        }
    }

    #[test]
    fn a_zero_gradient_moves_nothing() {
        let device = Default::default();
        let zeros = Tensor::<Flex, 1>::zeros([6], &device);
        let options = StepOptions { rate: 0.1, decay: 0.0 };
        let weight = Tensor::<Flex, 1>::ones([6], &device);
        let (weight, _) = step(&Muon::default(), options, [2, 3], weight, zeros, Vec::new());
        assert_eq!(weight.into_data().into_vec::<f32>().unwrap(), vec![1.0; 6]);
    }
}
