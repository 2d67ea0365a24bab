//! Writing on: token by token, with the keys and values of what was written kept.

mod beam;
mod choice;
#[cfg(test)]
mod tests;

pub use choice::{Beam, Choice, Sampling};

use crate::{
    batch::HostText,
    model::{Reading, TextModel},
};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use choice::Chooser;
use kiln_core::{Backend, Seed, Tokens};
use kiln_nn::{Cache, Positions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How texts are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Generation {
    /// Tokens at most.
    pub most: usize,
    /// How each next token is chosen.
    pub choice: Choice,
    /// Whether the keys and values of what was written are kept: the same text, faster.
    pub cache: bool,
}

impl Default for Generation {
    fn default() -> Self {
        Self { most: 100, choice: Choice::Greedy, cache: true }
    }
}

/// Why nothing can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// The model writes nothing.
    #[error(
        "this model writes nothing: it sees all of a text at once; texts are written by decoders \
         (`causal = true`) and encoder-decoders with a language head"
    )]
    NoDecoder,
    /// Nothing to begin with.
    #[error("{} is empty, and the model has no token to begin with", which(*number))]
    NoPrompt {
        /// Which of several, from 1.
        number: Option<usize>,
    },
    /// More than the model has positions for.
    #[error("{} has {found} tokens; the model has positions for {longest}", which(*number))]
    TooLong {
        /// Which of several, from 1.
        number: Option<usize>,
        /// Tokens of the prompt.
        found: usize,
        /// Positions.
        longest: usize,
    },
    /// Settings that make no sense.
    #[error("`{key}` is {found}; expected {expected}")]
    Setting {
        /// Which.
        key: &'static str,
        /// What it is.
        found: String,
        /// What would do.
        expected: &'static str,
    },
}

impl kiln_core::blame::Blamed for GenerationError {}

fn which(number: Option<usize>) -> String {
    number.map_or_else(|| "the prompt".to_owned(), |number| format!("prompt {number}"))
}

/// What becomes of a text while it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    GoOn,
    /// It has all that it should.
    Stop,
}

impl<B: Backend> TextModel<B> {
    /// Goes on with prompts (decoders) or writes what answers them (encoder-decoders): the ids
    /// written for each, without the end. `watch` sees each new id with the number of its prompt,
    /// and may end that text; a beam search shows only what it found at last.
    ///
    /// # Errors
    /// When the model cannot write, or a prompt is empty or too long.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        generation: &Generation,
        seed: Seed,
        device: &B::Device,
        mut watch: impl FnMut(usize, u32) -> Verdict,
    ) -> Result<Vec<Vec<u32>>, GenerationError> {
        generation.choice.validate()?;
        let mut writer = Writer::new(self, prompts, generation.cache, device)?;
        let most = generation.most.min(writer.room());
        match &generation.choice {
            Choice::Beam(beam) => {
                let found = beam::search(&mut writer, beam, most);
                for (number, text) in found.iter().enumerate() {
                    for id in text {
                        if watch(number, *id) == Verdict::Stop {
                            break;
                        }
                    }
                }
                Ok(found)
            }
            choice => {
                let mut chooser = Chooser::new(choice, seed);
                let mut texts: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
                let mut done = vec![prompts.is_empty(); prompts.len()];
                for step in 0..most {
                    if done.iter().all(|done| *done) {
                        break;
                    }
                    let scores = writer.scores();
                    let mut next = Vec::with_capacity(texts.len());
                    for (number, text) in texts.iter_mut().enumerate() {
                        let row = &scores[number];
                        let id = chooser.choose(row, writer.context(number), [number, step]);
                        done[number] |= Some(id) == writer.end;
                        if !done[number] {
                            text.push(id);
                            done[number] = watch(number, id) == Verdict::Stop;
                        }
                        next.push(id);
                    }
                    writer.put(&next);
                }
                Ok(texts)
            }
        }
    }
}

/// Texts that are being written.
pub(crate) struct Writer<'a, B: Backend> {
    model: &'a TextModel<B>,
    device: B::Device,
    /// Ids of each text, the prompt first where the model goes on with it, padded on the left.
    rows: Vec<Vec<u32>>,
    /// Padding before each.
    pad: Vec<usize>,
    /// What an encoder read.
    memory: Option<Tokens<B>>,
    cache: Option<Cache<B>>,
    pub(crate) end: Option<u32>,
}

impl<'a, B: Backend> Writer<'a, B> {
    fn new(
        model: &'a TextModel<B>,
        prompts: &[Vec<u32>],
        cache: bool,
        device: &B::Device,
    ) -> Result<Self, GenerationError> {
        let config = model.config();
        let special = config.special;
        if model.language.is_none() || !(config.writes_on() || config.decoder.is_some()) {
            return Err(GenerationError::NoDecoder);
        }
        let filler = special.pad.or(special.eos).unwrap_or(0);
        let prompts: Vec<Vec<u32>> = prompts
            .iter()
            .map(|prompt| match special.bos {
                Some(bos) if prompt.is_empty() && config.writes_on() => vec![bos],
                _ => prompt.clone(),
            })
            .collect();
        let number = |at: usize| (prompts.len() > 1).then_some(at + 1);
        if let Some(at) = prompts.iter().position(Vec::is_empty) {
            return Err(GenerationError::NoPrompt { number: number(at) });
        }
        let found = prompts.iter().map(Vec::len).max().unwrap_or(0);
        if let Some(longest) = config.longest()
            && let Some(at) = prompts.iter().position(|prompt| prompt.len() > longest)
        {
            let (number, found) = (number(at), prompts[at].len());
            return Err(GenerationError::TooLong { number, found, longest });
        }
        let (rows, pad, memory) = if config.decoder.is_some() {
            let text = HostText::of(&prompts, filler).upload(&config.embedding, device);
            let memory = model.encode_text(&text);
            (vec![vec![special.start()]; prompts.len()], vec![0; prompts.len()], Some(memory))
        } else {
            let pad: Vec<usize> = prompts.iter().map(|prompt| found - prompt.len()).collect();
            let padded = prompts.iter().zip(&pad).map(|(prompt, pad)| {
                std::iter::repeat_n(filler, *pad).chain(prompt.iter().copied()).collect()
            });
            (padded.collect(), pad, None)
        };
        let cache = cache.then(Cache::default);
        Ok(Self { model, device: device.clone(), rows, pad, memory, cache, end: special.eos })
    }

