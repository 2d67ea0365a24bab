//! Segment ordering: accuracy and Kendall's τ of reordered segments.

use super::subject::Subject;
use crate::{data::encode, labelled::LabelledTask};
use kiln_core::Backend;
use kiln_lm::{examples::Label, pointer::assigned, predict::Prediction};
use kiln_metrics::correlation::kendall;
use kiln_train::{results::ResultRow, task::TaskError};

impl<B: Backend> Subject<'_, B> {
    /// The share of segments put in their place, and Kendall's τ of predicted and true order; the
    /// baselines are a random order and the order of the input.
    pub(super) fn segment_order(
        &self,
        task: &LabelledTask<'_>,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let examples = encode(task, &task.rows.test, self.tokenizer)?;
        let (mut model, mut seen, mut any) = (Agreement::default(), Agreement::default(), 0.0);
        for (example, prediction) in examples.iter().zip(self.predictions(&examples)) {
            let (Some(Label::Order(segments)), Prediction::Tokens(scores)) =
                (&example.label, prediction)
            else {
                continue;
            };
            let own: Vec<f64> = segments.iter().map(|(_, place)| f64::from(*place)).collect();
            let numbers = |places: Vec<usize>| places.into_iter().map(|at| at as f64).collect();
            model.add(&own, numbers(assigned(&scores)))?;
            seen.add(&own, numbers((0..own.len()).collect()))?;
            any += 1.0;
        }
        let in_place = |of: &Agreement| of.in_place as f64 / of.segments.max(1) as f64;
        // A random permutation has one fixed point on average.
        let chance = any / model.segments.max(1) as f64;
        let beside = [("any order", chance), ("as seen", in_place(&seen))];
        let tau = |of: &Agreement| of.tau / of.texts.max(1) as f64;
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

/// Agreement of orders, summed.
#[derive(Debug, Default)]
struct Agreement {
    segments: usize,
    in_place: usize,
    texts: usize,
    tau: f64,
}

impl Agreement {
    fn add(&mut self, own: &[f64], given: Vec<f64>) -> Result<(), TaskError> {
        self.segments += own.len();
        self.in_place += own.iter().zip(&given).filter(|(own, given)| own == given).count();
        if let Some(tau) = kendall(own, &given)? {
            (self.texts, self.tau) = (self.texts + 1, self.tau + tau);
        }
        Ok(())
    }
}
