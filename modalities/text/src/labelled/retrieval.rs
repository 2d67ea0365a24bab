//! Queries and the documents that answer them: what rankings are learned from, and measured on.

use super::row::Row;
use crate::recipe::{JudgedQueries, RetrievalSource, StoryRetrieval};
use kiln_core::Seed;
use kiln_datasets::{
    DataError,
    labelled::{Passage, Retrieval, Triplet},
};
use kiln_metrics::ranking::{Bm25, rank};
use rand::{RngExt as _, seq::SliceRandom as _};
use std::collections::BTreeSet;

/// How far down the ranking by words hard negatives are drawn from, as in
/// <https://arxiv.org/abs/2004.04906>.
const HARD: usize = 50;

/// Stories among which is looked, where no number is given.
const STORIES: u64 = 1000;

impl RetrievalSource {
    /// The part of the data that it is, as tables name it.
    pub fn split(&self) -> &str {
        match self {
            Self::Files(spec) => &spec.split,
            Self::Stories(_) => "test",
        }
    }

    /// Reads all.
    ///
    /// # Errors
    /// When files are missing or hold something else.
    pub fn read(&self, seed: Seed) -> Result<Retrieval, DataError> {
        match self {
            Self::Files(spec) => spec.read(),
            Self::Stories(StoryRetrieval { stories, queries }) => {
                let documents = stories.size.unwrap_or(STORIES) as usize;
                Ok(stories.source(seed)?.retrieval(0, documents, *queries))
            }
        }
    }
}

impl JudgedQueries {
    /// A row for each document that answers a query.
    ///
    /// # Errors
    /// When files are missing or hold something else, or nothing stands against the documents that
    /// answer.
    pub(super) fn rows(&self, seed: Seed) -> Result<Vec<Row>, DataError> {
        let data = self.source.read(seed)?;
        let Retrieval { queries, documents, .. } = &data;
        let mut rng = seed.part("negatives").rng();
        let by_words = Bm25::new(documents.iter().map(|document| &document.text[..]));
        let mut rows = Vec::new();
        for (query, grades) in queries.iter().zip(data.grades()) {
            let answers = |document: &usize| grades.get(document).is_some_and(|grade| *grade > 0);
            let near: Vec<usize> = match self.hard {
                0 => Vec::new(),
                _ => {
                    let order = rank(&by_words.scores(&query.text));
                    order.into_iter().filter(|at| !answers(at)).take(HARD).collect()
                }
            };
            for (document, grade) in &grades {
                if *grade == 0 {
                    continue;
                }
                let mut near = near.clone();
                near.shuffle(&mut rng);
                let mut others: BTreeSet<usize> = near.into_iter().take(self.hard).collect();
                let free = documents.len() - grades.values().filter(|grade| **grade > 0).count();
                let wanted = (others.len() + self.random).min(free);
                while others.len() < wanted {
                    let other = rng.random_range(0..documents.len());
                    if !answers(&other) {
                        others.insert(other);
                    }
                }
                let text = |at: &usize| documents.get(*at).map(|one: &Passage| one.text.clone());
                let Some(positive) = text(document) else { continue };
                let negatives: Vec<String> = others.iter().filter_map(text).collect();
                if !negatives.is_empty() {
                    let anchor = query.text.clone();
                    rows.push(Row::Triplet(Triplet { anchor, positive, negatives }));
                }
            }
        }
        if rows.is_empty() {
            let found = format!("{}, and `random` {}", self.hard, self.random);
            let expected = "some document that does not answer the query";
            return Err(DataError::config("hard", found, expected));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_synthetic::stories::Stories;

    #[test]
    fn what_answers_a_query_stands_beside_what_does_not() {
        let stories = Stories { size: Some(60), ..Stories::default() };
        let source = RetrievalSource::Stories(StoryRetrieval { stories, queries: 20 });
        let seed = Seed::new(5);
        let data = source.read(seed).unwrap();
        let judged = JudgedQueries { source: source.clone(), hard: 2, random: 1 };
        let rows = judged.rows(seed).unwrap();
        assert_eq!(rows.len(), data.relevance.len());
        let grades = data.grades();
        for row in &rows {
            let Row::Triplet(row) = row else { panic!("a triplet") };
            assert_eq!(row.negatives.len(), 3);
            let query = data.queries.iter().position(|query| query.text == row.anchor).unwrap();
            let grade = |text: &String| {
                let document = data.documents.iter().position(|one| one.text == *text).unwrap();
                grades[query].get(&document).copied().unwrap_or(0)
            };
            assert_eq!(grade(&row.positive), 1);
            assert!(row.negatives.iter().all(|text| grade(text) == 0));
        }
        assert_eq!(rows, judged.rows(seed).unwrap());
        let none = JudgedQueries { source, hard: 0, random: 0 };
        assert!(none.rows(seed).unwrap_err().to_string().contains("does not answer"));
    }
}
