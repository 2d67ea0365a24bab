//! Supervised losses: task heads and sequence-to-sequence targets.

use crate::{
    config::TaskKind,
    examples::{IGNORED, Labels, TextBatch},
    model::TextModel,
    pointer::Segment,
};
use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::{Backend, Diagnostic, Loss, PredictTokens as _, Tokens};
use kiln_kernels::{CrossEntropyOptions, MASK_VALUE, cross_entropy};
use kiln_objectives::losses;

impl<B: Backend> TextModel<B> {
    /// Sequence-to-sequence loss: mean cross-entropy of the target given the encoder's hidden states
    /// `memory`; `None` where no token counts.
    pub(crate) fn target_loss(
        &self,
        batch: &TextBatch<B>,
        memory: &Tokens<B>,
        labels: &[i64],
    ) -> Option<Loss<B>> {
        let states = self.decode(batch.decoder_input.as_ref()?, memory, None)?;
        let (rows, ids, count) = batch.counted(labels);
        if count == 0 {
            return None;
        }
        let [items, tokens, width] = states.dims();
        let rows = states.values.reshape([items * tokens, width]).select(0, rows);
        Some(Loss::new(self.token_nll(0, rows, ids).mean(), count))
    }

    /// Mean loss of a task head over the hidden states of a batch; `None` where labels and head are
    /// of different kinds.
    pub(crate) fn loss_of_labels(
        &self,
        batch: &TextBatch<B>,
        tokens: &Tokens<B>,
        labels: &Labels,
        collect_metrics: bool,
    ) -> Option<Loss<B>> {
        let device = batch.device();
        let task = batch.host.task.as_deref();
        let kind = self.config().head(task)?.kind;
        let classified = |scores: Tensor<B, 2>, classes: Tensor<B, 1, Int>, count| {
            let options = CrossEntropyOptions::default();
            let value = cross_entropy(scores.clone(), classes.clone(), options).mean();
            let loss = Loss::new(value, count);
            if collect_metrics {
                loss.with_diagnostic(
                    Diagnostic::Accuracy,
                    losses::accuracy(scores.detach(), classes, None),
                )
            } else {
                loss
            }
        };
        match (kind, labels) {
            (TaskKind::Classes(_), Labels::Classes(classes)) => {
                let count = classes.len();
                let classes: Vec<i64> = classes.iter().map(|class| i64::from(*class)).collect();
                let classes = Tensor::from_data(TensorData::new(classes, [count]), &device);
                Some(classified(self.task_of_texts(task, tokens)?, classes, count))
            }
            (TaskKind::Tags(_), Labels::Tags(tags)) => {
                let (rows, tags, count) = batch.counted(tags);
                let scores = self.task_of_tokens(task, tokens)?;
                let [items, length, outputs] = scores.dims();
                let scores = scores.reshape([items * length, outputs]);
                (count > 0).then(|| classified(scores.select(0, rows), tags, count))
            }
            (TaskKind::Labels(_), Labels::Labels(rows)) => {
                let scores = self.task_of_texts(task, tokens)?;
                let [items, count] = scores.dims();
                let wanted = rows.iter().flatten().map(|has| f32::from(u8::from(*has)));
                let wanted = TensorData::new(wanted.collect::<Vec<f32>>(), [items, count]);
                let wanted = Tensor::<B, 2>::from_data(wanted, &device);
                let value = losses::sigmoid_cross_entropy(scores, wanted).mean();
                Some(Loss::new(value, items * count))
            }
            (TaskKind::Numbers(_), Labels::Numbers(rows)) => {
                let scores = self.task_of_texts(task, tokens)?;
                let [items, count] = scores.dims();
                let wanted = TensorData::new(rows.concat(), [items, count]);
                let wanted = Tensor::<B, 2>::from_data(wanted, &device);
                Some(Loss::new((scores - wanted).square().mean(), items * count))
            }
            (TaskKind::Span, Labels::Spans(spans)) => {
                // Logits over the tokens of each text, for start and end.
                let scores = self.task_of_tokens(task, tokens)?;
                let [items, length, _] = scores.dims();
                let end = |side: usize, ends: Vec<i64>| {
                    let scores = scores.clone().narrow(2, side, 1).reshape([items, length]);
                    let scores = match &tokens.mask_pad {
                        Some(pad) => scores.mask_fill(pad.clone(), MASK_VALUE),
                        None => scores,
                    };
                    let ends = Tensor::from_data(TensorData::new(ends, [items]), &device);
                    cross_entropy(scores, ends, CrossEntropyOptions::default()).mean()
                };
                let first = end(0, spans.iter().map(|(first, _)| i64::from(*first)).collect());
                let last = end(1, spans.iter().map(|(_, last)| i64::from(*last)).collect());
                Some(Loss::new((first + last).mul_scalar(0.5), items))
            }
            (TaskKind::Order, Labels::Orders(texts)) => {
                let scores = self.task_of_segments(task, tokens, texts)?;
                let [items, most, _] = scores.dims();
                let place = |text: &Vec<Segment>, at: usize| {
                    text.get(at).map_or(IGNORED, |(_, place)| i64::from(*place))
                };
                let places = texts.iter().flat_map(|text| (0..most).map(move |at| place(text, at)));
                let (rows, places, count) = batch.counted(&places.collect::<Vec<_>>());
                let scores = scores.reshape([items * most, most]);
                (count > 0).then(|| classified(scores.select(0, rows), places, count))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capabilities::tests::{batch, encoder, text},
        config::{TaskHeadConfig, TextModelConfig},
        examples::{Example, Label, collate},
    };
    use burn_flex::Flex;
    use kiln_core::{Labelled as _, Seed, StepContext};

    #[test]
    fn each_task_has_a_loss_that_knows_right_from_wrong() {
        type A = burn::backend::Autodiff<Flex>;
        let device = Default::default();
        let tasks = [
            (TaskKind::Classes(3), Label::Class(2), 3f32.ln()),
            (TaskKind::Labels(2), Label::Labels(vec![true, false]), 2f32.ln()),
            (TaskKind::Numbers(1), Label::Numbers(vec![2.0]), 4.0),
            (TaskKind::Tags(4), Label::Tags(vec![-100, 1, 0]), 4f32.ln()),
            (TaskKind::Span, Label::Span(1, 2), 3f32.ln()),
            (TaskKind::Order, Label::Order(vec![(0, 1), (2, 0)]), 2f32.ln()),
        ];
        for (kind, label, guess) in tasks {
            // Small weights guess.
            let config = TextModelConfig {
                task: Some(TaskHeadConfig::new(kind, Vec::new())),
                initial_deviation: Some(0.002),
                ..encoder()
            };
            let model = TextModel::<A>::new(config.clone(), &device).unwrap();
            let example = Example { label: Some(label), ..text(&[1, 2, 3]) };
            let host = collate(&[example], &config.special);
            let batch = host.upload::<A>(&config.embedding, &device);
            let mut rng = Seed::new(0).rng();
            let loss = model.supervised(&batch, &mut StepContext::new(&mut rng)).loss;
            assert!(loss.count > 0, "{kind:?}");
            let value: f32 = loss.value.clone().into_scalar();
            assert!((value - guess).abs() < 0.1, "{kind:?}: {value} is not about {guess}");
            let gradients = loss.value.backward();
            let head = model.task.as_ref().unwrap().output.weight.val();
            assert!(head.grad(&gradients).unwrap().abs().sum().into_scalar() > 0.0);
        }
    }

    #[test]
    fn what_is_to_be_written_is_scored_against_the_vocabulary() {
        let config =
            TextModelConfig { decoder: Some(TextModelConfig::default().backbone), ..encoder() };
        let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        let example = Example { target: Some(vec![5, 6, 7]), ..text(&[1, 2]) };
        let mut rng = Seed::new(0).rng();
        let one = batch(&config, &[example]);
        let loss = model.supervised(&one, &mut StepContext::new(&mut rng)).loss;
        assert_eq!(loss.count, 3);
        assert!((loss.value.into_scalar() - 256f32.ln()).abs() < 0.3);
    }
}
