//! GPUs through CubeCL, with and without Burn's fusion.

use crate::kernel::{Backend, CubeTensors, Kernel, Tensors};
use burn::tensor::{DType, TensorMetadata, ops::FloatTensor};
use burn_cubecl::{
    BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement,
    kernel::{cast, into_contiguous},
};
use burn_fusion::{
    Fusion, FusionBackend, FusionHandle,
    stream::{Operation, OperationStreams},
};
use burn_ir::{CustomOpIr, HandleContainer, OperationIr, TensorIr};
use std::marker::PhantomData;

impl<R, F, I, BT> Backend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn run<K: Kernel>(kernel: &K, inputs: Tensors<Self>) -> Vec<FloatTensor<Self>> {
        if K::ON_CUBE && K::IN_PLACE {
            let tensors = cube_tensors(&inputs);
            drop(inputs);
            return match kernel.cube::<R>(&tensors) {
                Some(outputs) => outputs,
                None => unreachable!("{} works in place and has no other version", K::NAME),
            };
        }
        let found = K::ON_CUBE.then(|| kernel.cube::<R>(&cube_tensors(&inputs))).flatten();
        found.unwrap_or_else(|| kernel.reference::<Self>(inputs))
    }
}

/// The inputs as kernels read them.
fn cube_tensors<R: CubeRuntime, F: FloatElement, I: IntElement, BT: BoolElement>(
    inputs: &Tensors<CubeBackend<R, F, I, BT>>,
) -> CubeTensors<R> {
    let ints = inputs.ints.iter().cloned().map(|tensor| {
        let tensor = into_contiguous(tensor);
        if tensor.dtype == DType::I32 { tensor } else { cast(tensor, DType::I32) }
    });
    CubeTensors {
        floats: inputs.floats.iter().cloned().map(into_contiguous).collect(),
        ints: ints.collect(),
    }
}

impl<B: FusionBackend + Backend> Backend for Fusion<B> {
    fn run<K: Kernel>(kernel: &K, inputs: Tensors<Self>) -> Vec<FloatTensor<Self>> {
        let Some(first) = inputs.floats.first() else {
            return kernel.reference::<Self>(inputs);
        };
        if !K::ON_CUBE {
            return kernel.reference::<Self>(inputs);
        }
        let (client, dtype) = (first.client.clone(), first.dtype());
        let (floats, ints) = inputs.shapes();
        let outputs: Vec<TensorIr> = kernel
            .outputs(&floats, &ints)
            .into_iter()
            .map(|output| {
                let dtype = if output.full_precision { DType::F32 } else { dtype };
                TensorIr::uninit(client.create_empty_handle(), output.shape, dtype)
            })
            .collect();
        let streams = OperationStreams::with_inputs(inputs.floats.iter().chain(&inputs.ints));
        let float_count = inputs.floats.len();
        let inputs: Vec<TensorIr> =
            inputs.floats.into_iter().chain(inputs.ints).map(|tensor| tensor.into_ir()).collect();
        let description = CustomOpIr::new(K::NAME, &inputs, &outputs);
        let call = Call::<K, B> {
            kernel: kernel.clone(),
            description: description.clone(),
            float_count,
            backend: PhantomData,
        };
        client.register(streams, OperationIr::Custom(description), call)
    }
}

/// A kernel in Burn's stream of operations.
#[derive(Debug)]
struct Call<K, B> {
    kernel: K,
    description: CustomOpIr,
    float_count: usize,
    backend: PhantomData<B>,
}

impl<K: Kernel, B: FusionBackend + Backend> Operation<B::FusionRuntime> for Call<K, B> {
    fn execute(&self, handles: &mut HandleContainer<FusionHandle<B::FusionRuntime>>) {
        let (floats, ints) = self.description.inputs.split_at(self.float_count);
        let inputs = Tensors::<B> {
            floats: floats.iter().map(|tensor| handles.get_float_tensor::<B>(tensor)).collect(),
            ints: ints.iter().map(|tensor| handles.get_int_tensor::<B>(tensor)).collect(),
        };
        let outputs = B::run(&self.kernel, inputs);
        for (description, output) in self.description.outputs.iter().zip(outputs) {
            handles.register_float_tensor::<B>(&description.id, output);
        }
    }
}