    /// Tokens that can still be written.
    fn room(&self) -> usize {
        let written = self.rows.first().map_or(0, Vec::len);
        // A decoder by itself forgets the beginning, [`Self::put`]. The last is never read again.
        let longest = self.model.config().longest().filter(|_| self.memory.is_some());
        longest.map_or(usize::MAX, |longest| (longest + 1).saturating_sub(written))
    }

    /// The ids of a text so far, without padding.
    fn context(&self, number: usize) -> &[u32] {
        &self.rows[number][self.pad[number]..]
    }

    /// How likely each id comes next, for each text: scores before any softmax.
    pub(crate) fn scores(&mut self) -> Vec<Vec<f32>> {
        let seen = self.cache.as_ref().map_or(0, |cache| cache.len());
        let length = self.rows.first().map_or(0, Vec::len);
        let (batch, tokens) = (self.rows.len(), length - seen);
        let upload = |values: Vec<i64>, width: usize| {
            Tensor::<B, 2, Int>::from_data(TensorData::new(values, [batch, width]), &self.device)
        };
        let ids = self.rows.iter().flat_map(|row| &row[seen..]).map(|id| i64::from(*id)).collect();
        let padded = self.pad.iter().any(|pad| *pad > 0);
        let first = self.model.config().embedding.first_position;
        let places = || {
            let place = |pad: &usize, at: usize| (at.saturating_sub(*pad) + first) as i64;
            let ids = self.pad.iter().flat_map(|pad| (seen..length).map(move |at| place(pad, at)));
            Positions { ids: upload(ids.collect(), tokens), count: length + first, arranged: false }
        };
        let mask = || {
            let pad = self.pad.iter().flat_map(|pad| (0..length).map(move |at| at < *pad));
            let pad = TensorData::new(pad.collect::<Vec<bool>>(), [batch, length]);
            Tensor::<B, 2, Bool>::from_data(pad, &self.device)
        };
        let text = crate::batch::Text {
            ids: upload(ids, tokens),
            mask_pad: padded.then(mask),
            types: None,
            positions: (padded || first > 0).then(places),
            documents: None,
        };
        let cache = self.cache.as_mut();
        let read = match &self.memory {
            Some(memory) => self.model.write(&text, memory, cache),
            None => {
                let causal = Some(true);
                Some(self.model.read(&text, Reading { causal, cache, ..Reading::default() }))
            }
        };
        let scores = read.and_then(|read| {
            let [_, tokens, _] = read.dims();
            self.model.scores(read.values.narrow(1, tokens - 1, 1))
        });
        let Some(scores) = scores else { return vec![Vec::new(); batch] };
        let vocabulary = self.model.config().vocabulary;
        let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
        scores.chunks(vocabulary.max(1)).map(<[f32]>::to_vec).collect()
    }

    /// Adds an id to each text. Where a decoder has no positions for more, the first half of what it
    /// sees is forgotten.
    pub(crate) fn put(&mut self, next: &[u32]) {
        for (row, id) in self.rows.iter_mut().zip(next) {
            row.push(*id);
        }
        let length = self.rows.first().map_or(0, Vec::len);
        let longest = self.model.config().longest().filter(|_| self.memory.is_none());
        if let Some(longest) = longest.filter(|longest| length > *longest) {
            let gone = length - longest.div_ceil(2);
            self.rows.iter_mut().for_each(|row| drop(row.drain(..gone)));
            self.pad.iter_mut().for_each(|pad| *pad = pad.saturating_sub(gone));
            // Keys and values know their old places.
            self.cache = self.cache.as_ref().map(|_| Cache::default());
        }
    }

    /// Goes on with other texts: copies of those numbered.
    pub(crate) fn select(&mut self, numbers: &[usize]) {
        self.rows = numbers.iter().map(|number| self.rows[*number].clone()).collect();
        self.pad = numbers.iter().map(|number| self.pad[*number]).collect();
        let rows: Vec<i64> = numbers.iter().map(|number| *number as i64).collect();
        let rows = TensorData::new(rows, [numbers.len()]);
        let rows = Tensor::<B, 1, Int>::from_data(rows, &self.device);
        if let Some(cache) = &mut self.cache {
            cache.select(&rows);
        }
        self.memory = self.memory.take().map(|memory| Tokens {
            values: memory.values.select(0, rows.clone()),
            mask_pad: memory.mask_pad.map(|pad| pad.select(0, rows)),
            channels: memory.channels,
        });
    }

    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}
