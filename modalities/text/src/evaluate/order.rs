//! Whether shuffled segments are put back in their order.

use super::Subject;
use crate::{
    data::encode, examples::Label, labelled::LabelledTask, pointer::assigned, predict::Said,
};
use kiln_core::Backend;
use kiln_metrics::correlation::kendall;
use kiln_train::{results::ResultRow, task::TaskError};

impl<B: Backend> Subject<'_, B> {
    /// The share of segments that are put in their place, and Kendall's correlation of the order that
    /// a text is given with its own, beside any order and the one that the model sees.
    pub(super) fn ordered(&self, task: &LabelledTask<'_>) -> Result<Vec<ResultRow>, TaskError> {
        let examples = encode(task, &task.rows.test, self.tokenizer)?;
        let (mut model, mut seen, mut any) = (Agreed::default(), Agreed::default(), 0.0);
        for (example, said) in examples.iter().zip(self.said(&examples)) {
            let (Some(Label::Order(segments)), Said::Tokens(scores)) = (&example.label, said)
            else {
                continue;
            };
            let own: Vec<f64> = segments.iter().map(|(_, place)| f64::from(*place)).collect();
            let numbers = |places: Vec<usize>| places.into_iter().map(|at| at as f64).collect();
            model.add(&own, numbers(assigned(&scores)))?;
            seen.add(&own, numbers((0..own.len()).collect()))?;
            any += 1.0;
        }
        let in_place = |of: &Agreed| of.in_place as f64 / of.segments.max(1) as f64;
        // In any order one segment a text is in its place.
        let chance = any / model.segments.max(1) as f64;
        let beside = [("any order", chance), ("as seen", in_place(&seen))];
        let tau = |of: &Agreed| of.tau / of.texts.max(1) as f64;
        Ok(vec![
            self.row("order", "test", "accuracy", in_place(&model), &beside),
            self.row(
                "order",
                "test",
                "kendall",
                tau(&model),
                &[("any order", 0.0), ("as seen", tau(&seen))],
            ),
        ])
    }
}

/// How far orders agree.
#[derive(Debug, Default)]
struct Agreed {
    segments: usize,
    in_place: usize,
    texts: usize,
    tau: f64,
}

impl Agreed {
    fn add(&mut self, own: &[f64], given: Vec<f64>) -> Result<(), TaskError> {
        self.segments += own.len();
        self.in_place += own.iter().zip(&given).filter(|(own, given)| own == given).count();
        if let Some(tau) = kendall(own, &given)? {
            (self.texts, self.tau) = (self.texts + 1, self.tau + tau);
        }
        Ok(())
    }
}
