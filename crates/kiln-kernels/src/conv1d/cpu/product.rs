//! Dense and grouped convolutions as products of overlapping rows.

use super::{Finish, fill_chunks, pack, regroup};
use crate::{
    conv1d::geometry::{Geometry, Windows},
    cpu::{
        Buffer, buffer, chunks,
        matmul::{Threads, matmul},
        matrix::{Matrix, MatrixMut},
        par_rows, sequence_chunks, zeros,
    },
};
use rayon::prelude::*;
use std::{borrow::Cow, ops::Range};

/// Values of the output that one product makes: they stay in cache for what follows it.
const BLOCK: usize = 512 * 1024;

/// A group of a sequence: frames of `width` values.
#[derive(Clone, Copy)]
struct Sequence<'a> {
    values: &'a [f32],
    width: usize,
}

impl<'a> Sequence<'a> {
    /// The one at `index` of several of the same length.
    fn at(values: &'a [f32], index: usize, frames: usize, width: usize) -> Self {
        Self { values: &values[index * frames * width..(index + 1) * frames * width], width }
    }

    /// Calls with runs of windows, the values from the first tap of the first of them on, and the
    /// range of rows. Zeros around the sequence are copied for the few windows that see them.
    fn runs(&self, windows: Windows, rows: usize, mut call: impl FnMut(&[f32], Range<usize>)) {
        let frames = self.values.len() / self.width.max(1);
        let (mut before, mut end) = windows.inside(rows, frames);
        // Many such windows are better copied with the rest than taken apart.
        if (before + rows - end) * 8 > rows {
            (before, end) = (0, 0);
        }
        for range in [0..before, before..end, end..rows] {
            if !range.is_empty() {
                call(&self.from(windows.skip(range.start), range.len()), range);
            }
        }
    }

    /// The frames that these windows see.
    fn from(&self, windows: Windows, rows: usize) -> Cow<'a, [f32]> {
        let frames = (self.values.len() / self.width.max(1)) as isize;
        let count = (rows - 1) * windows.step + windows.span();
        let end = windows.first + count as isize;
        if windows.first >= 0 && end <= frames {
            return Cow::Borrowed(&self.values[windows.first as usize * self.width..]);
        }
        let (from, to) = (windows.first.clamp(0, frames), end.clamp(0, frames));
        let mut copy = vec![0.0; count * self.width];
        if from < to {
            let at = (from - windows.first) as usize * self.width;
            let seen = &self.values[from as usize * self.width..to as usize * self.width];
            copy[at..at + seen.len()].copy_from_slice(seen);
        }
        Cow::Owned(copy)
    }

    /// `out = windows weight`: rows of `columns` values that start `row_stride` apart.
    fn product(
        &self,
        windows: Windows,
        rows: usize,
        weight: &[f32],
        columns: usize,
        out: &mut [f32],
        row_stride: usize,
    ) {
        let width = self.width;
        self.runs(windows, rows, |values, range| {
            let out = &mut out[range.start * row_stride..];
            for (index, taps) in windows.matrices().enumerate() {
                matmul(
                    MatrixMut::strided(out, range.len(), columns, row_stride),
                    if index == 0 { 0.0 } else { 1.0 },
                    Matrix::strided(
                        &values[taps.start * windows.spacing * width..],
                        range.len(),
                        taps.len() * width,
                        windows.step * width,
                    ),
                    Matrix::new(
                        &weight[taps.start * width * columns..],
                        taps.len() * width,
                        columns,
                    ),
                    1.0,
                    Threads::One,
                );
            }
        });
    }
}

impl Windows {
    /// The taps whose values lie one after the other: all of them, or each alone.
    fn matrices(self) -> impl Iterator<Item = Range<usize>> {
        let each = if self.spacing == 1 { self.taps.max(1) } else { 1 };
        (0..self.taps).step_by(each).map(move |start| start..start + each)
    }
}

