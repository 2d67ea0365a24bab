//! Bottlenecked reconstruction: a sequence is reconstructed from one vector of it, so that the vector
//! has to hold what the sequence says. RetroMAE, <https://arxiv.org/abs/2205.12035>, and MASTER,
//! <https://arxiv.org/abs/2212.07841>, with several decoders for different tasks.
//!
//! What MASTER takes from other models (queries, continuations) is left to labelled data here, and
//! the neighbour of a passage is its second half.

use crate::{
    Masked, MaskedTokens, ObjectiveError, ObjectiveSpec,
    diagnostics::with_token_diagnostics,
    losses::{scaled_loss, sum_of_losses},
    replaced_token_detection::sampled_ids,
    score::{TokenHead, score_ids},
    spec::{DynModel, check, check_weight},
};
use burn::tensor::Tensor;
use kiln_core::{
    Backend, Capabilities, Corruption, DecoderInput, HostBatch, Lack, Layout, Loss, Need,
    PermutedSequence, PlaceVisibility, Rng, StepContext,
};
use rand::seq::index::sample;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of bottlenecked reconstruction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retromae {
    /// Which tokens are masked for the encoder, which predicts them, too.
    pub masked: Masked,
    /// Bottleneck decoders, each for a task of its own.
    pub decoders: Vec<RetromaeDecoder>,
}

/// A bottleneck decoder: it sees the vector of a sequence, and little else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetromaeDecoder {
    /// Its task.
    pub kind: RetromaeTask,
    /// Its weight beside the encoder's own loss.
    #[serde(default = "crate::one")]
    pub weight: f64,
}

/// What a bottleneck decoder reconstructs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetromaeTask {
    /// Masked tokens, better many of them.
    Masked(Masked),
    /// Every token, each from its own sample of the others, this share of which is masked: RetroMAE's
    /// enhanced decoding.
    Enhanced(f64),
    /// The original tokens, where the encoder's own predictions replace the masked ones.
    Replaced,
    /// Masked tokens of the second half of a sequence, from the vector of the first.
    Neighbour(Masked),
}

impl Default for Retromae {
    /// RetroMAE's ratios, and one decoder.
    fn default() -> Self {
        let masking = |ratio| Masked { ratio, ..Masked::default() };
        let kind = RetromaeTask::Masked(masking(0.5));
        Self { masked: masking(0.3), decoders: vec![RetromaeDecoder { kind, weight: 1.0 }] }
    }
}

impl ObjectiveSpec for Retromae {
    type Drawn = (MaskedTokens, Vec<DecoderTask>);

