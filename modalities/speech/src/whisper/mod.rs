//! Whisper, <https://arxiv.org/abs/2212.04356>: an encoder over log-mel spectrograms and a decoder
//! that writes the transcript, token by token.

pub mod config;
mod hub;

pub use hub::read;

use crate::frontend::MelStem;
use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor, TensorData},
};
use config::WhisperConfig;
use kiln_core::{Backend, Tokens};
use kiln_kernels::{CrossEntropyOptions, linear_cross_entropy, linear_tied};
use kiln_nn::{ConfigError, Dropout, Embedding, EmbeddingConfig, Transformer, sinusoid_halves};

/// Whisper.
#[derive(Module, Debug)]
pub struct Whisper<B: Backend> {
    /// From spectrograms to tokens.
    pub encoder: WhisperEncoder<B>,
    /// From the encoder's tokens and the transcript so far to its next token.
    pub decoder: WhisperDecoder<B>,
    #[module(skip)]
    config: WhisperConfig,
}

/// From spectrograms to tokens.
#[derive(Module, Debug)]
pub struct WhisperEncoder<B: Backend> {
    /// Two convolutions.
    pub stem: MelStem<B>,
    /// `[source positions, width]`, fixed.
    pub positions: Param<Tensor<B, 2>>,
    /// Over the frames.
    pub transformer: Transformer<B>,
    dropout: Dropout,
}

/// From the encoder's tokens and the transcript so far to its next token.
#[derive(Module, Debug)]
pub struct WhisperDecoder<B: Backend> {
    /// A vector for each token of the vocabulary; the output layer is tied to it.
    pub embedding: Embedding<B>,
    /// A vector for each place in the transcript.
    pub position_embedding: Embedding<B>,
    /// Over the transcript, and across to the encoder's tokens.
    pub transformer: Transformer<B>,
    dropout: Dropout,
}

impl<B: Backend> Whisper<B> {
    /// A model with random weights.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(config: WhisperConfig, device: &B::Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let width = config.d_model;
        let positions = config.max_source_positions;
        let sines = TensorData::new(sinusoid_halves(positions, width), [positions, width]);
        let embedding = |vocabulary| EmbeddingConfig::new(vocabulary, width).init(device);
        let dropout = Dropout::new(config.dropout);
        Ok(Self {
            encoder: WhisperEncoder {
                stem: MelStem::new(config.num_mel_bins, width, device),
                positions: Param::from_data(sines, device).set_require_grad(false),
                transformer: config.encoder()?.init(width, device),
                dropout: dropout.clone(),
            },
            decoder: WhisperDecoder {
                embedding: embedding(config.vocab_size),
                position_embedding: Embedding {
                    weight: Initializer::Normal { mean: 0.0, std: 0.02 }
                        .init([config.max_target_positions, width], device),
                },
                transformer: config.decoder()?.init_cross_attention(width, device),
                dropout,
            },
            config,
        })
    }

    /// What it was built from.
    pub fn config(&self) -> &WhisperConfig {
        &self.config
    }

    /// A spectrogram, `[batch, frames, bins]`, to `[batch, (frames + 1) / 2, width]`.
    ///
    /// # Panics
    /// When there are more frames than twice the source positions.
    pub fn encode(&self, mel: Tensor<B, 3>) -> Tokens<B> {
        self.encoder.forward(mel)
    }

    /// Scores of the token that follows each of `tokens`, `[batch, tokens]`, given the encoder's
    /// tokens, `[batch, frames, width]`: `[batch, tokens, vocabulary]`, before any softmax.
    ///
    /// # Panics
    /// When there are more tokens than target positions.
    pub fn decode(&self, tokens: Tensor<B, 2, Int>, memory: &Tokens<B>) -> Tensor<B, 3> {
        let x = self.decoder.forward(tokens, memory);
        linear_tied(x, self.decoder.embedding.weight.val(), None)
    }

    /// The mean cross-entropy of `labels`, `[batch, tokens]`, each the token that should follow the
    /// one at its place in `tokens`; -100 is not counted. `[1]`
    pub fn loss(
        &self,
        mel: Tensor<B, 3>,
        tokens: Tensor<B, 2, Int>,
        labels: Tensor<B, 2, Int>,
    ) -> Tensor<B, 1> {
        let x = self.decoder.forward(tokens, &self.encode(mel));
        let [batch, count, width] = x.dims();
        let rows = batch * count;
        let counted = labels.clone().not_equal_elem(IGNORED).int().sum().float().clamp_min(1.0);
        let options = CrossEntropyOptions { ignore_index: Some(IGNORED), ..Default::default() };
        let losses = linear_cross_entropy(
            x.reshape([rows, width]),
            self.decoder.embedding.weight.val(),
            true,
            None,
            labels.reshape([rows]),
            options,
        );
        losses.sum() / counted
    }

    /// Transcribes greedily: after `prompt`, which stands in front of every transcript, the best
    /// token each time, until the end token or `most` tokens. Prompt and end are left out.
    pub fn transcribe(&self, mel: Tensor<B, 3>, prompt: &[u32], most: usize) -> Vec<Vec<u32>> {
        let [batch, _, _] = mel.dims();
        let device = mel.device();
        let memory = self.encode(mel);
        let mut texts = vec![prompt.to_vec(); batch];
        let mut done = vec![false; batch];
        let room = self.config.max_target_positions.saturating_sub(prompt.len()).min(most);
        for step in 0..room {
            if prompt.is_empty() || done.iter().all(|done| *done) {
                break;
            }
            let length = prompt.len() + step;
            let tokens: Vec<i64> = texts.iter().flatten().map(|token| i64::from(*token)).collect();
            let tokens =
                Tensor::<B, 2, Int>::from_data(TensorData::new(tokens, [batch, length]), &device);
            let scores = self.decode(tokens, &memory).narrow(1, length - 1, 1);
            let best: Vec<u32> = scores.argmax(2).into_data().iter::<u32>().collect();
            for ((text, done), token) in texts.iter_mut().zip(&mut done).zip(best) {
                *done |= token == self.config.eos_token_id;
                text.push(if *done { self.config.eos_token_id } else { token });
            }
        }
        let end = self.config.eos_token_id;
        let written = |text: Vec<u32>| {
            text.into_iter().skip(prompt.len()).take_while(|token| *token != end).collect()
        };
        texts.into_iter().map(written).collect()
    }
}

