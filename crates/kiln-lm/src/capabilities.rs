//! The text model as objectives see it, and its losses with labels.

use crate::{
    batch::{HostText, Text},
    examples::{Example, Labels, TextBatch, collate},
    generate::{Choice, Generation, Sampling, Verdict},
    model::{EncodeOptions, TextModel},
};
use burn::{
    module::Module as _,
    tensor::{Int, Tensor, TensorData},
};
use kiln_core::{
    AttentionVisibility, Backend, BottleneckDecode, Capabilities, Completions, Corruption,
    DecoderInput, Discriminate, EmbedGroups, Encode, EncodePermuted, HiddenStates, Labelled, Lack,
    Language, Layout, Loss, Model, PermutedSequence, PredictTokens, PredictValue,
    RandomReplacement, Rank, Ratings, Seed, SourceTarget, StepContext, TaskLoss, TokenTargets,
    Tokens, members_of_groups,
};
use kiln_kernels::MASK_VALUE;
use kiln_nn::{ForwardOptions, Positions};
use kiln_objectives::next_token_loss;
use rand::RngExt as _;

impl<B: Backend> Model<B> for TextModel<B> {
    type Batch = TextBatch<B>;

    fn device(&self, batch: &TextBatch<B>) -> B::Device {
        batch.device()
    }

    fn batch_size(&self, batch: &TextBatch<B>) -> usize {
        batch.host.text.batch
    }

    fn capabilities(&self) -> Capabilities<'_, B, TextBatch<B>> {
        let config = self.config();
        let encoder_only = config.decoder.is_none();
        let (head, scores) = (config.heads().next().is_some(), self.language.is_some());
        let numbers = self.discriminator.is_some();
        Capabilities {
            encode: Some(self),
            predict_tokens: scores.then_some(self as _),
            hidden_states: encoder_only.then_some(self as _),
            embed_groups: Some(self),
            rank: head.then_some(self as _),
            labelled: (head || !encoder_only).then_some(self as _),
            ratings: Some(self),
            language: scores.then_some(self as _),
            discriminate: numbers.then_some(self as _),
            value: numbers.then_some(self as _),
            encode_permuted: encoder_only.then_some(self as _),
            bottleneck_decode: (!self.bottleneck.is_empty()).then_some(self as _),
            ..Capabilities::none()
        }
    }
}

impl<B: Backend> Encode<B, TextBatch<B>> for TextModel<B> {
    fn layout(&self, batch: &TextBatch<B>) -> Layout {
        let text = &batch.host.text;
        let flags = |flags: &Vec<bool>| (!flags.is_empty()).then(|| flags.clone());
        Layout {
            lengths: (!text.pad.is_empty())
                .then(|| (0..text.batch).map(|row| text.length(row)).collect()),
            special_tokens_mask: flags(&batch.host.special_tokens_mask),
            word_starts: flags(&batch.host.word_starts),
            documents: (!text.documents.is_empty())
                .then(|| text.documents.iter().map(|start| *start as usize).collect()),
            loss_mask: flags(&batch.host.loss_mask),
            lexicon_spans: (!batch.host.lexicon_spans.is_empty())
                .then(|| batch.host.lexicon_spans.clone()),
            group_size: batch.host.group_size.max(1),
            ..Layout::new(text.batch, text.tokens)
        }
    }

    fn encode(
        &self,
        batch: &TextBatch<B>,
        corruption: &Corruption<B>,
        attention: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let text = self.corrupted(batch, corruption);
        let (visibility, generates) = (attention.cloned(), attention.is_some());
        self.read(&text, EncodeOptions { visibility, generates, cache: None })
    }
}

impl<B: Backend> PredictTokens<B, TextBatch<B>> for TextModel<B> {
    fn targets(&self, batch: &TextBatch<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Ids { ids: batch.text.ids.clone() }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.scores(hidden.clone()).unwrap_or(hidden)
    }

    fn token_nll(&self, _: usize, hidden: Tensor<B, 2>, ids: Tensor<B, 1, Int>) -> Tensor<B, 1> {
        let Some(head) = &self.language else { unreachable!("a capability only with one") };
        head.losses(hidden, ids, &self.embedding.words)
    }
}

