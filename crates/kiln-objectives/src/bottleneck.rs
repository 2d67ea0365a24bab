//! A sequence is told again from one vector of it, with little to help: the vector has to hold what
//! the sequence says. RetroMAE, <https://arxiv.org/abs/2205.12035>, and MASTER,
//! <https://arxiv.org/abs/2212.07841>, where several decoders are asked different things.
//!
//! What MASTER takes from other models (queries, continuations) is left to labelled data here, and
//! the neighbour of a passage is its second half.

use crate::{
    Masked, ObjectiveError,
    mixture::{together, weighted},
    permuted::arranged_ids,
    replaced::guessed_ids,
    score::score_ids,
    signs::with_token_signs,
};
use burn::tensor::Tensor;
use kiln_core::{
    Arrangement, Backend, Layout, Loss, Rng, Shown, StepContext, Targets, TokenModel, View,
};
use rand::seq::index::sample;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of bottlenecked masked prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bottleneck {
    /// What is hidden from the backbone, which predicts it, too.
    pub masked: Masked,
    /// Small backbones that have the vector, each for a task of its own.
    pub decoders: Vec<BottleneckDecoder>,
}

/// A small backbone that has the vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BottleneckDecoder {
    /// What it is asked.
    pub kind: BottleneckTask,
    /// Its weight beside what the backbone itself predicts.
    #[serde(default = "crate::one")]
    pub weight: f64,
}

/// What is told from a vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BottleneckTask {
    /// Tokens that are hidden, better many of them.
    Masked(Masked),
    /// Every token, each from others drawn for it alone, of which this share is hidden from it:
    /// RetroMAE's enhanced decoding.
    Enhanced(f64),
    /// Tokens in whose place stands what the backbone guessed where they were hidden from it.
    Replaced,
    /// Tokens that are hidden of the second half of a sequence, from a vector of the first.
    Neighbour(Masked),
}

impl Default for Bottleneck {
    /// RetroMAE's ratios, and one decoder.
    fn default() -> Self {
        let hiding = |ratio| Masked { ratio, ..Masked::default() };
        let kind = BottleneckTask::Masked(hiding(0.5));
        Self { masked: hiding(0.3), decoders: vec![BottleneckDecoder { kind, weight: 1.0 }] }
    }
}

impl Bottleneck {
    pub(crate) fn validate(&self) -> Result<(), ObjectiveError> {
        let wrong = |key, problem| Err(ObjectiveError { key, problem });
        if self.decoders.is_empty() {
            return wrong("bottleneck.decoders", "is empty; expected at least one".into());
        }
        for BottleneckDecoder { kind, weight } in &self.decoders {
            if !(*weight >= 0.0 && weight.is_finite()) {
                let problem = format!("has the weight {weight}; expected 0 or more");
                return wrong("bottleneck.decoders", problem);
            }
            match kind {
                BottleneckTask::Masked(masked) | BottleneckTask::Neighbour(masked) => {
                    masked.validate()?;
                }
                BottleneckTask::Enhanced(share) if !(0.0..1.0).contains(share) => {
                    let problem = format!("hides a share of {share}; expected 0 to below 1");
                    return wrong("bottleneck.decoders.kind.enhanced", problem);
                }
                BottleneckTask::Enhanced(_) | BottleneckTask::Replaced => {}
            }
        }
        self.masked.validate()
    }

    /// Whether some decoder is shown tokens in another order.
    pub(crate) fn arranges(&self) -> bool {
        self.decoders.iter().any(|one| matches!(one.kind, BottleneckTask::Enhanced(_)))
    }

