//! Capabilities: what a model of any modality can do for an objective.
//!
//! Each is a small object-safe trait over a backend and the modality's batch type. A model lists
//! those that it has in [`Model::capabilities`]; an objective asks for what it needs and gets a
//! [`Lack`] where it is missing. What a recipe would need is said beforehand by [`Need`](crate::Need).

use crate::{
    AttentionVisibility, Backend, Corruption, DecoderInput, Lack, Layout, Loss, PermutedSequence,
    Quantized, Rng, Seed, SourceTarget, StepContext, TaskLoss, TokenTargets, Tokens,
};
use burn::tensor::{Bool, Int, Tensor};
use kiln_kernels::{CrossEntropyOptions, cross_entropy};

/// A model of any modality: its batches, and its capabilities.
pub trait Model<B: Backend> {
    /// A batch of this modality, on the device.
    type Batch;

    /// The device that a batch is on.
    fn device(&self, batch: &Self::Batch) -> B::Device;

    /// What this model can do.
    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch>;
}

/// The list of capabilities, the trait objects behind them, and what is said where one is missing.
macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident: $capability:ident, $missing:literal;)*) => {
        /// The capabilities of a model; `None` where it lacks one.
        pub struct Capabilities<'a, B: Backend, T> {
            $($(#[$doc])* pub $name: Option<&'a dyn $capability<B, T>>,)*
        }

        impl<'a, B: Backend, T> Capabilities<'a, B, T> {
            /// No capability: a model names those it has beside it.
            pub fn none() -> Self {
                Self { $($name: None,)* }
            }

            $($(#[$doc])*
            ///
            /// # Errors
            /// When the model lacks it.
            pub fn $name(&self) -> Result<&'a dyn $capability<B, T>, Lack> {
                self.$name.ok_or_else(|| Lack::new($missing))
            })*
        }
    };
}

capabilities! {
    /// Encodes tokens.
    encode: Encode, "needs a model that encodes tokens";
    /// Predicts what tokens stand for.
    predict_tokens: PredictTokens, "needs a head that predicts tokens";
    /// Shows the hidden states of its blocks.
    hidden_states: HiddenStates, "needs a model that shows the hidden states of its blocks";
    /// Embeds the members of groups.
    embed_groups: EmbedGroups, "needs a model that embeds whole sequences";
    /// Scores the candidates of a query.
    rank: Rank, "needs a ranking head";
    /// Has labels and a head for them.
    labelled: Labelled, "needs labels and a head that predicts them";
    /// Has self-supervised tasks of the modality's own.
    pretext: PretextTasks, "needs a head for a pretext task";
    /// Has ratings of its examples.
    ratings: Ratings, "needs ratings of the examples";
    /// Reads and generates token ids.
    language: Language, "needs a model of token ids";
    /// Tells replaced tokens (ELECTRA).
    discriminate: Discriminate, "needs a discriminator head";
    /// Predicts the value of a prefix.
    value: PredictValue, "needs a value head";
    /// Encodes permuted tokens.
    encode_permuted: EncodePermuted, "needs a model that encodes tokens in any order";
    /// Decodes a sequence from one vector.
    bottleneck_decode: BottleneckDecode, "needs a bottleneck decoder";
    /// Quantizes its features.
    quantize: Quantize, "needs a vector quantizer";
    /// Denoises.
    denoise: Denoise, "needs a model that denoises";
}

/// Frontend and backbone: tokens to hidden states.
pub trait Encode<B: Backend, T> {
    /// Hidden states of the tokens that carry targets, `[batch, tokens, width]`. Without an
    /// `attention` visibility they attend in the model's own way: bidirectional in encoders, causal in
    /// decoders; padding and documents are those of the batch.
    fn encode(
        &self,
        batch: &T,
        corruption: &Corruption<B>,
        attention: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B>;
}

/// Token heads: what each token stands for, predicted from hidden states.
pub trait PredictTokens<B: Backend, T> {
    /// What each token of [`Encode::encode`] stands for, one a head; empty where the batch has no
    /// targets.
    fn targets(&self, batch: &T) -> Vec<TokenTargets<B>>;

