//! Patches of rows, and linear layers over them that channels may share.

use burn::{
    module::Module,
    tensor::{Tensor, TensorData},
};
use kiln_core::Backend;
use kiln_nn::{Linear, LinearConfig};

/// Cuts rows into patches: `[batch, rows, channels]` to `[batch * channels, patches, patch]`. Rows
/// that fill no patch are left out at the beginning.
pub fn patches<B: Backend>(rows: Tensor<B, 3>, patch: usize, stride: usize) -> Tensor<B, 3> {
    let [batch, length, channels] = rows.dims();
    let count = (length.saturating_sub(patch)) / stride + 1;
    let start = length - (patch + stride * (count - 1));
    let series = rows.swap_dims(1, 2).reshape([batch * channels, length]);
    if patch == stride {
        return series.narrow(1, start, count * patch).reshape([batch * channels, count, patch]);
    }
    let index: Vec<i64> = (0..count)
        .flat_map(|token| (0..patch).map(move |row| (start + token * stride + row) as i64))
        .collect();
    let index = Tensor::from_data(TensorData::new(index, [count * patch]), &series.device());
    series.select(1, index).reshape([batch * channels, count, patch])
}

/// A linear layer that channels share, or one for each.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a model has a few")]
pub enum ChannelLinear<B: Backend> {
    /// One for all.
    Shared(Linear<B>),
    /// One for each channel.
    Each(Vec<Linear<B>>),
}

impl<B: Backend> ChannelLinear<B> {
    /// A layer with random weights.
    pub fn init(from: usize, to: usize, shared: bool, channels: usize, device: &B::Device) -> Self {
        let linear = || LinearConfig::new(from, to).init(device);
        if shared {
            Self::Shared(linear())
        } else {
            Self::Each((0..channels).map(|_| linear()).collect())
        }
    }

    /// `[batch * channels, tokens, from]` to `[batch * channels, tokens, to]`.
    pub fn forward(&self, x: Tensor<B, 3>, channels: usize) -> Tensor<B, 3> {
        match self {
            Self::Shared(linear) => linear.forward(x),
            Self::Each(linears) => {
                let [rows, tokens, from] = x.dims();
                let x = x.reshape([rows / channels.max(1), channels, tokens, from]);
                let each = linears
                    .iter()
                    .enumerate()
                    .map(|(channel, linear)| linear.forward(x.clone().narrow(1, channel, 1)))
                    .collect();
                let x = Tensor::cat(each, 1);
                let to = x.dims()[3];
                x.reshape([rows, tokens, to])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;
    use burn_flex::Flex;

    fn rows() -> Tensor<Flex, 3> {
        // Two channels: 0, 2, 4, 6, 8 and 1, 3, 5, 7, 9.
        Tensor::<Flex, 1, Int>::arange(0..10, &Default::default()).float().reshape([1, 5, 2])
    }

    fn host<const D: usize>(x: Tensor<Flex, D>) -> Vec<f32> {
        x.into_data().to_vec().unwrap()
    }

    #[test]
    fn patches_drop_rows_at_the_beginning() {
        let cut = patches(rows(), 2, 2);
        assert_eq!(cut.dims(), [2, 2, 2]);
        assert_eq!(host(cut), [2.0, 4.0, 6.0, 8.0, 3.0, 5.0, 7.0, 9.0]);
        let overlapping = patches(rows(), 3, 1);
        assert_eq!(overlapping.dims(), [2, 3, 3]);
        assert_eq!(
            host(overlapping.narrow(0, 0, 1)),
            [0.0, 2.0, 4.0, 2.0, 4.0, 6.0, 4.0, 6.0, 8.0]
        );
    }
}
