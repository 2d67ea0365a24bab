//! Batches of token ids, on the host and on a device.

use crate::config::EmbeddingConfig;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::Backend;
use kiln_nn::Positions;

/// Token ids on the host, of equal length by padding: `[batch, tokens]` in row-major order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostText {
    /// Number of texts.
    pub batch: usize,
    /// Tokens of each text, padding included.
    pub tokens: usize,
    /// Token ids, `[batch, tokens]`.
    pub ids: Vec<u32>,
    /// Padding mask, `[batch, tokens]`: true where a token is padding; empty where none is.
    pub pad: Vec<bool>,
    /// Segment ids (`token_type_ids`), `[batch, tokens]`; empty where all are 0.
    pub types: Vec<u32>,
    /// Position ids, `[batch, tokens]`, in any order; empty where they follow from place and
    /// padding.
    pub positions: Vec<u32>,
    /// Document offsets of packed texts (`cu_seqlens`): where each begins, and where the last ends,
    /// counted through the batch; empty where each text is one document.
    pub documents: Vec<u32>,
}

impl HostText {
    /// Texts of any length, right-padded with an id.
    pub fn of<T: AsRef<[u32]>>(texts: &[T], pad: u32) -> Self {
        let tokens = texts.iter().map(|text| text.as_ref().len()).max().unwrap_or(0);
        let mut host = Self { batch: texts.len(), tokens, ..Self::default() };
        for text in texts.iter().map(AsRef::as_ref) {
            host.ids.extend(text);
            host.ids.extend(std::iter::repeat_n(pad, tokens - text.len()));
            host.pad.extend((0..tokens).map(|at| at >= text.len()));
        }
        if !host.pad.contains(&true) {
            host.pad = Vec::new();
        }
        host
    }

    /// Length of a text without padding.
    pub fn length(&self, text: usize) -> usize {
        match self.pad.get(text * self.tokens..(text + 1) * self.tokens) {
            Some(pad) => pad.iter().filter(|pad| !**pad).count(),
            None => self.tokens,
        }
    }

    /// The ids of a text without its padding.
    pub fn text(&self, text: usize) -> impl Iterator<Item = u32> {
        let range = text * self.tokens..(text + 1) * self.tokens;
        let seen = range.filter(|at| !self.pad.get(*at).copied().unwrap_or(false));
        seen.filter_map(|at| self.ids.get(at).copied())
    }

    /// Offset at which the document of each token begins in its text, `[batch, tokens]` in row-major order.
    pub fn begins(&self) -> Vec<usize> {
        let mut begins = vec![0; self.batch * self.tokens];
        for pair in self.documents.windows(2) {
            let (first, end) = (pair[0] as usize, pair[1] as usize);
            let begin = first % self.tokens.max(1);
            begins.iter_mut().take(end).skip(first).for_each(|place| *place = begin);
        }
        begins
    }

    /// Position ids, counted from `first_position`; padding has the one before where
    /// there is one.
    fn positions_of(&self, embedding: &EmbeddingConfig) -> Vec<u32> {
        let first = embedding.first_position as u32;
        if !self.positions.is_empty() {
            return self.positions.iter().map(|position| first + position).collect();
        }
        let starts: std::collections::HashSet<u32> = self.documents.iter().copied().collect();
        let mut positions = Vec::with_capacity(self.ids.len());
        for text in 0..self.batch {
            let (mut next, mut place) = (first, 0);
            for at in text * self.tokens..(text + 1) * self.tokens {
                if starts.contains(&(at as u32)) {
                    (next, place) = (first, 0);
                }
                if !self.pad.get(at).copied().unwrap_or(false) {
                    positions.push(next);
                    next += 1;
                } else if first > 0 {
                    positions.push(first - 1);
                } else {
                    positions.push(place);
                }
                place += 1;
            }
        }
        positions
    }

    /// Numbers of its tokens, `[batch, tokens]`, on a device.
    fn upload_ids<B: Backend>(&self, values: &[u32], device: &B::Device) -> Tensor<B, 2, Int> {
        let values: Vec<i64> = values.iter().map(|value| i64::from(*value)).collect();
        Tensor::from_data(TensorData::new(values, [self.batch, self.tokens]), device)
    }

