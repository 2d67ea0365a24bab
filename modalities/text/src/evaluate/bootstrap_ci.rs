//! Bootstrap confidence intervals of metrics that are means over examples.

use super::subject::Subject;
use kiln_core::Backend;
use kiln_metrics::bootstrap_mean;
use kiln_train::{
    report::table::number,
    results::{Section, SectionBody},
};

/// Bootstrap resamples.
const DRAWS: usize = 1000;

impl<B: Backend> Subject<'_, B> {
    /// A table of 95 % bootstrap confidence intervals: each metric with its value per example.
    pub(super) fn bootstrap_ci(&self, measured: &[(String, Vec<f64>)]) -> Section {
        let row = |(metric, values): &(String, Vec<f64>)| {
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            let interval = bootstrap_mean(values, DRAWS, 0.95, self.seed.part(metric));
            let (low, high) = interval.map_or((f64::NAN, f64::NAN), |of| (of.low, of.high));
            let numbers = [mean, low, high].into_iter().map(number);
            std::iter::once(metric.clone()).chain(numbers).collect()
        };
        Section {
            title: format!("{}: confidence intervals", self.evaluation.name),
            caption: "Means over examples with their 95 % bootstrap confidence intervals.".into(),
            body: SectionBody::Table {
                head: ["measure", "mean", "from", "to"].map(Into::into).into(),
                rows: measured.iter().map(row).collect(),
            },
        }
    }
}
