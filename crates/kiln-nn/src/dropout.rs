//! Dropout, <https://jmlr.org/papers/v15/srivastava14a.html>, replayed in the backward pass rather
//! than remembered.

use burn::{module::Module, tensor::Tensor};
use kiln_core::Backend;
use kiln_kernels::{AttentionDropout, is_training, next_seed};

/// Drops a share of what it is given while training, and scales what stays up to make up for it.
#[derive(Module, Clone, Debug)]
pub struct Dropout {
    share: f64,
}

impl Dropout {
    /// Drops this share, at least 0 and below 1.
    pub fn new(share: f64) -> Self {
        Self { share }
    }

    /// Tensors of any shape.
    pub fn forward<B: Backend, const D: usize>(&self, x: Tensor<B, D>) -> Tensor<B, D> {
        if self.is_active::<B>(&x.device()) {
            kiln_kernels::dropout(x, self.share, next_seed())
        } else {
            x
        }
    }

    /// `residual` plus what is left of `x`.
    pub fn forward_onto<B: Backend, const D: usize>(
        &self,
        x: Tensor<B, D>,
        residual: Tensor<B, D>,
    ) -> Tensor<B, D> {
        if self.is_active::<B>(&x.device()) {
            kiln_kernels::dropout_add(x, residual, self.share, next_seed())
        } else {
            residual + x
        }
    }

    /// What attention is told to drop of its weights.
    pub fn for_attention<B: Backend>(&self, device: &B::Device) -> Option<AttentionDropout> {
        self.is_active::<B>(device).then(|| AttentionDropout { p: self.share, seed: next_seed() })
    }

    /// Whether to leave out a whole block this time (stochastic depth,
    /// <https://arxiv.org/abs/1603.09382>): drawn again with each call, never outside training.
    pub fn skips<B: Backend>(&self, device: &B::Device) -> bool {
        self.is_active::<B>(device) && f64::from(next_seed()[0]) / 4_294_967_296.0 < self.share
    }

    /// Whether anything is dropped now: not outside training.
    pub fn is_active<B: Backend>(&self, device: &B::Device) -> bool {
        self.share > 0.0 && is_training::<B>(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::Autodiff;
    use burn_flex::Flex;

    #[test]
    fn skips_its_share_in_training_only() {
        let device = Default::default();
        let dropout = Dropout::new(0.25);
        let skipped = (0..4000).filter(|_| dropout.skips::<Autodiff<Flex>>(&device)).count();
        assert!((900..1100).contains(&skipped), "{skipped}");
        assert!((0..100).all(|_| !dropout.skips::<Flex>(&device)));
        kiln_kernels::eval_mode(|| {
            assert!((0..100).all(|_| !dropout.skips::<Autodiff<Flex>>(&device)));
        });
    }

    #[test]
    fn drops_its_share_in_training_only() {
        let device = Default::default();
        let dropout = Dropout::new(0.25);
        let x = Tensor::<Autodiff<Flex>, 1>::ones([10_000], &device);
        let values: Vec<f32> = dropout.forward(x.clone()).into_data().to_vec().unwrap();
        let dropped = values.iter().filter(|&&value| value == 0.0).count();
        assert!((2300..2700).contains(&dropped), "{dropped}");
        assert!(values.iter().all(|&value| value == 0.0 || (value - 4.0 / 3.0).abs() < 1e-6));
        let other: Vec<f32> = dropout.forward(x.clone()).into_data().to_vec().unwrap();
        assert_ne!(values, other, "each call draws again");
        let still = kiln_kernels::eval_mode(|| dropout.forward(x.clone()));
        assert_eq!(still.into_data(), x.clone().into_data());
        let x = x.inner();
        assert_eq!(dropout.forward(x.clone()).into_data(), x.clone().into_data());
        assert_eq!(dropout.forward_onto(x.clone(), x.clone()).into_data(), (x * 2.0).into_data());
    }
}
