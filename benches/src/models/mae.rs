//! A masked autoencoder, ViT-S/16 on 224 pixels, <https://arxiv.org/abs/2111.06377>.
//!
//! The kept quarter of the patches is embedded and encoded with a class token; a narrower
//! transformer sees learned tokens in the place of the others and predicts their pixels, each patch
//! normalised by itself. Positions are learned here, sines in the paper; removed patches alone are
//! projected to pixels. Neither matters to the time of a step.

use super::{Model, transformer};
use crate::{Result, tensors::Tensors};
use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor},
};
use kiln_core::{Backend, Tokens};
use kiln_nn::{Linear, LinearConfig, Transformer, TransformerConfig};

const PIXELS: usize = 224;
const PATCH: usize = 16;
/// Patches along a side.
const SIDE: usize = PIXELS / PATCH;
/// Patches of an image.
const COUNT: usize = SIDE * SIDE;
const WIDTH: usize = 384;
const DECODER_WIDTH: usize = 512;
/// Values of a patch: rows, columns, colours.
const VALUES: usize = PATCH * PATCH * 3;

/// A masked autoencoder.
#[derive(Module, Debug)]
pub struct Mae<B: Backend> {
    patch: Linear<B>,
    /// `[1, 1 + patches, width]`, the class token's first.
    position: Param<Tensor<B, 3>>,
    class_token: Param<Tensor<B, 3>>,
    encoder: Transformer<B>,
    adapter: Linear<B>,
    mask_token: Param<Tensor<B, 3>>,
    decoder_position: Param<Tensor<B, 3>>,
    decoder: Transformer<B>,
    pixels: Linear<B>,
}

/// Images and which of their patches are removed.
#[derive(Debug, Clone)]
pub struct MaskedImages<B: Backend> {
    /// `[batch, 3, height, width]`
    images: Tensor<B, 4>,
    /// `[batch * kept]`, rows among all patches of the batch.
    kept: Tensor<B, 1, Int>,
    /// `[batch * removed]`, likewise.
    removed: Tensor<B, 1, Int>,
    /// `[batch * patches]`: where each patch stands among the kept of its image followed by its
    /// mask tokens, as a row of the batch.
    restore: Tensor<B, 1, Int>,
}

impl<B: Backend> Model<B> for Mae<B> {
    type Batch = MaskedImages<B>;
    type Query = Tensor<B, 4>;

    fn new(device: &B::Device) -> Self {
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        let encoder = TransformerConfig { final_norm: true, ..transformer(12, 6, 1e-6) };
        let decoder = TransformerConfig { final_norm: true, ..transformer(8, 16, 1e-6) };
        Self {
            patch: LinearConfig::new(VALUES, WIDTH).init(device),
            position: small.init([1, 1 + COUNT, WIDTH], device),
            class_token: small.init([1, 1, WIDTH], device),
            encoder: encoder.init(WIDTH, device),
            adapter: LinearConfig::new(WIDTH, DECODER_WIDTH).init(device),
            mask_token: small.init([1, 1, DECODER_WIDTH], device),
            decoder_position: small.init([1, 1 + COUNT, DECODER_WIDTH], device),
            decoder: decoder.init(DECODER_WIDTH, device),
            pixels: LinearConfig::new(DECODER_WIDTH, VALUES).init(device),
        }
    }

    fn batch(tensors: &Tensors, device: &B::Device) -> Result<Self::Batch> {
        Ok(MaskedImages {
            images: tensors.floats("images", device)?,
            kept: tensors.ints("kept", device)?,
            removed: tensors.ints("removed", device)?,
            restore: tensors.ints("restore", device)?,
        })
    }

    fn query(tensors: &Tensors, device: &B::Device) -> Result<Self::Query> {
        tensors.floats("images", device)
    }

    fn loss(&self, batch: &Self::Batch) -> Tensor<B, 1> {
        let [images, ..] = batch.images.dims();
        let patches = patches(batch.images.clone());
        let target = standardised(patches.clone().select(0, batch.removed.clone()));
        let encoded = self.encode(patches, images, Some(batch.kept.clone()));
        self.decode(encoded, batch).sub(target).square().mean()
    }

    /// All patches encoded.
    fn infer(&self, images: &Self::Query) -> Tensor<B, 3> {
        let [count, ..] = images.dims();
        self.encode(patches(images.clone()), count, None)
    }
}

impl<B: Backend> Mae<B> {
    /// `[images * patches, values]` to `[images, 1 + kept, width]`.
    fn encode(
        &self,
        patches: Tensor<B, 2>,
        images: usize,
        kept: Option<Tensor<B, 1, Int>>,
    ) -> Tensor<B, 3> {
        let position = self.position.val();
        let place = position.clone().narrow(1, 1, COUNT).reshape([COUNT, WIDTH]);
        let x = match kept {
            Some(kept) => {
                let place = place.select(0, kept.clone().remainder_scalar(COUNT as i64));
                self.patch.forward(patches.select(0, kept)) + place
            }
            None => self.patch.forward(patches) + place.repeat_dim(0, images),
        };
        let [rows, _] = x.dims();
        let class = self.class_token.val() + position.narrow(1, 0, 1);
        let class = class.expand([images, 1, WIDTH]);
        let x = Tensor::cat(vec![class, x.reshape([images, rows / images, WIDTH])], 1);
        self.encoder.forward(Tokens::new(x), false).values
    }

    /// The removed patches' values, `[images * removed, values]`.
    fn decode(&self, encoded: Tensor<B, 3>, batch: &MaskedImages<B>) -> Tensor<B, 2> {
        let x = self.adapter.forward(encoded);
        let [images, tokens, width] = x.dims();
        let masks = self.mask_token.val().expand([images, 1 + COUNT - tokens, width]);
        let patches = Tensor::cat(vec![x.clone().narrow(1, 1, tokens - 1), masks], 1);
        let patches = patches.reshape([images * COUNT, width]).select(0, batch.restore.clone());
        let patches = patches.reshape([images, COUNT, width]);
        let x = Tensor::cat(vec![x.narrow(1, 0, 1), patches], 1) + self.decoder_position.val();
        let x = self.decoder.forward(Tokens::new(x), false).values.narrow(1, 1, COUNT);
        let x = x.reshape([images * COUNT, width]).select(0, batch.removed.clone());
        self.pixels.forward(x)
    }
}

/// `[batch, 3, height, width]` to `[batch * patches, rows * columns * colours]`.
fn patches<B: Backend>(images: Tensor<B, 4>) -> Tensor<B, 2> {
    let [batch, colours, ..] = images.dims();
    images
        .reshape([batch, colours, SIDE, PATCH, SIDE, PATCH])
        .permute([0, 2, 4, 3, 5, 1])
        .reshape([batch * COUNT, VALUES])
}

/// Each patch with mean 0 and variance 1.
fn standardised<B: Backend>(patches: Tensor<B, 2>) -> Tensor<B, 2> {
    let (variance, mean) = patches.clone().var_mean(1);
    (patches - mean) / variance.add_scalar(1e-6).sqrt()
}