    /// The predictions of a head: `[batch, tokens, width]` to `[batch, tokens, target width]`, or to
    /// logits `[batch, tokens, vocabulary]` where targets are ids.
    fn predict(&self, head: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3>;

    /// The negative log-likelihood of an id for each token, in nats: `[rows, width]` and `[rows]` to
    /// `[rows]`. A model that can compute it without keeping the logits overrides it.
    fn token_nll(&self, head: usize, hidden: Tensor<B, 2>, ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
        let logits = self.predict(head, hidden.unsqueeze_dim(0)).squeeze_dim(0);
        cross_entropy(logits, ids, CrossEntropyOptions::default())
    }
}

/// Hidden states of each block, as teacher and student of self-distillation (data2vec,
/// <https://arxiv.org/abs/2202.03555>).
pub trait HiddenStates<B: Backend, T> {
    /// The hidden states after each block, `[batch, tokens, width]` each, from the input up, of
    /// tokens that are not corrupted.
    fn hidden_states(&self, batch: &T) -> Vec<Tensor<B, 3>>;

    /// The student's prediction of the teacher's hidden states from the backbone's output, both
    /// `[batch, tokens, width]`.
    fn predict_teacher(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        hidden
    }
}

/// Embeddings of whole sequences, for contrastive objectives: one or several encoders (towers).
pub trait EmbedGroups<B: Backend, T> {
    /// The embeddings of the members of each group ([`Layout::group_size`]), not normalised: one
    /// tensor `[groups, embedding width]` a member, which may be a tower's, a view's or a crop's.
    fn embeddings(&self, batch: &T, corruption: &Corruption<B>) -> Vec<Tensor<B, 2>>;

    /// Logit scale, `[1]`: a learned inverse temperature (CLIP, <https://arxiv.org/abs/2103.00020>);
    /// `None` where the objective's temperature is used.
    fn logit_scale(&self) -> Option<Tensor<B, 1>> {
        None
    }
}

/// Ranking head of a cross-encoder.
pub trait Rank<B: Backend, T> {
    /// Ranking scores of the sequences, `[batch]`, each a candidate with its query, and the hidden
    /// states that they were read from. `None` where the batch is of a task without a ranking head.
    fn ranking_scores(&self, batch: &T) -> Option<(Tensor<B, 1>, Tokens<B>)>;
}

/// Supervised learning: labels, and a head that predicts them.
pub trait Labelled<B: Backend, T> {
    /// The loss of the model's own task: forecasting, transcription, classification. Examples
    /// without labels count nothing.
    fn supervised(&self, batch: &T, context: &mut StepContext<'_>) -> TaskLoss<B>;
}

/// Pretext tasks: tasks of the modality's own whose labels cost nothing.
pub trait PretextTasks<B: Backend, T> {
    /// The tasks that the model has heads for, as recipes name them.
    fn tasks(&self) -> Vec<&str>;

    /// The loss of a task; `None` without a head for it, or where the batch has no labels for it.
    fn pretext(&self, task: &str, batch: &T, context: &mut StepContext<'_>) -> Option<TaskLoss<B>>;
}

/// Ratings of examples: similarity scores of pairs, or how good a text is.
pub trait Ratings<B: Backend, T> {
    /// A rating for each group of a batch, or for each sequence where they have no groups; `None`
    /// where the batch has none.
    fn ratings(&self, batch: &T) -> Option<Vec<f32>>;
}

/// Completions that were sampled for the prompts of a batch, and the batch that trains on them.
pub struct Completions<T> {
    /// The prompts with their completions, one sequence each: the loss mask has the completions.
    /// What else belongs to a prompt, such as images, is in it.
    pub batch: T,
    /// The layout of that batch.
    pub layout: Layout,
    /// The ids of each completion, one after the other of each prompt.
    pub sampled: Vec<Vec<u32>>,
    /// The reference completion of each prompt.
    pub references: Vec<Vec<u32>>,
}

/// Language models: sequences of token ids that are read and generated. Batches in and out, so that
/// what else a batch holds survives.
pub trait Language<B: Backend, T> {
    /// Sequence-to-sequence loss: cross-entropy of the target given the source, in nats, averaged
    /// over target tokens. Encoder-decoders read the source with their encoder; decoders go on after
    /// it, attending to all of it at once with `prefix_lm`.
    ///
    /// # Errors
    /// When the model cannot.
    fn seq2seq_loss(
        &self,
        batch: &T,
        pairs: Vec<SourceTarget>,
        prefix_lm: bool,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let _ = (batch, pairs, prefix_lm, context);
        Err(Lack::new("needs a model with a sequence-to-sequence loss"))
    }

