//! Models without weights, so that objectives can be checked by hand.

use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{
    AttentionVisibility, Backend, BottleneckDecode, Capabilities, Corruption, DecoderInput,
    Discriminate, EmbedGroups, Encode, HiddenStates, HostBatch, Labelled, Language, Layout, Loss,
    Model, PredictTokens, PretextTasks, Rank, Ratings, Rng, StepContext, TaskLoss, TokenTargets,
    Tokens,
};

/// Passes its batch, `[batch, tokens, width]`, through: masked tokens become zero, and predicting
/// does nothing. Its hidden states are the batch and its negative.
#[derive(Debug, Clone)]
pub struct Toy;

/// A batch of groups of sequences.
#[derive(Debug, Clone)]
pub struct Groups<B: Backend> {
    /// `[batch, tokens, width]`
    pub values: Tensor<B, 3>,
    /// How many sequences a group has.
    pub group_size: usize,
}

impl<B: Backend> From<Tensor<B, 3>> for Groups<B> {
    fn from(values: Tensor<B, 3>) -> Self {
        Self { values, group_size: 1 }
    }
}

impl<B: Backend> HostBatch for Groups<B> {
    fn layout(&self) -> Layout {
        let [rows, tokens, _] = self.values.dims();
        Layout { group_size: self.group_size, ..Layout::new(rows, tokens) }
    }
}

impl<B: Backend> Model<B> for Toy {
    type Batch = Groups<B>;

    fn device(&self, batch: &Groups<B>) -> B::Device {
        batch.values.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Groups<B>> {
        Capabilities {
            encode: Some(self),
            predict_tokens: Some(self),
            hidden_states: Some(self),
            embed_groups: Some(self),
            rank: Some(self),
            labelled: Some(self),
            pretext: Some(self),
            ratings: Some(self),
            ..Capabilities::none()
        }
    }
}

impl<B: Backend> Encode<B, Groups<B>> for Toy {
    fn encode(
        &self,
        batch: &Groups<B>,
        corruption: &Corruption<B>,
        _: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let (dims, values) = (batch.values.dims(), batch.values.clone());
        Tokens::new(match &corruption.mask {
            Some(mask) => values.mask_fill(mask.clone().unsqueeze_dim::<3>(2).expand(dims), 0.0),
            None => values,
        })
    }
}

impl<B: Backend> PredictTokens<B, Groups<B>> for Toy {
    fn targets(&self, batch: &Groups<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Values { values: batch.values.clone(), mask_missing: None }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        hidden
    }
}

impl<B: Backend> HiddenStates<B, Groups<B>> for Toy {
    fn hidden_states(&self, batch: &Groups<B>) -> Vec<Tensor<B, 3>> {
        vec![batch.values.clone(), batch.values.clone().neg()]
    }
}

impl<B: Backend> EmbedGroups<B, Groups<B>> for Toy {
    /// The means of tokens.
    fn embeddings(&self, batch: &Groups<B>, corruption: &Corruption<B>) -> Vec<Tensor<B, 2>> {
        self.encode(batch, corruption, None).means_of_groups(batch.group_size)
    }
}

impl<B: Backend> Rank<B, Groups<B>> for Toy {
    /// The first value of each sequence.
    fn ranking_scores(&self, batch: &Groups<B>) -> Option<(Tensor<B, 1>, Tokens<B>)> {
        let tokens = Tokens::new(batch.values.clone());
        Some((tokens.values.clone().narrow(1, 0, 1).narrow(2, 0, 1).flatten(0, 2), tokens))
    }
}

impl<B: Backend> Ratings<B, Groups<B>> for Toy {
    /// The first value of each group.
    fn ratings(&self, batch: &Groups<B>) -> Option<Vec<f32>> {
        let [_, tokens, width] = batch.values.dims();
        let values: Vec<f32> = batch.values.clone().into_data().iter::<f32>().collect();
        Some(values.into_iter().step_by(tokens * width * batch.group_size).collect())
    }
}

impl<B: Backend> Labelled<B, Groups<B>> for Toy {
    fn supervised(&self, batch: &Groups<B>, _: &mut StepContext<'_>) -> TaskLoss<B> {
        let loss = Loss::new(batch.values.clone().mean(), batch.values.shape().num_elements());
        TaskLoss { loss, tokens: Some(Tokens::new(batch.values.clone())) }
    }
}

impl<B: Backend> PretextTasks<B, Groups<B>> for Toy {
    fn tasks(&self) -> Vec<&str> {
        vec!["largest", "sum"]
    }

