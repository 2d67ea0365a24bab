//! Tokens: what frontends make and backbones transform.

use burn::tensor::{Bool, Int, Tensor, backend::Backend};

/// A batch of token sequences.
#[derive(Clone, Debug)]
pub struct Tokens<B: Backend> {
    /// `[batch, tokens, width]`
    pub values: Tensor<B, 3>,
    /// `[batch, tokens]`, true where a token is padding that nothing may attend to; `None` when
    /// there is no padding.
    pub mask_pad: Option<Tensor<B, 2, Bool>>,
    /// How many consecutive sequences of the batch belong to one item: the channels of a
    /// multivariate series, otherwise 1.
    pub channels: usize,
}

impl<B: Backend> Tokens<B> {
    /// Sequences without padding, one an item.
    pub fn new(values: Tensor<B, 3>) -> Self {
        Self { values, mask_pad: None, channels: 1 }
    }

    /// The same layout with other values, `[batch, tokens, any width]`.
    pub fn with_values(self, values: Tensor<B, 3>) -> Self {
        Self { values, ..self }
    }

    /// The mean of what is no padding, one vector an item: `[batch / channels, width]`.
    pub fn mean(&self) -> Tensor<B, 2> {
        let ([batch, _, width], channels) = (self.dims(), self.channels.max(1));
        self.means().reshape([batch / channels, channels, width]).mean_dim(1).squeeze_dim(1)
    }

    /// The mean of what is no padding, one vector a sequence: `[batch, width]`.
    pub fn means(&self) -> Tensor<B, 2> {
        let [batch, tokens, width] = self.dims();
        let x = self.values.clone();
        let means = match &self.mask_pad {
            None => x.mean_dim(1),
            Some(pad) => {
                let seen = pad.clone().bool_not().int().sum_dim(1).float().clamp_min(1.0);
                let blank = pad.clone().unsqueeze_dim::<3>(2).expand([batch, tokens, width]);
                x.mask_fill(blank, 0.0).sum_dim(1) / seen.unsqueeze_dim(2)
            }
        };
        means.squeeze_dim(1)
    }

    /// The same of sequences that stand in groups of `group_size`, one tensor `[groups, width]` a
    /// member of the groups.
    pub fn means_of_groups(&self, group_size: usize) -> Vec<Tensor<B, 2>> {
        members_of_groups(self.mean(), group_size)
    }

    /// Batch, tokens and width.
    pub fn dims(&self) -> [usize; 3] {
        self.values.dims()
    }
}

/// The members of groups that follow each other, `[groups * group_size, width]`: one tensor
/// `[groups, width]` a member.
pub fn members_of_groups<B: Backend>(x: Tensor<B, 2>, group_size: usize) -> Vec<Tensor<B, 2>> {
    let [rows, width] = x.dims();
    let size = group_size.max(1);
    let groups = x.reshape([rows / size, size, width]);
    (0..size).map(|member| groups.clone().narrow(1, member, 1).squeeze_dim(1)).collect()
}

/// Token targets: what each token stands for, which an objective may ask a model to predict.
#[derive(Clone, Debug)]
pub enum TokenTargets<B: Backend> {
    /// Continuous values: a patch of a series, of an image, of a spectrogram.
    Values {
        /// `[batch, tokens, target width]`
        values: Tensor<B, 3>,
        /// `[batch, tokens, target width]`, true where the value is missing and must not be
        /// scored; `None` when nothing is missing.
        mask_missing: Option<Tensor<B, 3, Bool>>,
    },
    /// Ids out of a vocabulary.
    Ids {
        /// `[batch, tokens]`
        ids: Tensor<B, 2, Int>,
    },
}

/// Tokens as a backbone predicts them beside their content as a quantizer codes it.
#[derive(Clone, Debug)]
pub struct Quantized<B: Backend> {
    /// `[batch, tokens, width]`, the backbone's output.
    pub tokens: Tokens<B>,
    /// `[picked, code width]`, predicted from the tokens.
    pub predictions: Tensor<B, 2>,
    /// `[picked, code width]`, the codes.
    pub codes: Tensor<B, 2>,
    /// `[picked, groups]`, which entry of each group's codebook was taken.
    pub entries: Tensor<B, 2, Int>,
    /// `[groups, entries]`, how likely each entry is, the mean over the tokens picked.
    pub usage: Tensor<B, 2>,
    /// `[1]`, the mean square of the frontend's features before any norm.
    pub power: Tensor<B, 1>,
}
