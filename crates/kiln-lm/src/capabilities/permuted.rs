//! Tokens in another order: the permuted text, and bottleneck decoders that read it.

use crate::{
    batch::{HostText, Text},
    examples::TextBatch,
    model::{EncodeOptions, TextModel},
};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{
    AttentionVisibility, Backend, BottleneckDecode, DecoderInput, EncodePermuted, PermutedSequence,
    Tokens,
};
use kiln_kernels::MASK_VALUE;
use kiln_nn::{ForwardOptions, Positions};

impl<B: Backend> EncodePermuted<B, TextBatch<B>> for TextModel<B> {
    fn encode_permuted(&self, batch: &TextBatch<B>, sequence: &PermutedSequence) -> Tensor<B, 3> {
        let (text, bias) = self.permuted(batch, sequence);
        let visibility = Some(AttentionVisibility::bidirectional().add_bias(bias));
        self.read(&text, EncodeOptions { visibility, ..EncodeOptions::default() }).values
    }
}

impl<B: Backend> BottleneckDecode<B, TextBatch<B>> for TextModel<B> {
    fn decoders(&self) -> usize {
        self.bottleneck.len()
    }

    fn pool(&self, tokens: &Tokens<B>) -> Tensor<B, 2> {
        self.pooled(tokens)
    }

    fn bottleneck_decode(
        &self,
        decoder: usize,
        batch: &TextBatch<B>,
        vectors: Tensor<B, 2>,
        input: &DecoderInput<B>,
    ) -> Tensor<B, 3> {
        let decoder = &self.bottleneck[decoder];
        let (text, bias) = match input {
            DecoderInput::Corrupted(corruption) => (self.corrupted(batch, corruption), None),
            DecoderInput::Permuted(sequence) => {
                let (text, bias) = self.permuted(batch, sequence);
                (text, Some(bias))
            }
        };
        let values = self.embedding.forward(&text, 0);
        let [rows, tokens, width] = values.dims();
        let device = values.device();
        // The vector stands before all others, which see it.
        let values = Tensor::cat(vec![vectors.reshape([rows, 1, width]), values], 1);
        let mask_pad = text.mask_pad.map(|pad| {
            let seen = Tensor::<B, 2, Int>::zeros([rows, 1], &device).bool();
            Tensor::cat(vec![seen, pad], 1)
        });
        let bias = bias.map(|bias| {
            let seen = Tensor::zeros([rows, 1, tokens, 1], &device);
            let alone = Tensor::full([rows, 1, 1, tokens], MASK_VALUE, &device);
            let first = Tensor::cat(vec![Tensor::zeros([rows, 1, 1, 1], &device), alone], 3);
            Tensor::cat(vec![first, Tensor::cat(vec![seen, bias], 3)], 2)
        });
        let positions = text.positions.map(|positions| Positions {
            ids: Tensor::cat(
                vec![Tensor::zeros([rows, 1], &device), positions.ids.add_scalar(1)],
                1,
            ),
            count: positions.count + 1,
            ..positions
        });
        let visibility = AttentionVisibility::bidirectional().add_bias(bias);
        let options = ForwardOptions { positions, ..visibility.into() };
        let decoded = decoder.forward_with(Tokens { values, mask_pad, channels: 1 }, options);
        decoded.values.narrow(1, 1, tokens)
    }
}

impl<B: Backend> TextModel<B> {
    /// A batch's tokens in another order, and the attention bias of their mask,
    /// `[batch, 1, places, places]`.
    fn permuted(
        &self,
        batch: &TextBatch<B>,
        sequence: &PermutedSequence,
    ) -> (Text<B>, Tensor<B, 4>) {
        let (device, [rows, places]) = (batch.device(), sequence.dims());
        let mask = self.config().special.mask.unwrap_or_default();
        let ids = sequence.permute(batch.text.ids.clone());
        let ids = ids.mask_fill(sequence.masked(&device), i64::from(mask));
        // Positions count from the beginning of a document.
        let (begins, tokens) = (batch.host.text.begins(), batch.host.text.tokens);
        let begin = |row: usize, at: usize| begins.get(row * tokens + at).copied().unwrap_or(0);
        let of_places = |of: &dyn Fn(usize, usize) -> usize| {
            let rows = sequence.places.iter().enumerate();
            rows.flat_map(|(row, places)| places.iter().map(move |(at, _)| of(row, *at) as u32))
                .collect::<Vec<u32>>()
        };
        let positions = of_places(&|row, at| at.saturating_sub(begin(row, at)));
        let host = HostText { batch: rows, tokens: places, positions, ..HostText::default() };
        let positions = host.upload_positions(&self.config().embedding, &device);
        let mut attends = sequence.attention_mask::<B>(&device);
        if batch.text.documents.is_some() {
            // Documents in a row do not attend to each other.
            let begins = of_places(&begin).into_iter().map(i64::from).collect::<Vec<_>>();
            let begins = TensorData::new(begins, [rows, places]);
            let begins = Tensor::<B, 2, Int>::from_data(begins, &device);
            let square = [rows, places, places];
            let column = begins.clone().reshape([rows, 1, places]).expand(square);
            let own = begins.reshape([rows, places, 1]).expand(square).equal(column);
            attends = attends.bool_and(own);
        }
        let bias = Tensor::zeros([rows, 1, places, places], &device);
        let bias = bias.mask_fill(attends.bool_not().unsqueeze_dim(1), MASK_VALUE);
        (Text { positions, ..Text::new(ids) }, bias)
    }
}

#[cfg(test)]
mod bottleneck_tests;
#[cfg(test)]
mod tests;
