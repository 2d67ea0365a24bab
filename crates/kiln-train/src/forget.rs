//! Parameters that are drawn anew again and again while the rest learns on: active forgetting, so
//! that the body of a model does not lean on one set of embeddings,
//! <https://arxiv.org/abs/2307.01163>.

use crate::{Error, Result, named::Flat, recipe::Forget};
use burn::tensor::{Distribution, Tensor};
use kiln_core::{Backend, Seed, pattern};
use std::collections::BTreeMap;

/// What is forgotten, and when.
#[derive(Debug)]
pub(crate) struct Forgetting {
    settings: Forget,
    /// The deviation that each of the parameters started with.
    deviations: BTreeMap<String, f64>,
    seed: Seed,
}

impl Forgetting {
    /// Looks up the parameters among the trained ones, as they start.
    ///
    /// # Errors
    /// When a pattern fits none of them.
    pub fn new<B: Backend>(settings: &Forget, start: &Flat<B>, seed: Seed) -> Result<Self> {
        for wanted in &settings.parameters {
            if !start.keys().any(|name| pattern::matches(wanted, name)) {
                return Err(Error::NoSuchParameter {
                    key: "forget.parameters",
                    pattern: wanted.clone(),
                    near: pattern::nearest(wanted, start.keys().map(String::as_str)),
                });
            }
        }
        let fits = |name: &str| settings.parameters.iter().any(|one| pattern::matches(one, name));
        let deviation = |weights: &Tensor<B, 1>| {
            let mean = weights.clone().square().mean().into_data().iter::<f64>().next();
            mean.unwrap_or(0.0).sqrt()
        };
        let chosen = start.iter().filter(|(name, _)| fits(name));
        let deviations = chosen.map(|(name, weights)| (name.clone(), deviation(weights))).collect();
        Ok(Self { settings: settings.clone(), deviations, seed })
    }

    /// The parameters to forget after so many updates.
    pub fn due(&self, updates: u64) -> impl Iterator<Item = &str> {
        let Forget { every, until, .. } = self.settings;
        let now = updates > 0
            && updates.is_multiple_of(every.max(1))
            && until.is_none_or(|until| updates <= until);
        self.deviations.keys().filter(move |_| now).map(String::as_str)
    }

    /// A parameter as it might have started: normal, of the deviation that it had.
    pub fn draw<B: Backend>(&self, name: &str, old: &Tensor<B, 1>, updates: u64) -> Tensor<B, 1> {
        let deviation = self.deviations.get(name).copied().unwrap_or(0.0);
        let device = old.device();
        B::seed(&device, self.seed.part("forget").at(updates).part(name).value());
        Tensor::random(old.shape(), Distribution::Normal(0.0, deviation), &device)
    }
}