    /// The mean loss of the tokens hidden from the backbone, and those of what the decoders are
    /// asked, weighted; a model without as many of them counts nothing.
    pub(crate) fn loss<B: Backend, M: TokenModel<B>>(
        &self,
        model: &M,
        batch: &M::Batch,
        context: &mut StepContext<'_>,
    ) -> Loss<B> {
        let nothing = || Loss::nothing(&model.device(batch));
        let Targets::Ids { ids, .. } = model.targets(batch) else { return nothing() };
        let (view, chosen) = self.masked.hide(model, batch, context);
        let encoded = model.encode(batch, view);
        let observe = context.observe;
        let mut loss = score_ids(model, encoded.values.clone(), ids.clone(), &chosen, observe);
        let vectors = model.pooled(&encoded);
        for (stack, BottleneckDecoder { kind, weight }) in self.decoders.iter().enumerate() {
            let told = match kind {
                BottleneckTask::Masked(masked) => {
                    retold(model, stack, batch, vectors.clone(), masked, context)
                }
                BottleneckTask::Enhanced(share) => {
                    let (arrangement, asked) = enhanced(&model.layout(batch), *share, context.rng);
                    let ids = arranged_ids(&arrangement, ids.clone());
                    let shown = Shown::Arranged(arrangement);
                    let told = model.reconstruct(stack, batch, vectors.clone(), shown);
                    told.map(|told| score_ids(model, told, ids, &asked, observe))
                }
                BottleneckTask::Replaced => {
                    let guessed = guessed_ids(model, encoded.values.clone(), ids.clone(), &chosen);
                    let shown = Shown::View(View::default());
                    let told = model
                        .with_ids(batch, guessed)
                        .and_then(|batch| model.reconstruct(stack, &batch, vectors.clone(), shown));
                    told.map(|told| score_ids(model, told, ids.clone(), &chosen, observe))
                }
                BottleneckTask::Neighbour(masked) => {
                    model.halves(batch).and_then(|[first, second]| {
                        let (view, _) = self.masked.hide(model, &first, context);
                        let vectors = model.pooled(&model.encode(&first, view));
                        retold(model, stack, &second, vectors, masked, context)
                    })
                }
            };
            let Some(told) = told else { return nothing() };
            loss = together(loss, weighted(told, *weight));
        }
        if observe { with_token_signs(loss, &encoded) } else { loss }
    }
}

/// The mean loss of what `masked` hides of a batch, as one of the decoders tells it from `vectors`,
/// `[batch, width]`.
fn retold<B: Backend, M: TokenModel<B>>(
    model: &M,
    stack: usize,
    batch: &M::Batch,
    vectors: Tensor<B, 2>,
    masked: &Masked,
    context: &mut StepContext<'_>,
) -> Option<Loss<B>> {
    let Targets::Ids { ids, .. } = model.targets(batch) else { return None };
    let (view, chosen) = masked.hide(model, batch, context);
    let told = model.reconstruct(stack, batch, vectors, Shown::View(view))?;
    Some(score_ids(model, told, ids, &chosen, context.observe))
}

