//! Update rules over named parameters.
//!
//! Burn's optimizers key their states by random ids and give every parameter one rate. Here states
//! are named after parameters, so they are stored and compared like weights, and every parameter
//! has a rate and a decay of its own. A rule sees flattened tensors, `[elements]`.

mod adafactor;
mod adamw;
mod lion;
mod muon;
mod options;
mod sgd;

use crate::{
    Error, Result,
    groups::{Groups, Parameter, Role},
    named::Flat,
    recipe,
};
use burn::tensor::Tensor;
use kiln_core::Backend;
use options::StepOptions;
use std::collections::BTreeMap;

/// An optimizer and its state.
#[derive(Debug)]
pub struct Optimizer<B: Backend> {
    rule: recipe::Optimizer,
    updates: u64,
    states: BTreeMap<String, Vec<Tensor<B, 1>>>,
}

impl<B: Backend> Optimizer<B> {
    /// An optimizer that has not seen a gradient.
    pub fn new(rule: recipe::Optimizer) -> Self {
        Self { rule, updates: 0, states: BTreeMap::new() }
    }

    /// One update: the new values of the weights that have a gradient, `[elements]` each; the
    /// others are left as they are.
    ///
    /// Gradients are multiplied with `scale` first, which is how they are clipped. `rate` gives the
    /// learning rate of a parameter, without its share.
    pub fn step(
        &mut self,
        groups: &Groups,
        weights: Flat<B>,
        mut gradients: Flat<B>,
        scale: f64,
        rate: impl Fn(&str) -> f64,
    ) -> Flat<B> {
        self.updates += 1;
        let mut updated = Flat::new();
        // What AdamW updates, its kernel updates together.
        let (mut names, mut items) = (Vec::new(), Vec::new());
        for (name, weight) in weights {
            let Some((parameter, gradient)) = groups.get(&name).zip(gradients.remove(&name)) else {
                updated.insert(name, weight);
                continue;
            };
            let state = self.states.remove(&name).unwrap_or_default();
            let rate = rate(&name);
            let options = |decay| StepOptions::new(parameter, rate, decay);
            let scaled = |g: Tensor<B, 1>| if scale == 1.0 { g } else { g.mul_scalar(scale) };
            let (weight, state) = match (&self.rule, &parameter.shape[..]) {
                (recipe::Optimizer::Lion(settings), _) => {
                    let options = options(settings.weight_decay);
                    lion::step(settings, options, weight, scaled(gradient), state)
                }
                (recipe::Optimizer::Sgd(settings), _) => {
                    let options = options(settings.weight_decay);
                    sgd::step(settings, options, weight, scaled(gradient), state)
                }
                (recipe::Optimizer::Adafactor(settings), shape) => {
                    let (options, count) = (options(settings.weight_decay), self.updates);
                    let gradient = scaled(gradient);
                    adafactor::step(settings, options, count, shape, weight, gradient, state)
                }
                (recipe::Optimizer::Muon(settings), &[rows, columns])
                    if parameter.hidden_matrix =>
                {
                    let options = options(settings.weight_decay);
                    let shape = [rows, columns];
                    muon::step(settings, options, shape, weight, scaled(gradient), state)
                }
                (recipe::Optimizer::Muon(settings), _) => {
                    let options = muon::others_options(settings, options(settings.weight_decay));
                    names.push(name);
                    items.push(adamw::Item { options, weight, gradient, state });
                    continue;
                }
                (recipe::Optimizer::Adamw(settings), _) => {
                    let options = options(settings.weight_decay);
                    names.push(name);
                    items.push(adamw::Item { options, weight, gradient, state });
                    continue;
                }
            };
            self.states.insert(name.clone(), state);
            updated.insert(name, weight);
        }
        let settings = match &self.rule {
            recipe::Optimizer::Adamw(settings) => settings.clone(),
            recipe::Optimizer::Muon(settings) => muon::others(settings),
            recipe::Optimizer::Lion(_)
            | recipe::Optimizer::Sgd(_)
            | recipe::Optimizer::Adafactor(_) => return updated,
        };
        let results = adamw::step(&settings, self.updates, scale, items);
        for (name, (weight, state)) in names.into_iter().zip(results) {
            self.states.insert(name.clone(), state);
            updated.insert(name, weight);
        }
        updated
    }

    /// Resets the optimizer state of a parameter.
    pub(crate) fn reset_state(&mut self, name: &str) {
        self.states.remove(name);
    }

    /// Updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The states by `<state>.<parameter>`, with their shapes.
    pub(crate) fn states<'a>(
        &'a self,
        groups: &'a Groups,
    ) -> impl Iterator<Item = (String, Vec<usize>, &'a Tensor<B, 1>)> {
        self.states.iter().flat_map(move |(name, tensors)| {
            let kinds = groups.get(name).map_or_else(Vec::new, |p| states(&self.rule, p));
            let named = move |((kind, shape), tensor)| (format!("{kind}.{name}"), shape, tensor);
            kinds.into_iter().zip(tensors).map(named)
        })
    }

    /// The names, `<state>.<parameter>`, and shapes of the states a parameter may have.
    pub(crate) fn state_shapes(
        &self,
        name: &str,
        parameter: &Parameter,
    ) -> Vec<(String, Vec<usize>)> {
        if parameter.role != Role::Trained {
            return Vec::new();
        }
        let kinds = states(&self.rule, parameter).into_iter();
        kinds.map(|(kind, shape)| (format!("{kind}.{name}"), shape)).collect()
    }

    /// Goes back to saved states, as [`Self::states`] gave them.
    ///
    /// # Errors
    /// When a state is missing or belongs to no parameter; nothing is changed then.
    pub(crate) fn restore(
        &mut self,
        updates: u64,
        mut saved: Flat<B>,
        groups: &Groups,
    ) -> Result<()> {
        let mut states = BTreeMap::new();
        for (name, parameter) in groups {
            let names = self.state_shapes(name, parameter);
            let found: Vec<_> = names.iter().filter_map(|(state, _)| saved.remove(state)).collect();
            // A parameter that no gradient has reached yet has no state at all.
            if found.is_empty() {
                continue;
            }
            if found.len() != names.len() {
                return Err(Error::State {
                    problem: format!("the optimizer's state of `{name}` is incomplete"),
                });
            }
            states.insert(name.clone(), found);
        }
        if let Some(name) = saved.keys().next() {
            return Err(Error::State {
                problem: format!("`optimizer.{name}` belongs to no parameter of this optimizer"),
            });
        }
        self.updates = updates;
        self.states = states;
        Ok(())
    }
}

