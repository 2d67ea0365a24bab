//! A model as objectives see it, and objectives as the trainer sees them.

use crate::{Backend, Loss, Quantised, Rng, Seed, Targets, TaskLoss, Tokens};
use burn::tensor::{Bool, Int, Tensor};
use std::ops::Range;

/// How an objective wants the tokens of a batch.
#[derive(Clone, Debug)]
pub struct View<B: Backend> {
    /// `[batch, tokens]`, true where the token's content is hidden from the model; the frontend
    /// decides what stands in its place (zeros, a learnt vector, a mask id).
    pub hide: Option<Tensor<B, 2, Bool>>,
    /// Tokens whose content is exchanged for something at random, where the frontend can.
    pub disguise: Option<Disguise<B>>,
    /// Whether a token may see only itself and what came before.
    pub causal: bool,
    /// Where `causal`: how many tokens at the beginning of each sequence all tokens see.
    pub prefix: Option<Vec<usize>>,
}

/// Tokens whose content is exchanged for something at random.
#[derive(Clone, Debug)]
pub struct Disguise<B: Backend> {
    /// `[batch, tokens]`, true where it is.
    pub tokens: Tensor<B, 2, Bool>,
    /// What stands there follows from it.
    pub seed: Seed,
}

impl<B: Backend> Default for View<B> {
    fn default() -> Self {
        Self { hide: None, disguise: None, causal: false, prefix: None }
    }
}

impl<B: Backend> View<B> {
    /// Each token sees only itself and what came before.
    pub fn causal() -> Self {
        Self { causal: true, ..Self::default() }
    }

    /// The content of some tokens, `[batch, tokens]`, is hidden.
    pub fn hiding(tokens: Tensor<B, 2, Bool>) -> Self {
        Self { hide: Some(tokens), ..Self::default() }
    }
}

/// The shape of a batch in tokens, known before anything is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Sequences in the batch.
    pub batch: usize,
    /// Tokens that carry targets, a sequence; class tokens and prefixes are not among them.
    pub tokens: usize,
    /// How many consecutive sequences belong to one item.
    pub channels: usize,
    /// Tokens of each sequence that are no padding, which follows them; `None` when none is.
    pub lengths: Option<Vec<usize>>,
    /// Tokens that are never hidden, `[batch, tokens]` in row-major order: separators, a class
    /// token among the others. `None` when there are none.
    pub fixed: Option<Vec<bool>>,
    /// Tokens that begin a unit of several, such as a word, `[batch, tokens]` in row-major order.
    /// `None` when each token is one.
    pub starts: Option<Vec<bool>>,
    /// Where documents begin, counted through the batch's tokens, rising: several in a sequence.
    /// `None` when each sequence is one.
    pub documents: Option<Vec<usize>>,
    /// Tokens that are worth predicting, `[batch, tokens]` in row-major order: answers, not
    /// questions. `None` when all are.
    pub counted: Option<Vec<bool>>,
    /// Units of several tokens in each sequence that are worth more than others: words of a lexicon.
    /// `None` when there are none.
    pub terms: Option<Vec<Vec<Range<usize>>>>,
    /// How many consecutive sequences are said to belong together: a query and its answer, a text
    /// with one like it and others unlike it. 1 where each stands for itself.
    pub views: usize,
}

impl Layout {
    /// Sequences of equal length, one an item.
    pub fn new(batch: usize, tokens: usize) -> Self {
        Self {
            batch,
            tokens,
            channels: 1,
            lengths: None,
            fixed: None,
            starts: None,
            documents: None,
            counted: None,
            terms: None,
            views: 1,
        }
    }

    /// The stretches of a sequence that are of one document each, without padding.
    pub fn segments(&self, sequence: usize) -> Vec<Range<usize>> {
        let (first, length) = (sequence * self.tokens, self.length(sequence));
        let inside = self.documents.iter().flatten().filter_map(|start| start.checked_sub(first));
        let inside = inside.filter(|start| (1..length).contains(start));
        let begins: Vec<usize> = std::iter::once(0).chain(inside).collect();
        let ends = begins.iter().copied().skip(1).chain([length]);
        let segments = begins.iter().copied().zip(ends).map(|(begin, end)| begin..end);
        segments.filter(|segment| !segment.is_empty()).collect()
    }