    fn pretext(
        &self,
        task: &str,
        batch: &Groups<B>,
        _: &mut StepContext<'_>,
    ) -> Option<TaskLoss<B>> {
        let loss = match task {
            "largest" => Loss::new(batch.values.clone().max(), 1),
            _ => Loss::new(batch.values.clone().sum(), 2),
        };
        Some(TaskLoss { loss, tokens: Some(Tokens::new(batch.values.clone())) })
    }
}

/// Ids, `[batch, tokens]`, and what is known of them.
#[derive(Debug, Clone)]
pub struct Ids<B: Backend> {
    pub ids: Tensor<B, 2, Int>,
    pub layout: Layout,
}

impl<B: Backend> Ids<B> {
    /// Sequences of equal length, one a document.
    pub fn new<const N: usize>(rows: &[[i64; N]]) -> Self {
        let data = TensorData::new(rows.concat(), [rows.len(), N]);
        let ids = Tensor::from_data(data, &B::Device::default());
        Self { ids, layout: Layout::new(rows.len(), N) }
    }
}

impl<B: Backend> HostBatch for Ids<B> {
    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn split_half(&self) -> Option<[Layout; 2]> {
        let [rows, tokens] = self.ids.dims();
        Some([tokens / 2, tokens - tokens / 2].map(|half| Layout::new(rows, half)))
    }
}

/// The hidden state of an id is a row of its table, `[vocabulary + 1, vocabulary]`, which are logits
/// of the vocabulary; of a masked one the last row. Its discriminator logit is the first of them.
#[derive(Debug, Clone)]
pub struct Table<const V: usize>(pub Vec<[f32; V]>);

impl<B: Backend, const V: usize> Model<B> for Table<V> {
    type Batch = Ids<B>;

    fn device(&self, batch: &Ids<B>) -> B::Device {
        batch.ids.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Ids<B>> {
        Capabilities {
            encode: Some(self),
            predict_tokens: Some(self),
            language: Some(self),
            discriminate: Some(self),
            bottleneck_decode: Some(self),
            ..Capabilities::none()
        }
    }
}

impl<B: Backend, const V: usize> Encode<B, Ids<B>> for Table<V> {
    fn encode(
        &self,
        batch: &Ids<B>,
        corruption: &Corruption<B>,
        _: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let ids = match &corruption.mask {
            Some(mask) => batch.ids.clone().mask_fill(mask.clone(), V as i64),
            None => batch.ids.clone(),
        };
        let [rows, tokens] = ids.dims();
        let table = TensorData::new(self.0.concat(), [V + 1, V]);
        let table = Tensor::<B, 2>::from_data(table, &ids.device());
        Tokens::new(table.select(0, ids.reshape([rows * tokens])).reshape([rows, tokens, V]))
    }
}

impl<B: Backend, const V: usize> PredictTokens<B, Ids<B>> for Table<V> {
    fn targets(&self, batch: &Ids<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Ids { ids: batch.ids.clone() }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        hidden
    }
}

impl<B: Backend, const V: usize> Language<B, Ids<B>> for Table<V> {
    fn with_ids(&self, batch: &Ids<B>, ids: Tensor<B, 2, Int>) -> Ids<B> {
        Ids { ids, layout: batch.layout.clone() }
    }

    fn split_half(&self, batch: &Ids<B>) -> Option<[Ids<B>; 2]> {
        let [rows, tokens] = batch.ids.dims();
        let half = tokens / 2;
        let part = |from, count| Ids {
            ids: batch.ids.clone().narrow(1, from, count),
            layout: Layout::new(rows, count),
        };
        Some([part(0, half), part(half, tokens - half)])
    }
}

impl<B: Backend, const V: usize> Discriminate<B, Ids<B>> for Table<V> {
    fn generator_hidden(&self, _: &Ids<B>, _: &Corruption<B>) -> Option<Tensor<B, 3>> {
        None
    }

    fn discriminator_logits(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        hidden.narrow(2, 0, 1).squeeze_dim(2)
    }
}

impl<B: Backend, const V: usize> BottleneckDecode<B, Ids<B>> for Table<V> {
    fn decoders(&self) -> usize {
        2
    }

    fn pool(&self, tokens: &Tokens<B>) -> Tensor<B, 2> {
        tokens.mean()
    }

    /// The sequence's vector, times one or two, beside the hidden state of what a token shows.
    fn bottleneck_decode(
        &self,
        decoder: usize,
        batch: &Ids<B>,
        vectors: Tensor<B, 2>,
        input: &DecoderInput<B>,
    ) -> Tensor<B, 3> {
        let [rows, width] = vectors.dims();
        let values = match input {
            DecoderInput::Corrupted(corruption) => self.encode(batch, corruption, None).values,
            // What stands at each place alone.
            DecoderInput::Permuted(sequence) => {
                let ids = sequence.permute(batch.ids.clone());
                let [rows, places] = ids.dims();
                let masked = sequence.masked(&ids.device());
                let batch = Ids { ids, layout: Layout::new(rows, places) };
                self.encode(&batch, &Corruption::masked(masked), None).values
            }
        };
        let scale = (decoder + 1) as f64;
        values + vectors.mul_scalar(scale).reshape([rows, 1, width])
    }
}

/// A step without diagnostics.
pub fn context(rng: &mut Rng) -> StepContext<'_> {
    StepContext::new(rng)
}
