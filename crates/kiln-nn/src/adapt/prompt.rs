//! Prompt tuning: learned tokens in front of those that enter a transformer, <https://arxiv.org/abs/2104.08691>.

use crate::{ForwardOptions, Positions};
use burn::{
    module::{Initializer, Module, Param},
    tensor::{Int, Tensor, TensorData},
};
use kiln_core::{Backend, Tokens};

/// Prompt tuning: learned tokens in front of others; in front of each document where several are
/// packed.
#[derive(Module, Debug)]
pub struct Prompt<B: Backend> {
    /// `[prompt, width]`
    pub vectors: Param<Tensor<B, 2>>,
}

/// How to take prompts away again.
pub(crate) enum Without<B: Backend> {
    /// There is none.
    Nothing,
    /// The first so many tokens.
    First(usize),
    /// All tokens but those at these places, `[tokens]`.
    Others(Tensor<B, 1, Int>),
}

impl<B: Backend> Without<B> {
    /// `[batch, prompt and tokens, width]` to `[batch, tokens, width]`.
    pub(crate) fn strip(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        match self {
            Self::Nothing => x,
            Self::First(prompt) => {
                let [_, count, _] = x.dims();
                x.narrow(1, *prompt, count - prompt)
            }
            Self::Others(places) => x.select(1, places.clone()),
        }
    }
}

impl<B: Backend> Prompt<B> {
    /// Random tokens, uniform within a half as in the paper, for `[prompt, width]`.
    pub(super) fn new(shape: [usize; 2], device: &B::Device) -> Self {
        let uniform = Initializer::Uniform { min: -0.5, max: 0.5 };
        Self { vectors: uniform.init(shape, device) }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.vectors.dims()[0]
    }

    /// Puts the prompt before tokens, `[batch, tokens, width]`, and makes the options fit. A
    /// cache that holds tokens holds the prompt, too, and only what is said of places changes.
    pub(crate) fn put_before(
        &self,
        tokens: Tokens<B>,
        options: &mut ForwardOptions<'_, B>,
    ) -> (Tokens<B>, Without<B>) {
        let ([batch, count, _], device) = (tokens.dims(), tokens.values.device());
        let prompt = self.len();
        let known = options.cache.as_ref().is_some_and(|cache| !cache.is_empty());
        let mask_pad = options.visibility.mask_pad.take().or_else(|| tokens.mask_pad.clone());
        let mask_pad = mask_pad.map(|mask| {
            let seen = Tensor::<B, 2, Int>::zeros([mask.dims()[0], prompt], &device).equal_elem(1);
            Tensor::cat(vec![seen, mask], 1)
        });
        let visibility = &mut options.visibility;
        let pattern = visibility.pattern.clone();
        visibility.pattern = pattern.map(|lengths| lengths.clamp_min(0) + prompt as i64);
        visibility.bias = visibility.bias.take().map(|bias| {
            let [batch, heads, rows, columns] = bias.dims();
            let bias =
                Tensor::cat(vec![Tensor::zeros([batch, heads, rows, prompt], &device), bias], 3);
            if known {
                return bias;
            }
            let above = Tensor::zeros([batch, heads, prompt, prompt + columns], &device);
            Tensor::cat(vec![above, bias], 2)
        });
        if known {
            options.positions = options.positions.take().map(|positions| Positions {
                ids: positions.ids + prompt as i64,
                count: positions.count + prompt,
                ..positions
            });
            return (Tokens { mask_pad, ..tokens }, Without::Nothing);
        }
        if let Some(cache) = &mut options.cache {
            cache.prompt = prompt;
        }
        options.positions = options.positions.take().map(|positions| {
            let [rows, _] = positions.ids.dims();
            let first = Tensor::<B, 1, Int>::arange(0..prompt as i64, &device);
            let first = first.unsqueeze::<2>().repeat_dim(0, rows);
            Positions {
                ids: Tensor::cat(vec![first, positions.ids + prompt as i64], 1),
                count: positions.count + prompt,
                ..positions
            }
        });
        let own = self.vectors.val().unsqueeze::<3>().repeat_dim(0, batch);
        let values = Tensor::cat(vec![own, tokens.values], 1);
        let tokens = Tokens { values, mask_pad, channels: tokens.channels };
        match options.visibility.documents.take() {
            None => (tokens, Without::First(prompt)),
            Some(offsets) => {
                let order = Order::new(&read(offsets), prompt, count);
                let whole = |ids: Vec<i64>| {
                    let count = ids.len();
                    Tensor::<B, 1, Int>::from_data(TensorData::new(ids, [count]), &device)
                };
                options.visibility.documents = Some(whole(order.offsets));
                let places = whole(order.all);
                options.positions = options.positions.take().map(|positions| Positions {
                    ids: positions.ids.select(1, places.clone()),
                    ..positions
                });
                let bias = options.visibility.bias.take();
                options.visibility.bias =
                    bias.map(|bias| bias.select(2, places.clone()).select(3, places.clone()));
                let values = tokens.values.select(1, places.clone());
                let mask_pad = tokens.mask_pad.map(|mask| mask.select(1, places));
                let tokens = Tokens { values, mask_pad, channels: tokens.channels };
                (tokens, Without::Others(whole(order.tokens)))
            }
        }
    }
}

/// Where the documents of a row begin, and where the last ends.
fn read<B: Backend>(offsets: Tensor<B, 1, Int>) -> Vec<usize> {
    let data = offsets.into_data().convert::<i64>();
    data.iter::<i64>().map(|at| at.max(0) as usize).collect()
}

/// A prompt in front of each document of a row.
#[derive(Debug, PartialEq)]
struct Order {
    /// What stands where, counted in prompt and tokens.
    all: Vec<i64>,
    /// Where documents begin now.
    offsets: Vec<i64>,
    /// Where the tokens stand now.
    tokens: Vec<i64>,
}

impl Order {
    fn new(offsets: &[usize], prompt: usize, tokens: usize) -> Self {
        let (first, last) = match offsets {
            [first, .., last] => ((*first).min(tokens), (*last).min(tokens)),
            _ => (tokens, tokens),
        };
        // Tokens of no document stay before and after those of all.
        let mut all: Vec<usize> = (prompt..prompt + first).collect();
        let mut starts = Vec::with_capacity(offsets.len());
        for pair in offsets.windows(2) {
            starts.push(all.len() as i64);
            all.extend(0..prompt);
            all.extend(prompt + pair[0].min(tokens)..prompt + pair[1].min(tokens));
        }
        starts.push(all.len() as i64);
        all.extend(prompt + last..prompt + tokens);
        let places = all.iter().enumerate().filter(|(_, one)| **one >= prompt);
        Self {
            tokens: places.map(|(place, _)| place as i64).collect(),
            all: all.into_iter().map(|one| one as i64).collect(),
            offsets: starts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_has_the_prompt_in_front() {
        // Two documents of two and one tokens, then one of none.
        let order = Order::new(&[0, 2, 3], 2, 4);
        assert_eq!(order.all, [0, 1, 2, 3, 0, 1, 4, 5]);
        assert_eq!(order.offsets, [0, 4, 7]);
        assert_eq!(order.tokens, [2, 3, 6, 7]);
    }
}