    /// Its position ids on a device; `None` where, without padding, documents or positions of its own,
    /// a token stands at its place.
    pub(crate) fn upload_positions<B: Backend>(
        &self,
        embedding: &EmbeddingConfig,
        device: &B::Device,
    ) -> Option<Positions<B>> {
        let plain = self.pad.is_empty() && self.positions.is_empty() && self.documents.is_empty();
        (!plain || embedding.first_position > 0).then(|| {
            let positions = self.positions_of(embedding);
            let count = positions.iter().max().map_or(0, |most| *most as usize + 1);
            let ids = self.upload_ids(&positions, device);
            Positions { ids, count, arranged: !self.positions.is_empty() }
        })
    }

    /// Uploads it for a model with this embedding.
    pub fn upload<B: Backend>(&self, embedding: &EmbeddingConfig, device: &B::Device) -> Text<B> {
        let shape = [self.batch, self.tokens];
        let ints = |values: &[u32]| self.upload_ids(values, device);
        Text {
            ids: ints(&self.ids),
            mask_pad: (!self.pad.is_empty())
                .then(|| Tensor::from_data(TensorData::new(self.pad.clone(), shape), device)),
            types: (!self.types.is_empty()).then(|| ints(&self.types)),
            positions: self.upload_positions(embedding, device),
            documents: (!self.documents.is_empty()).then(|| {
                let starts: Vec<i64> = self.documents.iter().map(|at| i64::from(*at)).collect();
                let count = starts.len();
                Tensor::from_data(TensorData::new(starts, [count]), device)
            }),
        }
    }
}

/// Token ids on a device.
#[derive(Debug, Clone)]
pub struct Text<B: Backend> {
    /// Token ids, `[batch, tokens]`.
    pub ids: Tensor<B, 2, Int>,
    /// Padding mask, `[batch, tokens]`: true where a token is padding.
    pub mask_pad: Option<Tensor<B, 2, Bool>>,
    /// Segment ids, `[batch, tokens]`.
    pub types: Option<Tensor<B, 2, Int>>,
    /// Position ids, where they are not just the places.
    pub positions: Option<Positions<B>>,
    /// Document offsets, counted through the batch, `[documents + 1]`; attention stays within one.
    pub documents: Option<Tensor<B, 1, Int>>,
}

impl<B: Backend> Text<B> {
    /// Texts of equal length without padding, `[batch, tokens]`.
    pub fn new(ids: Tensor<B, 2, Int>) -> Self {
        Self { ids, mask_pad: None, types: None, positions: None, documents: None }
    }

    /// Batch and tokens.
    pub fn dims(&self) -> [usize; 2] {
        self.ids.dims()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_has_positions() {
        let texts = [vec![5, 6, 7], vec![8]];
        let right = HostText::of(&texts, 0);
        assert_eq!(right.ids, [5, 6, 7, 8, 0, 0]);
        assert_eq!((right.length(0), right.length(1)), (3, 1));
        assert_eq!(right.text(1).collect::<Vec<_>>(), [8]);
        let plain = EmbeddingConfig::default();
        assert_eq!(right.positions_of(&plain), [0, 1, 2, 0, 1, 2]);
        let offset = EmbeddingConfig { first_position: 2, ..plain };
        assert_eq!(right.positions_of(&offset), [2, 3, 4, 2, 1, 1]);
        assert!(HostText::of(&texts[..1], 0).pad.is_empty());
    }

    #[test]
    fn documents_begin_anew() {
        let host = HostText {
            batch: 2,
            tokens: 3,
            ids: vec![1; 6],
            documents: vec![0, 2, 3, 6],
            ..HostText::default()
        };
        assert_eq!(host.positions_of(&EmbeddingConfig::default()), [0, 1, 0, 0, 1, 2]);
        assert_eq!(host.begins(), [0, 0, 2, 0, 0, 0]);
    }
}