impl<B: Backend> HiddenStates<B, TextBatch<B>> for TextModel<B> {
    fn hidden_states(&self, batch: &TextBatch<B>) -> Vec<Tensor<B, 3>> {
        self.read_each(&batch.text)
    }
}

impl<B: Backend> EmbedGroups<B, TextBatch<B>> for TextModel<B> {
    fn group_size(&self, batch: &TextBatch<B>) -> usize {
        batch.host.group_size.max(1)
    }

    fn embeddings(&self, batch: &TextBatch<B>, corruption: &Corruption<B>) -> Vec<Tensor<B, 2>> {
        let tokens = self.encode(batch, corruption, None);
        members_of_groups(self.pooled(&tokens), batch.host.group_size)
    }
}

impl<B: Backend> Rank<B, TextBatch<B>> for TextModel<B> {
    fn candidates(&self, batch: &TextBatch<B>) -> usize {
        batch.host.group_size.max(1)
    }

    /// The first output of the head for the batch's task.
    fn ranking_scores(&self, batch: &TextBatch<B>) -> Option<(Tensor<B, 1>, Tokens<B>)> {
        let tokens = self.encode(batch, &Corruption::none(), None);
        let scores = self.task_of_texts(batch.host.task.as_deref(), &tokens)?;
        Some((scores.narrow(1, 0, 1).squeeze_dim(1), tokens))
    }
}

impl<B: Backend> Ratings<B, TextBatch<B>> for TextModel<B> {
    fn ratings(&self, batch: &TextBatch<B>) -> Option<Vec<f32>> {
        match &batch.host.labels {
            Some(Labels::Numbers(rows)) => rows.iter().map(|row| row.first().copied()).collect(),
            _ => None,
        }
    }
}

impl<B: Backend> Discriminate<B, TextBatch<B>> for TextModel<B> {
    fn generator_hidden(
        &self,
        batch: &TextBatch<B>,
        corruption: &Corruption<B>,
    ) -> Option<Tensor<B, 3>> {
        let generator = self.generator.as_ref()?;
        let text = self.corrupted(batch, corruption);
        Some(generator.forward(self.embedding.forward(&text, 0), &text))
    }

    fn discriminator_logits(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        self.values(hidden)
    }
}

impl<B: Backend> PredictValue<B, TextBatch<B>> for TextModel<B> {
    fn values(&self, hidden: Tensor<B, 3>) -> Tensor<B, 2> {
        let Some(head) = &self.discriminator else { unreachable!("a capability only with one") };
        head.forward(hidden).squeeze_dim(2)
    }
}

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

impl<B: Backend> Language<B, TextBatch<B>> for TextModel<B> {
    fn token_ids(&self, batch: &TextBatch<B>) -> Vec<Vec<u32>> {
        let text = &batch.host.text;
        (0..text.batch).map(|row| text.text(row).collect()).collect()
    }

    fn sentinels(&self) -> Vec<u32> {
        self.config().special.sentinels()
    }

    fn seq2seq_loss(
        &self,
        batch: &TextBatch<B>,
        pairs: Vec<SourceTarget>,
        prefix_lm: bool,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let config = self.config();
        let prefixes: Vec<i64> = pairs.iter().map(|one| one.source.len() as i64).collect();
        let ended = |mut one: SourceTarget| {
            one.target.extend(config.special.eos);
            one
        };
        let pairs: Vec<SourceTarget> = pairs.into_iter().map(ended).collect();
        if config.decoder.is_some() {
            let example = |one: SourceTarget| Example {
                ids: one.source,
                written: Some(one.target),
                ..Example::default()
            };
            let examples: Vec<Example> = pairs.into_iter().map(example).collect();
            return Ok(self.supervised(&self.batch_of(&examples, batch), context).loss);
        }
        let batch = self.completions(batch, pairs);
        let attention = if prefix_lm {
            AttentionVisibility::prefix(Tensor::from_data(&prefixes[..], &batch.device()))
        } else {
            AttentionVisibility::causal()
        };
        next_token_loss(self, &batch, &attention, &batch.host.loss_mask, context.collect_metrics)
    }

