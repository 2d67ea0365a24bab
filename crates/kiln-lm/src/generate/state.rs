//! The state of generation: token ids so far, and the KV cache of those that were read.

use super::decoder::Decoder;
use crate::batch::Text;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use kiln_core::{Backend, Tokens};
use kiln_nn::{DecoderCache, Positions};

/// Sequences to generate from.
#[derive(Debug, Clone)]
pub struct Prompts<B: Backend> {
    /// Token ids of each, all equally long by padding on the left.
    pub ids: Vec<Vec<u32>>,
    /// Padding tokens of each.
    pub pad: Vec<usize>,
    /// Hidden states of the encoder for cross-attention, `[prompts, source tokens, width]`.
    pub memory: Option<Tokens<B>>,
}

/// Sequences that are being generated.
pub(super) struct State<'a, B: Backend, D> {
    decoder: &'a D,
    device: B::Device,
    prompts: Prompts<B>,
    cache: Option<DecoderCache<B>>,
}

impl<'a, B: Backend, D: Decoder<B>> State<'a, B, D> {
    pub(super) fn new(
        decoder: &'a D,
        prompts: Prompts<B>,
        cache: bool,
        device: &B::Device,
    ) -> Self {
        Self { decoder, device: device.clone(), prompts, cache: cache.then(DecoderCache::default) }
    }

    /// The id that ends a sequence.
    pub(super) fn eos(&self) -> Option<u32> {
        self.decoder.eos()
    }

    /// Tokens that can still be generated.
    pub(super) fn room(&self) -> usize {
        // A decoder-only model drops the oldest tokens, see [`Self::push`]; the last token is never fed back.
        let longest = self.decoder.max_length().filter(|_| self.prompts.memory.is_some());
        longest.map_or(usize::MAX, |longest| (longest + 1).saturating_sub(self.length()))
    }

    /// The ids of a sequence so far, without padding.
    pub(super) fn context(&self, number: usize) -> &[u32] {
        &self.prompts.ids[number][self.prompts.pad[number]..]
    }

    fn length(&self) -> usize {
        self.prompts.ids.first().map_or(0, Vec::len)
    }

    /// Logits of the next token of each sequence.
    pub(super) fn logits(&mut self) -> Vec<Vec<f32>> {
        let Prompts { ids: rows, pad, memory } = &self.prompts;
        let seen = self.cache.as_ref().map_or(0, |cache| cache.len());
        let length = self.length();
        let (batch, tokens) = (rows.len(), length - seen);
        let upload = |values: Vec<i64>, width: usize| {
            Tensor::<B, 2, Int>::from_data(TensorData::new(values, [batch, width]), &self.device)
        };
        let ids = rows.iter().flat_map(|row| &row[seen..]).map(|id| i64::from(*id)).collect();
        let padded = pad.iter().any(|pad| *pad > 0);
        let first = self.decoder.first_position();
        let places = || {
            let place = |pad: &usize, at: usize| (at.saturating_sub(*pad) + first) as i64;
            let ids = pad.iter().flat_map(|pad| (seen..length).map(move |at| place(pad, at)));
            Positions { ids: upload(ids.collect(), tokens), count: length + first, arranged: false }
        };
        let mask = || {
            let pad = pad.iter().flat_map(|pad| (0..length).map(move |at| at < *pad));
            let pad = TensorData::new(pad.collect::<Vec<bool>>(), [batch, length]);
            Tensor::<B, 2, Bool>::from_data(pad, &self.device)
        };
        let text = Text {
            ids: upload(ids, tokens),
            mask_pad: padded.then(mask),
            types: None,
            positions: (padded || first > 0).then(places),
            documents: None,
        };
        let logits = self.decoder.next_logits(&text, memory.as_ref(), self.cache.as_mut());
        let Some(logits) = logits else { return vec![Vec::new(); batch] };
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        logits.chunks(self.decoder.vocabulary().max(1)).map(<[f32]>::to_vec).collect()
    }

    /// Adds an id to each sequence. Where a decoder has no positions for more, the first half of
    /// what it attends to is forgotten.
    pub(super) fn push(&mut self, next: &[u32]) {
        for (row, id) in self.prompts.ids.iter_mut().zip(next) {
            row.push(*id);
        }
        let length = self.length();
        let longest = self.decoder.max_length().filter(|_| self.prompts.memory.is_none());
        if let Some(longest) = longest.filter(|longest| length > *longest) {
            let gone = length - longest.div_ceil(2);
            self.prompts.ids.iter_mut().for_each(|row| drop(row.drain(..gone)));
            self.prompts.pad.iter_mut().for_each(|pad| *pad = pad.saturating_sub(gone));
            // Cached keys and values are of the old positions.
            self.cache = self.cache.as_ref().map(|_| DecoderCache::default());
        }
    }

    /// Goes on with other sequences: copies of those numbered.
    pub(super) fn select(&mut self, numbers: &[usize]) {
        let Prompts { ids, pad, memory } = &mut self.prompts;
        *ids = numbers.iter().map(|number| ids[*number].clone()).collect();
        *pad = numbers.iter().map(|number| pad[*number]).collect();
        let rows: Vec<i64> = numbers.iter().map(|number| *number as i64).collect();
        let rows = TensorData::new(rows, [numbers.len()]);
        let rows = Tensor::<B, 1, Int>::from_data(rows, &self.device);
        if let Some(cache) = &mut self.cache {
            cache.select(&rows);
        }
        *memory = memory.take().map(|memory| Tokens {
            values: memory.values.select(0, rows.clone()),
            mask_pad: memory.mask_pad.map(|pad| pad.select(0, rows)),
            channels: memory.channels,
        });
    }

    /// Number of sequences.
    pub(super) fn len(&self) -> usize {
        self.prompts.ids.len()
    }
}