pub(super) fn forward(
    geometry: &Geometry,
    x: &[f32],
    weight: &[f32],
    finish: &Finish<'_>,
    out: &mut [f32],
    slope: &mut [f32],
) {
    let x = regroup(x, geometry.frames, geometry.channels_in, geometry);
    if geometry.options.groups == 1 {
        products(geometry, &x, weight, out, slope, Some(finish));
        return;
    }
    let mut grouped = buffer(out.len());
    products(geometry, &x, weight, &mut grouped, &mut [], None);
    let channels = geometry.channels_out;
    let chunks = chunks(geometry.batch * geometry.frames_out, channels);
    fill_chunks(&chunks, channels, out, slope, Some(finish), |chunk, out| {
        ungroup(geometry, &grouped, chunk.start, geometry.frames_out, out, channels);
    });
}

/// Rows from `first` on of `[batch, frames, channels]` out of `[batch, groups, frames, width]`.
fn ungroup(
    geometry: &Geometry,
    grouped: &[f32],
    first: usize,
    frames: usize,
    out: &mut [f32],
    channels: usize,
) {
    let groups = geometry.options.groups;
    let width = channels / groups;
    for (row, out) in out.chunks_exact_mut(channels).enumerate() {
        let (sequence, frame) = ((first + row) / frames, (first + row) % frames);
        for (group, out) in out.chunks_exact_mut(width).enumerate() {
            let from = ((sequence * groups + group) * frames + frame) * width;
            out.copy_from_slice(&grouped[from..from + width]);
        }
    }
}

/// `[batch, groups, frames_out, width_out]`, finished where no group is to follow beside it.
fn products(
    geometry: &Geometry,
    x: &[f32],
    weight: &[f32],
    out: &mut [f32],
    slope: &mut [f32],
    finish: Option<&Finish<'_>>,
) {
    let groups = geometry.options.groups;
    let (width_in, width_out) = (geometry.width_in(), geometry.width_out());
    let depth = geometry.kernel * width_in;
    let (sequences, rows) = (geometry.batch * groups, geometry.frames_out);
    let sequence_chunks =
        sequence_chunks(sequences, rows, width_out.max(depth), BLOCK / width_out.max(1));
    fill_chunks(&sequence_chunks, width_out, out, slope, finish, |chunk, out| {
        let (sequence, first) = (chunk.start / rows, chunk.start % rows);
        let weight = &weight[sequence % groups * depth * width_out..][..depth * width_out];
        let windows = geometry.windows().skip(first);
        Sequence::at(x, sequence, geometry.frames, width_in).product(
            windows,
            chunk.len(),
            weight,
            width_out,
            out,
            width_out,
        );
    });
}

/// From the weights of every phase and the gradient of `[batch, groups, frames_out, width_out]`.
pub(super) fn x_gradient(geometry: &Geometry, weights: &[Buffer], gradient: &[f32]) -> Buffer {
    let groups = geometry.options.groups;
    let (width_in, width_out) = (geometry.width_in(), geometry.width_out());
    let stride = geometry.options.stride;
    let (sequences, rows) = (geometry.batch * groups, geometry.frames);
    let phases = geometry.phases();
    let mut out = zeros(sequences * rows * width_in);
    let cost = width_in.max(geometry.kernel.div_ceil(stride) * width_out);
    let sequence_chunks = sequence_chunks(sequences, rows, cost, stride * BLOCK / width_in.max(1));
    fill_chunks(&sequence_chunks, width_in, &mut out, &mut [], None, |chunk, out| {
        let (sequence, first) = (chunk.start / rows, chunk.start % rows);
        let gradient = Sequence::at(gradient, sequence, geometry.frames_out, width_out);
        for (phase, weight) in phases.iter().zip(weights) {
            let among = phase.among(first..first + chunk.len(), stride);
            // Frames that no window reaches keep the zeros that are there.
            if among.is_empty() || phase.taps.is_empty() {
                continue;
            }
            let each = weight.len() / groups;
            gradient.product(
                phase.windows.skip(among.start),
                among.len(),
                &weight[sequence % groups * each..][..each],
                width_in,
                &mut out[(phase.first + among.start * stride - first) * width_in..],
                stride * width_in,
            );
        }
    });
    if groups == 1 {
        return out;
    }
    let mut together = buffer(out.len());
    let channels = geometry.channels_in;
    par_rows(&mut together, geometry.batch * rows, channels).for_each(|(chunk, together)| {
        ungroup(geometry, &out, chunk.start, rows, together, channels);
    });
    together
}

