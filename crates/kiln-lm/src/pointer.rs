//! A pointer network: each segment of a text points to the place where it belongs, by attention to
//! the places of all. "Pointer-Guided Pre-Training" (2024), <https://arxiv.org/abs/2406.04156>.
//!
//! What stands for a segment is its first token, where the paper has separators, which not every
//! tokenizer knows. Places are told apart by sinusoids beside what stands there, so that models with
//! relative positions can point, too.

use crate::head::TaskHead;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::Backend;
use kiln_kernels::{MASK_VALUE, gather_tokens};
use kiln_nn::sinusoid_halves;

/// Where a segment begins in its text, in tokens, and which place among all segments is its own.
pub type Segment = (u32, u32);

impl<B: Backend> TaskHead<B> {
    /// Pointer logits, how surely each segment belongs at each place:
    /// `[batch, tokens, width]` to `[batch, segments, places]`, as many as the text that has most.
    /// Places that a text does not have are as good as impossible. `None` where the head does not
    /// point, or nothing is there to.
    pub fn point(&self, x: Tensor<B, 3>, texts: &[Vec<Segment>]) -> Option<Tensor<B, 3>> {
        let places = self.places.as_ref()?;
        let (device, [batch, _, width]) = (x.device(), x.dims());
        let most = texts.iter().map(Vec::len).max().filter(|most| *most > 0)?;
        let begin = |text: &Vec<Segment>, at: usize| text.get(at).map_or(0, |(first, _)| *first);
        let begins =
            texts.iter().flat_map(|text| (0..most).map(move |at| i64::from(begin(text, at))));
        let begins = TensorData::new(begins.collect::<Vec<_>>(), [batch, most]);
        let begins = Tensor::<B, 2, Int>::from_data(begins, &device);
        let segments = gather_tokens(self.dropped(x), begins);

        let stand = TensorData::new(sinusoid_halves(most, width), [1, most, width]);
        let stand = Tensor::<B, 3>::from_data(stand, &device);
        let keys = places.forward(segments.clone() + stand);
        let scores = self.output.forward(segments).matmul(keys.swap_dims(1, 2));
        let scores = scores.div_scalar((width as f64).sqrt());

        let absent = texts.iter().flat_map(|text| {
            let count = text.len();
            (0..most * most).map(move |at| at % most >= count)
        });
        let absent = TensorData::new(absent.collect::<Vec<bool>>(), [batch, most, most]);
        Some(scores.mask_fill(Tensor::<B, 3, Bool>::from_data(absent, &device), MASK_VALUE))
    }
}

/// Greedy assignment of segments to places, each once: the surest of the pairs that are left, again
/// and again. `scores` are `[segments, places]`.
pub fn assigned(scores: &ndarray::Array2<f32>) -> Vec<usize> {
    let mut pairs: Vec<(usize, usize)> = scores.indexed_iter().map(|(pair, _)| pair).collect();
    pairs.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut places = vec![None; scores.nrows()];
    let mut taken = vec![false; scores.ncols()];
    for (segment, place) in pairs {
        if places[segment].is_none() && !taken[place] {
            (places[segment], taken[place]) = (Some(place), true);
        }
    }
    places.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TaskHeadConfig, TaskKind};
    use burn_flex::Flex;
    use ndarray::array;

    #[test]
    fn segments_point_to_the_places_of_their_own_text() {
        let device = Default::default();
        let config = TaskHeadConfig::new(TaskKind::Order, Vec::new());
        let head = TaskHead::<Flex>::new(&config, 4, &device);
        let values: Vec<f32> = (0..2 * 5 * 4).map(|at| (at as f32).sin()).collect();
        let x = Tensor::<Flex, 3>::from_data(TensorData::new(values, [2, 5, 4]), &device);
        let three = vec![(0, 2), (2, 0), (4, 1)];
        let two = vec![(1, 1), (3, 0)];
        let both = head.point(x.clone(), &[three, two.clone()]).unwrap();
        assert_eq!(both.dims(), [2, 3, 3]);
        let second: Vec<f32> = both.narrow(0, 1, 1).into_data().to_vec().unwrap();
        let alone = head.point(x.narrow(0, 1, 1), &[two]).unwrap();
        let alone: Vec<f32> = alone.into_data().to_vec().unwrap();
        for (segment, place) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (one, other) = (second[segment * 3 + place], alone[segment * 2 + place]);
            assert!((one - other).abs() < 1e-5, "company changes nothing");
        }
        assert!(
            [2, 5].iter().all(|at| second[*at] == MASK_VALUE as f32),
            "a third place there is not"
        );
        let plain = TaskHeadConfig::new(TaskKind::Tags(2), Vec::new());
        let plain = TaskHead::<Flex>::new(&plain, 4, &device);
        assert!(plain.point(Tensor::zeros([1, 2, 4], &device), &[Vec::new()]).is_none());
    }

    #[test]
    fn each_place_is_taken_once() {
        let scores = array![[5.0, 4.0, 0.0], [6.0, 1.0, 2.0], [5.5, 3.0, -1.0]];
        assert_eq!(assigned(&scores), [1, 0, 2]);
        assert_eq!(assigned(&array![[1.0, 2.0], [0.0, 1.0]]), [1, 0]);
    }
}
