//! Evaluation of fine-tuned tasks: classification, regression, tagging, QA and more.

use super::subject::Subject;
use crate::{
    data::encode,
    labelled::{Aim, LabelledTask, Row, Rows},
    recipe::TaskEvaluation,
};
use kiln_core::Backend;
use kiln_datasets::labelled::{Label, Labels, Tagged, to_bio};
use kiln_lm::{config::TaskKind, examples::Example, predict::Prediction};
use kiln_metrics::{
    MetricError,
    classification::{
        Average, Confusion, Counts, MultiLabel, NaiveBayes, argmax, most_frequent, top_k_accuracy,
    },
    correlation::{pearson, spearman},
    tagging::TagScores,
    words::jaccard,
};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};
use ndarray::Array2;
use std::collections::BTreeMap;

/// Above this number of classes, top-k accuracy is reported, too.
const MANY: usize = 10;
/// The k of top-k accuracy.
const TOP: usize = 5;
/// Entity types with a row of their own, at most.
const KINDS: usize = 12;

impl<B: Backend> Subject<'_, B> {
    /// Metrics of the labelled tasks of the data: of one or of all.
    pub(super) fn task(&self, settings: &TaskEvaluation) -> Result<Vec<ResultRow>, TaskError> {
        let missing = || TaskError::from("`data.labelled` of the last stage is missing");
        let stage = self.recipe.stage.last().ok_or_else(missing)?;
        let config = self.model.config();
        let mut measured = Vec::new();
        for (name, data) in self.recipe.last_data().tasks() {
            if settings.task.is_some() && settings.task.as_deref() != name {
                continue;
            }
            // The head has the label names of its training.
            let known = config.head(name).map(|head| head.names.clone()).unwrap_or_default();
            let names = if data.names.is_empty() { &known } else { &data.names };
            let mut task = LabelledTask::read(name, data, self.seed, |rows| {
                Aim::of(&stage.objective, rows, names, config.decoder.is_some())
            })?;
            task.rows.test.truncate(settings.limit.max(1));
            let rows = self.measure(&task, settings)?;
            measured.extend(rows.into_iter().map(|row| match name {
                Some(name) => ResultRow { task: format!("{name}: {}", row.task), ..row },
                None => row,
            }));
        }
        Ok(measured)
    }

    /// Metrics of a task.
    fn measure(
        &self,
        task: &LabelledTask<'_>,
        settings: &TaskEvaluation,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let rows = &task.rows;
        let examples = || encode(task, &rows.test, self.tokenizer);
        match &task.aim {
            Aim::Head(TaskKind::Span, _) => self.span_qa(task),
            Aim::Head(TaskKind::Tags(_), labels) => self.tagging(task, labels),
            Aim::Head(TaskKind::Order, _) => self.segment_order(task),
            Aim::Head(kind, labels) => {
                if rows.test.first().is_some_and(Row::is_query) {
                    return self.reranking(task);
                }
                let found = self.predictions(&examples()?);
                match kind {
                    TaskKind::Numbers(_) => self.regression(rows, &found),
                    TaskKind::Labels(count) => self.multi_label(rows, labels, *count, &found),
                    _ => self.classification(rows, labels, &found),
                }
            }
            Aim::Seq2Seq if task.ranks_in_words() => self.reranking(task),
            Aim::Seq2Seq => self.seq2seq(task, settings),
            Aim::Similarity => self.similarity(rows, &examples()?),
            Aim::Completion => {
                let train = encode(task, &rows.train, self.tokenizer)?;
                self.qa(&train, &examples()?)
            }
            Aim::RewardWeighted => {
                let good = task.data.all_good();
                let good = LabelledTask { data: &good, ..task.clone() };
                self.scored_likelihood(rows, &encode(&good, &rows.test, self.tokenizer)?)
            }
            Aim::Preference => self.preference(&examples()?),
        }
    }

    /// Predictions of the task head.
    pub(super) fn predictions(&self, examples: &[Example]) -> Vec<Prediction> {
        let progress = Progress::new(&self.evaluation.name, examples.len(), "texts");
        let found = self.model.predict(examples, self.device, |count| progress.advance(count));
        progress.finish();
        found
    }

    /// Classification: accuracy and macro F1, with Matthews correlation of two classes and top-5
    /// accuracy of many; naive Bayes and the most frequent class are the baselines.
    fn classification(
        &self,
        rows: &Rows,
        labels: &Labels,
        found: &[Prediction],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let train: Vec<(String, usize)> =
            rows.train.iter().filter_map(|row| classed(row, labels)).collect();
        let test: Vec<(String, usize)> =
            rows.test.iter().filter_map(|row| classed(row, labels)).collect();
        let texts = train.iter().map(|(text, class)| (&text[..], *class));
        let bayes = NaiveBayes::fit(texts, labels.len());
        let frequent = most_frequent(train.iter().map(|(_, class)| *class)).unwrap_or(0);
        let truth: Vec<usize> = test.iter().map(|(_, class)| *class).collect();
        let of = |predicted: Vec<usize>| Confusion::of(&truth, &predicted);
        let top = |scores: Vec<Vec<f32>>| -> Result<f64, TaskError> {
            let scores = Array2::from_shape_vec((scores.len(), labels.len()), scores.concat())?;
            Ok(top_k_accuracy(scores.view(), &truth, TOP)?.unwrap_or(f64::NAN))
        };
        let among = if labels.len() > MANY {
            let often = (0..labels.len())
                .map(|class| train.iter().filter(|(_, known)| *known == class).count() as f32);
            let often: Vec<f32> = often.collect();
            let naive = |(text, _): &(String, usize)| {
                bayes.scores(text).into_iter().map(|score| score as f32).collect()
            };
            let beside = [
                ("naive Bayes", top(test.iter().map(naive).collect())?),
                ("most frequent", top(vec![often; test.len()])?),
            ];
            let model = top(found.iter().map(|prediction| scores(prediction).to_vec()).collect())?;
            Some(self.row("classification", "test", "top-5-accuracy", model, &beside))
        } else {
            None
        };
        let model = of(found
            .iter()
            .map(|prediction| argmax(scores(prediction).iter().copied()))
            .collect())?;
        let bayes = of(test.iter().map(|(text, _)| bayes.predict(text)).collect())?;
        let same = of(vec![frequent; truth.len()])?;
        let measure = |name: &str, value: &dyn Fn(&Confusion) -> Option<f64>| {
            let value = |of: &Confusion| value(of).unwrap_or(f64::NAN);
            let beside = [("naive Bayes", value(&bayes)), ("most frequent", value(&same))];
            self.row("classification", "test", name, value(&model), &beside)
        };
        let mut measured = vec![
            measure("accuracy", &Confusion::accuracy),
            measure("macro-f1", &|of| Some(of.scores(Average::Macro)?.f1)),
        ];
        if labels.len() == 2 {
            measured.push(measure("matthews", &Confusion::matthews));
        }
        measured.extend(among);
        Ok(measured)
    }

    /// Multi-label classification: micro and macro F1, and subset accuracy.
    fn multi_label(
        &self,
        rows: &Rows,
        labels: &Labels,
        count: usize,
        found: &[Prediction],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let truth_of = |row: &Row| match row.labelled() {
            Some((_, _, Label::Classes(names))) => {
                names.iter().filter_map(|name| labels.id(name)).collect()
            }
            _ => Vec::<usize>::new(),
        };
        let mut often = vec![0usize; count];
        rows.train.iter().flat_map(truth_of).for_each(|label| often[label] += 1);
        let half = rows.train.len() / 2;
        let frequent: Vec<usize> = (0..count).filter(|label| often[*label] > half).collect();
        let (mut model, mut same) = (MultiLabel::new(count), MultiLabel::new(count));
        for (row, prediction) in rows.test.iter().zip(found) {
            let truth = truth_of(row);
            let predicted: Vec<usize> = (0..count)
                .filter(|label| scores(prediction).get(*label).is_some_and(|x| *x > 0.0))
                .collect();
            model.add(&truth, &predicted)?;
            same.add(&truth, &frequent)?;
        }
        let measure = |name: &str, value: &dyn Fn(&MultiLabel) -> Option<f64>| {
            let value = |of: &MultiLabel| value(of).unwrap_or(0.0);
            let beside = [("labels of most", value(&same))];
            self.row("labels", "test", name, value(&model), &beside)
        };
        let f1 = |of: &MultiLabel, how| Some(of.scores(how)?.f1);
        Ok(vec![
            measure("micro-f1", &|of| f1(of, Average::Micro)),
            measure("macro-f1", &|of| f1(of, Average::Macro)),
            measure("exact", &MultiLabel::subset_accuracy),
        ])
    }

    /// Regression: correlation of predictions with the labels.
    fn regression(&self, rows: &Rows, found: &[Prediction]) -> Result<Vec<ResultRow>, TaskError> {
        let model = found.iter().map(|prediction| f64::from(prediction.number()));
        self.correlation("regression", rows, &model.collect::<Vec<_>>())
    }

    /// Spearman's and Pearson's correlation of scores with predictions; word overlap is the
    /// baseline.
    pub(super) fn correlation(
        &self,
        task: &str,
        rows: &Rows,
        predictions: &[f64],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let (mut truth, mut common) = (Vec::new(), Vec::new());
        for row in &rows.test {
            let Some((first, second, label)) = row.labelled() else { continue };
            truth.push(match label {
                Label::Value(value) => *value,
                Label::Class(name) => name.parse().unwrap_or(f64::NAN),
                Label::Classes(_) => f64::NAN,
            });
            common.push(second.map_or(first.len() as f64, |second| jaccard(first, second)));
        }
        let name = if rows.test.iter().any(|row| matches!(row.labelled(), Some((_, Some(_), _)))) {
            "common words"
        } else {
            "length"
        };
        let measure = |metric: &str, of: Correlation| {
            let value =
                |values: &[f64]| Ok::<_, TaskError>(of(&truth, values)?.unwrap_or(f64::NAN));
            let beside = [(name, value(&common)?)];
            Ok::<_, TaskError>(self.row(task, "test", metric, value(predictions)?, &beside))
        };
        Ok(vec![measure("spearman", spearman)?, measure("pearson", pearson)?])
    }

    /// Tagging (NER, POS): entity-level precision, recall and F1, of all and of each kind; the
    /// baseline is the most frequent tag of a word.
    fn tagging(
        &self,
        task: &LabelledTask<'_>,
        labels: &Labels,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let (rows, encoder) = (&task.rows, task.encoder(self.tokenizer));
        let tagged = |rows: &[Row]| -> Vec<Tagged> {
            rows.iter()
                .filter_map(|row| match row {
                    Row::Tagged(row) => Some(row.clone()),
                    _ => None,
                })
                .collect()
        };
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in tagged(&rows.train) {
            for (word, tag) in row.tokens.into_iter().zip(to_bio(&row.tags)) {
                seen.entry(word).or_default().push(tag);
            }
        }
        let usual: BTreeMap<String, String> = seen
            .into_iter()
            .filter_map(|(word, tags)| Some((word, most_frequent(tags)?)))
            .collect();
        let test = tagged(&rows.test);
        let (mut examples, mut firsts) = (Vec::new(), Vec::new());
        for row in &test {
            let (example, first) = encoder.words(&row.tokens)?;
            examples.push(example);
            firsts.push(first);
        }
        let outside = labels.id("O").and_then(|id| labels.name(id)).unwrap_or("O");
        let (mut model, mut lookup) = (TagScores::default(), TagScores::default());
        for ((row, prediction), firsts) in test.iter().zip(self.predictions(&examples)).zip(&firsts)
        {
            let truth = to_bio(&row.tags);
            let tag = |first: &Option<usize>| match (&prediction, first) {
                (Prediction::Tokens(scores), Some(first)) if *first < scores.nrows() => {
                    let best = argmax(scores.row(*first).iter().copied());
                    labels.name(best).unwrap_or(outside)
                }
                _ => outside,
            };
            model.add(&truth, &firsts.iter().map(tag).collect::<Vec<_>>())?;
            let usual: Vec<&str> = row
                .tokens
                .iter()
                .map(|word| usual.get(word).map_or(outside, String::as_str))
                .collect();
            lookup.add(&truth, &usual)?;
        }
        let all = |of: &TagScores| of.scores(Average::Micro).unwrap_or_default();
        let row = |metric: &str, of: &dyn Fn(&TagScores) -> f64| {
            self.row("tagging", "test", metric, of(&model), &[("usual tag", of(&lookup))])
        };
        let mut measured = vec![
            row("entity-f1", &|of| all(of).f1),
            row("entity-precision", &|of| all(of).precision),
            row("entity-recall", &|of| all(of).recall),
            row("accuracy", &|of| of.token_accuracy().unwrap_or(f64::NAN)),
        ];
        let expected = |(_, counts): &(&String, &Counts)| counts.expected > 0;
        for (kind, _) in model.kinds().iter().filter(expected).take(KINDS) {
            let f1 = |of: &TagScores| of.kinds().get(kind).map_or(0.0, |of| of.scores().f1);
            measured.push(row(&format!("{kind}-f1"), &f1));
        }
        Ok(measured)
    }
}

/// A correlation of two lists; `None` where one of them does not vary.
type Correlation = fn(&[f64], &[f64]) -> Result<Option<f64>, MetricError>;

/// The text of a classified row, and its class.
fn classed(row: &Row, labels: &Labels) -> Option<(String, usize)> {
    let (first, second, Label::Class(name)) = row.labelled()? else { return None };
    let text = second.map_or_else(|| first.to_owned(), |second| format!("{first} {second}"));
    Some((text, labels.id(name)?))
}

fn scores(prediction: &Prediction) -> &[f32] {
    match prediction {
        Prediction::Text(scores) => scores,
        Prediction::Tokens(_) => &[],
    }
}
