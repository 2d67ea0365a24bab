//! Queries and the stories that answer them.

use super::question::slots;
use crate::stories::{StorySource, event::Story};
use kiln_datasets::{
    draw::Draw as _,
    labelled::{Passage, Relevance, Retrieval},
};
use kiln_host::Rng;
use std::collections::BTreeMap;

impl StorySource {
    /// The stories `first..first + documents`, with `queries` questions about the first of them.
    /// Every story that answers a question is judged relevant.
    pub fn retrieval(&self, first: u64, documents: usize, queries: usize) -> Retrieval {
        let indices = || (0..documents).map(|place| first.wrapping_add(place as u64));
        let mut answered: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut asked = Vec::new();
        for (place, index) in indices().enumerate() {
            let rng = &mut self.task_rng(index, "retrieval");
            let questions = self.specific_questions(&self.story(index), rng);
            if asked.len() < queries
                && let Some(question) = questions.get(rng.below(questions.len()))
                && !asked.contains(question)
            {
                asked.push(question.clone());
            }
            for question in questions {
                let places = answered.entry(question).or_default();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
        }
        let judge = |(query, text): (usize, &String)| {
            let places = answered.get(text).cloned().unwrap_or_default();
            places.into_iter().map(move |document| Relevance { query, document, grade: 1 })
        };
        let relevance = asked.iter().enumerate().flat_map(judge).collect();
        let passage = |text: String, kind: &str, number: u64| Passage {
            id: format!("{kind}-{number}"),
            text,
        };
        let query =
            |(place, text)| passage(text, "query", self.number(first.wrapping_add(place as u64)));
        let document = |index| passage(self.document(index).text, "story", self.number(index));
        Retrieval {
            relevance,
            queries: asked.into_iter().enumerate().map(query).collect(),
            documents: indices().map(document).collect(),
        }
    }

    /// Questions that name at least two of those who or which took part.
    fn specific_questions(&self, story: &Story, rng: &mut Rng) -> Vec<String> {
        let specific =
            self.queries(story).into_iter().filter(|q| slots(&q.asking.question).len() > 1);
        specific.map(|query| self.ask(story, &query, rng)).collect()
    }
}