    fn sample_completions(
        &self,
        batch: &TextBatch<B>,
        num_generations: usize,
        max_new_tokens: usize,
        seed: Seed,
    ) -> Result<Option<Completions<TextBatch<B>>>, Lack> {
        let masks = batch.host.loss_mask.chunks(batch.host.text.tokens.max(1));
        let asked = self.token_ids(batch).into_iter().zip(masks);
        let asked: Vec<SourceTarget> =
            asked.filter_map(|(ids, mask)| SourceTarget::last_completion(&ids, mask)).collect();
        if asked.is_empty() {
            return Ok(None);
        }
        let each = |one: &SourceTarget| std::iter::repeat_n(one.source.clone(), num_generations);
        let prompts: Vec<Vec<u32>> = asked.iter().flat_map(each).collect();
        // A completion is read again with its prompt, for which there must be positions.
        let prompt = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let longest =
            self.config().longest().map_or(max_new_tokens, |all| all.saturating_sub(prompt));
        let choice = Choice::Sample(Sampling::default());
        let generation =
            Generation { max_new_tokens: max_new_tokens.min(longest), choice, cache: true };
        let sampler = self.clone().no_grad();
        let device = batch.device();
        let sampled = sampler.generate(&prompts, &generation, seed, &device, |_, _| Verdict::GoOn);
        let mut sampled = sampled.map_err(|error| {
            Lack::new(format!("needs a model that samples completions: {error}"))
        })?;
        for completion in sampled.iter_mut().filter(|one| one.len() < generation.max_new_tokens) {
            completion.extend(self.config().special.eos);
        }
        let pairs = prompts.into_iter().zip(sampled.clone());
        let pairs = pairs.map(|(source, target)| SourceTarget { source, target }).collect();
        let references = asked.into_iter().map(|one| one.target).collect();
        Ok(Some(Completions { batch: self.completions(batch, pairs), sampled, references }))
    }

    fn with_ids(&self, batch: &TextBatch<B>, ids: Tensor<B, 2, Int>) -> TextBatch<B> {
        let mut batch = batch.clone();
        batch.host.text.ids = ids.to_data().iter::<i64>().map(|id| id as u32).collect();
        batch.text.ids = ids;
        batch
    }

    fn split_half(&self, batch: &TextBatch<B>) -> Option<[TextBatch<B>; 2]> {
        let [first, second] = batch.host.halves();
        if second.iter().all(|half| half.ids.is_empty()) {
            return None;
        }
        Some([self.batch_of(&first, batch), self.batch_of(&second, batch)])
    }
}

impl<B: Backend> Labelled<B, TextBatch<B>> for TextModel<B> {
    /// The loss of the head for the batch's task; for an encoder-decoder the mean cross-entropy of the
    /// target. A batch without the labels that this needs counts nothing.
    fn supervised(&self, batch: &TextBatch<B>, context: &mut StepContext<'_>) -> TaskLoss<B> {
        let found = match (&batch.host.written, &batch.host.labels) {
            (Some(written), _) if self.decoder.is_some() => {
                let tokens = self.encode(batch, &Corruption::none(), None);
                self.loss_of_written(batch, &tokens, &written.next).map(|loss| (loss, tokens))
            }
            (_, Some(labels)) => {
                let tokens = self.encode(batch, &Corruption::none(), None);
                let loss = self.loss_of_labels(batch, &tokens, labels, context.collect_metrics);
                loss.map(|loss| (loss, tokens))
            }
            _ => None,
        };
        match found {
            Some((loss, tokens)) => TaskLoss { loss, tokens: Some(tokens) },
            None => TaskLoss::empty(&batch.device()),
        }
    }
}

impl<B: Backend> TextModel<B> {
    /// Examples as a batch, where another lies.
    fn batch_of(&self, examples: &[Example], beside: &TextBatch<B>) -> TextBatch<B> {
        let config = self.config();
        collate(examples, &config.special).upload::<B>(&config.embedding, &beside.device())
    }

