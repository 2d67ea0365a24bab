//! How well a model does what it was fine-tuned for.

use super::{
    Subject,
    baseline::{NaiveBayes, most_frequent, overlap},
};
use crate::{
    config::TaskKind,
    data::encode,
    examples::Example,
    generate::Verdict,
    labelled::{Aim, LabelledTask, Row, Rows},
    metrics::{
        AnswerScore, Average, Bleu, BleuTokens, Chrf, Confusion, MultiLabel, TagScores, highest,
        is_unspaced, score_answer, spearman,
    },
    predict::Said,
    recipe::TaskEvaluation,
};
use kiln_core::Backend;
use kiln_datasets::labelled::{Label, Labels, Question, Tagged, to_bio};
use kiln_train::{progress::Progress, results::ResultRow, task::TaskError};
use std::collections::BTreeMap;

/// Texts that are written together.
pub(super) const WRITTEN: usize = 16;
/// Tokens of an answer at most.
const ANSWER: usize = 30;

impl<B: Backend> Subject<'_, B> {
    /// The measures of the tasks that the data's labelled examples set: of one or of all.
    pub(super) fn task(&self, settings: &TaskEvaluation) -> Result<Vec<ResultRow>, TaskError> {
        let missing = || TaskError::from("`data.labelled` of the last stage is missing");
        let stage = self.recipe.stage.last().ok_or_else(missing)?;
        let config = self.model.config();
        let mut measured = Vec::new();
        for (name, data) in self.recipe.last_data().tasks() {
            if settings.task.is_some() && settings.task.as_deref() != name {
                continue;
            }
            // A head knows what it was trained for.
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

    /// The measures of a task.
    fn measure(
        &self,
        task: &LabelledTask<'_>,
        settings: &TaskEvaluation,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let rows = &task.rows;
        let examples = || encode(task, &rows.test, self.tokenizer);
        match &task.aim {
            Aim::Head(TaskKind::Span, _) => self.answers(task),
            Aim::Head(TaskKind::Tags(_), labels) => self.tags(task, labels),
            Aim::Head(TaskKind::Order, _) => self.ordered(task),
            Aim::Head(kind, labels) => {
                let found = self.said(&examples()?);
                match kind {
                    TaskKind::Numbers(_) => self.numbers(rows, &found),
                    TaskKind::Labels(count) => self.several(rows, labels, *count, &found),
                    _ => self.classes(rows, labels, &found),
                }
            }
            Aim::Write => self.written(task, settings),
            Aim::Alike => self.alike(rows, &examples()?),
            Aim::Answer => {
                let taught = encode(task, &rows.train, self.tokenizer)?;
                self.answered(&taught, &examples()?)
            }
            Aim::Graded => {
                let good = task.data.all_good();
                let good = LabelledTask { data: &good, ..task.clone() };
                self.graded(rows, &encode(&good, &rows.test, self.tokenizer)?)
            }
            Aim::Prefer => self.preferred(&examples()?),
        }
    }

    pub(super) fn said(&self, examples: &[Example]) -> Vec<Said> {
        let progress = Progress::new(&self.evaluation.name, examples.len(), "texts");
        let found = self.model.say(examples, self.device, |count| progress.advance(count));
        progress.finish();
        found
    }

    /// One class of each text: accuracy and the mean F1 of the classes.
    fn classes(
        &self,
        rows: &Rows,
        labels: &Labels,
        found: &[Said],
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
        let model = of(found.iter().map(|said| highest(scores(said).iter().copied())).collect())?;
        let bayes = of(test.iter().map(|(text, _)| bayes.predict(text)).collect())?;
        let same = of(vec![frequent; truth.len()])?;
        let measure = |name: &str, value: &dyn Fn(&Confusion) -> Option<f64>| {
            let value = |of: &Confusion| value(of).unwrap_or(f64::NAN);
            let beside = [("naive Bayes", value(&bayes)), ("most frequent", value(&same))];
            self.row("classification", "test", name, value(&model), &beside)
        };
        Ok(vec![
            measure("accuracy", &Confusion::accuracy),
            measure("macro-f1", &|of| Some(of.scores(Average::Macro)?.f1)),
        ])
    }

    /// Any classes of each text: the F1 of all decisions.
    fn several(
        &self,
        rows: &Rows,
        labels: &Labels,
        count: usize,
        found: &[Said],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let told = |row: &Row| match row.labelled() {
            Some((_, _, Label::Classes(names))) => {
                names.iter().filter_map(|name| labels.id(name)).collect()
            }
            _ => Vec::<usize>::new(),
        };
        let mut often = vec![0usize; count];
        rows.train.iter().flat_map(told).for_each(|label| often[label] += 1);
        let half = rows.train.len() / 2;
        let frequent: Vec<usize> = (0..count).filter(|label| often[*label] > half).collect();
        let (mut model, mut same) = (MultiLabel::new(count), MultiLabel::new(count));
        for (row, said) in rows.test.iter().zip(found) {
            let truth = told(row);
            let predicted: Vec<usize> = (0..count)
                .filter(|label| scores(said).get(*label).is_some_and(|x| *x > 0.0))
                .collect();
            model.add(&truth, &predicted)?;
            same.add(&truth, &frequent)?;
        }
        let f1 = |of: &MultiLabel| of.scores(Average::Micro).map_or(0.0, |scores| scores.f1);
        let beside = [("labels of most", f1(&same))];
        Ok(vec![self.row("labels", "test", "micro-f1", f1(&model), &beside)])
    }

    /// A number of each text: whether the order is right.
    fn numbers(&self, rows: &Rows, found: &[Said]) -> Result<Vec<ResultRow>, TaskError> {
        let model =
            found.iter().map(|said| f64::from(scores(said).first().copied().unwrap_or(0.0)));
        self.order("regression", rows, &model.collect::<Vec<_>>())
    }

    /// Spearman's correlation of grades with what the model says, beside common words.
    pub(super) fn order(
        &self,
        task: &str,
        rows: &Rows,
        said: &[f64],
    ) -> Result<Vec<ResultRow>, TaskError> {
        let (mut truth, mut common) = (Vec::new(), Vec::new());
        for row in &rows.test {
            let Some((first, second, label)) = row.labelled() else { continue };
            truth.push(match label {
                Label::Value(value) => *value,
                Label::Class(name) => name.parse().unwrap_or(f64::NAN),
                Label::Classes(_) => f64::NAN,
            });
            common.push(second.map_or(first.len() as f64, |second| overlap(first, second)));
        }
        let value = |said: &[f64]| Ok::<_, TaskError>(spearman(&truth, said)?.unwrap_or(f64::NAN));
        let name = if rows.test.iter().any(|row| matches!(row.labelled(), Some((_, Some(_), _)))) {
            "common words"
        } else {
            "length"
        };
        Ok(vec![self.row(task, "test", "spearman", value(said)?, &[(name, value(&common)?)])])
    }

    /// Tags: the F1 of whole entities, beside the tag that a word has most often.
    fn tags(&self, task: &LabelledTask<'_>, labels: &Labels) -> Result<Vec<ResultRow>, TaskError> {
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
        for ((row, said), firsts) in test.iter().zip(self.said(&examples)).zip(&firsts) {
            let truth = to_bio(&row.tags);
            let tag = |first: &Option<usize>| match (&said, first) {
                (Said::Tokens(scores), Some(first)) if *first < scores.nrows() => {
                    let best = highest(scores.row(*first).iter().copied());
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
        let f1 = |of: &TagScores| of.scores(Average::Micro).map_or(0.0, |scores| scores.f1);
        let token = |of: &TagScores| of.token_accuracy().unwrap_or(f64::NAN);
        let row = |metric: &str, of: &dyn Fn(&TagScores) -> f64| {
            self.row("tagging", "test", metric, of(&model), &[("usual tag", of(&lookup))])
        };
        Ok(vec![row("entity-f1", &f1), row("accuracy", &token)])
    }

    /// Questions: exact answers and common words, beside the sentence most like the question.
    fn answers(&self, task: &LabelledTask<'_>) -> Result<Vec<ResultRow>, TaskError> {
        let encoder = task.encoder(self.tokenizer);
        let questions: Vec<&Question> = task
            .rows
            .test
            .iter()
            .filter_map(|row| match row {
                Row::Question(question) => Some(question),
                _ => None,
            })
            .collect();
        let mut pieces = Vec::new();
        for (number, question) in questions.iter().enumerate() {
            let parts = encoder.question(&question.question, &question.context)?;
            pieces.extend(parts.into_iter().map(|piece| (number, piece)));
        }
        let examples: Vec<Example> =
            pieces.iter().map(|(_, piece)| piece.example.clone()).collect();
        let mut best: Vec<(f32, &str)> = vec![(f32::MIN, ""); questions.len()];
        for (said, (number, piece)) in self.said(&examples).iter().zip(&pieces) {
            let Said::Tokens(scores) = said else { continue };
            if let Some((score, first, last)) = span(scores, &piece.bytes)
                && score > best[*number].0
            {
                let bytes = piece.bytes[first].start..piece.bytes[last].end;
                best[*number] = (score, questions[*number].context.get(bytes).unwrap_or_default());
            }
        }
        let (mut model, mut sentence) = (Vec::new(), Vec::new());
        for (question, (_, found)) in questions.iter().zip(&best) {
            let accepted: Vec<&str> = question.answers.iter().map(|one| &one.text[..]).collect();
            model.push(score_answer(found, &accepted));
            let sentences = question.context.split_inclusive(['.', '!', '?', '。', '！', '？']);
            let near = sentences.max_by(|a, b| {
                overlap(&question.question, a).total_cmp(&overlap(&question.question, b))
            });
            sentence.push(score_answer(near.unwrap_or_default().trim(), &accepted));
        }
        let row = |metric: &str, of: fn(&AnswerScore) -> f64| {
            let mean = |scores: &[AnswerScore]| {
                scores.iter().map(of).sum::<f64>() / scores.len().max(1) as f64
            };
            self.row(
                "questions",
                "test",
                metric,
                mean(&model),
                &[("likest sentence", mean(&sentence))],
            )
        };
        Ok(vec![row("exact", |score| score.exact), row("f1", |score| score.f1)])
    }

    /// Translations and answers: BLEU and chrF, beside the source as it is.
    fn written(
        &self,
        task: &LabelledTask<'_>,
        settings: &TaskEvaluation,
    ) -> Result<Vec<ResultRow>, TaskError> {
        let pairs: Vec<(String, String)> = task
            .rows
            .test
            .iter()
            .filter_map(|row| {
                let (read, written) = row.read_and_written()?;
                Some((read.into_owned(), written.to_owned()))
            })
            .collect();
        let (encoder, data) = (task.encoder(self.tokenizer), task.data);
        let progress = Progress::new(&self.evaluation.name, pairs.len(), "texts");
        let chinese = pairs.iter().any(|(_, text)| text.chars().any(is_unspaced));
        let tokens = if chinese { BleuTokens::Chinese } else { BleuTokens::default() };
        let (mut bleu, mut copied) = (Bleu::new(tokens), Bleu::new(tokens));
        let (mut chrf, mut copied_chrf) = (Chrf::default(), Chrf::default());
        for pairs in pairs.chunks(WRITTEN) {
            let mut prompts = Vec::with_capacity(pairs.len());
            for (read, _) in pairs {
                prompts.push(encoder.text(&format!("{}{read}", data.prefix), None)?.ids);
            }
            let found = self.model.generate(
                &prompts,
                &settings.generation,
                self.seed.part("written"),
                self.device,
                |_, _| Verdict::GoOn,
            )?;
            for (ids, (read, reference)) in found.iter().zip(pairs) {
                let text = self.tokenizer.decode(ids, true)?;
                for (bleu, chrf, text) in
                    [(&mut bleu, &mut chrf, &text), (&mut copied, &mut copied_chrf, read)]
                {
                    bleu.add(text.trim(), &[reference]);
                    chrf.add(text.trim(), &[reference]);
                }
            }
            progress.advance(pairs.len());
        }
        progress.finish();
        let score = |bleu: &Bleu| bleu.score().map_or(f64::NAN, |score| score.score);
        let chrf_of = |chrf: &Chrf| chrf.score().unwrap_or(f64::NAN);
        Ok(vec![
            self.row("writing", "test", "bleu", score(&bleu), &[("source", score(&copied))]),
            self.row(
                "writing",
                "test",
                "chrf",
                chrf_of(&chrf),
                &[("source", chrf_of(&copied_chrf))],
            ),
        ])
    }
}

/// The text of a classified row, and its class.
fn classed(row: &Row, labels: &Labels) -> Option<(String, usize)> {
    let (first, second, Label::Class(name)) = row.labelled()? else { return None };
    let text = second.map_or_else(|| first.to_owned(), |second| format!("{first} {second}"));
    Some((text, labels.id(name)?))
}

fn scores(said: &Said) -> &[f32] {
    match said {
        Said::Text(scores) => scores,
        Said::Tokens(_) => &[],
    }
}

/// The likeliest span of a text's tokens, by the sum of the scores `[tokens, 2]` of its ends: only
/// tokens that stand for something, and not too many.
fn span(
    scores: &ndarray::Array2<f32>,
    bytes: &[std::ops::Range<usize>],
) -> Option<(f32, usize, usize)> {
    let inside = |at: &usize| bytes.get(*at).is_some_and(|bytes| !bytes.is_empty());
    let firsts = (0..scores.nrows()).filter(inside);
    let spans = firsts.flat_map(|first| {
        let lasts = (first..scores.nrows().min(first + ANSWER)).filter(inside);
        lasts.map(move |last| (scores[[first, 0]] + scores[[last, 1]], first, last))
    });
    spans.max_by(|a, b| a.0.total_cmp(&b.0))
}
