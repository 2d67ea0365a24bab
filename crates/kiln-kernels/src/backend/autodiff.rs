//! Gradients: a recorded kernel is one node of Burn's graph.

use crate::kernel::{Backend, Differentiable, Kernel, Tensors};
use burn::{
    backend::{
        Autodiff,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
    },
    tensor::ops::FloatTensor,
};
use std::marker::PhantomData;

impl<B: Backend, C: CheckpointStrategy> Backend for Autodiff<B, C> {
    /// A kernel without a backward step of its own is recorded as what its reference does.
    fn run<K: Kernel>(kernel: &K, inputs: Tensors<Self>) -> Vec<FloatTensor<Self>> {
        kernel.reference::<Self>(inputs)
    }

    fn record<K: Differentiable>(kernel: &K, inputs: Tensors<Self>) -> Vec<FloatTensor<Self>> {
        // Burn fixes the number of parents at compile time.
        match inputs.floats.len() {
            1 => record::<K, B, C, 1>(kernel, inputs),
            2 => record::<K, B, C, 2>(kernel, inputs),
            3 => record::<K, B, C, 3>(kernel, inputs),
            4 => record::<K, B, C, 4>(kernel, inputs),
            5 => record::<K, B, C, 5>(kernel, inputs),
            6 => record::<K, B, C, 6>(kernel, inputs),
            7 => record::<K, B, C, 7>(kernel, inputs),
            8 => record::<K, B, C, 8>(kernel, inputs),
            count => unreachable!("{} has {count} float inputs; extend the list", K::NAME),
        }
    }
}

fn record<K: Differentiable, B: Backend, C: CheckpointStrategy, const N: usize>(
    kernel: &K,
    inputs: Tensors<Autodiff<B, C>>,
) -> Vec<FloatTensor<Autodiff<B, C>>> {
    let nodes = std::array::from_fn::<_, N, _>(|index| inputs.floats[index].node.clone());
    let inner = Tensors::<B> {
        floats: inputs.floats.into_iter().map(|tensor| tensor.into_primitive()).collect(),
        ints: inputs.ints,
    };
    match Step::<K, B>(PhantomData).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(step) => {
            let kernel = kernel.recorded::<B>();
            let outputs = B::run(&kernel, inner.clone());
            let kept = kernel.keep::<B>(inner, &outputs);
            let mut outputs = outputs.into_iter();
            let first = outputs.next().map(|first| step.finish(Saved { kernel, kept }, first));
            first.into_iter().chain(outputs.map(FloatTensor::<Autodiff<B, C>>::new)).collect()
        }
        OpsKind::UnTracked(step) => {
            let mut outputs = B::run(kernel, inner).into_iter();
            let first = outputs.next().map(|first| step.finish(first));
            first.into_iter().chain(outputs.map(FloatTensor::<Autodiff<B, C>>::new)).collect()
        }
    }
}

/// The backward step of any kernel.
#[derive(Debug)]
struct Step<K, B>(PhantomData<(K, B)>);

#[derive(Debug, Clone)]
struct Saved<K, B: Backend> {
    kernel: K,
    kept: Tensors<B>,
}

impl<K: Differentiable, B: Backend, const N: usize> Backward<B, N> for Step<K, B> {
    type State = Saved<K, B>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let needed = ops.parents.each_ref().map(Option::is_some);
        let Saved { kernel, mut kept } = ops.state;
        kept.floats.push(gradient);
        let found = kernel.backward::<B>(kept, &needed);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(node), Some(gradient)) = (parent, gradient) {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}
