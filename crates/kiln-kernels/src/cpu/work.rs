//! How work is divided among threads: always the same way for the same sizes and thread count, so
//! that sums are too.

use crate::cpu::simd::simd;
use rayon::prelude::*;
use std::ops::Range;

/// Below this many values a part is not worth a thread.
const GRAIN: usize = 8 * 1024;

/// Divides `rows` rows of `columns` values into as many ranges as there are threads, or fewer
/// where there is little to do.
pub(crate) fn parts(rows: usize, columns: usize) -> Vec<Range<usize>> {
    let worth = (rows * columns.max(1)).div_ceil(GRAIN);
    let count = worth.min(rayon::current_num_threads()).min(rows).max(1);
    let each = rows.div_ceil(count).max(1);
    (0..count).map(|part| (part * each).min(rows)..((part + 1) * each).min(rows)).collect()
}

/// Splits a matrix of `columns` into the rows of each part.
pub(crate) fn split_rows<'a, T>(
    mut values: &'a mut [T],
    columns: usize,
    parts: &[Range<usize>],
) -> Vec<&'a mut [T]> {
    parts
        .iter()
        .map(|part| {
            let (head, tail) = std::mem::take(&mut values).split_at_mut(part.len() * columns);
            values = tail;
            head
        })
        .collect()
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
    let parts = parts(matrix.len() / columns, columns);
    split_rows(matrix, columns, &parts)
        .into_par_iter()
        .for_each(|rows| rows.chunks_exact_mut(columns).for_each(&change));
}

/// The sum of each of `columns` columns of a matrix.
pub(crate) fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    if columns == 0 {
        return Vec::new();
    }
    let partial: Vec<Vec<f32>> = parts(values.len() / columns, columns)
        .into_par_iter()
        .map(|part| {
            let mut sums = vec![0.0; columns];
            add_rows(&values[part.start * columns..part.end * columns], &mut sums);
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

/// Rows of a batch of sequences, divided among threads and into pieces of at most `most`, none of
/// which belongs to two sequences.
pub(crate) fn pieces(
    sequences: usize,
    rows: usize,
    columns: usize,
    most: usize,
) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    for part in parts(sequences * rows, columns) {
        let mut start = part.start;
        while start < part.end {
            let sequence_end = (start / rows + 1) * rows;
            let end = part.end.min(sequence_end).min(start + most.max(1));
            pieces.push(start..end);
            start = end;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_row_once() {
        for (rows, columns) in [(0, 4), (1, 1), (7, 100_000), (1000, 384), (3, 0)] {
            let parts = parts(rows, columns);
            assert_eq!(parts.first().unwrap().start, 0);
            assert_eq!(parts.last().unwrap().end, rows);
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
        let values: Vec<f32> = (0..60_000).map(|i| (i % 3) as f32).collect();
        assert_eq!(column_sums(&values, 3), [0.0, 20_000.0, 40_000.0]);
        let mut values: Vec<usize> = (0..14).collect();
        let split = split_rows(&mut values, 2, &[0..3, 3..7]);
        assert_eq!((split[0].len(), split[1].len(), split[1][0]), (6, 8, 6));
    }

    #[test]
    fn pieces_belong_to_one_sequence() {
        for (sequences, rows, most) in [(1, 1, 1), (3, 1000, 64), (5, 7, 7), (2, 4096, 4096)] {
            let pieces = pieces(sequences, rows, 512, most);
            assert_eq!((pieces[0].start, pieces[pieces.len() - 1].end), (0, sequences * rows));
            assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
            for piece in pieces {
                assert_eq!(piece.start / rows, (piece.end - 1) / rows);
                assert!(!piece.is_empty() && piece.len() <= most);
            }
        }
    }
}