    /// The tokens of a sequence that may be hidden, in units that are hidden together: words where
    /// `whole` and the batch knows them, otherwise single tokens. None is of two documents.
    pub fn units(&self, sequence: usize, whole: bool) -> Vec<Range<usize>> {
        let first = sequence * self.tokens;
        let flag = |flags: &Option<Vec<bool>>, at: usize| {
            flags.as_ref().and_then(|flags| flags.get(first + at)).copied()
        };
        let mut units: Vec<Range<usize>> = Vec::new();
        for segment in self.segments(sequence) {
            for at in segment.clone() {
                if flag(&self.fixed, at) == Some(true) {
                    continue;
                }
                let begins = !whole || at == segment.start || flag(&self.starts, at) != Some(false);
                match units.last_mut() {
                    Some(unit) if !begins && unit.end == at => unit.end += 1,
                    _ => units.push(at..at + 1),
                }
            }
        }
        units
    }

    /// The terms of a sequence of which no token is fixed or padding.
    pub fn terms(&self, sequence: usize) -> Vec<Range<usize>> {
        let terms = self.terms.as_ref().and_then(|terms| terms.get(sequence));
        let length = self.length(sequence);
        let first = sequence * self.tokens;
        let fixed = |at: usize| {
            self.fixed.as_ref().is_some_and(|fixed| fixed.get(first + at) == Some(&true))
        };
        let free = |term: &&Range<usize>| term.end <= length && !Range::clone(term).any(fixed);
        terms.into_iter().flatten().filter(free).cloned().collect()
    }

    /// Tokens of a sequence that are no padding.
    pub fn length(&self, sequence: usize) -> usize {
        let lengths = self.lengths.as_ref();
        lengths
            .and_then(|lengths| lengths.get(sequence))
            .map_or(self.tokens, |length| *length.min(&self.tokens))
    }
}

/// A sequence of ids that is read, and what is to be written of it, without a beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// What is read.
    pub read: Vec<u32>,
    /// What is written.
    pub write: Vec<u32>,
}

/// Tokens of a batch in another order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrangement {
    /// For each sequence, and each of as many places, which of its tokens stands there, and whether
    /// its content is hidden.
    pub places: Vec<Vec<(usize, bool)>>,
    /// Whether a place sees another, `[batch, places, places]` in row-major order.
    pub sees: Vec<bool>,
}

/// What a second backbone is shown of a sequence beside a vector.
#[derive(Clone, Debug)]
pub enum Shown<B: Backend> {
    /// The tokens as a view has them, each of which sees all.
    View(View<B>),
    /// Tokens in another order, some of them several times.
    Arranged(Arrangement),
}

/// A model that an objective learns from beside the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Teacher {
    /// The model under training with weights averaged over its steps, with this decay.
    Average(f64),
    /// The model as the stage began.
    Start,
}

/// A model of any modality: a frontend that makes tokens, a backbone, and a head a token.
///
/// Objectives are written against this trait and so meet every modality that implements it.
pub trait TokenModel<B: Backend> {
    /// A batch of this modality, on the device.
    type Batch;

    /// The shape of the batch in tokens.
    fn layout(&self, batch: &Self::Batch) -> Layout;

    /// Where a batch lies.
    fn device(&self, batch: &Self::Batch) -> B::Device;

    /// Frontend and backbone: `[batch, tokens, width]`, only the tokens that carry targets.
    fn encode(&self, batch: &Self::Batch, view: View<B>) -> Tokens<B>;

    /// What comes out of each block of the backbone, `[batch, tokens, width]` each, from the input
    /// up, nothing hidden: what a teacher takes its targets from. Empty where a model has no blocks
    /// to show.
    fn encode_each(&self, batch: &Self::Batch) -> Vec<Tensor<B, 3>> {
        let _ = batch;
        Vec::new()
    }

    /// What each token of [`Self::encode`] stands for.
    fn targets(&self, batch: &Self::Batch) -> Targets<B>;

