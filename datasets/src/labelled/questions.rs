//! Questions answered by pieces of a text: SQuAD's layout, Rajpurkar et al. 2016 and 2018,
//! <https://arxiv.org/abs/1606.05250>, <https://arxiv.org/abs/1806.03822>.

use super::{
    example::{Answer, Question},
    files::{Files, Format},
    read::{examples, json_file},
    rows::{Cell, Field, Row},
};
use crate::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{ops::Range, path::Path};

/// Files of questions: SQuAD's JSON (`data`, `paragraphs`, `qas`), or JSON lines as Hugging Face
/// flattens it (`id`, `context`, `question`, `answers: {text: [..], answer_start: [..]}`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuestionSpec {
    /// The files; `.json` is SQuAD's own layout, `.jsonl` the flattened one.
    pub files: Files,
}

/// Questions, and how well the spans of their answers were known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// The questions, in the order of the files.
    pub questions: Vec<Question>,
    /// What became of the answers' offsets.
    pub spans: SpanTally,
}

/// Counts of answers by how their spans were found in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanTally {
    /// They stand where the file says.
    pub exact: usize,
    /// They stand elsewhere: the nearest place was taken.
    pub repaired: usize,
    /// They stand nowhere: they serve to score answers, not to learn their place.
    pub missing: usize,
}

impl QuestionSpec {
    /// Reads all questions. Answers are looked for where the file says, in characters, else where
    /// they stand nearest to that.
    ///
    /// # Errors
    /// When a file is missing or not what its layout says; the error names file and line.
    pub fn read(&self) -> Result<Questions> {
        let mut all = Questions::default();
        for path in self.files.located()? {
            if self.is_nested(&path) {
                all.nested(&path)?;
            } else {
                const FIELDS: [&[&str]; 4] = [&["id"], &["context"], &["question"], &["answers"]];
                let mut fields = FIELDS.map(|usual| Field::required(&None, usual, 0)).to_vec();
                fields.push(Field::optional(&None, &["is_impossible"], 0));
                let files = Files { paths: vec![path], ..self.files.clone() };
                for question in examples(&files, fields, flattened)? {
                    let (question, answers) = question?;
                    all.push(question, answers);
                }
            }
        }
        Ok(all)
    }

    fn is_nested(&self, path: &Path) -> bool {
        match self.files.format {
            Format::Auto => path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")),
            format => format == Format::Json,
        }
    }
}

#[derive(Deserialize)]
struct Squad {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    id: Value,
    question: String,
    #[serde(default)]
    answers: Vec<Placed>,
    #[serde(default)]
    is_impossible: bool,
}

/// An answer, and where it should be, in characters; -1 where nobody looked.
#[derive(Deserialize)]
struct Placed {
    text: String,
    answer_start: i64,
}

impl Questions {
    fn nested(&mut self, path: &Path) -> Result<()> {
        let squad: Squad = json_file(path, "SQuAD's layout")?;
        for paragraph in squad.data.into_iter().flat_map(|article| article.paragraphs) {
            for asked in paragraph.qas {
                let question = Question {
                    id: asked.id.as_str().map_or_else(|| asked.id.to_string(), str::to_owned),
                    context: paragraph.context.clone(),
                    question: asked.question,
                    answers: Vec::new(),
                };
                // What version 2 lists for an impossible question is plausible, and wrong.
                self.push(question, if asked.is_impossible { Vec::new() } else { asked.answers });
            }
        }
        Ok(())
    }

    fn push(&mut self, mut question: Question, answers: Vec<Placed>) {
        for Placed { text, answer_start } in answers {
            let said = usize::try_from(answer_start).ok();
            let span = locate(&question.context, &text, said);
            match &span {
                None => self.spans.missing += 1,
                Some((_, true)) => self.spans.exact += 1,
                Some((_, false)) => self.spans.repaired += 1,
            }
            question.answers.push(Answer { text, span: span.map(|(span, _)| span) });
        }
        self.questions.push(question);
    }
}

/// Span of an answer in bytes, and whether that is where the file says it is.
fn locate(context: &str, answer: &str, said: Option<usize>) -> Option<(Range<usize>, bool)> {
    if answer.is_empty() {
        return None;
    }
    let said = said.and_then(|said| context.char_indices().nth(said)).map(|(byte, _)| byte);
    let at = |start: usize, answer: &str| start..start + answer.len();
    if let Some(start) = said
        && context.get(start..).is_some_and(|rest| rest.starts_with(answer))
    {
        return Some((at(start, answer), true));
    }
    let nearest = |answer: &str| {
        let starts = context.match_indices(answer).map(|(start, _)| start);
        starts.min_by_key(|start| start.abs_diff(said.unwrap_or(0))).map(|start| at(start, answer))
    };
    let trimmed = answer.trim();
    let found = nearest(answer).or_else(|| nearest(trimmed).filter(|_| !trimmed.is_empty()));
    found.map(|span| (span, false))
}

fn flattened(row: &Row) -> Cell<(Question, Vec<Placed>)> {
    let question = Question {
        id: row.text(0)?,
        context: row.text(1)?,
        question: row.text(2)?,
        answers: Vec::new(),
    };
    if row.value(4).as_bool() == Some(true) {
        return Ok((question, Vec::new()));
    }
    #[derive(Deserialize)]
    struct Columns {
        text: Vec<String>,
        answer_start: Vec<i64>,
    }
    let wrong = |error| format!("`answers`: {error}");
    let answers = match row.value(3) {
        Value::Array(_) => Vec::deserialize(row.value(3)).map_err(wrong)?,
        columns => {
            let Columns { text, answer_start } = Columns::deserialize(columns).map_err(wrong)?;
            if text.len() != answer_start.len() {
                let counts = format!("{} texts and {} places", text.len(), answer_start.len());
                return Err(format!("`answers` has {counts}, expected as many"));
            }
            let pairs = text.into_iter().zip(answer_start);
            pairs.map(|(text, answer_start)| Placed { text, answer_start }).collect()
        }
    };
    Ok((question, answers))
}
