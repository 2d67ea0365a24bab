//! Blocks that compute in another type than what surrounds them.

use burn::tensor::{FloatDType, Tensor};
use kiln_core::Backend;

/// Runs `blocks` in the type of their weights, that of `weight`: where a trainer has cast those to
/// half precision, so is what enters, and what leaves has the type of `x` again. Norms after the
/// blocks, heads and losses stay in full precision.
pub(crate) fn in_type_of<B: Backend, const D: usize>(
    weight: Option<Tensor<B, 2>>,
    x: Tensor<B, D>,
    blocks: impl FnOnce(Tensor<B, D>) -> Tensor<B, D>,
) -> Tensor<B, D> {
    let outside = x.dtype();
    let out = blocks(as_type_of(weight, x));
    if out.dtype() == outside { out } else { out.cast(FloatDType::from(outside)) }
}

/// Something else that blocks of such weights look at, in their type.
pub(crate) fn as_type_of<B: Backend, const D: usize>(
    weight: Option<Tensor<B, 2>>,
    x: Tensor<B, D>,
) -> Tensor<B, D> {
    match weight {
        // Of integers that stand for numbers nothing is asked.
        Some(weight) if weight.dtype().is_float() && weight.dtype() != x.dtype() => {
            x.cast(FloatDType::from(weight.dtype()))
        }
        _ => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::DType;
    use burn_flex::Flex;

    #[test]
    fn half_inside_full_outside() {
        let x = Tensor::<Flex, 2>::ones([1, 2], &Default::default());
        let weight = x.clone().cast(DType::BF16);
        let out = in_type_of(Some(weight), x.clone(), |x| {
            assert_eq!(x.dtype(), DType::BF16);
            x.add_scalar(1.0 / 1024.0)
        });
        // A thousandth is lost beside one in half precision.
        assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [1.0, 1.0]);
        let out = in_type_of(None, x, |x| x);
        assert_eq!(out.dtype(), DType::F32);
    }
}
