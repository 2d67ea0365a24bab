//! Which frames meet which taps: sizes, and the windows of the forward step and of the input
//! gradient.

use super::Conv1dOptions;
use burn::tensor::Shape;
use std::ops::Range;

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) options: Conv1dOptions,
    pub(super) batch: usize,
    pub(super) frames: usize,
    pub(super) frames_out: usize,
    pub(super) channels_in: usize,
    pub(super) channels_out: usize,
    pub(super) kernel: usize,
}

impl Geometry {
    pub(super) fn new(options: Conv1dOptions, x: &Shape, weight: &Shape) -> Self {
        let (frames, kernel) = (x[1], weight[2]);
        let padded = frames + options.padding[0] + options.padding[1];
        Self {
            options,
            batch: x[0],
            frames,
            frames_out: (padded - options.dilation * (kernel - 1) - 1) / options.stride + 1,
            channels_in: x[2],
            channels_out: weight[0],
            kernel,
        }
    }

    pub(super) fn out_shape(&self) -> [usize; 3] {
        [self.batch, self.frames_out, self.channels_out]
    }

    /// Input channels of a group.
    pub(super) fn width_in(&self) -> usize {
        self.channels_in / self.options.groups
    }

    /// Output channels of a group.
    pub(super) fn width_out(&self) -> usize {
        self.channels_out / self.options.groups
    }

    /// Whether every channel has a kernel of its own.
    pub(super) fn depthwise(&self) -> bool {
        self.width_in() == 1 && self.width_out() == 1
    }

    /// The input frames of the output frames.
    pub(super) fn windows(&self) -> Windows {
        Windows {
            first: -(self.options.padding[0] as isize),
            step: self.options.stride,
            taps: self.kernel,
            spacing: self.options.dilation,
        }
    }

    /// The output frames of the input frames, one set of windows for each remainder of the
    /// (padded) input frame by the stride: only taps of the same remainder reach those frames.
    pub(super) fn phases(&self) -> Vec<Phase> {
        let Conv1dOptions { stride, dilation, padding, .. } = self.options;
        (0..stride)
            .map(|remainder| {
                // From the last tap to the first, output frames go up.
                let reaches = |tap: &usize| tap * dilation % stride == remainder;
                let taps: Vec<usize> = (0..self.kernel).rev().filter(reaches).collect();
                // Padded input frame `q * stride + remainder` is the window of output frame
                // `q - (tap * dilation - remainder) / stride` at `tap`.
                let back = |tap: usize| (tap * dilation - remainder) / stride;
                let first_q = padding[0].saturating_sub(remainder).div_ceil(stride);
                let first = first_q * stride + remainder - padding[0];
                let spacing = match taps.as_slice() {
                    [last, before, ..] => back(*last) - back(*before),
                    _ => 1,
                };
                let lead = taps.first().map_or(0, |&tap| back(tap));
                Phase {
                    first,
                    rows: self.frames.saturating_sub(first).div_ceil(stride),
                    windows: Windows {
                        first: first_q as isize - lead as isize,
                        step: 1,
                        taps: taps.len(),
                        spacing,
                    },
                    taps,
                }
            })
            .collect()
    }
}

/// Window `row` has its tap `i` at frame `first + row * step + i * spacing`; frames outside of the
/// sequence are zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub(super) first: isize,
    pub(super) step: usize,
    pub(super) taps: usize,
    pub(super) spacing: usize,
}

impl Windows {
    /// How many frames a window spans.
    pub(super) fn span(&self) -> usize {
        self.taps.saturating_sub(1) * self.spacing + 1
    }

    /// These windows from `row` on.
    pub(super) fn skip(self, row: usize) -> Self {
        Self { first: self.first + (row * self.step) as isize, ..self }
    }

    /// How many of `rows` windows start before a sequence of `frames`, and how many from the first
    /// on do not reach past its end.
    pub(super) fn inside(&self, rows: usize, frames: usize) -> (usize, usize) {
        let before = usize::try_from(-self.first).unwrap_or(0).div_ceil(self.step).min(rows);
        let last = frames as isize - self.span() as isize - self.first;
        let end = usize::try_from(last).map_or(0, |last| (last / self.step + 1).min(rows));
        (before, end.max(before))
    }
}

/// The input frames `first, first + stride, ..`, `rows` of them, and what they gather.
#[derive(Debug, Clone)]
pub(super) struct Phase {
    pub(super) first: usize,
    pub(super) rows: usize,
    /// Over output frames; may have no taps at all.
    pub(super) windows: Windows,
    /// Which taps of the kernel these windows meet, in the order of output frames.
    pub(super) taps: Vec<usize>,
}

impl Phase {
    /// Which of its rows are among these frames.
    pub(super) fn among(&self, frames: Range<usize>, stride: usize) -> Range<usize> {
        let upto = |frame: usize| frame.saturating_sub(self.first).div_ceil(stride).min(self.rows);
        upto(frames.start)..upto(frames.end)
    }
}
