//! Prediction: logits of task heads, embeddings and losses of new texts.

use crate::{
    TextModel,
    batch::HostText,
    examples::{Example, Labels, TextBatch, collate},
};
use kiln_core::{Backend, Corruption, Encode as _, Lack, Loss, StepContext, Tokens};
use kiln_objectives::{Autoregressive, Objective};
use ndarray::{Array2, Axis, s};

/// Tokens of a batch, padding included.
const BATCH: usize = 8192;

/// A prediction for a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// Logits of the task head, `[outputs]`; the pooled vector where there is none.
    Text(Vec<f32>),
    /// Logits of tokens, `[tokens, outputs]`; of a pointer head those of segments,
    /// `[segments, places]`.
    Tokens(Array2<f32>),
}

impl Prediction {
    /// The first logit of the text; zero where there is none.
    pub fn number(&self) -> f32 {
        match self {
            Self::Text(numbers) => numbers.first().copied().unwrap_or(0.0),
            Self::Tokens(_) => 0.0,
        }
    }
}

impl<B: Backend> TextModel<B> {
    /// Predictions of the task head, in the order of the texts; `watch` is called with how many are
    /// done.
    pub fn predict(
        &self,
        texts: &[Example],
        device: &B::Device,
        watch: impl FnMut(usize),
    ) -> Vec<Prediction> {
        self.each(texts, device, watch, |tokens, batch| {
            let task = batch.host.task.as_deref();
            let of_segments = match &batch.host.labels {
                Some(Labels::Orders(texts)) => self
                    .task_of_segments(task, tokens, texts)
                    .map(|scores| (scores, texts.iter().map(|text| [text.len(); 2]).collect())),
                _ => None,
            };
            let of_tokens = || {
                let scores = self.task_of_tokens(task, tokens)?;
                let [rows, _, outputs] = scores.dims();
                let sizes = (0..rows).map(|row| [batch.host.text.length(row), outputs]);
                Some((scores, sizes.collect::<Vec<_>>()))
            };
            if let Some((scores, sizes)) = of_segments.or_else(of_tokens) {
                let [rows, longest, outputs] = scores.dims();
                let values: Vec<f32> = scores.into_data().iter::<f32>().collect();
                let all = ndarray::Array3::from_shape_vec((rows, longest, outputs), values);
                let all = all.unwrap_or_default();
                let row =
                    |(scores, [rows, columns]): (ndarray::ArrayView2<'_, f32>, [usize; 2])| {
                        Prediction::Tokens(scores.slice(s![..rows, ..columns]).to_owned())
                    };
                return all.axis_iter(Axis(0)).zip(sizes).map(row).collect();
            }
            let scores = self.task_of_texts(task, tokens).unwrap_or_else(|| self.pooled(tokens));
            rows(scores).into_iter().map(Prediction::Text).collect()
        })
    }

    /// Log-odds of two ids as the first that an encoder-decoder generates for each text (monoT5).
    /// `None` where it generates nothing.
    pub fn log_odds(
        &self,
        texts: &[Example],
        [first, second]: [u32; 2],
        device: &B::Device,
        watch: impl FnMut(usize),
    ) -> Option<Vec<f32>> {
        let config = self.config();
        config.decoder.as_ref().and(config.language.as_ref())?;
        let start = [config.special.start()];
        let found = self.each(texts, device, watch, |tokens, _| {
            let [count, ..] = tokens.dims();
            let decoder_input =
                HostText::of(&vec![start; count], 0).upload(&config.embedding, device);
            let scores =
                self.decode(&decoder_input, tokens, None).and_then(|it| self.scores(it.values));
            scores.map_or_else(
                || vec![0.0; count],
                |scores| {
                    let column = |id: u32| scores.clone().narrow(2, id as usize, 1);
                    (column(first) - column(second)).into_data().iter::<f32>().collect()
                },
            )
        });
        Some(found)
    }

    /// Embeddings: one pooled vector per text, in their order.
    pub fn vectors(
        &self,
        texts: &[Example],
        device: &B::Device,
        watch: impl FnMut(usize),
    ) -> Vec<Vec<f32>> {
        self.each(texts, device, watch, |tokens, _| rows(self.pooled(tokens)))
    }

    /// Encodes texts in batches of similar length, and gives the results in their order.
    fn each<T: Clone>(
        &self,
        texts: &[Example],
        device: &B::Device,
        mut watch: impl FnMut(usize),
        make: impl Fn(&Tokens<B>, &TextBatch<B>) -> Vec<T>,
    ) -> Vec<T> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(texts[*index].ids.len()));
        let mut found: Vec<(usize, T)> = Vec::with_capacity(texts.len());
        let mut left = &order[..];
        while let Some(longest) = left.first() {
            let count = (BATCH / texts[*longest].ids.len().max(1)).clamp(1, left.len());
            let (now, later) = left.split_at(count);
            // Each text without its pair or negatives.
            let alone = |index: &usize| Example { others: Vec::new(), ..texts[*index].clone() };
            let examples: Vec<Example> = now.iter().map(alone).collect();
            let host = collate(&examples, &self.config().special);
            let batch = host.upload::<B>(&self.config().embedding, device);
            let made = make(&self.encode(&batch, &Corruption::none(), None), &batch);
            found.extend(now.iter().copied().zip(made));
            watch(count);
            left = later;
        }
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, made)| made).collect()
    }

    /// Next-token loss: mean cross-entropy over the loss mask, in nats.
    ///
    /// # Errors
    /// When the model has no head for the vocabulary.
    pub fn next_token_loss(&self, texts: &[Example], device: &B::Device) -> Result<Loss<B>, Lack> {
        let host = collate(texts, &self.config().special);
        let batch = host.upload::<B>(&self.config().embedding, device);
        let mut rng = kiln_core::Seed::new(0).rng();
        let next = Objective::Autoregressive(Autoregressive::default());
        next.loss(self, None, &batch, &mut StepContext::new(&mut rng))
    }
}

/// `[rows, values]` on the host.
fn rows<B: Backend>(x: burn::tensor::Tensor<B, 2>) -> Vec<Vec<f32>> {
    let [_, width] = x.dims();
    let values: Vec<f32> = x.into_data().iter::<f32>().collect();
    values.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TaskHeadConfig, TaskKind, TextModelConfig};
    use burn_flex::Flex;

    #[test]
    fn company_and_order_change_nothing() {
        let device = Default::default();
        let texts: Vec<Example> = [vec![1, 2, 3], vec![4], vec![5, 6], vec![1, 2, 3]]
            .map(|ids| Example { ids, ..Example::default() })
            .to_vec();
        for kind in [TaskKind::Classes(3), TaskKind::Tags(2)] {
            let task = Some(TaskHeadConfig::new(kind, Vec::new()));
            let config = TextModelConfig { causal: false, task, ..TextModelConfig::default() };
            let model = TextModel::<Flex>::new(config, &device).unwrap();
            let mut done = 0;
            let together = model.predict(&texts, &device, |count| done += count);
            assert_eq!((together.len(), done), (4, 4));
            for (text, prediction) in texts.iter().zip(&together) {
                let alone = model.predict(std::slice::from_ref(text), &device, |_| {});
                match (prediction, &alone[0]) {
                    (Prediction::Text(one), Prediction::Text(other)) => {
                        assert_eq!(one.len(), 3);
                        assert!(one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-5));
                    }
                    (Prediction::Tokens(one), Prediction::Tokens(other)) => {
                        assert_eq!(one.dim(), (text.ids.len(), 2));
                        assert!(one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-5));
                    }
                    _ => panic!("one head, one kind"),
                }
            }
        }
    }
}