    fn validate(&self) -> Result<(), ObjectiveError> {
        check(!self.decoders.is_empty(), "retromae.decoders", "empty", "at least one")?;
        for RetromaeDecoder { kind, weight } in &self.decoders {
            check_weight("retromae.decoders.weight", *weight)?;
            match kind {
                RetromaeTask::Masked(masked) | RetromaeTask::Neighbour(masked) => {
                    masked.validate()?;
                }
                RetromaeTask::Enhanced(share) => {
                    let key = "retromae.decoders.kind.enhanced";
                    check((0.0..1.0).contains(share), key, share, "0 to below 1")?;
                }
                RetromaeTask::Replaced => {}
            }
        }
        self.masked.validate()
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::TokenTargets, Need::TokenIds, Need::Embeddings];
        needs.push(Need::BottleneckDecoders(self.decoders.len()));
        needs.extend(self.masked.corruption_needs());
        if self.decoders.iter().any(|one| matches!(one.kind, RetromaeTask::Enhanced(_))) {
            needs.push(Need::Permutation);
        }
        needs
    }

    /// The encoder's masked tokens, and what each decoder is asked.
    fn draw(&self, batch: &dyn HostBatch, context: &mut StepContext<'_>) -> Self::Drawn {
        let layout = batch.layout();
        let encoder = self.masked.draw_tokens(&layout, context);
        let task = |decoder: &RetromaeDecoder| match &decoder.kind {
            RetromaeTask::Masked(masked) => {
                DecoderTask::Masked(masked.draw_tokens(&layout, context))
            }
            RetromaeTask::Enhanced(share) => {
                let (sequence, queries) = enhanced(&layout, *share, context.rng);
                DecoderTask::Permuted(sequence, queries)
            }
            RetromaeTask::Replaced => DecoderTask::Replaced,
            RetromaeTask::Neighbour(masked) => {
                DecoderTask::Neighbour(batch.split_half().map(|[first, second]| {
                    let encoder = self.masked.draw_tokens(&first, context);
                    [encoder, masked.draw_tokens(&second, context)]
                }))
            }
        };
        (encoder, self.decoders.iter().map(task).collect())
    }

    /// The encoder's mean loss over masked tokens, and the weighted losses of the decoders.
    fn loss_of_drawn<B: Backend, T>(
        &self,
        model: &DynModel<'_, B, T>,
        _teacher: Option<&DynModel<'_, B, T>>,
        batch: &T,
        (masked, tasks): Self::Drawn,
        context: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        let device = model.device(batch);
        let capabilities = model.capabilities();
        let (encoder, heads) = (capabilities.encode()?, capabilities.predict_tokens()?);
        let (language, decoders) = (capabilities.language()?, capabilities.bottleneck_decode()?);
        Lack::unless(
            decoders.decoders() >= self.decoders.len(),
            "has more decoders than the model",
        )?;
        let Some((head, ids)) = TokenHead::of_ids(heads, batch) else {
            return Ok(Loss::empty(&device));
        };
        let chosen = &masked.chosen;
        let encoded = encoder.encode(batch, &masked.corruption(&device), None);
        let (hidden, metrics) = (encoded.values.clone(), context.collect_metrics);
        let mut loss = score_ids(head, hidden.clone(), ids.clone(), chosen, metrics);
        let vectors = decoders.pool(&encoded);
        for (number, (decoder, task)) in self.decoders.iter().zip(tasks).enumerate() {
            let decoded = match task {
                DecoderTask::Masked(masked) => {
                    reconstruct(&capabilities, number, batch, vectors.clone(), &masked, metrics)?
                }
                DecoderTask::Permuted(sequence, queries) => {
                    let ids = sequence.permute(ids.clone());
                    let input = DecoderInput::Permuted(sequence);
                    let hidden = decoders.bottleneck_decode(number, batch, vectors.clone(), &input);
                    score_ids(head, hidden, ids, &queries, metrics)
                }
                DecoderTask::Replaced => {
                    let sampled = sampled_ids(head, hidden.clone(), ids.clone(), chosen);
                    let input = DecoderInput::Corrupted(Corruption::none());
                    let batch = language.with_ids(batch, sampled);
                    let hidden =
                        decoders.bottleneck_decode(number, &batch, vectors.clone(), &input);
                    score_ids(head, hidden, ids.clone(), chosen, metrics)
                }
                DecoderTask::Neighbour(drawn) => {
                    let halves = drawn.zip(language.split_half(batch));
                    let Some(([masked, asked], [first, second])) = halves else { continue };
                    let first = encoder.encode(&first, &masked.corruption(&device), None);
                    let vectors = decoders.pool(&first);
                    reconstruct(&capabilities, number, &second, vectors, &asked, metrics)?
                }
            };
            loss = sum_of_losses(loss, scaled_loss(decoded, decoder.weight));
        }
        Ok(if metrics { with_token_diagnostics(loss, &encoded) } else { loss })
    }
}

/// What is asked of a bottleneck decoder, as it was drawn for a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum DecoderTask {
    /// Masked tokens.
    Masked(MaskedTokens),
    /// Tokens in another order, and which places are queries, `[batch, places]` in row-major order.
    Permuted(PermutedSequence, Vec<bool>),
    /// The original tokens in the place of the encoder's predictions.
    Replaced,
    /// The masked tokens of the first halves and of the second ones; `None` without halves.
    Neighbour(Option<[MaskedTokens; 2]>),
}

