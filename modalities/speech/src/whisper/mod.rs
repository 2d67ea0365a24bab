//! Whisper, <https://arxiv.org/abs/2212.04356>: an encoder over log-mel spectrograms and a decoder
//! that generates the transcript with greedy decoding, sampling or beam search and a KV cache.

pub mod config;
pub mod hub;

use crate::frontend::MelStem;
use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor, TensorData},
};
use config::WhisperConfig;
use kiln_core::{Backend, Seed, Tokens};
use kiln_kernels::{CrossEntropyOptions, linear_cross_entropy, linear_tied};
use kiln_lm::{
    Text, TextEmbedding,
    config::EmbeddingConfig,
    decoder_states,
    generate::{Decoder, Generation, GenerationError, Prompts, Verdict, generate},
};
use kiln_nn::{ConfigError, DecoderCache, Dropout, Transformer, sinusoid_halves};

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
    /// Token and position embeddings; the output layer is tied to the former.
    pub embedding: TextEmbedding<B>,
    /// Over the transcript, with cross-attention to the encoder's tokens.
    pub transformer: Transformer<B>,
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
        let decoder = config.decoder()?;
        let embedding = EmbeddingConfig {
            positions: config.max_target_positions,
            dropout: config.dropout,
            ..EmbeddingConfig::default()
        };
        let sizes = [config.vocab_size, width];
        Ok(Self {
            encoder: WhisperEncoder {
                stem: MelStem::new(config.num_mel_bins, width, device),
                positions: Param::from_data(sines, device).set_require_grad(false),
                transformer: config.encoder()?.init(width, device),
                dropout: Dropout::new(config.dropout),
            },
            decoder: WhisperDecoder {
                embedding: TextEmbedding::new(&embedding, sizes, decoder.norm, device),
                transformer: decoder.init_cross_attention(width, device),
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
        self.logits(self.decoder.forward(&Text::new(tokens), memory, None))
    }

    /// The output layer, tied to the embedding.
    fn logits(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        linear_tied(x, self.decoder.embedding.words.weight.val(), None)
    }

    /// The mean cross-entropy of `labels`, `[batch, tokens]`, each the token that should follow the
    /// one at its place in `tokens`; -100 is not counted. `[1]`
    pub fn loss(
        &self,
        mel: Tensor<B, 3>,
        tokens: Tensor<B, 2, Int>,
        labels: Tensor<B, 2, Int>,
    ) -> Tensor<B, 1> {
        let x = self.decoder.forward(&Text::new(tokens), &self.encode(mel), None);
        let [batch, count, width] = x.dims();
        let rows = batch * count;
        let counted = labels.clone().not_equal_elem(IGNORED).int().sum().float().clamp_min(1.0);
        let options = CrossEntropyOptions { ignore_index: Some(IGNORED), ..Default::default() };
        let losses = linear_cross_entropy(
            x.reshape([rows, width]),
            self.decoder.embedding.words.weight.val(),
            true,
            None,
            labels.reshape([rows]),
            options,
        );
        losses.sum() / counted
    }

    /// Transcribes greedily, see [`Self::generate`].
    pub fn transcribe(
        &self,
        mel: Tensor<B, 3>,
        prompt: &[u32],
        max_new_tokens: usize,
    ) -> Vec<Vec<u32>> {
        let greedy = Generation { max_new_tokens, ..Generation::default() };
        self.generated(mel, prompt, greedy, Seed::new(0))
    }

    /// Transcribes with greedy decoding, sampling or beam search: what follows `prompt`, which stands
    /// in front of every transcript. Prompt and end are left out.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn generate(
        &self,
        mel: Tensor<B, 3>,
        prompt: &[u32],
        generation: &Generation,
        seed: Seed,
    ) -> Result<Vec<Vec<u32>>, GenerationError> {
        generation.choice.validate()?;
        Ok(self.generated(mel, prompt, generation.clone(), seed))
    }

    fn generated(
        &self,
        mel: Tensor<B, 3>,
        prompt: &[u32],
        mut generation: Generation,
        seed: Seed,
    ) -> Vec<Vec<u32>> {
        let ([batch, _, _], device) = (mel.dims(), mel.device());
        if prompt.is_empty() {
            return vec![Vec::new(); batch];
        }
        let room = self.config.max_target_positions.saturating_sub(prompt.len());
        generation.max_new_tokens = generation.max_new_tokens.min(room);
        let (ids, memory) = (vec![prompt.to_vec(); batch], Some(self.encode(mel)));
        let prompts = Prompts { pad: vec![0; batch], ids, memory };
        generate(self, prompts, &generation, seed, &device, |_, _| Verdict::GoOn)
    }
}

impl<B: Backend> Decoder<B> for Whisper<B> {
    fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }

    fn max_length(&self) -> Option<usize> {
        Some(self.config.max_target_positions)
    }

    fn eos(&self) -> Option<u32> {
        Some(self.config.eos_token_id)
    }

    fn next_logits(
        &self,
        text: &Text<B>,
        memory: Option<&Tokens<B>>,
        cache: Option<&mut DecoderCache<B>>,
    ) -> Option<Tensor<B, 3>> {
        let x = self.decoder.forward(text, memory?, cache);
        let [_, tokens, _] = x.dims();
        Some(self.logits(x.narrow(1, tokens - 1, 1)))
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
    fn forward(
        &self,
        text: &Text<B>,
        memory: &Tokens<B>,
        cache: Option<&mut DecoderCache<B>>,
    ) -> Tensor<B, 3> {
        decoder_states(&self.transformer, &self.embedding, text, memory, cache).values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;
    use kiln_lm::generate::{Beam, Choice, Sampling};

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
    fn a_kv_cache_changes_nothing() {
        let device = Default::default();
        let config = WhisperConfig { max_target_positions: 12, ..tiny() };
        let mut model = Whisper::<Flex>::new(config, &device).unwrap();
        // Larger embeddings have opinions.
        let words = &mut model.decoder.embedding.words.weight;
        *words = words.clone().map(|x| x.mul_scalar(40.0));
        let mel = Tensor::random([3, 20, 6], burn::tensor::Distribution::Default, &device);
        let run = |choice: Choice, cache: bool| {
            let generation = Generation { max_new_tokens: 9, choice, cache };
            model.generate(mel.clone(), &[1, 3], &generation, Seed::new(7)).unwrap()
        };
        let beam = |width| Choice::Beam(Beam { width, ..Beam::default() });
        for choice in [Choice::Greedy, beam(3), Choice::Sample(Sampling::default())] {
            assert_eq!(run(choice.clone(), true), run(choice, false));
        }
        let greedy = run(Choice::Greedy, true);
        assert_eq!(greedy, model.transcribe(mel.clone(), &[1, 3], 9));
        let one = Choice::Beam(Beam { width: 1, length_penalty: 0.0 });
        assert_eq!(greedy, run(one, true));
        let none = Generation { choice: beam(0), ..Generation::default() };
        assert!(model.generate(mel, &[1, 3], &none, Seed::new(7)).is_err());
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
        assert!(model.decoder.embedding.positions.unwrap().weight.val().grad(&gradients).is_some());
    }
}
