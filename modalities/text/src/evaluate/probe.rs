//! Probing: linear and k-nearest-neighbour classifiers on frozen embeddings.

use super::subject::Subject;
use crate::{
    labelled::{Encoder, Row},
    recipe::ProbeEvaluation,
};
use kiln_core::Backend;
use kiln_datasets::labelled::{Label, Labelled, Labels};
use kiln_lm::{TextModel, TextModelConfig};
use kiln_metrics::{
    classification::{Confusion, most_frequent},
    probe::{LogisticProbe, NeighbourProbe, ProbeConfig},
};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};
use ndarray::Array2;

/// The k of the nearest-neighbour probe.
const NEIGHBOURS: usize = 10;

impl<B: Backend> Subject<'_, B> {
    /// Accuracy of a linear and a k-NN probe on held-out texts; the baselines are the same model
    /// with random weights, and the most frequent class.
    pub(super) fn probe(&self, settings: &ProbeEvaluation) -> Result<Vec<ResultRow>, TaskError> {
        let name = &self.evaluation.name;
        let seed = self.seed.part("probe");
        let rows: Vec<Labelled> = settings
            .data
            .rows(seed)?
            .into_iter()
            .filter_map(|row| match row {
                Row::Labelled(row @ Labelled { label: Label::Class(_), .. }) => Some(row),
                _ => None,
            })
            .collect();
        if rows.is_empty() {
            let problem = format!("evaluation `{name}`: a probe wants texts with one class each");
            return Err(problem.into());
        }
        let labels = Labels::of_labels(rows.iter().map(|row| &row.label));
        let class = |row: &Labelled| match &row.label {
            Label::Class(name) => labels.id(name).unwrap_or(0),
            _ => 0,
        };
        let (train, test) = settings.held.split(rows, seed)?;
        let [train_classes, test_classes] =
            [&train, &test].map(|rows| rows.iter().map(class).collect::<Vec<_>>());

        let encoder = Encoder::new(self.tokenizer.clone(), settings.length);
        let examples = |rows: &[Labelled]| {
            rows.iter()
                .map(|row| encoder.text(&row.text, row.second.as_deref()))
                .collect::<Result<Vec<_>, _>>()
        };
        let (train, test) = (examples(&train)?, examples(&test)?);
        B::seed(self.device, seed.value());
        let config = TextModelConfig { format: None, ..self.model.config().clone() };
        let random = TextModel::new(config, self.device)?;
        let progress = Progress::new(name, 2 * (train.len() + test.len()), "texts");
        let accuracies = |model: &TextModel<B>| -> Result<[f64; 2], TaskError> {
            let vectors = |examples: &[_]| {
                let rows = model.vectors(examples, self.device, |count| progress.advance(count));
                let width = rows.first().map_or(0, Vec::len);
                Array2::from_shape_vec((rows.len(), width), rows.concat())
            };
            let settings = ProbeConfig::default();
            let (seen, held) = (vectors(&train)?, vectors(&test)?);
            let (seen, classes) = (seen.view(), &train_classes[..]);
            let linear = LogisticProbe::fit(seen, classes, labels.len(), &settings)?;
            let near = NeighbourProbe::fit(seen, classes, labels.len())?;
            let right = |found: Vec<usize>| -> Result<f64, TaskError> {
                Ok(Confusion::of(&test_classes, &found)?.accuracy().unwrap_or(f64::NAN))
            };
            let found = [linear.predict(held.view())?, near.predict(held.view(), NEIGHBOURS)?];
            let [linear, near] = found.map(right);
            Ok([linear?, near?])
        };
        let (trained, untrained) = (accuracies(self.model)?, accuracies(&random)?);
        progress.finish();
        let frequent = most_frequent(train_classes.iter().copied());
        let often = test_classes.iter().filter(|class| Some(**class) == frequent).count();
        let share = often as f64 / test_classes.len().max(1) as f64;
        let row = |metric: &str, at: usize| {
            let beside = [("random weights", untrained[at]), ("most frequent", share)];
            self.row("probe", "held out", metric, trained[at], &beside)
        };
        Ok(vec![row("accuracy", 0), row("knn-accuracy", 1)])
    }
}
