//! What attention is told of the tokens that it is over.

use burn::tensor::{Bool, Int, Tensor};
use kiln_core::Backend;
use kiln_kernels::{RotaryOptions, rotary};

/// Added to the scores of keys that are not seen: enough for a weight of zero in any precision.
pub(crate) const UNSEEN: f64 = -1e9;

/// Which tokens a token sees, and how it knows where they stand.
#[derive(Debug, Clone)]
pub struct Sees<B: Backend> {
    /// Padding, which no token sees: `[batch, tokens]`, true where it is; with a cache,
    /// `[batch, tokens seen before and now]`.
    pub mask_pad: Option<Tensor<B, 2, Bool>>,
    /// Only itself and those before it.
    pub causal: bool,
    /// Only those less than so many places away.
    pub window: Option<usize>,
    /// Documents one after the other in a batch of one, see [`kiln_kernels::AttentionOptions::offsets`].
    pub offsets: Option<Tensor<B, 1, Int>>,
    /// Added to the scores: `[batch or 1, heads or 1, tokens, tokens seen]`.
    pub bias: Option<Tensor<B, 4>>,
    /// Whether scores fall with the distance.
    pub alibi: bool,
    /// How queries and keys are turned.
    pub rotation: Option<Rotation<B>>,
}

impl<B: Backend> Sees<B> {
    /// Every token.
    pub fn all() -> Self {
        Self {
            mask_pad: None,
            causal: false,
            window: None,
            offsets: None,
            bias: None,
            alibi: false,
            rotation: None,
        }
    }
}

/// The angles of the positions at hand.
#[derive(Debug, Clone)]
pub struct Rotation<B: Backend> {
    /// `[positions, head_width / 2, 2]`
    pub table: Tensor<B, 3>,
    /// Which row of the table each token has, `[batch, tokens]`; its place if absent.
    pub rows: Option<Tensor<B, 2, Int>>,
}

impl<B: Backend> Rotation<B> {
    /// Turns the first `heads` of packed heads.
    pub(crate) fn turn(&self, packed: Tensor<B, 4>, heads: usize) -> Tensor<B, 4> {
        let options = RotaryOptions { heads: Some(heads), ..RotaryOptions::default() };
        rotary(packed, self.table.clone(), self.rows.clone(), options)
    }
}

/// Which tokens of each row are of another document than which: `[rows, tokens, tokens]`. Documents
/// begin at the `offsets`, counted through the rows, `[documents + 1]`.
pub(crate) fn elsewhere<B: Backend>(
    offsets: &Tensor<B, 1, Int>,
    [rows, tokens]: [usize; 2],
) -> Tensor<B, 3, Bool> {
    let ([borders], all) = (offsets.dims(), rows * tokens);
    let places = Tensor::<B, 1, Int>::arange(0..all as i64, &offsets.device());
    let passed = places.reshape([all, 1]).greater_equal(offsets.clone().reshape([1, borders]));
    let document = passed.int().sum_dim(1);
    let key = document.clone().reshape([rows, 1, tokens]);
    document.reshape([rows, tokens, 1]).not_equal(key)
}
