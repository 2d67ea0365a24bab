//! Connectionist temporal classification (<https://www.cs.toronto.edu/~graves/icml_2006.pdf>): the
//! likelihood of a sequence of labels over all its alignments with a longer sequence of frames.
//!
//! The recursion is in logarithms relative to each frame's likeliest state, so that long sequences
//! lose no digits (the paper scales probabilities, which rules out what is unlikely too early).
//! Kept for the backward step: the inputs and a log-sum-exp a frame; its states are made again.

mod cpu;
#[cfg(feature = "cube")]
mod cube;
mod reference;
#[cfg(test)]
mod tests;

use crate::{
    Backend, Differentiable, Gradients, LOG_ZERO, Output, Tensors,
    kernel::impl_kernel,
    plain::{primitive, record},
};
use burn::tensor::{Int, Tensor};

/// `-ln p(target | logits)` of each item of the batch, in f32 where the logits are of lower
/// precision. The softmax over classes is taken here.
///
/// A target that fits into no alignment (longer than the frames, repeated labels and the blanks
/// between them counted) costs infinity, or 0 if `zero_infinity`; either way its gradient is 0.
///
/// # Shapes
/// - logits: `[batch, frames, classes]`
/// - targets: `[batch, max_target]`, labels other than the blank; what lies past a target's length
///   is not looked at
/// - frame_lengths: `[batch]`, each at most `frames`; later frames have no gradient
/// - target_lengths: `[batch]`, each at most `max_target`; 0 is an empty target
/// - the result: `[batch]`
///
/// # Panics
/// When the shapes do not fit. On the CPU, also when a length or a label is out of range.
pub fn ctc_loss<B: Backend>(
    logits: Tensor<B, 3>,
    targets: Tensor<B, 2, Int>,
    frame_lengths: Tensor<B, 1, Int>,
    target_lengths: Tensor<B, 1, Int>,
    blank: usize,
    zero_infinity: bool,
) -> Tensor<B, 1> {
    let [batch, _, classes] = logits.dims();
    let [target_batch, max_target] = targets.dims();
    assert_eq!(target_batch, batch, "ctc_loss: one target an item");
    assert!(max_target > 0, "ctc_loss: targets have no room even for one label");
    assert!(blank < classes, "ctc_loss: blank {blank} of {classes} classes");
    assert_eq!(frame_lengths.dims(), [batch], "ctc_loss: one frame length an item");
    assert_eq!(target_lengths.dims(), [batch], "ctc_loss: one target length an item");
    let ints =
        [targets.into_primitive(), frame_lengths.into_primitive(), target_lengths.into_primitive()];
    let inputs = Tensors::floats([primitive(logits)]).with_ints(ints);
    record(&Ctc { blank, zero_infinity }, inputs)
}

/// Sums that are lower have a [`LOG_ZERO`] in them.
const IMPOSSIBLE_BELOW: f32 = LOG_ZERO / 10.0;

/// The forward step. Floats: logits. Ints: targets, frame lengths, target lengths. Outputs: the
/// losses; `[batch, frames]`, each frame's log-sum-exp, 0 past the length.
#[derive(Debug, Clone)]
struct Ctc {
    blank: usize,
    zero_infinity: bool,
}

/// The backward step. Floats: logits, log-sum-exp, the losses' gradient. Ints: as forward. Outputs:
/// the logits' gradient.
#[derive(Debug, Clone)]
struct CtcBackward {
    blank: usize,
}

impl_kernel!(Ctc, "ctc", forward, cube, |_, floats, _| {
    let (batch, frames) = (floats[0][0], floats[0][1]);
    vec![Output::full_precision([batch]), Output::full_precision([batch, frames])]
});

impl Differentiable for Ctc {
    fn backward<B: Backend>(&self, kept: Tensors<B>, _needed: &[bool]) -> Gradients<B> {
        B::run(&CtcBackward { blank: self.blank }, kept).into_iter().map(Some).collect()
    }
}

impl_kernel!(CtcBackward, "ctc_backward", backward, cube, |_, floats, _| {
    Output::like(&floats[..1])
});
