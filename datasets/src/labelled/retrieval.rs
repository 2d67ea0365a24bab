//! Queries, documents and judgements: BEIR's folders, Thakur et al. 2021,
//! <https://arxiv.org/abs/2104.08663>.

use super::{
    example::{Passage, Relevance, Retrieval},
    files::{Encoding, Files, Lines},
    read::examples,
    rows::{Cell, Field, Place, wrong},
};
use crate::{DataError, Result, files::locate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// A folder in BEIR's layout: `corpus.jsonl` (`_id`, `title`, `text`), `queries.jsonl` (`_id`,
/// `text`), and the judgements of each split in `qrels/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrievalSpec {
    /// The folder, looked for here, then in the folder that `KILN_DATA` names.
    pub path: PathBuf,
    /// The file of judgements, `qrels/<split>.tsv`: lines `query-id corpus-id score` under a
    /// header, or TREC's `query 0 document score`.
    pub split: String,
}

impl Default for RetrievalSpec {
    fn default() -> Self {
        Self { path: PathBuf::new(), split: "test".to_owned() }
    }
}

impl RetrievalSpec {
    /// Reads all documents, and those queries that the split judges.
    ///
    /// # Errors
    /// When a file is missing or not what the layout says, an id comes twice, or a judgement is of
    /// a query or a document that is not there.
    pub fn read(&self) -> Result<Retrieval> {
        let folder = locate(&self.path)?;
        let judged = judgements(&folder.join("qrels").join(format!("{}.tsv", self.split)))?;
        let documents = passages(&folder.join("corpus.jsonl"), |_| true)?;
        let wanted: HashSet<&str> = judged.iter().map(|judged| judged.query.as_str()).collect();
        let queries = passages(&folder.join("queries.jsonl"), |id| wanted.contains(id))?;
        let (query_ids, document_ids) = (ids(&queries), ids(&documents));
        let mut relevance = judged
            .iter()
            .map(|judged| {
                let known = |ids: &HashMap<&str, usize>, id: &str, what: &str| {
                    let missing = || judged.wrong(format!("no {what} has the id `{id}`"));
                    ids.get(id).copied().ok_or_else(missing)
                };
                Ok(Relevance {
                    query: known(&query_ids, &judged.query, "query")?,
                    document: known(&document_ids, &judged.document, "document")?,
                    grade: judged.grade,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        relevance.sort_by_key(|judged| judged.query);
        Ok(Retrieval { queries, documents, relevance })
    }
}

fn ids(passages: &[Passage]) -> HashMap<&str, usize> {
    passages.iter().map(|passage| passage.id.as_str()).zip(0..).collect()
}

fn passages(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Passage>> {
    let fields = vec![
        Field::required(&None, &["_id", "id"], 1),
        Field::required(&None, &["text"], 2),
        Field::optional(&None, &["title"], 0),
    ];
    let (files, mut seen) = (Files::new([path]), HashSet::new());
    let rows = examples(&files, fields, |row| {
        let (id, mut text) = (row.text(0)?, row.text(1)?);
        if let Some(title) = row.optional(2)?.filter(|title| !title.is_empty()) {
            text = format!("{title} {text}");
        }
        Ok(Passage { id, text })
    })?;
    let mut passages = Vec::new();
    for passage in rows {
        let passage = passage?;
        if !seen.insert(passage.id.clone()) {
            let found = format!("a list with `{}` twice in {}", passage.id, path.display());
            return Err(DataError::config("_id", found, "each id once"));
        }
        if wanted(&passage.id) {
            passages.push(passage);
        }
    }
    Ok(passages)
}

/// A line of judgements.
struct Judged {
    path: PathBuf,
    line: usize,
    query: String,
    document: String,
    grade: u32,
}

impl Judged {
    fn wrong(&self, reason: String) -> DataError {
        wrong(&self.path, Place::Line(self.line), reason)
    }
}

fn judgements(path: &Path) -> Result<Vec<Judged>> {
    let mut judged = Vec::new();
    for line in Lines::open(path, Encoding::Utf8)? {
        let (line, text) = line?;
        let cells: Vec<&str> = text.split_whitespace().collect();
        let header = line == 1 && cells.last().is_some_and(|cell| cell.parse::<f64>().is_err());
        if cells.is_empty() || header {
            continue;
        }
        let (query, document, grade) =
            judgement(&cells).map_err(|reason| wrong(path, Place::Line(line), reason))?;
        judged.push(Judged { path: path.into(), line, query, document, grade });
    }
    if judged.is_empty() {
        return Err(DataError::Empty { path: path.into(), what: "there is no judgement" });
    }
    Ok(judged)
}

fn judgement(cells: &[&str]) -> Cell<(String, String, u32)> {
    let (query, document, grade) = match cells {
        [query, document, grade] | [query, _, document, grade] => (query, document, grade),
        _ => return Err(format!("{} cells, expected query, document and score", cells.len())),
    };
    // TREC marks spam below zero: irrelevant all the same.
    let grade: i64 = grade.parse().map_err(|_| format!("`{grade}` is no whole number"))?;
    Ok(((*query).to_owned(), (*document).to_owned(), grade.clamp(0, i64::from(u32::MAX)) as u32))
}
