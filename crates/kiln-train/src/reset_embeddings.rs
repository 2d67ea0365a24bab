//! Active forgetting: embeddings are reset again and again while the rest learns on, so that the body of a model does not lean on one set of embeddings,
//! <https://arxiv.org/abs/2307.01163>.

use crate::{
    Error, Result,
    named::Flat,
    recipe::{ResetEmbeddings, SharedOnly, Stage},
    schedule::Rates,
};
use burn::tensor::{Distribution, Tensor};
use kiln_core::{Backend, Seed, pattern};
use std::collections::BTreeMap;

/// Embedding resets: which parameters, and when.
#[derive(Debug)]
pub(crate) struct EmbeddingReset {
    settings: ResetEmbeddings,
    /// The deviation that each of the parameters started with.
    deviations: BTreeMap<String, f64>,
    /// The stage's steps, and its highest learning rate.
    steps: u64,
    highest: f64,
    seed: Seed,
}

impl EmbeddingReset {
    /// Looks up the parameters among the trained ones, as they start.
    ///
    /// # Errors
    /// When a pattern fits none of them.
    pub fn new<B: Backend>(
        settings: &ResetEmbeddings,
        stage: &Stage<SharedOnly>,
        start: &Flat<B>,
        seed: Seed,
    ) -> Result<Self> {
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
        let (steps, highest) = (stage.steps, stage.optimizer.learning_rate());
        Ok(Self { settings: settings.clone(), deviations, steps, highest, seed })
    }

    /// The parameters to reset after so many updates.
    pub fn due(&self, updates: u64) -> impl Iterator<Item = &str> {
        let ResetEmbeddings { every, until, .. } = self.settings;
        let now = updates > 0
            && updates.is_multiple_of(every.max(1))
            && until.is_none_or(|until| updates <= until);
        self.deviations.keys().filter(move |_| now).map(String::as_str)
    }

    /// The learning rate of a parameter after so many updates, where it has one of its own.
    pub fn rate(&self, name: &str, updates: u64) -> Option<f64> {
        let schedule = self.settings.schedule.as_ref()?;
        if !self.deviations.contains_key(name) {
            return None;
        }
        let every = self.settings.every.max(1);
        let time = |updates: u64| updates / every * every;
        let end = self.settings.until.unwrap_or(u64::MAX).min(self.steps.saturating_sub(1));
        let (last, begin) = (time(end), time(updates).min(time(end)));
        let steps = if begin == last { self.steps - last } else { every };
        Some(Rates::new(schedule.clone(), self.highest, steps).at(updates - begin))
    }

    /// A parameter as it might have started: normal, of the deviation that it had.
    pub fn draw<B: Backend>(&self, name: &str, old: &Tensor<B, 1>, updates: u64) -> Tensor<B, 1> {
        let deviation = self.deviations.get(name).copied().unwrap_or(0.0);
        let device = old.device();
        B::seed(&device, self.seed.part("forget").at(updates).part(name).value());
        Tensor::random(old.shape(), Distribution::Normal(0.0, deviation), &device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stage;
    use burn_flex::Flex;

    #[test]
    fn rates_begin_anew_with_the_parameters() {
        let rates = |until: &str| {
            let stage = stage(&format!(
                "steps = 10\noptimizer.sgd = {{ learning_rate = 2.0 }}\n\
                 forget = {{ parameters = ['words'], every = 4{until}, schedule.linear = {{}} }}"
            ));
            let start = ["words", "body"]
                .map(|name| (name.to_owned(), Tensor::<Flex, 1>::ones([2], &Default::default())));
            let forget = stage.forget.as_ref().unwrap();
            let forget = EmbeddingReset::new(forget, &stage, &start.into(), Seed::new(1)).unwrap();
            assert_eq!(forget.rate("body", 1), None);
            [0, 3, 4, 7, 8, 9].map(|updates| forget.rate("words", updates).unwrap())
        };
        // Forgotten after steps 4 and 8, then two steps are left.
        assert_eq!(rates(""), [2.0, 0.5, 2.0, 0.5, 2.0, 1.0]);
        // Forgotten after step 4 alone, then six steps are left.
        let last = rates(", until = 5");
        assert_eq!(last[..3], [2.0, 0.5, 2.0]);
        assert!((last[3] - 1.0).abs() < 1e-12 && (last[5] - 1.0 / 3.0).abs() < 1e-12, "{last:?}");
    }
}
