//! What a kernel is, and a backend that runs kernels.

use burn::tensor::{
    Shape, TensorMetadata,
    backend::{AutodiffBackend as BurnAutodiffBackend, Backend as BurnBackend},
    ops::{FloatTensor, IntTensor},
};
use burn_flex::{Flex, FlexTensor};
use std::fmt::Debug;

#[cfg(feature = "cube")]
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};

/// One fused operation; its fields are its settings.
///
/// The methods take and give primitives by position; the folder's public function gives the
/// positions names.
pub trait Kernel: Clone + Debug + Send + Sync + 'static {
    /// What it is called in profiles and fused graphs.
    const NAME: &'static str;

    /// Whether `cube` is written; otherwise the reference runs there, and Burn fuses
    /// what it can of it.
    const ON_CUBE: bool = false;

    /// Whether `cube` writes into inputs that nobody else holds. It must then cover
    /// all settings: the backend has let go of the inputs.
    const IN_PLACE: bool = false;

    /// What comes out of inputs of these shapes.
    fn outputs(&self, floats: &[Shape], ints: &[Shape]) -> Vec<Output>;

    /// The operation in plain tensor operations, for any backend and any float type. It defines
    /// what the other versions compute.
    fn reference<B: BurnBackend>(&self, inputs: Tensors<B>) -> Vec<FloatTensor<B>>;

    /// The version for the CPU. All floats are f32, in any layout.
    fn cpu(&self, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
        self.reference::<Flex>(inputs)
    }

    /// The version for GPUs. None where it does not cover these settings or shapes: then the
    /// reference runs.
    #[cfg(feature = "cube")]
    fn cube<R: CubeRuntime>(&self, inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
        let _ = inputs;
        None
    }
}

/// A kernel through which gradients flow, from its first output to its float inputs.
pub trait Differentiable: Kernel {
    /// The kernel as it runs where gradients are recorded: it may have more outputs, to keep.
    fn recorded<B: Backend>(&self) -> Self {
        self.clone()
    }

    /// What the backward step needs of inputs and outputs; nothing else is kept in memory. By
    /// default the inputs, and the outputs after the first.
    fn keep<B: BurnBackend>(&self, inputs: Tensors<B>, outputs: &[FloatTensor<B>]) -> Tensors<B> {
        let Tensors { mut floats, ints } = inputs;
        floats.extend(outputs.iter().skip(1).cloned());
        Tensors { floats, ints }
    }

    /// The gradients of the float inputs, in their order, from what was kept and, as the last float,
    /// the gradient of the first output. Only those that are `needed` are read.
    fn backward<B: Backend>(&self, kept: Tensors<B>, needed: &[bool]) -> Gradients<B>;
}

/// Burn's backend plus our kernels: what every model of Kiln is generic over.
pub trait Backend: BurnBackend {
    /// Whether a kernel keeps what its backward step would otherwise make again by a product, where
    /// that is not too much memory.
    const KEEPS: bool = false;

    /// Runs a kernel.
    fn run<K: Kernel>(kernel: &K, inputs: Tensors<Self>) -> Vec<FloatTensor<Self>>;

    /// Runs a kernel; where gradients are recorded, records it as one step. Only the first output
    /// carries a gradient.
    fn record<K: Differentiable>(kernel: &K, inputs: Tensors<Self>) -> Vec<FloatTensor<Self>> {
        Self::run(kernel, inputs)
    }
}

/// A [`Backend`] that records gradients; its inner backend is a [`Backend`] too.
pub trait AutodiffBackend: Backend + BurnAutodiffBackend<InnerBackend: Backend> {}

impl<B: Backend + BurnAutodiffBackend<InnerBackend: Backend>> AutodiffBackend for B {}

/// A gradient for each float input, or none.
pub type Gradients<B> = Vec<Option<FloatTensor<B>>>;

/// The inputs of a kernel.
#[derive(Debug, Clone)]
pub struct Tensors<B: BurnBackend> {
    /// Floats, all of one type.
    pub floats: Vec<FloatTensor<B>>,
    /// Integers: ids, lengths, positions.
    pub ints: Vec<IntTensor<B>>,
}