/// The mean loss of the masked tokens of a batch, as a decoder reconstructs them from `vectors`,
/// `[batch, width]`.
fn reconstruct<B: Backend, T>(
    capabilities: &Capabilities<'_, B, T>,
    decoder: usize,
    batch: &T,
    vectors: Tensor<B, 2>,
    masked: &MaskedTokens,
    collect_metrics: bool,
) -> Result<Loss<B>, Lack> {
    let (heads, device) = (capabilities.predict_tokens()?, vectors.device());
    let Some((head, ids)) = TokenHead::of_ids(heads, batch) else {
        return Ok(Loss::empty(&device));
    };
    let input = DecoderInput::Corrupted(masked.corruption(&device));
    let decoders = capabilities.bottleneck_decode()?;
    let hidden = decoders.bottleneck_decode(decoder, batch, vectors, &input);
    Ok(score_ids(head, hidden, ids, &masked.chosen, collect_metrics))
}

/// Enhanced decoding: all tokens of each sequence, which attend to themselves alone, and then a query
/// in the place of each, which attends to a sample of the others, all but `share` of them, and predicts
/// it; and which places are queries, `[batch, places]` in row-major order.
fn enhanced(layout: &Layout, share: f64, rng: &mut Rng) -> (PermutedSequence, Vec<bool>) {
    let queries = |row| layout.units(row, false).into_iter().flatten().collect::<Vec<usize>>();
    let queries: Vec<Vec<usize>> = (0..layout.batch).map(queries).collect();
    let size = |row: usize| layout.length(row) + queries[row].len();
    let places = (0..layout.batch).map(size).max().unwrap_or(0);
    let seen_of =
        |length: usize| (length.saturating_sub(1) as f64 * (1.0 - share)).round() as usize;
    let samples = (0..layout.batch).map(|row| seen_of(layout.length(row))).max().unwrap_or(0);
    let mut sequence = Vec::with_capacity(layout.batch);
    let mut asked = Vec::with_capacity(layout.batch * places);
    let mut attends = Vec::with_capacity(layout.batch * places * samples);
    for (row, queries) in queries.iter().enumerate() {
        let length = layout.length(row);
        let mut order: Vec<(usize, bool)> = (0..length).map(|at| (at, false)).collect();
        order.extend(queries.iter().map(|at| (*at, true)));
        order.resize(places, (0, true));
        asked.extend((0..places).map(|place| (length..size(row)).contains(&place)));
        for place in 0..places {
            let end = attends.len() + samples;
            if let Some(at) = place.checked_sub(length).and_then(|number| queries.get(number)) {
                let others = sample(rng, length.saturating_sub(1), seen_of(length)).into_iter();
                attends.extend(others.map(|other| (other + usize::from(other >= *at)) as i64));
            }
            attends.resize(end, place as i64);
        }
        sequence.push(order);
    }
    let visibility = PlaceVisibility::Sampled(attends);
    (PermutedSequence { places: sequence, visibility }, asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MaskedKind,
        toy::{Ids, Table, context},
    };
    use burn_flex::Flex;
    use kiln_core::Seed;

    fn tail() -> Masked {
        Masked { ratio: 0.5, kind: MaskedKind::Tail, ..Masked::default() }
    }

    /// The loss of [`Table`] on 1, 1, 0, 0, of which the last two are hidden, and what is counted.
    fn loss(hidden: [f32; 2], kinds: Vec<(RetromaeTask, f64)>) -> Result<(f32, usize), Lack> {
        let decoders = kinds.into_iter().map(|(kind, weight)| RetromaeDecoder { kind, weight });
        let retromae = Retromae { masked: tail(), decoders: decoders.collect() };
        retromae.validate().unwrap();
        let model = Table(vec![[0.0; 2], [0.0, 3f32.ln()], hidden]);
        let mut rng = Seed::new(0).rng();
        let batch = Ids::<Flex>::new(&[[1, 1, 0, 0]]);
        let loss = retromae.loss(&model, None, &batch, &mut context(&mut rng));
        loss.map(|loss| (loss.value.into_scalar(), loss.count))
    }

    #[test]
    fn each_decoder_is_asked_its_own_and_weighs() {
        let close = |kinds: Vec<(RetromaeTask, f64)>, expected: f32| {
            let (found, count) = loss([0.0; 2], kinds).unwrap();
            assert!((found - expected).abs() < 1e-5 && count == 2, "{found}, not {expected}");
        };
        // The backbone is undecided of what is hidden, and the vector is (0, ln(3) / 2): the first
        // decoder thinks 1 likelier by the root of 3, the second by 3.
        let root = 3f32.sqrt();
        let masked = || RetromaeTask::Masked(tail());
        close(vec![(masked(), 2.0)], 2f32.ln() + 2.0 * (1.0 + root).ln());
        let both = vec![(masked(), 1.0), (masked(), 1.0)];
        close(both, 2f32.ln() + (1.0 + root).ln() + 4f32.ln());
        // Of 1, 1 with the last hidden the vector is the same, and a 0 of 0, 0 is asked.
        let neighbour = RetromaeTask::Neighbour(tail());
        close(vec![(neighbour, 1.0)], 2f32.ln() + (1.0 + root).ln());
        // All four are asked.
        let four = ((1.0 + root).ln() + (1.0 + 1.0 / root).ln()) / 2.0;
        close(vec![(RetromaeTask::Enhanced(0.5), 1.0)], 2f32.ln() + four);
        // There are two decoders.
        assert!(loss([0.0; 2], vec![(masked(), 1.0); 3]).is_err());
    }

    #[test]
    fn guesses_stand_in_the_place_of_what_was_hidden() {
        // It is sure of a 1; the decoder sees that on top of the vector, and is asked for the 0.
        let (found, _) = loss([0.0, 50.0], vec![(RetromaeTask::Replaced, 1.0)]).unwrap();
        let vector = (2.0 * 3f32.ln() + 100.0) / 4.0;
        assert!((found - 50.0 - vector - 3f32.ln()).abs() < 1e-3, "{found}");
    }

    #[test]
    fn nobody_sees_what_it_is_asked_for() {
        let special_tokens_mask = Some((0..12).map(|at| at == 0).collect());
        let layout = Layout { lengths: Some(vec![6, 3]), special_tokens_mask, ..Layout::new(2, 6) };
        let (sequence, asked) = enhanced(&layout, 0.6, &mut Seed::new(1).rng());
        let [_, places] = sequence.dims();
        assert_eq!(places, 11);
        let mask = sequence.attention_mask::<Flex>(&Default::default());
        let mask: Vec<bool> = mask.into_data().iter().collect();
        for (row, seen) in [(0, 2), (1, 1)] {
            let asking: Vec<usize> = (0..places).filter(|at| asked[row * places + at]).collect();
            assert_eq!(asking.len(), [5, 3][row]);
            for place in 0..places {
                let attends = &mask[(row * places + place) * places..][..places];
                let others = (0..places).filter(|other| *other != place && attends[*other]);
                let others: Vec<usize> = others.collect();
                // Others in full, never its own; what does not ask sees itself alone.
                assert_eq!(others.len(), if asking.contains(&place) { seen } else { 0 });
                let own = sequence.places[row][place].0;
                assert!(others.iter().all(|at| sequence.places[row][*at] != (own, false)));
                assert!(others.iter().all(|at| *at < layout.length(row)));
            }
        }
        let none = Retromae { decoders: Vec::new(), ..Retromae::default() };
        assert!(none.validate().is_err());
    }
}