    /// The head a token: `[batch, tokens, width]` to `[batch, tokens, target width]`, or to
    /// `[batch, tokens, vocabulary]` where targets are ids.
    fn decode(&self, values: Tensor<B, 3>) -> Tensor<B, 3>;

    /// The cross-entropy of an id for each token, in nats, without keeping the scores of
    /// [`Self::decode`]: `[rows, width]` and `[rows]` to `[rows]`. `None` where that is no faster, or
    /// targets are no ids.
    fn losses(&self, values: Tensor<B, 2>, ids: Tensor<B, 1, Int>) -> Option<Tensor<B, 1>> {
        let _ = (values, ids);
        None
    }

    /// One vector of each item, `[batch, tokens, width]` to `[batch / channels, width]`: the mean of
    /// all that is no padding, where a model has no other way.
    fn pooled(&self, tokens: &Tokens<B>) -> Tensor<B, 2> {
        tokens.mean()
    }

    /// How relevant each sequence is that holds a query and a candidate, `[batch, tokens, width]` to
    /// `[batch]`. `None` without a head for that.
    fn relevance(&self, batch: &Self::Batch, tokens: &Tokens<B>) -> Option<Tensor<B, 1>> {
        let _ = (batch, tokens);
        None
    }

    /// From the backbone's output, `[batch, tokens, width]`, to what a teacher's blocks give, see
    /// [`Self::encode_each`]: the same shape.
    fn predict_blocks(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        values
    }

    /// How alike the sequences of each item are said to be ([`Layout::views`] of them), a number an
    /// item. `None` where nothing is said.
    fn grades(&self, batch: &Self::Batch) -> Option<Vec<f32>> {
        let _ = batch;
        None
    }

    /// The ids of each sequence, without padding. `None` where sequences are not made of ids.
    fn sequences(&self, batch: &Self::Batch) -> Option<Vec<Vec<u32>>> {
        let _ = batch;
        None
    }

    /// Ids that stand for something taken out of a sequence, in the order of their use.
    fn sentinels(&self) -> Vec<u32> {
        Vec::new()
    }

    /// What it costs to write one sequence when another was read, the mean over what is written: by
    /// the decoder of an encoder-decoder, or else by going on after what was read, all of which is
    /// seen at once where `whole`. `None` where sequences are not made of ids.
    fn write_loss(
        &self,
        batch: &Self::Batch,
        rewrites: Vec<Rewrite>,
        whole: bool,
        context: &mut StepContext<'_>,
    ) -> Option<Loss<B>> {
        let _ = (batch, rewrites, whole, context);
        None
    }

    /// What the model writes when it has read each of `read`, drawn token by token as likely as it
    /// finds them: `most` tokens at most, with the end where it comes to one. No gradients are
    /// recorded. `None` where sequences are not made of ids, or the model writes nothing.
    fn answers(
        &self,
        batch: &Self::Batch,
        read: &[Vec<u32>],
        most: usize,
        seed: Seed,
    ) -> Option<Vec<Vec<u32>>> {
        let _ = (batch, read, most, seed);
        None
    }

    /// A batch of what is read and written, one sequence each, of which what is written counts.
    /// `None` where a model has no such sequences.
    fn written(&self, batch: &Self::Batch, rewrites: Vec<Rewrite>) -> Option<Self::Batch> {
        let _ = (batch, rewrites);
        None
    }

    /// Frontend and backbone over tokens put in another order, some of them several times:
    /// `[batch, places, width]`. `None` where a model cannot tell tokens where they stand.
    fn arranged(&self, batch: &Self::Batch, arrangement: &Arrangement) -> Option<Tensor<B, 3>> {
        let _ = (batch, arrangement);
        None
    }

    /// The batch with other ids, `[batch, tokens]`, in the place of its own. `None` where sequences
    /// are not made of ids.
    fn with_ids(&self, batch: &Self::Batch, ids: Tensor<B, 2, Int>) -> Option<Self::Batch> {
        let _ = (batch, ids);
        None
    }

