//! How work is divided among threads: always the same way for the same sizes and thread count, so
//! that sums are too.

use crate::cpu::simd::simd;
use rayon::prelude::*;
use std::ops::Range;

/// Below this many values a chunk is not worth a thread.
const GRAIN: usize = 8 * 1024;

/// Chunks of `rows` rows of `columns` values, as many as there are threads, or fewer where there is
/// little to do.
pub(crate) fn chunks(rows: usize, columns: usize) -> Vec<Range<usize>> {
    let worth = (rows * columns.max(1)).div_ceil(GRAIN);
    let count = worth.min(rayon::current_num_threads()).min(rows).max(1);
    let each = rows.div_ceil(count).max(1);
    (0..count).map(|chunk| (chunk * each).min(rows)..((chunk + 1) * each).min(rows)).collect()
}

/// Splits a matrix of `columns` into the rows of each chunk.
pub(crate) fn split_rows<'a, T>(
    mut values: &'a mut [T],
    columns: usize,
    chunks: &[Range<usize>],
) -> Vec<&'a mut [T]> {
    chunks
        .iter()
        .map(|chunk| {
            let (head, tail) = std::mem::take(&mut values).split_at_mut(chunk.len() * columns);
            values = tail;
            head
        })
        .collect()
}

/// Chunks of rows with their values of each of some matrices, given with their columns, in parallel.
pub(crate) fn par_split<'a, const N: usize>(
    chunks: &'a [Range<usize>],
    matrices: [(&'a mut [f32], usize); N],
) -> impl ParallelIterator<Item = (&'a Range<usize>, [&'a mut [f32]; N])> {
    let mut splits =
        matrices.map(|(values, columns)| split_rows(values, columns, chunks).into_iter());
    let work = chunks
        .iter()
        .map(|chunk| (chunk, splits.each_mut().map(|split| split.next().unwrap_or_default())));
    work.collect::<Vec<_>>().into_par_iter()
}

/// Chunks of the rows of a matrix with their values, in parallel.
pub(crate) fn par_rows(
    values: &mut [f32],
    rows: usize,
    columns: usize,
) -> impl ParallelIterator<Item = (Range<usize>, &mut [f32])> {
    let chunks = chunks(rows, columns);
    let split = split_rows(values, columns, &chunks);
    chunks.into_iter().zip(split).collect::<Vec<_>>().into_par_iter()
}

/// Sets every row of a matrix to `row`.
pub(crate) fn fill_rows(matrix: &mut [f32], row: &[f32]) {
    each_row(matrix, row.len(), |to| to.copy_from_slice(row));
}

/// Adds `row` to every row of a matrix.
pub(crate) fn add_to_rows(matrix: &mut [f32], row: &[f32]) {
    each_row(matrix, row.len(), |to| to.iter_mut().zip(row).for_each(|(to, row)| *to += row));
}

fn each_row(matrix: &mut [f32], columns: usize, change: impl Fn(&mut [f32]) + Sync) {
    if columns == 0 {
        return;
    }
    let rows = matrix.len() / columns;
    par_rows(matrix, rows, columns)
        .for_each(|(_, rows)| rows.chunks_exact_mut(columns).for_each(&change));
}

/// The sum of each of `columns` columns of a matrix.
pub(crate) fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    if columns == 0 {
        return Vec::new();
    }
    let partial: Vec<Vec<f32>> = chunks(values.len() / columns, columns)
        .into_par_iter()
        .map(|chunk| {
            let mut sums = vec![0.0; columns];
            add_rows(&values[chunk.start * columns..chunk.end * columns], &mut sums);
            sums
        })
        .collect();
    total(partial)
}

/// The sum of partial sums, in their order.
pub(crate) fn total(partial: Vec<Vec<f32>>) -> Vec<f32> {
    let mut partial = partial.into_iter();
    let mut total = partial.next().unwrap_or_default();
    for partial in partial {
        total.iter_mut().zip(partial).for_each(|(total, partial)| *total += partial);
    }
    total
}

simd! {
    fn add_rows(values: &[f32], sums: &mut [f32]) {
        for row in values.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

/// Rows of a batch of sequences, divided among threads and into chunks of at most `most`, none of
/// which belongs to two sequences.
pub(crate) fn sequence_chunks(
    sequences: usize,
    rows: usize,
    columns: usize,
    most: usize,
) -> Vec<Range<usize>> {
    let mut sequence_chunks = Vec::new();
    for chunk in chunks(sequences * rows, columns) {
        let mut start = chunk.start;
        while start < chunk.end {
            let sequence_end = (start / rows + 1) * rows;
            let end = chunk.end.min(sequence_end).min(start + most.max(1));
            sequence_chunks.push(start..end);
            start = end;
        }
    }
    sequence_chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_row_once() {
        for (rows, columns) in [(0, 4), (1, 1), (7, 100_000), (1000, 384), (3, 0)] {
            let chunks = chunks(rows, columns);
            assert_eq!(chunks.first().unwrap().start, 0);
            assert_eq!(chunks.last().unwrap().end, rows);
            assert!(chunks.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
        let values: Vec<f32> = (0..60_000).map(|i| (i % 3) as f32).collect();
        assert_eq!(column_sums(&values, 3), [0.0, 20_000.0, 40_000.0]);
        let mut values: Vec<usize> = (0..14).collect();
        let split = split_rows(&mut values, 2, &[0..3, 3..7]);
        assert_eq!((split[0].len(), split[1].len(), split[1][0]), (6, 8, 6));
    }

    #[test]
    fn chunks_belong_to_one_sequence() {
        for (sequences, rows, most) in [(1, 1, 1), (3, 1000, 64), (5, 7, 7), (2, 4096, 4096)] {
            let sequence_chunks = sequence_chunks(sequences, rows, 512, most);
            assert_eq!(
                (sequence_chunks[0].start, sequence_chunks[sequence_chunks.len() - 1].end),
                (0, sequences * rows)
            );
            assert!(sequence_chunks.windows(2).all(|pair| pair[0].end == pair[1].start));
            for chunk in sequence_chunks {
                assert_eq!(chunk.start / rows, (chunk.end - 1) / rows);
                assert!(!chunk.is_empty() && chunk.len() <= most);
            }
        }
    }
}