/// All tokens of each sequence, which see themselves alone, and then a hidden one in the place of
/// each, which sees others drawn for it, but for `share` of them, and asks for it; and which places
/// do, `[batch, places]` in row-major order.
fn enhanced(layout: &Layout, share: f64, rng: &mut Rng) -> (Arrangement, Vec<bool>) {
    let asking = |row| layout.units(row, false).into_iter().flatten().collect::<Vec<usize>>();
    let asking: Vec<Vec<usize>> = (0..layout.batch).map(asking).collect();
    let size = |row: usize| layout.length(row) + asking[row].len();
    let places = (0..layout.batch).map(size).max().unwrap_or(0);
    let mut arrangement = Arrangement::default();
    let mut asked = Vec::with_capacity(layout.batch * places);
    for (row, asking) in asking.iter().enumerate() {
        let length = layout.length(row);
        let mut order: Vec<(usize, bool)> = (0..length).map(|at| (at, false)).collect();
        order.extend(asking.iter().map(|at| (*at, true)));
        order.resize(places, (0, true));
        asked.extend((0..places).map(|place| (length..size(row)).contains(&place)));
        let first = arrangement.sees.len();
        arrangement.sees.resize(first + places * places, false);
        let sees = &mut arrangement.sees[first..];
        (0..places).for_each(|place| sees[place * places + place] = true);
        for (number, at) in asking.iter().enumerate() {
            let others = length.saturating_sub(1);
            let seen = (others as f64 * (1.0 - share)).round() as usize;
            let from = (length + number) * places;
            for other in sample(rng, others, seen) {
                sees[from + other + usize::from(other >= *at)] = true;
            }
        }
        arrangement.places.push(order);
    }
    (arrangement, asked)
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
    fn loss(hidden: [f32; 2], kinds: Vec<(BottleneckTask, f64)>) -> (f32, usize) {
        let decoders = kinds.into_iter().map(|(kind, weight)| BottleneckDecoder { kind, weight });
        let bottleneck = Bottleneck { masked: tail(), decoders: decoders.collect() };
        bottleneck.validate().unwrap();
        let model = Table(vec![[0.0; 2], [0.0, 3f32.ln()], hidden]);
        let mut rng = Seed::new(0).rng();
        let batch = Ids::<Flex>::new(&[[1, 1, 0, 0]]);
        let loss = bottleneck.loss(&model, &batch, &mut context(&mut rng));
        (loss.value.into_scalar(), loss.count)
    }

    #[test]
    fn each_decoder_is_asked_its_own_and_weighs() {
        let close = |kinds: Vec<(BottleneckTask, f64)>, expected: f32| {
            let (found, count) = loss([0.0; 2], kinds);
            assert!((found - expected).abs() < 1e-5 && count == 2, "{found}, not {expected}");
        };
        // The backbone is undecided of what is hidden, and the vector is (0, ln(3) / 2): the first
        // decoder thinks 1 likelier by the root of 3, the second by 3.
        let root = 3f32.sqrt();
        let masked = || BottleneckTask::Masked(tail());
        close(vec![(masked(), 2.0)], 2f32.ln() + 2.0 * (1.0 + root).ln());
        let both = vec![(masked(), 1.0), (masked(), 1.0)];
        close(both, 2f32.ln() + (1.0 + root).ln() + 4f32.ln());
        // Of 1, 1 with the last hidden the vector is the same, and a 0 of 0, 0 is asked.
        let neighbour = BottleneckTask::Neighbour(tail());
        close(vec![(neighbour, 1.0)], 2f32.ln() + (1.0 + root).ln());
        // All four are asked.
        let four = ((1.0 + root).ln() + (1.0 + 1.0 / root).ln()) / 2.0;
        close(vec![(BottleneckTask::Enhanced(0.5), 1.0)], 2f32.ln() + four);
        // There are two decoders.
        assert_eq!(loss([0.0; 2], vec![(masked(), 1.0); 3]).1, 0);
    }

    #[test]
    fn guesses_stand_in_the_place_of_what_was_hidden() {
        // It is sure of a 1; the decoder sees that on top of the vector, and is asked for the 0.
        let (found, _) = loss([0.0, 50.0], vec![(BottleneckTask::Replaced, 1.0)]);
        let vector = (2.0 * 3f32.ln() + 100.0) / 4.0;
        assert!((found - 50.0 - vector - 3f32.ln()).abs() < 1e-3, "{found}");
    }

    #[test]
    fn nobody_sees_what_it_is_asked_for() {
        let fixed = Some((0..12).map(|at| at == 0).collect());
        let layout = Layout { lengths: Some(vec![6, 3]), fixed, ..Layout::new(2, 6) };
        let (arrangement, asked) = enhanced(&layout, 0.6, &mut Seed::new(1).rng());
        let places = arrangement.places[0].len();
        assert_eq!(places, 11);
        for (row, seen) in [(0, 2), (1, 1)] {
            let asking: Vec<usize> = (0..places).filter(|at| asked[row * places + at]).collect();
            assert_eq!(asking.len(), [5, 3][row]);
            for place in 0..places {
                let sees = &arrangement.sees[(row * places + place) * places..][..places];
                let others = (0..places).filter(|other| *other != place && sees[*other]);
                let others: Vec<usize> = others.collect();
                // Others in full, never its own; what does not ask sees itself alone.
                assert_eq!(others.len(), if asking.contains(&place) { seen } else { 0 });
                let own = arrangement.places[row][place].0;
                assert!(others.iter().all(|at| arrangement.places[row][*at] != (own, false)));
                assert!(others.iter().all(|at| *at < layout.length(row)));
            }
        }
        let none = Bottleneck { decoders: Vec::new(), ..Bottleneck::default() };
        assert!(none.validate().is_err());
    }
}
