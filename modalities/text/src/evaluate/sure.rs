//! How sure numbers are that are means over examples.

use super::Subject;
use kiln_core::Backend;
use kiln_metrics::bootstrap_mean;
use kiln_train::{
    report::table::number,
    results::{Section, SectionBody},
};

/// How often the bootstrap draws.
const DRAWS: usize = 1000;

impl<B: Backend> Subject<'_, B> {
    /// The intervals of means, for the report: what is measured, and its value of each example.
    pub(super) fn sure(&self, measured: &[(String, Vec<f64>)]) -> Section {
        let row = |(metric, values): &(String, Vec<f64>)| {
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            let interval = bootstrap_mean(values, DRAWS, 0.95, self.seed.part(metric));
            let (low, high) = interval.map_or((f64::NAN, f64::NAN), |of| (of.low, of.high));
            let numbers = [mean, low, high].into_iter().map(number);
            std::iter::once(metric.clone()).chain(numbers).collect()
        };
        Section {
            title: format!("{}: how sure", self.evaluation.name),
            caption: "Means over examples, and where they are in 95 of 100 such sets of examples \
                      (bootstrap)."
                .into(),
            body: SectionBody::Table {
                head: ["measure", "mean", "from", "to"].map(Into::into).into(),
                rows: measured.iter().map(row).collect(),
            },
        }
    }
}