    /// What a smaller model of its own makes of the tokens of a view, for the head that scores them:
    /// `[batch, tokens, width]`. `None` where a model has none.
    fn propose(&self, batch: &Self::Batch, view: View<B>) -> Option<Tensor<B, 3>> {
        let _ = (batch, view);
        None
    }

    /// A number of each token, `[batch, tokens, width]` to `[batch, tokens]`: how surely it is not
    /// the one that stood there, before any sigmoid, or what a sequence is worth that begins so.
    /// `None` without a head for that.
    fn judge(&self, values: Tensor<B, 3>) -> Option<Tensor<B, 2>> {
        let _ = values;
        None
    }

    /// The beginnings and the ends of a batch's sequences, cut in the middle. `None` where they are
    /// not made of ids, or none is long enough.
    fn halves(&self, batch: &Self::Batch) -> Option<[Self::Batch; 2]> {
        let _ = batch;
        None
    }

    /// One of several small backbones, counted from 0, over one vector of each sequence,
    /// `[batch, width]`, and what is shown beside it: `[batch, tokens, width]`, or
    /// `[batch, places, width]` of what is arranged. `None` where a model has no such.
    fn reconstruct(
        &self,
        stack: usize,
        batch: &Self::Batch,
        vectors: Tensor<B, 2>,
        shown: Shown<B>,
    ) -> Option<Tensor<B, 3>> {
        let _ = (stack, batch, vectors, shown);
        None
    }

    /// The model's own task with labels: forecasting, transcription, classification.
    fn supervised(&self, batch: &Self::Batch, context: &mut StepContext<'_>) -> TaskLoss<B>;

    /// Frontend and backbone as [`Self::encode`], and the frontend's own content of the tokens
    /// `picked` (numbers of rows of `[batch * tokens]`, rising, at least one) as a quantiser codes
    /// it, which hiding does not change. With a `temperature` codes are drawn by Gumbel-softmax
    /// (<https://arxiv.org/abs/1611.01144>), without one the likeliest is taken. `None` when the
    /// model has no quantiser.
    fn quantise(
        &self,
        batch: &Self::Batch,
        view: View<B>,
        picked: &[usize],
        temperature: Option<f64>,
        rng: &mut Rng,
    ) -> Option<Quantised<B>> {
        let _ = (batch, view, picked, temperature, rng);
        None
    }

    /// A further task of this modality, by the name a recipe gives it: which series a window is
    /// from, its moving average. `None` when the model has no head for it.
    fn pretext(
        &self,
        task: &str,
        batch: &Self::Batch,
        context: &mut StepContext<'_>,
    ) -> Option<TaskLoss<B>> {
        let _ = (task, batch, context);
        None
    }
}

/// What a step hands to its objective.
#[derive(Debug)]
pub struct StepContext<'a> {
    /// Random numbers of this step alone.
    pub rng: &'a mut Rng,
    /// Whether vital signs are wanted: they cost a little, so not every step asks.
    pub observe: bool,
    /// The step of the stage, from 0, for what is annealed.
    pub step: u64,
    /// What is drawn once for a step, whose micro-batches all see the same of it.
    pub shared: Seed,
}

impl<'a> StepContext<'a> {
    /// The first step, without signs.
    pub fn new(rng: &'a mut Rng) -> Self {
        Self { rng, observe: false, step: 0, shared: Seed::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_in_a_row_are_segments_of_their_own() {
        let layout = Layout {
            lengths: Some(vec![5, 3, 0]),
            documents: Some(vec![0, 2, 3, 5, 8, 10, 15]),
            starts: Some(vec![false; 15]),
            ..Layout::new(3, 5)
        };
        assert_eq!(layout.segments(0), [0..2, 2..3, 3..5]);
        // What begins in the padding is none.
        assert_eq!(layout.segments(1), std::slice::from_ref(&(0..3)));
        assert!(layout.segments(2).is_empty());
        // A word ends where its document does.
        assert_eq!(layout.units(0, true), [0..2, 2..3, 3..5]);
        assert_eq!(Layout::new(1, 4).segments(0), std::slice::from_ref(&(0..4)));
    }
}
