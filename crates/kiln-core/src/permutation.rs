//! Tokens in another order, and which of them attend to which.

use crate::Backend;
use burn::tensor::{Bool, IndexingUpdateOp, Int, Tensor, TensorData};

/// Tokens of a batch in another order, some of them several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermutedSequence {
    /// For each sequence, and each of as many places, which of its tokens stands there, and whether
    /// its content is masked.
    pub places: Vec<Vec<(usize, bool)>>,
    /// Which places attend to which.
    pub visibility: PlaceVisibility,
}

/// Which places of permuted sequences attend to which others; each attends to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceVisibility {
    /// A place attends to those whose interval holds its rank, as in the two streams of XLNet and
    /// MPNet: `[batch, places]` in row-major order.
    Ranked {
        /// The rank of each place.
        rank: Vec<i64>,
        /// The least rank that attends to each place.
        first: Vec<i64>,
        /// The rank above the largest that attends to each place.
        end: Vec<i64>,
    },
    /// A place attends to a sample of the others: `[batch, places, samples]` in row-major order,
    /// filled up with the place itself.
    Sampled(Vec<i64>),
}

impl PermutedSequence {
    /// Sequences and places of each.
    pub fn dims(&self) -> [usize; 2] {
        [self.places.len(), self.places.first().map_or(0, Vec::len)]
    }

    /// Ids of tokens, `[batch, tokens]`, in the order of the places, `[batch, places]`.
    pub fn permute<B: Backend>(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 2, Int> {
        let [rows, tokens] = ids.dims();
        let [_, places] = self.dims();
        let row = |(row, places): (usize, &Vec<(usize, bool)>)| {
            places.iter().map(|(at, _)| (row * tokens + at) as i64).collect::<Vec<_>>()
        };
        let from: Vec<i64> = self.places.iter().enumerate().flat_map(row).collect();
        let from = Tensor::from_data(TensorData::new(from, [rows * places]), &ids.device());
        ids.reshape([rows * tokens]).select(0, from).reshape([rows, places])
    }

    /// Places whose content is masked, `[batch, places]`.
    pub fn masked<B: Backend>(&self, device: &B::Device) -> Tensor<B, 2, Bool> {
        let masked: Vec<bool> = self.places.iter().flatten().map(|(_, masked)| *masked).collect();
        Tensor::from_data(TensorData::new(masked, self.dims()), device)
    }

    /// Attention mask, `[batch, places, places]`, made on the device: true where a place (row) attends
    /// to another (column).
    pub fn attention_mask<B: Backend>(&self, device: &B::Device) -> Tensor<B, 3, Bool> {
        let [rows, places] = self.dims();
        let square = [rows, places, places];
        let ints = |values: &[i64], shape: [usize; 3]| {
            Tensor::<B, 3, Int>::from_data(TensorData::new(values.to_vec(), shape), device)
        };
        let seen = match &self.visibility {
            PlaceVisibility::Ranked { rank, first, end } => {
                let rank = ints(rank, [rows, places, 1]).expand(square);
                let interval = |bound| ints(bound, [rows, 1, places]).expand(square);
                rank.clone().greater_equal(interval(first)).bool_and(rank.lower(interval(end)))
            }
            PlaceVisibility::Sampled(others) if others.is_empty() => {
                Tensor::<B, 3, Int>::zeros(square, device).bool()
            }
            PlaceVisibility::Sampled(others) => {
                let samples = others.len() / (rows * places).max(1);
                let shape = [rows, places, samples];
                let ones = Tensor::<B, 3>::ones(shape, device);
                Tensor::<B, 3>::zeros(square, device)
                    .scatter(2, ints(others, shape), ones, IndexingUpdateOp::Add)
                    .greater_elem(0.5)
            }
        };
        let place = Tensor::<B, 1, Int>::arange(0..places as i64, device);
        let itself = place.clone().reshape([1, places, 1]).expand(square);
        seen.bool_or(itself.equal(place.reshape([1, 1, places]).expand(square)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    #[test]
    fn places_attend_by_rank_or_to_what_was_sampled() {
        let places = vec![vec![(2, false), (0, true), (2, true)]];
        let attends = |visibility| {
            let sequence = PermutedSequence { places: places.clone(), visibility };
            let mask = sequence.attention_mask::<Flex>(&Default::default());
            mask.into_data().iter::<bool>().map(u8::from).collect::<Vec<_>>()
        };
        let (rank, first) = (vec![0, 1, -1], vec![0, 1, 5]);
        let ranked = PlaceVisibility::Ranked { rank, first, end: vec![2, 9, 5] };
        assert_eq!(attends(ranked), [1, 0, 0, 1, 1, 0, 0, 0, 1]);
        let sampled = PlaceVisibility::Sampled(vec![0, 0, 0, 2, 0, 1]);
        assert_eq!(attends(sampled), [1, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(attends(PlaceVisibility::Sampled(Vec::new())), [1, 0, 0, 0, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn ids_stand_at_their_places() {
        let places = vec![vec![(2, false), (0, true)], vec![(1, false), (1, false)]];
        let sequence = PermutedSequence { places, visibility: PlaceVisibility::Sampled(vec![]) };
        let device = Default::default();
        let ids = Tensor::<Flex, 2, Int>::from_ints([[7, 8, 9], [4, 5, 6]], &device);
        let found: Vec<i64> = sequence.permute(ids).into_data().iter().collect();
        assert_eq!(found, [9, 7, 5, 5]);
        let masked = sequence.masked::<Flex>(&device).into_data();
        assert_eq!(masked.iter::<bool>().collect::<Vec<_>>(), [false, true, false, false]);
    }
}
