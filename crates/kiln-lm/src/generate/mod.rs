//! Generation token by token, with a KV cache: greedy decoding, sampling and beam search.

mod beam;
mod choice;
mod decoder;
mod error;
mod state;
#[cfg(test)]
mod tests;

pub use choice::{Beam, Choice, Sampling};
pub use decoder::Decoder;
pub use error::GenerationError;
pub use state::Prompts;

use crate::{
    batch::{HostText, Text},
    model::{EncodeOptions, TextModel},
};
use burn::tensor::Tensor;
use choice::Chooser;
use kiln_core::{Backend, Seed, Tokens};
use kiln_nn::{AttentionVisibility, DecoderCache};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use state::State;

/// Settings of generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Generation {
    /// Stop after this many tokens.
    pub max_new_tokens: usize,
    /// How each next token is chosen.
    pub choice: Choice,
    /// Whether to keep a KV cache: the same text, faster.
    pub cache: bool,
}

impl Default for Generation {
    fn default() -> Self {
        Self { max_new_tokens: 100, choice: Choice::Greedy, cache: true }
    }
}

/// What a watcher decides after each new token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The sequence continues.
    GoOn,
    /// The sequence is complete: a stopping criterion is met.
    Stop,
}

/// Generates from prompts: the new ids of each, without the end. `watch` sees each new id with the
/// number of its prompt, and may end that sequence; a beam search shows only what it found at last.
///
/// Decoders by themselves forget their beginnings where there are no positions for more; those with
/// cross-attention end there. The settings must be valid, see [`Choice::validate`].
pub fn generate<B: Backend, D: Decoder<B>>(
    decoder: &D,
    prompts: Prompts<B>,
    generation: &Generation,
    seed: Seed,
    device: &B::Device,
    mut watch: impl FnMut(usize, u32) -> Verdict,
) -> Vec<Vec<u32>> {
    let mut state = State::new(decoder, prompts, generation.cache, device);
    let steps = generation.max_new_tokens.min(state.room());
    if let Choice::Beam(beam) = &generation.choice {
        let found = beam::search(&mut state, beam, steps);
        for (number, text) in found.iter().enumerate() {
            for id in text {
                if watch(number, *id) == Verdict::Stop {
                    break;
                }
            }
        }
        return found;
    }
    let mut chooser = Chooser::new(&generation.choice, seed);
    let mut texts: Vec<Vec<u32>> = vec![Vec::new(); state.len()];
    let mut done = vec![false; state.len()];
    for step in 0..steps {
        if done.iter().all(|done| *done) {
            break;
        }
        let logits = state.logits();
        let mut next = Vec::with_capacity(texts.len());
        for (number, text) in texts.iter_mut().enumerate() {
            let row = &logits[number];
            let id = chooser.choose(row, state.context(number), [number, step]);
            done[number] |= Some(id) == state.eos();
            if !done[number] {
                text.push(id);
                done[number] = watch(number, id) == Verdict::Stop;
            }
            next.push(id);
        }
        state.push(&next);
    }
    texts
}

impl<B: Backend> TextModel<B> {
    /// Continues prompts (decoders) or generates what answers them (encoder-decoders), see
    /// [`generate`].
    ///
    /// # Errors
    /// When the model cannot generate, or a prompt is empty or too long.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        generation: &Generation,
        seed: Seed,
        device: &B::Device,
        watch: impl FnMut(usize, u32) -> Verdict,
    ) -> Result<Vec<Vec<u32>>, GenerationError> {
        generation.choice.validate()?;
        let prompts = self.prompts(prompts, device)?;
        Ok(generate(self, prompts, generation, seed, device, watch))
    }

    /// Prompts of token ids, read by the encoder where there is one.
    fn prompts(
        &self,
        prompts: &[Vec<u32>],
        device: &B::Device,
    ) -> Result<Prompts<B>, GenerationError> {
        let config = self.config();
        let special = config.special;
        if self.language.is_none() || !(config.generates() || config.decoder.is_some()) {
            return Err(GenerationError::NoDecoder);
        }
        let filler = special.pad.or(special.eos).unwrap_or(0);
        let prompts: Vec<Vec<u32>> = prompts
            .iter()
            .map(|prompt| match special.bos {
                Some(bos) if prompt.is_empty() && config.generates() => vec![bos],
                _ => prompt.clone(),
            })
            .collect();
        let number = |at: usize| (prompts.len() > 1).then_some(at + 1);
        if let Some(at) = prompts.iter().position(Vec::is_empty) {
            return Err(GenerationError::NoPrompt { number: number(at) });
        }
        if let Some(longest) = config.longest()
            && let Some(at) = prompts.iter().position(|prompt| prompt.len() > longest)
        {
            let (number, found) = (number(at), prompts[at].len());
            return Err(GenerationError::TooLong { number, found, longest });
        }
        if config.decoder.is_some() {
            let text = HostText::of(&prompts, filler).upload(&config.embedding, device);
            let memory = Some(self.encode_text(&text));
            let ids = vec![vec![special.start()]; prompts.len()];
            return Ok(Prompts { pad: vec![0; ids.len()], ids, memory });
        }
        let length = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let pad: Vec<usize> = prompts.iter().map(|prompt| length - prompt.len()).collect();
        let padded = prompts.iter().zip(&pad).map(|(prompt, pad)| {
            std::iter::repeat_n(filler, *pad).chain(prompt.iter().copied()).collect()
        });
        Ok(Prompts { ids: padded.collect(), pad, memory: None })
    }
}

impl<B: Backend> Decoder<B> for TextModel<B> {
    fn vocabulary(&self) -> usize {
        self.config().vocabulary
    }

    fn first_position(&self) -> usize {
        self.config().embedding.first_position
    }

    fn max_length(&self) -> Option<usize> {
        self.config().longest()
    }

    fn eos(&self) -> Option<u32> {
        self.config().special.eos
    }

    fn next_logits(
        &self,
        text: &Text<B>,
        memory: Option<&Tokens<B>>,
        cache: Option<&mut DecoderCache<B>>,
    ) -> Option<Tensor<B, 3>> {
        let read = match memory {
            Some(memory) => self.decode(text, memory, cache)?,
            None => {
                let visibility = Some(AttentionVisibility::causal());
                self.read(text, EncodeOptions { visibility, cache, generates: false })
            }
        };
        let [_, tokens, _] = read.dims();
        self.scores(read.values.narrow(1, tokens - 1, 1))
    }
}
