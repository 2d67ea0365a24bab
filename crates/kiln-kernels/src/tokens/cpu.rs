//! On the CPU: what was picked from each row is sorted by row first, so that rows are divided among
//! threads and every sum has one order.

use super::{FillGradient, Gather, Scatter};
use crate::{
    Tensors,
    cpu::{
        buffer, chunks, contiguous, integers, matrix, par_rows, par_split, tensor, total, values,
        zeros,
    },
};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;
use std::ops::Range;

/// Numbers of rows within their groups as numbers of rows.
fn flat(indices: FlexTensor, rows: usize) -> Vec<usize> {
    let picks = indices.layout().shape()[1].max(1);
    let mut indices = integers(indices).into_iter().enumerate();
    let mut found = Vec::with_capacity(indices.len());
    for (pick, index) in indices.by_ref() {
        assert!(index >= 0 && (index as usize) < rows, "index {index} in {rows} rows");
        found.push(pick / picks * rows + index as usize);
    }
    found
}

pub(super) fn gather(_: &Gather, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let Tensors { mut floats, mut ints } = inputs;
    let (x, indices) = (contiguous(floats.swap_remove(0)), ints.swap_remove(0));
    let shape = x.layout().shape();
    let (groups, rows, width) = (shape[0], shape[1], shape[2]);
    let picks = indices.layout().shape()[1];
    let sources = flat(indices, rows);
    let mut out = buffer(groups * picks * width);
    par_rows(&mut out, sources.len(), width).for_each(|(chunk, out)| {
        let x = values::<f32>(&x);
        let rows = out.chunks_exact_mut(width.max(1));
        for (out, &source) in rows.zip(&sources[chunk.clone()]) {
            out.copy_from_slice(&x[source * width..(source + 1) * width]);
        }
    });
    vec![tensor(out, [groups, picks, width])]
}

/// What was picked from each row: the picks of row `r` are
/// `picks[starts[r]..starts[r + 1]]`, in their order.
struct Picks {
    starts: Vec<usize>,
    picks: Vec<usize>,
}

impl Picks {
    /// Sorts by counting.
    fn new(sources: &[usize], rows: usize) -> Self {
        let mut starts = vec![0; rows + 1];
        for &source in sources {
            starts[source + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut picks = vec![0; sources.len()];
        for (pick, &source) in sources.iter().enumerate() {
            picks[next[source]] = pick;
            next[source] += 1;
        }
        Self { starts, picks }
    }

    fn of(&self, row: usize) -> &[usize] {
        &self.picks[self.starts[row]..self.starts[row + 1]]
    }

    /// Ranges of rows that are about as much work each: rows to write and picks to add.
    fn chunks(&self, width: usize) -> Vec<Range<usize>> {
        let rows = self.starts.len() - 1;
        let total = rows + self.picks.len();
        let mut found = Vec::new();
        let mut first = 0;
        for chunk in chunks(total, width) {
            // The first row before which there is as much work as the part ends with.
            let (mut low, mut high) = (first, rows);
            while low < high {
                let middle = low + (high - low) / 2;
                match middle + self.starts[middle] < chunk.end {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            found.push(first..low);
            first = low;
        }
        found
    }
}

pub(super) fn scatter(kernel: &Scatter, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let Tensors { floats, mut ints } = inputs;
    let floats: Vec<FlexTensor> = floats.into_iter().map(contiguous).collect();
    let (groups, width) = (floats[0].layout().shape()[0], floats[0].layout().shape()[2]);
    let rows = groups * kernel.rows;
    let picks = Picks::new(&flat(ints.swap_remove(0), kernel.rows), rows);
    let mut out = zeros(rows * width);
    let chunks = picks.chunks(width);
    par_split(&chunks, [(&mut out, width)]).for_each(|(chunk, [out])| {
        let x = values::<f32>(&floats[0]);
        let fill = floats.get(1).map(values::<f32>);
        for (row, out) in chunk.clone().zip(out.chunks_exact_mut(width.max(1))) {
            let mut picks = picks.of(row).iter().map(|pick| &x[pick * width..(pick + 1) * width]);
            match (picks.next(), fill) {
                (Some(first), _) => out.copy_from_slice(first),
                (None, Some(fill)) => out.copy_from_slice(fill),
                // It is zero already.
                (None, None) => {}
            }
            for x in picks {
                for (out, x) in out.iter_mut().zip(x) {
                    *out += x;
                }
            }
        }
    });
    vec![tensor(out, [groups, kernel.rows, width])]
}

pub(super) fn fill_gradient(_: &FillGradient, inputs: Tensors<Flex>) -> Vec<FlexTensor> {
    let Tensors { mut floats, mut ints } = inputs;
    let gradient = contiguous(floats.swap_remove(0));
    let (rows, width) = matrix(&gradient);
    let mut free = vec![true; rows];
    for source in flat(ints.swap_remove(0), gradient.layout().shape()[1]) {
        free[source] = false;
    }
    // A partial sum a part, added in the order of the parts.
    let partial: Vec<Vec<f32>> = chunks(rows, width)
        .into_par_iter()
        .map(|chunk| {
            let mut sums = vec![0.0; width];
            let gradient = values::<f32>(&gradient);
            for row in chunk.filter(|&row| free[row]) {
                for (sum, value) in sums.iter_mut().zip(&gradient[row * width..]) {
                    *sum += value;
                }
            }
            sums
        })
        .collect();
    vec![tensor(total(partial), [width])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_are_sorted_and_divided() {
        let sources = [3, 1, 3, 0, 3, 7, 1];
        let picks = Picks::new(&sources, 9);
        assert_eq!((picks.of(3), picks.of(1), picks.of(2)), (&[0, 2, 4][..], &[1, 6][..], &[][..]));
        for width in [0, 1, 100_000] {
            let chunks = picks.chunks(width);
            assert_eq!((chunks[0].start, chunks[chunks.len() - 1].end), (0, 9));
            assert!(chunks.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
