//! Depthwise convolutions: a block of frames and [`LANES`] channels at a time, copied side by side
//! (with the zeros around the sequence) so that all taps read it from the nearest cache.

use super::{Finish, fill_chunks};
use crate::{
    conv1d::geometry::{Geometry, Windows},
    cpu::{
        Buffer, sequence_chunks,
        simd::{LANES, simd},
        zeros,
    },
};
use rayon::prelude::*;

/// Frames of a block.
const ROWS: usize = 64;

/// How many rows, or taps, are summed together.
const TILE: usize = 4;

pub(super) fn forward(
    geometry: &Geometry,
    x: &[f32],
    weight: &[f32],
    finish: &Finish<'_>,
    out: &mut [f32],
    slope: &mut [f32],
) {
    let channels = geometry.channels_in;
    let rows = geometry.frames_out;
    let taps: Vec<usize> = (0..geometry.kernel).collect();
    let weight = pack(geometry, weight, &taps);
    let sequence_chunks = sequence_chunks(geometry.batch, rows, channels * geometry.kernel, ROWS);
    fill_chunks(&sequence_chunks, channels, out, slope, Some(finish), |chunk, out| {
        let (sequence, first) = (chunk.start / rows, chunk.start % rows);
        let x = &x[sequence * geometry.frames * channels..][..geometry.frames * channels];
        sum_taps(x, channels, geometry.windows().skip(first), &weight, chunk.len(), out, channels);
    });
}

pub(super) fn x_gradient(geometry: &Geometry, weight: &[f32], gradient: &[f32]) -> Buffer {
    let channels = geometry.channels_in;
    let stride = geometry.options.stride;
    let rows = geometry.frames;
    let phases: Vec<_> = geometry
        .phases()
        .into_iter()
        .map(|phase| (pack(geometry, weight, &phase.taps), phase))
        .collect();
    let mut out = zeros(geometry.batch * rows * channels);
    let sequence_chunks =
        sequence_chunks(geometry.batch, rows, channels * geometry.kernel, ROWS * stride);
    fill_chunks(&sequence_chunks, channels, &mut out, &mut [], None, |chunk, out| {
        let (sequence, first) = (chunk.start / rows, chunk.start % rows);
        let each = geometry.frames_out * channels;
        let gradient = &gradient[sequence * each..][..each];
        for (weight, phase) in &phases {
            let among = phase.among(first..first + chunk.len(), stride);
            if among.is_empty() || phase.taps.is_empty() {
                continue;
            }
            let out = &mut out[(phase.first + among.start * stride - first) * channels..];
            let windows = phase.windows.skip(among.start);
            sum_taps(gradient, channels, windows, weight, among.len(), out, stride * channels);
        }
    });
    out
}