    /// A batch of completions after their prompts, one sequence each; the loss mask has the
    /// completions.
    fn completions(&self, batch: &TextBatch<B>, pairs: Vec<SourceTarget>) -> TextBatch<B> {
        let example = |SourceTarget { source, target }: SourceTarget| {
            let loss_mask = [vec![false; source.len()], vec![true; target.len()]].concat();
            Example { ids: [source, target].concat(), loss_mask, ..Example::default() }
        };
        let examples: Vec<Example> = pairs.into_iter().map(example).collect();
        self.batch_of(&examples, batch)
    }

    /// A batch's tokens in another order, and the attention bias of their mask,
    /// `[batch, 1, places, places]`.
    fn permuted(
        &self,
        batch: &TextBatch<B>,
        sequence: &PermutedSequence,
    ) -> (Text<B>, Tensor<B, 4>) {
        let mask = self.config().special.mask.unwrap_or_default();
        let tokens = batch.host.text.tokens;
        let places = sequence.places.first().map_or(0, Vec::len);
        let rows = sequence.places.iter().enumerate();
        let ids = rows.flat_map(|(row, places)| {
            let ids = &batch.host.text.ids;
            let id = move |at: usize| ids.get(row * tokens + at).copied().unwrap_or(mask);
            places.iter().map(move |(at, masked)| if *masked { mask } else { id(*at) })
        });
        let begins = batch.host.text.begins();
        let begin = |row: usize, at: usize| begins.get(row * tokens + at).copied().unwrap_or(0);
        let rows = sequence.places.iter().enumerate();
        let positions = rows.flat_map(|(row, places)| {
            places.iter().map(move |(at, _)| (at.saturating_sub(begin(row, *at))) as u32)
        });
        let host = HostText {
            batch: sequence.places.len(),
            tokens: places,
            ids: ids.collect(),
            positions: positions.collect(),
            ..HostText::default()
        };
        let device = batch.device();
        let bias = sequence.attends.iter().enumerate().map(|(at, attends)| {
            // Documents in a row do not attend to each other.
            let (row, from, to) = (at / (places * places), at / places % places, at % places);
            let of = |place: usize| begin(row, sequence.places[row][place].0);
            if *attends && of(from) == of(to) { 0.0 } else { MASK_VALUE as f32 }
        });
        let shape = [host.batch, 1, places, places];
        let bias = TensorData::new(bias.collect::<Vec<f32>>(), shape);
        let text = host.upload::<B>(&self.config().embedding, &device);
        (text, Tensor::from_data(bias, &device))
    }

