//! What holds a kernel to its reference: the same work on a backend in its own precision and by the
//! reference in f64, forward and backward.

use crate::{Backend, Differentiable, Kernel, Tensors};
use burn::{
    backend::Autodiff,
    tensor::{
        DType, Int, Shape, Tensor, TensorData, TensorMetadata, TensorPrimitive,
        backend::{AutodiffBackend, Backend as BurnBackend},
        ops::{FloatTensor, FloatTensorOps},
    },
};
use burn_flex::Flex;

/// Repeatable numbers for tests, roughly normal.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next of 32 random bits.
    pub fn bits(&mut self) -> u32 {
        // A 64-bit linear congruential generator; its upper half is random enough for tests.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.bits() as usize % end.max(1)
    }

    /// Mean 0, deviation 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| f64::from(self.bits()) / f64::from(u32::MAX)).sum::<f64>() - 6.0
    }

    /// A tensor of them.
    pub fn floats(&mut self, shape: impl Into<Shape>) -> TensorData {
        let shape = shape.into();
        let values: Vec<f32> = (0..shape.num_elements()).map(|_| self.normal() as f32).collect();
        TensorData::new(values, shape)
    }

    /// Integers below `end`.
    pub fn ids(&mut self, shape: impl Into<Shape>, end: usize) -> TensorData {
        let shape = shape.into();
        let values: Vec<i64> = (0..shape.num_elements()).map(|_| self.below(end) as i64).collect();
        TensorData::new(values, shape)
    }
}

/// How a check is made.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The float type of the version under test.
    pub dtype: DType,
    /// `‖found - expected‖ / ‖expected‖` of each output and gradient.
    pub tolerance: f64,
}

impl Check {
    /// f32 within 1e-5.
    pub const F32: Self = Self { dtype: DType::F32, tolerance: 1e-5 };
    /// bf16 within 1e-2.
    pub const BF16: Self = Self { dtype: DType::BF16, tolerance: 1e-2 };
}

/// The outputs of a kernel on `B` against the reference in f64.
pub fn outputs_agree<B: Backend, K: Kernel>(
    check: Check,
    kernel: &K,
    floats: &[TensorData],
    ints: &[TensorData],
) {
    let device = B::Device::default();
    let found = B::run(kernel, load::<B>(check.dtype, floats, ints, &device));
    let expected =
        kernel.reference::<Flex>(load::<Flex>(DType::F64, floats, ints, &Default::default()));
    let (shapes, int_shapes) = load::<B>(check.dtype, floats, ints, &device).shapes();
    let described = kernel.outputs(&shapes, &int_shapes);
    assert_eq!(found.len(), expected.len(), "{}: outputs", K::NAME);
    assert_eq!(found.len(), described.len(), "{}: described outputs", K::NAME);
    for (index, ((found, expected), described)) in
        found.into_iter().zip(expected).zip(described).enumerate()
    {
        assert_eq!(found.shape(), described.shape, "{}: shape of output {index}", K::NAME);
        assert_eq!(found.shape(), expected.shape(), "{}: shape of output {index}", K::NAME);
        let what = format!("{}: output {index}", K::NAME);
        close(&what, check.tolerance, &read::<B>(found), &read::<Flex>(expected));
    }
}

/// The first output of a kernel on `B`, and the gradients of its float inputs, against the
/// reference in f64, for a loss that weighs every value of the output differently.
pub fn gradients_agree<B: Backend, K: Differentiable>(
    check: Check,
    kernel: &K,
    floats: &[TensorData],
    ints: &[TensorData],
) {
    let device = B::Device::default();
    let (found, found_gradients) = run_backward::<B>(
        |inputs| Autodiff::<B>::record(kernel, inputs),
        load::<B>(check.dtype, floats, ints, &device),
    );
    let (expected, expected_gradients) = run_backward::<Flex>(
        |inputs| kernel.reference::<Autodiff<Flex>>(inputs),
        load::<Flex>(DType::F64, floats, ints, &Default::default()),
    );
    close(&format!("{}: output", K::NAME), check.tolerance, &found, &expected);
    for (index, (found, expected)) in found_gradients.iter().zip(&expected_gradients).enumerate() {
        let what = format!("{}: gradient of input {index}", K::NAME);
        match (found, expected) {
            (Some(found), Some(expected)) => close(&what, check.tolerance, found, expected),
            // The reference has none where its output does not depend on the input at all.
            (None, None) => {}
            (Some(found), None) => assert!(found.iter().all(|&value| value == 0.0), "{what}"),
            (None, Some(_)) => panic!("{what} is missing"),
        }
    }
}