/// The label of what is not counted.
const IGNORED: i64 = -100;

impl<B: Backend> WhisperEncoder<B> {
    fn forward(&self, mel: Tensor<B, 3>) -> Tokens<B> {
        let x = self.stem.forward(mel);
        let [_, frames, _] = x.dims();
        let positions = self.positions.val().narrow(0, 0, frames).unsqueeze();
        self.transformer.forward(Tokens::new(self.dropout.forward(x + positions)), false)
    }
}

impl<B: Backend> WhisperDecoder<B> {
    /// `[batch, tokens]` to `[batch, tokens, width]`.
    fn forward(&self, tokens: Tensor<B, 2, Int>, memory: &Tokens<B>) -> Tensor<B, 3> {
        let [_, count] = tokens.dims();
        let x = self.embedding.forward(tokens);
        let x = self.dropout.forward(x + self.position_embedding.first(count));
        self.transformer.forward_cross_attention(Tokens::new(x), memory, true).values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;

    fn tiny() -> WhisperConfig {
        WhisperConfig {
            vocab_size: 11,
            num_mel_bins: 6,
            d_model: 8,
            encoder_layers: 1,
            decoder_layers: 1,
            encoder_attention_heads: 2,
            decoder_attention_heads: 2,
            encoder_ffn_dim: 16,
            decoder_ffn_dim: 16,
            max_source_positions: 10,
            max_target_positions: 7,
            eos_token_id: 2,
            ..WhisperConfig::default()
        }
    }

    #[test]
    fn what_is_transcribed_is_what_scores_best() {
        let device = Default::default();
        let model = Whisper::<Flex>::new(tiny(), &device).unwrap();
        let mel = Tensor::random([2, 20, 6], burn::tensor::Distribution::Default, &device);
        let texts = model.transcribe(mel.clone(), &[1, 3], 100);
        assert_eq!(texts.len(), 2);
        for (row, text) in texts.iter().enumerate() {
            assert!(text.len() <= 5 && !text.contains(&2));
            let mut tokens = vec![1i64, 3];
            let memory = model.encode(mel.clone().narrow(0, row, 1));
            for expected in text {
                let data = TensorData::new(tokens.clone(), [1, tokens.len()]);
                let scores = model.decode(Tensor::from_data(data, &device), &memory);
                let best = scores.narrow(1, tokens.len() - 1, 1).argmax(2).into_scalar().into();
                assert_eq!(best, i64::from(*expected));
                tokens.push(best);
            }
        }
        assert!(model.transcribe(mel, &[], 3).iter().all(Vec::is_empty));
    }

    #[test]
    fn positions_are_fixed() {
        type A = burn::backend::Autodiff<Flex>;
        let device = Default::default();
        let model = Whisper::<A>::new(tiny(), &device).unwrap();
        let ids = Tensor::from_ints([[1, 3, 4]], &device);
        let loss = model.loss(Tensor::ones([1, 20, 6], &device), ids.clone(), ids);
        let gradients = loss.backward();
        assert!(model.encoder.positions.val().grad(&gradients).is_none());
        assert!(model.decoder.position_embedding.weight.val().grad(&gradients).is_some());
    }
}