    /// A batch's texts with tokens masked or replaced.
    fn corrupted(&self, batch: &TextBatch<B>, corruption: &Corruption<B>) -> Text<B> {
        let mut text = batch.text.clone();
        if let Some(RandomReplacement { tokens, seed }) = &corruption.random_replacement {
            let shape = text.dims();
            let mut rng = seed.rng();
            let vocabulary = self.config().vocabulary as i64;
            let ids = (0..shape[0] * shape[1]).map(|_| rng.random_range(0..vocabulary));
            let ids = TensorData::new(ids.collect::<Vec<i64>>(), shape);
            let ids = Tensor::from_data(ids, &batch.device());
            text.ids = text.ids.mask_where(tokens.clone(), ids);
        }
        // A recipe that masks tokens of a model without a mask token is refused.
        if let (Some(masked), Some(mask)) = (&corruption.mask, self.config().special.mask) {
            text.ids = text.ids.mask_fill(masked.clone(), i64::from(mask));
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{SpecialIds, TextModelConfig};
    use burn::tensor::Bool;
    use burn_flex::Flex;
    use kiln_core::Seed;

    pub(crate) fn batch(config: &TextModelConfig, examples: &[Example]) -> TextBatch<Flex> {
        collate(examples, &config.special).upload(&config.embedding, &Default::default())
    }

    pub(crate) fn text(ids: &[u32]) -> Example {
        Example { ids: ids.to_vec(), ..Example::default() }
    }

    pub(crate) fn encoder() -> TextModelConfig {
        TextModelConfig {
            causal: false,
            special: SpecialIds { mask: Some(9), ..SpecialIds::default() },
            ..TextModelConfig::default()
        }
    }

    fn encode(
        model: &TextModel<Flex>,
        batch: &TextBatch<Flex>,
        corruption: Corruption<Flex>,
    ) -> Vec<f32> {
        values(Encode::encode(model, batch, &corruption, None).values)
    }

    /// The hidden states of the first tokens of one text, with a prefix or without.
    fn written(
        config: &TextModelConfig,
        model: &TextModel<Flex>,
        example: Example,
        prefix: Option<usize>,
        tokens: usize,
    ) -> Vec<f32> {
        let lengths = |length| Tensor::from_ints([length as i32], &Default::default());
        let attention = prefix.map_or_else(AttentionVisibility::causal, |one| {
            AttentionVisibility::prefix(lengths(one))
        });
        let batch = batch(config, &[example]);
        let found = Encode::encode(model, &batch, &Corruption::none(), Some(&attention));
        values(found.values.narrow(1, 0, tokens))
    }

    fn values<const D: usize>(x: Tensor<Flex, D>) -> Vec<f32> {
        x.into_data().to_vec().unwrap()
    }

    #[test]
    fn hidden_tokens_are_masked_and_disguised_ones_are_others() {
        let config = encoder();
        let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        let hide = Tensor::<Flex, 2, Bool>::from_data([[false, true, false]], &Default::default());
        let one = batch(&config, &[text(&[1, 2, 3])]);
        let hidden = encode(&model, &one, Corruption::masked(hide.clone()));
        let masked = batch(&config, &[text(&[1, 9, 3])]);
        assert_eq!(hidden, encode(&model, &masked, Corruption::none()));
        let random = Some(RandomReplacement { tokens: hide, seed: Seed::new(4) });
        let replaced = || Corruption { random_replacement: random.clone(), ..Corruption::none() };
        let found = encode(&model, &one, replaced());
        assert_eq!(found, encode(&model, &one, replaced()));
        assert_ne!(found, encode(&model, &one, Corruption::none()));
    }

    #[test]
    fn a_prefix_is_seen_by_all() {
        let config = encoder();
        let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        let read =
            |ids: &[u32], prefix: Option<usize>| written(&config, &model, text(ids), prefix, 1);
        // The first token sees the second within the prefix, but never the last.
        assert_eq!(read(&[1, 2, 3], Some(2)), read(&[1, 2, 4], Some(2)));
        assert_ne!(read(&[1, 2, 3], Some(2)), read(&[1, 5, 3], Some(2)));
        assert_eq!(read(&[1, 2, 3], None), read(&[1, 5, 3], None));
        for (one, other) in read(&[1, 2, 3], Some(1)).iter().zip(read(&[1, 2, 3], None)) {
            assert!((one - other).abs() < 1e-5);
        }
        // Documents in a row do not see each other in a prefix either.
        let packed = |last: u32| {
            let example = Example { documents: vec![0, 2], ..text(&[1, 2, last]) };
            written(&config, &model, example, Some(3), 2)
        };
        assert_eq!(packed(3), packed(4));
    }

    /// What teaches students sees documents in a row as they do.
    #[test]
    fn blocks_see_their_own_document() {
        let mut config = encoder();
        config.backbone.final_norm = false;
        let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        let last = |ids: &[u32]| {
            let example = Example { documents: vec![0, 2], ..text(ids) };
            let batch = batch(&config, &[example]);
            let each = model.hidden_states(&batch);
            let whole = encode(&model, &batch, Corruption::none());
            assert_eq!(each.len(), config.backbone.layers);
            let top = values(each[each.len() - 1].clone());
            assert!(top.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-6));
            each.into_iter().map(|x| values(x.narrow(1, 0, 2))).collect::<Vec<_>>()
        };
        assert_eq!(last(&[1, 2, 3, 4]), last(&[1, 2, 5, 6]));
    }
}