impl<B: BurnBackend> Tensors<B> {
    /// Of floats alone.
    pub fn floats(floats: impl IntoIterator<Item = FloatTensor<B>>) -> Self {
        Self { floats: floats.into_iter().collect(), ints: Vec::new() }
    }

    /// With these integers.
    pub fn with_ints(self, ints: impl IntoIterator<Item = IntTensor<B>>) -> Self {
        Self { ints: ints.into_iter().collect(), ..self }
    }

    /// The shapes of floats and integers.
    pub fn shapes(&self) -> (Vec<Shape>, Vec<Shape>) {
        let floats = self.floats.iter().map(|tensor| tensor.shape()).collect();
        (floats, self.ints.iter().map(|tensor| tensor.shape()).collect())
    }

    /// The floats by name.
    ///
    /// # Panics
    /// When there are not `N`: a kernel called itself wrongly.
    pub fn take<const N: usize>(self) -> [FloatTensor<B>; N] {
        let count = self.floats.len();
        match self.floats.try_into() {
            Ok(floats) => floats,
            Err(_) => unreachable!("a kernel expected {N} float tensors and was given {count}"),
        }
    }
}

/// The inputs of a kernel on a GPU: contiguous floats and contiguous 32-bit integers.
#[cfg(feature = "cube")]
#[derive(Debug, Clone)]
pub struct CubeTensors<R: CubeRuntime> {
    /// Floats.
    pub floats: Vec<CubeTensor<R>>,
    /// Integers.
    pub ints: Vec<CubeTensor<R>>,
}

/// Shape and float type of an output of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its shape.
    pub shape: Shape,
    /// Whether it is f32 whatever the inputs are: statistics and sums.
    pub full_precision: bool,
}

impl Output {
    /// Of the inputs' float type.
    pub fn new(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), full_precision: false }
    }

    /// As the inputs of these shapes.
    pub(crate) fn like(shapes: &[Shape]) -> Vec<Self> {
        shapes.iter().cloned().map(Self::new).collect()
    }

    /// Of f32.
    pub fn full_precision(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), full_precision: true }
    }
}

/// Implements [`Kernel`]: type, name, and the function of that name in each of the modules
/// `reference`, `cpu` and, where `cube` follows, `cube`; `in_place` after it is
/// [`Kernel::IN_PLACE`]. The closure is [`Kernel::outputs`].
macro_rules! impl_kernel {
    (
        $kernel:ty, $name:literal, $function:ident $(, $cube:ident $($in_place:ident)?)?,
        |$this:pat_param, $floats:pat_param, $ints:pat_param| $outputs:expr
    ) => {
        impl $crate::Kernel for $kernel {
            const NAME: &'static str = $name;
            $(
                const ON_CUBE: bool = !stringify!($cube).is_empty();
                $(const IN_PLACE: bool = !stringify!($in_place).is_empty();)?
            )?

            fn outputs(
                &self,
                floats: &[burn::tensor::Shape],
                ints: &[burn::tensor::Shape],
            ) -> Vec<$crate::Output> {
                let ($this, $floats, $ints) = (self, floats, ints);
                $outputs
            }

            fn reference<B: burn::tensor::backend::Backend>(
                &self,
                inputs: $crate::Tensors<B>,
            ) -> Vec<burn::tensor::ops::FloatTensor<B>> {
                reference::$function(self, inputs)
            }

            fn cpu(
                &self,
                inputs: $crate::Tensors<burn_flex::Flex>,
            ) -> Vec<burn_flex::FlexTensor> {
                cpu::$function(self, inputs)
            }

            $(
                #[cfg(feature = "cube")]
                fn cube<R: burn_cubecl::CubeRuntime>(
                    &self,
                    inputs: &$crate::cube::CubeTensors<R>,
                ) -> Option<Vec<burn_cubecl::tensor::CubeTensor<R>>> {
                    $cube::$function(self, inputs).into()
                }
            )?
        }
    };
}
pub(crate) use impl_kernel;
