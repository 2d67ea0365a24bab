//! The text model as objectives see it, and its losses with labels.

use crate::{
    batch::{HostText, Text},
    examples::{Example, Labels, TextBatch, collate},
    generate::{Choice, Generation, Sampling, Verdict},
    model::{Reading, TextModel},
};
use burn::{
    module::Module as _,
    tensor::{Int, Tensor, TensorData},
};
use kiln_core::{
    Arrangement, Backend, Disguise, Layout, Loss, Rewrite, Seed, Shown, StepContext, Targets,
    TaskLoss, TokenModel, Tokens, View,
};
use kiln_kernels::MASK_VALUE;
use kiln_nn::{AttentionVisibility, ForwardOptions, Positions};
use kiln_objectives::Autoregressive;
use rand::RngExt as _;

impl<B: Backend> TokenModel<B> for TextModel<B> {
    type Batch = TextBatch<B>;

    fn layout(&self, batch: &TextBatch<B>) -> Layout {
        let text = &batch.host.text;
        let flags = |flags: &Vec<bool>| (!flags.is_empty()).then(|| flags.clone());
        Layout {
            lengths: (!text.pad.is_empty())
                .then(|| (0..text.batch).map(|row| text.length(row)).collect()),
            fixed: flags(&batch.host.fixed),
            starts: flags(&batch.host.starts),
            documents: (!text.documents.is_empty())
                .then(|| text.documents.iter().map(|start| *start as usize).collect()),
            counted: flags(&batch.host.counted),
            terms: (!batch.host.terms.is_empty()).then(|| batch.host.terms.clone()),
            views: batch.host.views.max(1),
            ..Layout::new(text.batch, text.tokens)
        }
    }

    fn device(&self, batch: &TextBatch<B>) -> B::Device {
        batch.device()
    }

    fn encode(&self, batch: &TextBatch<B>, view: View<B>) -> Tokens<B> {
        let writes = view.causal;
        let visibility = view.causal.then(|| match &view.prefix {
            Some(lengths) => {
                let lengths: Vec<i64> = lengths.iter().map(|length| *length as i64).collect();
                let lengths = Tensor::from_data(&lengths[..], &batch.device());
                AttentionVisibility::prefix(lengths)
            }
            None => AttentionVisibility::causal(),
        });
        self.read(&self.seen(batch, view), Reading { visibility, writes, cache: None })
    }

    fn encode_each(&self, batch: &TextBatch<B>) -> Vec<Tensor<B, 3>> {
        self.read_each(&batch.text)
    }

    fn targets(&self, batch: &TextBatch<B>) -> Targets<B> {
        Targets::Ids { ids: batch.text.ids.clone() }
    }

    /// Without a head for the vocabulary, what comes in goes out.
    fn decode(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        self.scores(values.clone()).unwrap_or(values)
    }

    fn losses(&self, values: Tensor<B, 2>, ids: Tensor<B, 1, Int>) -> Option<Tensor<B, 1>> {
        let head = self.language.as_ref()?;
        Some(head.losses(values, ids, &self.embedding.words))
    }

    fn pooled(&self, tokens: &Tokens<B>) -> Tensor<B, 2> {
        self.pooled(tokens)
    }

    /// The first of the numbers that the head for a task gives.
    fn relevance(&self, batch: &TextBatch<B>, tokens: &Tokens<B>) -> Option<Tensor<B, 1>> {
        let scores = self.task_of_texts(batch.host.task.as_deref(), tokens)?;
        Some(scores.narrow(1, 0, 1).squeeze_dim(1))
    }

    fn arranged(&self, batch: &TextBatch<B>, arrangement: &Arrangement) -> Option<Tensor<B, 3>> {
        let (text, bias) = self.rearranged(batch, arrangement)?;
        let visibility = Some(AttentionVisibility::bidirectional().add_bias(bias));
        Some(self.read(&text, Reading { visibility, ..Reading::default() }).values)
    }

    fn with_ids(&self, batch: &TextBatch<B>, ids: Tensor<B, 2, Int>) -> Option<TextBatch<B>> {
        let mut batch = batch.clone();
        batch.host.text.ids = ids.to_data().iter::<i64>().map(|id| id as u32).collect();
        batch.text.ids = ids;
        Some(batch)
    }

    fn propose(&self, batch: &TextBatch<B>, view: View<B>) -> Option<Tensor<B, 3>> {
        let generator = self.generator.as_ref()?;
        let text = self.seen(batch, view);
        Some(generator.forward(self.embedding.forward(&text, 0), &text))
    }

    fn judge(&self, values: Tensor<B, 3>) -> Option<Tensor<B, 2>> {
        Some(self.judge.as_ref()?.forward(values).squeeze_dim(2))
    }

    fn halves(&self, batch: &TextBatch<B>) -> Option<[TextBatch<B>; 2]> {
        let [first, second] = batch.host.halves();
        if second.iter().all(|half| half.ids.is_empty()) {
            return None;
        }
        Some([self.batch_of(&first, batch), self.batch_of(&second, batch)])
    }