/// [`outputs_agree`] and [`gradients_agree`], in f32.
pub fn agrees<B: Backend, K: Differentiable>(
    kernel: &K,
    floats: &[TensorData],
    ints: &[TensorData],
) {
    outputs_agree::<B, _>(Check::F32, kernel, floats, ints);
    gradients_agree::<B, _>(Check::F32, kernel, floats, ints);
}

fn load<B: BurnBackend>(
    dtype: DType,
    floats: &[TensorData],
    ints: &[TensorData],
    device: &B::Device,
) -> Tensors<B> {
    let floats = floats.iter().map(|data| {
        let flat = TensorData::new(data.iter::<f32>().collect::<Vec<_>>(), [data.num_elements()]);
        let flat = Tensor::<B, 1>::from_data(flat.convert_dtype(DType::F32), device).cast(dtype);
        B::float_reshape(flat.into_primitive().tensor(), data.shape.clone())
    });
    let ints = ints.iter().map(|data| {
        let flat = TensorData::new(data.iter::<i64>().collect::<Vec<_>>(), [data.num_elements()]);
        let flat = Tensor::<B, 1, Int>::from_data(flat, device);
        B::int_reshape(flat.into_primitive(), data.shape.clone())
    });
    Tensors::floats(floats).with_ints(ints)
}

fn read<B: BurnBackend>(tensor: FloatTensor<B>) -> Vec<f64> {
    let count = tensor.shape().num_elements();
    let flat = B::float_reshape(tensor, [count].into());
    let flat = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(flat));
    flat.into_data().iter::<f64>().collect()
}

/// The first output and the gradients of every input.
fn run_backward<B: BurnBackend>(
    call: impl FnOnce(Tensors<Autodiff<B>>) -> Vec<FloatTensor<Autodiff<B>>>,
    inputs: Tensors<B>,
) -> (Vec<f64>, Vec<Option<Vec<f64>>>) {
    type A<B> = Autodiff<B>;
    let leaves: Vec<FloatTensor<A<B>>> = inputs
        .floats
        .into_iter()
        .map(|tensor| A::<B>::float_set_require_grad(A::<B>::from_inner(tensor), true))
        .collect();
    let out = call(Tensors { floats: leaves.clone(), ints: inputs.ints }).swap_remove(0);
    let count = out.shape().num_elements();
    let out = A::<B>::float_reshape(out, [count].into());
    let out = Tensor::<A<B>, 1>::from_primitive(TensorPrimitive::Float(out));
    // Weights of both signs that no symmetry of a kernel can cancel.
    let weights: Vec<f32> =
        (0..count).map(|index| ((index * 37 % 101) as f32 / 50.0) - 0.97).collect();
    let weights = Tensor::<A<B>, 1>::from_data(TensorData::new(weights, [count]), &out.device());
    let loss = (out.clone() * weights.cast(out.dtype())).sum();
    let mut gradients = loss.backward();
    let found = leaves
        .iter()
        .map(|leaf| A::<B>::grad_remove(leaf, &mut gradients).map(read::<B>))
        .collect();
    (read::<B>(A::<B>::inner(out.into_primitive().tensor())), found)
}

/// Whether `found` is within the relative tolerance of `expected`, as whole tensors.
///
/// # Panics
/// When it is not, or where either is not finite and the other is something else.
pub fn close(what: &str, tolerance: f64, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}: sizes");
    let (mut error, mut size) = (0.0, 0.0);
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        if !expected.is_finite() {
            assert_eq!(found.to_string(), expected.to_string(), "{what} at {index}");
            continue;
        }
        assert!(found.is_finite(), "{what} at {index}: {found}, expected {expected}");
        error += (found - expected).powi(2);
        size += expected.powi(2);
    }
    let (error, size) = (f64::sqrt(error), f64::sqrt(size));
    // Where everything is zero but for rounding, rounding is all there is to compare.
    let bound = tolerance * size.max(1e-3 * (found.len() as f64).sqrt());
    assert!(error <= bound, "{what}: off by {error:.3e} of {size:.3e} (allowed {bound:.3e})");
}

/// Writes a test module's tests once for every backend that this build can reach: `flex` always,
/// `vulkan` and `cuda` with those features.
#[macro_export]
macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        mod flex {
            $(#[test] fn $name() { super::$name::<burn_flex::Flex>() })+
        }
        #[cfg(feature = "vulkan")]
        mod vulkan {
            $(#[test] fn $name() { super::$name::<burn_wgpu::Wgpu>() })+
        }
        #[cfg(feature = "cuda")]
        mod cuda {
            $(#[test] fn $name() { super::$name::<burn_cuda::Cuda>() })+
        }
    };
}
