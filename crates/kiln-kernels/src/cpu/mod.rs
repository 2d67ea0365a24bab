//! What the CPU versions share: views of Flex tensors, a fixed division of work among threads,
//! SIMD chosen at run time and the elementary functions that vectorise.

mod buffer;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod matrix;
mod online_log_sum_exp;
pub(crate) mod simd;
mod tiles;
mod work;

pub(crate) use buffer::{Buffer, buffer, zeros};
pub(crate) use online_log_sum_exp::OnlineLogSumExp;
pub(crate) use work::{
    add_to_rows, chunks, column_sums, fill_rows, par_rows, par_split, sequence_chunks, split_rows,
    total,
};

use crate::plain::rows;
use burn::tensor::{DType, Element, Shape};
use burn_flex::{FlexTensor, Layout};
use bytemuck::Pod;

/// The values of a contiguous tensor.
pub(crate) fn values<E: Element + Pod>(tensor: &FlexTensor) -> &[E] {
    let layout = tensor.layout();
    debug_assert!(layout.is_contiguous());
    &tensor.storage::<E>()[layout.start_offset()..layout.start_offset() + layout.num_elements()]
}

/// The tensor itself where its values lie in order, else a copy where they do.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The tensor itself where no dimension runs backwards, else a copy.
pub(crate) fn unflipped(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().has_positive_strides() { tensor } else { tensor.to_contiguous() }
}

/// The values of an integer tensor, whatever its type.
pub(crate) fn integers(tensor: FlexTensor) -> Vec<i64> {
    let tensor = contiguous(tensor);
    match tensor.dtype() {
        DType::I64 => values::<i64>(&tensor).to_vec(),
        DType::I32 => values::<i32>(&tensor).iter().map(|&value| i64::from(value)).collect(),
        _ => tensor.into_data().iter::<i64>().collect(),
    }
}

/// A tensor of these values.
pub(crate) fn tensor(values: impl Into<Buffer>, shape: impl Into<Shape>) -> FlexTensor {
    let (values, shape) = (values.into(), shape.into());
    debug_assert_eq!(values.len(), shape.num_elements());
    FlexTensor::new(values.into_bytes(), Layout::contiguous(shape), DType::F32)
}

/// Rows and columns of a tensor seen as a matrix of its last dimension.
pub(crate) fn matrix(tensor: &FlexTensor) -> (usize, usize) {
    rows(tensor.layout().shape())
}

/// The tensor itself where its values lie in order and are all there is in its memory, else a copy:
/// what [`values_mut`] may write to.
pub(crate) fn updatable(tensor: FlexTensor) -> FlexTensor {
    // Shared memory is copied when it is first written to.
    tensor.to_contiguous()
}

/// The values of an [`updatable`] tensor, to write; copied first if they are anybody else's, too.
pub(crate) fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    debug_assert!(tensor.is_contiguous() && tensor.layout().start_offset() == 0);
    tensor.storage_mut::<f32>()
}