pub(super) fn weight_gradient(geometry: &Geometry, x: &[f32], gradient: &[f32]) -> Buffer {
    let (channels, kernel) = (geometry.channels_in, geometry.kernel);
    let rows = geometry.frames_out;
    let taps = kernel.next_multiple_of(TILE);
    let each = channels.div_ceil(LANES) * taps * LANES;
    let sequence_chunks = sequence_chunks(geometry.batch, rows, channels * kernel, rows);
    // A partial sum a piece, added in the order of the pieces.
    let partial: Vec<Vec<f32>> = sequence_chunks
        .par_iter()
        .map(|chunk| {
            let (sequence, first) = (chunk.start / rows, chunk.start % rows);
            let x = &x[sequence * geometry.frames * channels..][..geometry.frames * channels];
            let windows = Windows { taps, ..geometry.windows().skip(first) };
            let mut sums = vec![0.0; each];
            let (mut seen, mut scaled) = (Vec::new(), Vec::new());
            for start in (0..chunk.len()).step_by(ROWS) {
                let count = (chunk.len() - start).min(ROWS);
                let rows =
                    Windows { first: (chunk.start + start) as isize, step: 1, taps: 1, spacing: 1 };
                for (chunk, sums) in sums.chunks_exact_mut(taps * LANES).enumerate() {
                    let from = chunk * LANES;
                    copy(x, channels, from, windows.skip(start), count, &mut seen);
                    copy(gradient, channels, from, rows, count, &mut scaled);
                    correlate(&seen, &scaled, windows.step, windows.spacing, sums);
                }
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0; each];
    for partial in partial {
        for (sum, partial) in sums.iter_mut().zip(partial) {
            *sum += partial;
        }
    }
    let mut out = zeros(channels * kernel);
    for (channel, out) in out.chunks_exact_mut(kernel).enumerate() {
        let sums = &sums[channel / LANES * taps * LANES + channel % LANES..];
        for (out, sum) in out.iter_mut().zip(sums.iter().step_by(LANES)) {
            *out = *sum;
        }
    }
    out
}

/// `[chunks, taps, LANES]`, zero past the last channel.
fn pack(geometry: &Geometry, weight: &[f32], taps: &[usize]) -> Buffer {
    let channels = geometry.channels_in;
    let mut packed = zeros(channels.div_ceil(LANES) * taps.len() * LANES);
    for (channel, weight) in weight.chunks_exact(geometry.kernel).enumerate() {
        let start = channel / LANES * taps.len() * LANES + channel % LANES;
        for (index, tap) in taps.iter().enumerate() {
            packed[start + index * LANES] = weight[*tap];
        }
    }
    packed
}

/// The frames that `rows` windows see, of the [`LANES`] channels from `from` on.
fn copy(
    values: &[f32],
    channels: usize,
    from: usize,
    windows: Windows,
    rows: usize,
    into: &mut Vec<f32>,
) {
    let count = (rows - 1) * windows.step + windows.span();
    let frames = (values.len() / channels) as isize;
    let width = (channels - from).min(LANES);
    into.clear();
    into.resize(count * LANES, 0.0);
    let start = (-windows.first).clamp(0, count as isize) as usize;
    let end = (frames - windows.first).clamp(start as isize, count as isize) as usize;
    for index in start..end {
        let at = (windows.first + index as isize) as usize * channels + from;
        into[index * LANES..][..width].copy_from_slice(&values[at..at + width]);
    }
}

/// Rows of `channels` that start `row_stride` apart: the sum over the taps of every window.
fn sum_taps(
    values: &[f32],
    channels: usize,
    windows: Windows,
    weight: &[f32],
    rows: usize,
    out: &mut [f32],
    row_stride: usize,
) {
    let padded = rows.next_multiple_of(TILE);
    let (mut seen, mut sums) = (Vec::new(), vec![0.0; padded * LANES]);
    for (chunk, weight) in weight.chunks_exact(windows.taps * LANES).enumerate() {
        let from = chunk * LANES;
        let width = (channels - from).min(LANES);
        copy(values, channels, from, windows, padded, &mut seen);
        weigh(&seen, weight, windows.step, windows.spacing, &mut sums);
        for (out, sums) in out.chunks_mut(row_stride).zip(sums.chunks_exact(LANES)).take(rows) {
            out[from..from + width].copy_from_slice(&sums[..width]);
        }
    }
}

simd! {
    fn weigh(seen: &[f32], weight: &[f32], step: usize, spacing: usize, sums: &mut [f32]) {
        let (seen, weight) = (seen.as_chunks::<LANES>().0, weight.as_chunks::<LANES>().0);
        for (tile, sums) in sums.as_chunks_mut::<LANES>().0.chunks_exact_mut(TILE).enumerate() {
            let mut total = [[0.0f32; LANES]; TILE];
            let mut at = tile * TILE * step;
            for weight in weight {
                for row in 0..TILE {
                    let seen = &seen[at + row * step];
                    for lane in 0..LANES {
                        total[row][lane] += seen[lane] * weight[lane];
                    }
                }
                at += spacing;
            }
            sums.copy_from_slice(&total);
        }
    }
}

simd! {
    /// Adds to `sums`, a tap after the other, products of the gradient with what each tap sees.
    fn correlate(seen: &[f32], gradient: &[f32], step: usize, spacing: usize, sums: &mut [f32]) {
        let (seen, gradient) = (seen.as_chunks::<LANES>().0, gradient.as_chunks::<LANES>().0);
        for (tile, sums) in sums.as_chunks_mut::<LANES>().0.chunks_exact_mut(TILE).enumerate() {
            let mut total = [[0.0f32; LANES]; TILE];
            let mut at = tile * TILE * spacing;
            for gradient in gradient {
                for tap in 0..TILE {
                    let seen = &seen[at + tap * spacing];
                    for lane in 0..LANES {
                        total[tap][lane] += seen[lane] * gradient[lane];
                    }
                }
                at += step;
            }
            for (sums, total) in sums.iter_mut().zip(&total) {
                for (sum, total) in sums.iter_mut().zip(total) {
                    *sum += total;
                }
            }
        }
    }
}