/// From the gradient of `[batch, groups, frames_out, width_out]`.
pub(super) fn weight_gradient(geometry: &Geometry, x: &[f32], gradient: &[f32]) -> Buffer {
    let groups = geometry.options.groups;
    let (width_in, width_out) = (geometry.width_in(), geometry.width_out());
    let windows = geometry.windows();
    let x = regroup(x, geometry.frames, geometry.channels_in, geometry);
    // A unit of work is a tile of a group's gradient, over all frames: nothing is added up later.
    let tiles = tiles(groups, geometry.kernel * width_in, width_out);
    let units: Vec<_> =
        (0..groups).flat_map(|group| tiles.iter().map(move |tile| (group, tile.clone()))).collect();
    let found: Vec<Buffer> = units
        .par_iter()
        .map(|(group, (depth, columns))| {
            let mut tile = zeros(depth.len() * columns.len());
            for batch in 0..geometry.batch {
                let sequence = batch * groups + group;
                let gradient = &gradient[sequence * geometry.frames_out * width_out..];
                Sequence::at(&x, sequence, geometry.frames, width_in).runs(
                    windows,
                    geometry.frames_out,
                    |values, rows| {
                        let gradient = &gradient[rows.start * width_out + columns.start..];
                        let gradient =
                            Matrix::strided(gradient, rows.len(), columns.len(), width_out);
                        for taps in windows.matrices() {
                            // The part of the tile that these taps make.
                            let start = depth.start.max(taps.start * width_in);
                            let end = depth.end.min(taps.end * width_in);
                            if start >= end {
                                continue;
                            }
                            let at = taps.start * windows.spacing * width_in + start
                                - taps.start * width_in;
                            matmul(
                                MatrixMut::new(
                                    &mut tile[(start - depth.start) * columns.len()..],
                                    end - start,
                                    columns.len(),
                                ),
                                1.0,
                                Matrix::strided(
                                    &values[at..],
                                    rows.len(),
                                    end - start,
                                    windows.step * width_in,
                                )
                                .transposed(),
                                gradient,
                                1.0,
                                Threads::One,
                            );
                        }
                    },
                );
            }
            tile
        })
        .collect();
    let mut packed = zeros(groups * geometry.kernel * width_in * width_out);
    for ((group, (depth, columns)), tile) in units.into_iter().zip(found) {
        let rows = tile.chunks_exact(columns.len());
        for (row, tile) in depth.zip(rows) {
            let start = (group * geometry.kernel * width_in + row) * width_out + columns.start;
            packed[start..start + columns.len()].copy_from_slice(tile);
        }
    }
    pack::unpack(geometry, &packed)
}

/// A division of `rows x columns`, the longer side first, until every thread has work of all
/// `groups`.
fn tiles(groups: usize, rows: usize, columns: usize) -> Vec<(Range<usize>, Range<usize>)> {
    const LEAST: usize = 48;
    let (mut row_count, mut column_count) = (1, 1);
    while groups * row_count * column_count < 2 * rayon::current_num_threads() {
        let (tall, wide) = (rows / row_count, columns / column_count);
        if tall.max(wide) < 2 * LEAST {
            break;
        }
        *if tall >= wide { &mut row_count } else { &mut column_count } *= 2;
    }
    let divide = |count: usize, into: usize| -> Vec<Range<usize>> {
        let each = count.div_ceil(into).max(1);
        (0..count).step_by(each).map(|start| start..(start + each).min(count)).collect()
    };
    let columns = divide(columns, column_count);
    let tiles = divide(rows, row_count)
        .into_iter()
        .flat_map(|rows| columns.iter().map(move |columns| (rows.clone(), columns.clone())));
    tiles.collect()
}