    fn reconstruct(
        &self,
        stack: usize,
        batch: &TextBatch<B>,
        vectors: Tensor<B, 2>,
        shown: Shown<B>,
    ) -> Option<Tensor<B, 3>> {
        let stack = self.bottleneck.get(stack)?;
        let (text, bias) = match shown {
            Shown::View(view) => (self.seen(batch, view), None),
            Shown::Arranged(arrangement) => {
                let (text, bias) = self.rearranged(batch, &arrangement)?;
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
        let told = stack.forward_with(Tokens { values, mask_pad, channels: 1 }, options);
        Some(told.values.narrow(1, 1, tokens))
    }

    fn grades(&self, batch: &TextBatch<B>) -> Option<Vec<f32>> {
        match &batch.host.labels {
            Some(Labels::Numbers(rows)) => rows.iter().map(|row| row.first().copied()).collect(),
            _ => None,
        }
    }

    fn sequences(&self, batch: &TextBatch<B>) -> Option<Vec<Vec<u32>>> {
        let text = &batch.host.text;
        Some((0..text.batch).map(|row| text.text(row).collect()).collect())
    }

    fn sentinels(&self) -> Vec<u32> {
        self.config().special.sentinels()
    }

    fn write_loss(
        &self,
        batch: &TextBatch<B>,
        rewrites: Vec<Rewrite>,
        whole: bool,
        context: &mut StepContext<'_>,
    ) -> Option<Loss<B>> {
        let config = self.config();
        let prefixes = rewrites.iter().map(|one| one.read.len()).collect();
        let ended = |mut one: Rewrite| {
            one.write.extend(config.special.eos);
            one
        };
        let rewrites: Vec<Rewrite> = rewrites.into_iter().map(ended).collect();
        if config.decoder.is_some() {
            let example = |one: Rewrite| Example {
                ids: one.read,
                written: Some(one.write),
                ..Example::default()
            };
            let examples: Vec<Example> = rewrites.into_iter().map(example).collect();
            return Some(self.supervised(&self.batch_of(&examples, batch), context).loss);
        }
        let batch = self.written(batch, rewrites)?;
        let counted = batch.host.counted.clone();
        let view = View { prefix: whole.then_some(prefixes), ..View::causal() };
        let next = Autoregressive::default();
        Some(next.loss_of_next(self, &batch, view, &counted, context.observe))
    }

    fn answers(
        &self,
        batch: &TextBatch<B>,
        read: &[Vec<u32>],
        most: usize,
        seed: Seed,
    ) -> Option<Vec<Vec<u32>>> {
        // An answer is read again with its question, for which there must be positions.
        let asked = read.iter().map(Vec::len).max().unwrap_or(0);
        let room = self.config().longest().map_or(most, |longest| longest.saturating_sub(asked));
        let choice = Choice::Sample(Sampling::default());
        let generation = Generation { most: most.min(room), choice, cache: true };
        let writer = self.clone().no_grad();
        let answers =
            writer.generate(read, &generation, seed, &batch.device(), |_, _| Verdict::GoOn);
        let mut answers = answers.ok()?;
        for answer in answers.iter_mut().filter(|answer| answer.len() < generation.most) {
            answer.extend(self.config().special.eos);
        }
        Some(answers)
    }

    fn written(&self, batch: &TextBatch<B>, rewrites: Vec<Rewrite>) -> Option<TextBatch<B>> {
        if self.config().decoder.is_some() {
            return None;
        }
        let example = |Rewrite { read, write }: Rewrite| {
            let counted = [vec![false; read.len()], vec![true; write.len()]].concat();
            Example { ids: [read, write].concat(), counted, ..Example::default() }
        };
        let examples: Vec<Example> = rewrites.into_iter().map(example).collect();
        Some(self.batch_of(&examples, batch))
    }

    /// What the model's head for the batch's task is for; for an encoder-decoder the mean
    /// cross-entropy of what is to be written. A batch without the labels that this needs counts
    /// nothing.
    fn supervised(&self, batch: &TextBatch<B>, context: &mut StepContext<'_>) -> TaskLoss<B> {
        let found = match (&batch.host.written, &batch.host.labels) {
            (Some(written), _) if self.decoder.is_some() => {
                let tokens = self.encode(batch, View::default());
                self.loss_of_written(batch, &tokens, &written.next).map(|loss| (loss, tokens))
            }
            (_, Some(labels)) => {
                let tokens = self.encode(batch, View::default());
                let loss = self.loss_of_labels(batch, &tokens, labels, context.observe);
                loss.map(|loss| (loss, tokens))
            }
            _ => None,
        };
        match found {
            Some((loss, tokens)) => TaskLoss { loss, tokens: Some(tokens) },
            None => TaskLoss::nothing(&batch.device()),
        }
    }
}

impl<B: Backend> TextModel<B> {
    /// Examples as a batch, where another lies.
    fn batch_of(&self, examples: &[Example], beside: &TextBatch<B>) -> TextBatch<B> {
        let config = self.config();
        collate(examples, &config.special).upload::<B>(&config.embedding, &beside.device())
    }

    /// A batch's tokens in another order, and what keeps those apart that do not see each other,
    /// `[batch, 1, places, places]`. `None` where nothing stands for hidden ones.
    fn rearranged(
        &self,
        batch: &TextBatch<B>,
        arrangement: &Arrangement,
    ) -> Option<(Text<B>, Tensor<B, 4>)> {
        let mask = self.config().special.mask?;
        let tokens = batch.host.text.tokens;
        let places = arrangement.places.first().map_or(0, Vec::len);
        let rows = arrangement.places.iter().enumerate();
        let ids = rows.flat_map(|(row, places)| {
            let ids = &batch.host.text.ids;
            let id = move |at: usize| ids.get(row * tokens + at).copied().unwrap_or(mask);
            places.iter().map(move |(at, hidden)| if *hidden { mask } else { id(*at) })
        });
        let begins = batch.host.text.begins();
        let begin = |row: usize, at: usize| begins.get(row * tokens + at).copied().unwrap_or(0);
        let rows = arrangement.places.iter().enumerate();
        let positions = rows.flat_map(|(row, places)| {
            places.iter().map(move |(at, _)| (at.saturating_sub(begin(row, *at))) as u32)
        });
        let host = HostText {
            batch: arrangement.places.len(),
            tokens: places,
            ids: ids.collect(),
            positions: positions.collect(),
            ..HostText::default()
        };
        let device = batch.device();
        let sees = arrangement.sees.iter().enumerate().map(|(at, sees)| {
            // Documents in a row do not see each other.
            let (row, from, to) = (at / (places * places), at / places % places, at % places);
            let of = |place: usize| begin(row, arrangement.places[row][place].0);
            if *sees && of(from) == of(to) { 0.0 } else { MASK_VALUE as f32 }
        });
        let shape = [host.batch, 1, places, places];
        let bias = TensorData::new(sees.collect::<Vec<f32>>(), shape);
        let text = host.upload::<B>(&self.config().embedding, &device);
        Some((text, Tensor::from_data(bias, &device)))
    }

    /// A batch's texts with tokens hidden or exchanged.
    fn seen(&self, batch: &TextBatch<B>, view: View<B>) -> Text<B> {
        let mut text = batch.text.clone();
        if let Some(Disguise { tokens, seed }) = view.disguise {
            let shape = text.dims();
            let mut rng = seed.rng();
            let vocabulary = self.config().vocabulary as i64;
            let ids = (0..shape[0] * shape[1]).map(|_| rng.random_range(0..vocabulary));
            let ids = TensorData::new(ids.collect::<Vec<i64>>(), shape);
            text.ids = text.ids.mask_where(tokens, Tensor::from_data(ids, &batch.device()));
        }
        // A recipe that hides tokens of a model without a mask is refused; without one nothing is
        // hidden.
        if let (Some(hide), Some(mask)) = (view.hide, self.config().special.mask) {
            text.ids = text.ids.mask_fill(hide, i64::from(mask));
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

    fn values<const D: usize>(x: Tensor<Flex, D>) -> Vec<f32> {
        x.into_data().to_vec().unwrap()
    }

    #[test]
    fn hidden_tokens_are_masked_and_disguised_ones_are_others() {
        let config = encoder();
        let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        let hide = Tensor::<Flex, 2, Bool>::from_data([[false, true, false]], &Default::default());
        let one = batch(&config, &[text(&[1, 2, 3])]);
        let hidden = values(model.encode(&one, View::hiding(hide.clone())).values);
        let masked = batch(&config, &[text(&[1, 9, 3])]);
        assert_eq!(hidden, values(model.encode(&masked, View::default()).values));
        let disguise = Disguise { tokens: hide, seed: Seed::new(4) };
        let view = || View { disguise: Some(disguise.clone()), ..View::default() };
        let found = values(model.encode(&one, view()).values);
        assert_eq!(found, values(model.encode(&one, view()).values));
        assert_ne!(found, values(model.encode(&one, View::default()).values));
    }

    #[test]
    fn a_prefix_is_seen_by_all() {
        let config = encoder();
        let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        let read = |ids: &[u32], prefix: Option<usize>| {
            let view = View { prefix: prefix.map(|prefix| vec![prefix]), ..View::causal() };
            values(model.encode(&batch(&config, &[text(ids)]), view).values.narrow(1, 0, 1))
        };
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
            let view = View { prefix: Some(vec![3]), ..View::causal() };
            values(model.encode(&batch(&config, &[example]), view).values.narrow(1, 0, 2))
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
            let each = model.encode_each(&batch);
            let whole = values(model.encode(&batch, View::default()).values);
            assert_eq!(each.len(), config.backbone.layers);
            let top = values(each[each.len() - 1].clone());
            assert!(top.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-6));
            each.into_iter().map(|x| values(x.narrow(1, 0, 2))).collect::<Vec<_>>()
        };
        assert_eq!(last(&[1, 2, 3, 4]), last(&[1, 2, 5, 6]));
    }
}