    /// Samples `num_generations` completions of at most `max_new_tokens` tokens for each prompt of a
    /// batch, by the model's own probabilities and without gradients; the end-of-sequence token is
    /// part of a completion. `None` where the batch has no prompts.
    ///
    /// # Errors
    /// When the model cannot.
    fn sample_completions(
        &self,
        batch: &T,
        num_generations: usize,
        max_new_tokens: usize,
        seed: Seed,
    ) -> Result<Option<Completions<T>>, Lack> {
        let _ = (batch, num_generations, max_new_tokens, seed);
        Err(Lack::new("needs a model that samples completions"))
    }

    /// The batch with other token ids, `[batch, tokens]`.
    fn with_ids(&self, batch: &T, ids: Tensor<B, 2, Int>) -> T;

    /// The first and the second half of each sequence, see
    /// [`HostBatch::split_half`](crate::HostBatch::split_half); `None` where none is long enough.
    fn split_half(&self, batch: &T) -> Option<[T; 2]> {
        let _ = batch;
        None
    }
}

/// Replaced-token detection: generator and discriminator of ELECTRA
/// (<https://arxiv.org/abs/2003.10555>).
pub trait Discriminate<B: Backend, T> {
    /// Hidden states of the generator for the masked input, `[batch, tokens, width]`; the token head
    /// turns them into logits. `None` where generator and discriminator share all weights.
    fn generator_hidden(&self, batch: &T, corruption: &Corruption<B>) -> Option<Tensor<B, 3>>;

    /// Discriminator logits, `[batch, tokens, width]` to `[batch, tokens]`: positive where a token is
    /// judged replaced.
    fn discriminator_logits(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2>;
}

/// Value head: the return that a prefix is expected to lead to.
pub trait PredictValue<B: Backend, T> {
    /// The value of each prefix, `[batch, tokens, width]` to `[batch, tokens]`.
    fn values(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2>;
}

/// Encodes tokens in another order (MPNet, <https://arxiv.org/abs/2004.09297>).
pub trait EncodePermuted<B: Backend, T> {
    /// Hidden states of permuted tokens, `[batch, places, width]`.
    fn encode_permuted(&self, batch: &T, sequence: &PermutedSequence) -> Tensor<B, 3>;
}

/// Bottleneck decoders: small decoders that reconstruct a sequence from one vector (RetroMAE,
/// <https://arxiv.org/abs/2205.12035>).
pub trait BottleneckDecode<B: Backend, T> {
    /// How many decoders there are.
    fn decoders(&self) -> usize;

    /// The vector of each sequence: `[batch, tokens, width]` to `[batch, width]`.
    fn pool(&self, tokens: &Tokens<B>) -> Tensor<B, 2>;

    /// Hidden states of a decoder, counted from 0, given the vector of each sequence,
    /// `[batch, width]`: `[batch, tokens, width]`, or `[batch, places, width]` of permuted tokens.
    fn bottleneck_decode(
        &self,
        decoder: usize,
        batch: &T,
        vectors: Tensor<B, 2>,
        input: &DecoderInput<B>,
    ) -> Tensor<B, 3>;
}

/// Vector quantization of the frontend's features (wav2vec 2.0, <https://arxiv.org/abs/2006.11477>).
pub trait Quantize<B: Backend, T> {
    /// Encodes as [`Encode::encode`], and quantizes the uncorrupted features of the tokens `picked`:
    /// rows of `[batch * tokens]`, ascending, at least one. With a `temperature`, codes are drawn by
    /// Gumbel-softmax (<https://arxiv.org/abs/1611.01144>); without one, the likeliest is taken.
    fn quantize(
        &self,
        batch: &T,
        corruption: &Corruption<B>,
        picked: &[usize],
        temperature: Option<f64>,
        rng: &mut Rng,
    ) -> Quantized<B>;
}

/// Denoisers of diffusion and flow models.
pub trait Denoise<B: Backend, T> {
    /// The data without noise, `[batch, tokens, width]`.
    fn clean(&self, batch: &T) -> Tensor<B, 3>;

    /// The network's output for noisy data `[batch, tokens, width]` at times `[batch]` in 0 to 1,
    /// without its condition where `drop_condition`, `[batch]`, is true (classifier-free guidance,
    /// <https://arxiv.org/abs/2207.12598>): the same shape.
    fn denoise(
        &self,
        batch: &T,
        noisy: Tensor<B, 3>,
        time: Tensor<B, 1>,
        drop_condition: Tensor<B, 1, Bool>,
    ) -> Tensor<B, 3>;
}