/// The states that a rule keeps for a parameter, in its order: names and shapes.
fn states(rule: &recipe::Optimizer, parameter: &Parameter) -> Vec<(&'static str, Vec<usize>)> {
    let names: &[&str] = match rule {
        recipe::Optimizer::Adafactor(settings) => {
            return adafactor::states(settings, &parameter.shape);
        }
        recipe::Optimizer::Adamw(_) => &["mean", "square"],
        recipe::Optimizer::Sgd(sgd) if sgd.momentum == 0.0 => &[],
        recipe::Optimizer::Lion(_) | recipe::Optimizer::Sgd(_) => &["momentum"],
        recipe::Optimizer::Muon(_) if parameter.hidden_matrix => &["momentum"],
        recipe::Optimizer::Muon(_) => &["mean", "square"],
    };
    names.iter().map(|name| (*name, parameter.shape.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        recipe::{AdamW, Decay, Schedule},
        schedule::Rates,
        testing::{assert_close, fixture, values},
    };
    use burn_flex::Flex;

    fn parameter(shape: &[usize], decayed: bool) -> Parameter {
        Parameter {
            shape: shape.to_vec(),
            role: Role::Trained,
            decayed,
            hidden_matrix: shape.len() == 2,
            share: 1.0,
        }
    }

    /// Runs the five steps of a fixture of PyTorch's AdamW.
    fn compare_with_torch(name: &str) {
        let Some(fixture) = fixture(name) else { return };
        let device = Default::default();
        let number = |key: &str| fixture.params[key].as_f64().unwrap();
        let settings = AdamW {
            learning_rate: number("lr"),
            weight_decay: number("weight_decay"),
            betas: [0, 1].map(|i| fixture.params["betas"][i].as_f64().unwrap()),
            epsilon: number("eps"),
        };
        let clip = fixture.params["clip_grad_norm"].as_f64();
        let rates = fixture.params["schedule"].as_object().map(|schedule| {
            let decay = Decay { warmup: schedule["warmup_steps"].as_u64().unwrap(), floor: 0.0 };
            let steps = schedule["total_steps"].as_u64().unwrap();
            Rates::new(Schedule::Cosine(decay), settings.learning_rate, steps)
        });
        let groups: Groups = [("w", true), ("b", false)]
            .map(|(name, decayed)| {
                let shape = &fixture.inputs[&format!("init.{name}")].shape;
                (name.to_owned(), parameter(shape, decayed))
            })
            .into();
        let flat =
            |name: &str| Tensor::<Flex, 1>::from_floats(&fixture.inputs[name].values[..], &device);
        let mut weights: Flat<Flex> =
            ["w", "b"].map(|name| (name.to_owned(), flat(&format!("init.{name}")))).into();
        let mut optimizer = Optimizer::<Flex>::new(recipe::Optimizer::Adamw(settings.clone()));
        for step in 0..5_u64 {
            let gradients: Flat<Flex> = ["w", "b"]
                .map(|name| (name.to_owned(), flat(&format!("grad.{step}.{name}"))))
                .into();
            let mut factor = 1.0;
            if let Some(clip) = clip {
                let norm = crate::task_learner::norm(&gradients).unwrap();
                let expected = fixture.outputs[&format!("grad_norm.{step}")].values[0];
                assert_close(&[norm as f32], &[expected], 1e-5);
                factor = crate::task_learner::clip_factor(norm, Some(clip));
            }
            let rate = rates.as_ref().map_or(settings.learning_rate, |rates| rates.at(step));
            weights = optimizer.step(&groups, weights, gradients, factor, |_| rate);
            for (name, weight) in &weights {
                let expected = &fixture.outputs[&format!("param.{step}.{name}")].values;
                assert_close(&values(weight), expected, 1e-6);
            }
        }
    }

    #[test]
    fn parity_adamw() {
        compare_with_torch("conv/adamw");
    }

    #[test]
    fn parity_adamw_clip_cosine() {
        compare_with_torch("conv/adamw_clip_cosine");
    }

    #[test]
    fn a_saved_state_must_fit() {
        let device = Default::default();
        let groups: Groups = [("w".to_owned(), parameter(&[1], true))].into();
        let one = Tensor::<Flex, 1>::ones([1], &device);
        let mut optimizer = Optimizer::<Flex>::new(recipe::Optimizer::default());
        let saved: Flat<Flex> = [("mean.w".to_owned(), one.clone())].into();
        let error = optimizer.restore(1, saved, &groups).unwrap_err();
        assert!(error.to_string().contains("state of `w` is incomplete"), "{error}");
        let saved: Flat<Flex> = [("momentum.w".to_owned(), one)].into();
        let error = optimizer.restore(1, saved, &groups).unwrap_err();
        assert!(error.to_string().contains("`optimizer.momentum.w`"), "{error}");
        assert_eq!(optimizer.updates(), 0);
    }
}
