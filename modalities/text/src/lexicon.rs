//! Lexicon-guided masking: words of a domain that are masked more than others, as in Chinese
//! MentalBERT, <https://arxiv.org/abs/2402.09151>, or the salient words of a document (TF-IDF).

use crate::salience::Salience;
use kiln_core::{Size, Source};
use kiln_datasets::{DataError, files::locate};
use kiln_lm::examples::Example;
use kiln_metrics::words::is_unspaced;
use kiln_tokenize::{TextTokenizer, tokenizer::TokenizerError};
use kiln_train::task::{TaskSource, TaskSourceError};
use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::PathBuf};

/// A lexicon of domain words for masking.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lexicon {
    /// Files with one a line, looked for here, then in the folder that `KILN_DATA` names. What
    /// follows a tab, such as a grade, is not looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathBuf>,
    /// More of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// The share of each document's different words that are taken to be in it, too: those that it
    /// has often and few others have (TF-IDF, <https://arxiv.org/abs/2407.00648>).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salient: Option<f64>,
}

impl Lexicon {
    /// The words, in the order of files and lines.
    ///
    /// # Errors
    /// When a file cannot be read, a share is none, or there is nothing.
    pub fn read(&self) -> Result<Vec<String>, DataError> {
        let mut words = Vec::new();
        for path in &self.paths {
            let path = locate(path)?;
            let text = std::fs::read_to_string(&path)
                .map_err(|source| DataError::Io { path: path.clone(), source })?;
            let first = |line: &str| line.split('\t').next().unwrap_or_default().trim().to_owned();
            words.extend(text.lines().map(first));
        }
        words.extend(self.words.iter().map(|word| word.trim().to_owned()));
        words.retain(|word| !word.is_empty());
        match self.salient {
            Some(share) if share > 0.0 && share <= 1.0 => return Ok(words),
            Some(share) => {
                let expected = "above 0, and 1 at most";
                return Err(DataError::config("data.lexicon.salient", share, expected));
            }
            None => {}
        }
        if words.is_empty() {
            return Err(DataError::config("data.lexicon", "empty", "at least one word"));
        }
        Ok(words)
    }
}

/// The words of a lexicon as token ids.
#[derive(Debug, Default)]
pub(crate) struct LexiconTerms {
    /// By their first id, the longest first; with whether they end where words do.
    by_first: FxHashMap<u32, Vec<(Vec<u32>, bool)>>,
}

impl LexiconTerms {
    /// How words stand at the beginning of a text, and within one.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn new(words: &[String], tokenizer: &TextTokenizer) -> Result<Self, TokenizerError> {
        let mut terms = Self::default();
        for word in words {
            for spelling in [word.clone(), format!(" {word}")] {
                let ids = tokenizer.encode(&spelling, false)?.get_ids().to_vec();
                let Some(first) = ids.first() else { continue };
                let of_words = !word.chars().any(is_unspaced);
                terms.by_first.entry(*first).or_default().push((ids, of_words));
            }
        }
        for terms in terms.by_first.values_mut() {
            terms.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.cmp(b)));
            terms.dedup();
        }
        Ok(terms)
    }

    /// Spans of lexicon words in ids with their `word_starts`: longest match from left to right.
    pub fn find(&self, ids: &[u32], word_starts: &[bool]) -> Vec<Range<usize>> {
        let border = |at: usize| word_starts.get(at).copied().unwrap_or(true);
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(id) = ids.get(at) {
            let terms = self.by_first.get(id).map_or(&[][..], Vec::as_slice);
            let here = terms.iter().find(|(term, of_words)| {
                let end = at + term.len();
                ids[at..].starts_with(term) && (!of_words || (border(at) && border(end)))
            });
            let length = here.map_or(1, |(term, _)| term.len());
            if here.is_some() {
                found.push(at..at + length);
            }
            at += length;
        }
        found
    }
}

/// A source that marks lexicon spans in its examples.
pub(crate) struct LexiconSource {
    pub source: TaskSource<Example>,
    pub terms: LexiconTerms,
    /// TF-IDF salience, where it is asked for.
    pub salience: Option<Salience>,
}

impl LexiconSource {
    /// The example with its lexicon spans.
    pub fn marked(&self, example: Example) -> Example {
        let mut terms = self.terms.find(&example.ids, &example.word_starts);
        let salient = self.salience.iter().flat_map(|salience| salience.find(&example));
        let apart = |one: &Range<usize>, other: &Range<usize>| {
            one.end <= other.start || other.end <= one.start
        };
        let salient: Vec<Range<usize>> =
            salient.filter(|one| terms.iter().all(|term| apart(one, term))).collect();
        terms.extend(salient);
        terms.sort_by_key(|term| term.start);
        Example { lexicon_spans: terms, ..example }
    }
}

impl Source for LexiconSource {
    type Example = Example;
    type Error = TaskSourceError;

    fn size(&self) -> Size {
        self.source.size()
    }

    fn example(&self, index: u64) -> Result<Example, TaskSourceError> {
        Ok(self.marked(self.source.example(index)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_datasets::Document;
    use kiln_tokenize::{TokenizerSpec, tokenizer::Model};

    #[test]
    fn words_are_found_as_a_whole_and_terms_within_text() {
        let text = "a sad man is sadly sad 我很难过,他不难过";
        let documents = std::iter::repeat_n(text, 50)
            .map(|text| Ok(Document { text: text.into(), ..Document::default() }));
        let spec = TokenizerSpec::new(Model::WordPiece { vocabulary: 60, lowercase: false });
        let tokenizer = spec.train(documents, &mut |_| {}).unwrap();
        let words = ["sad".to_owned(), "难过".into()];
        let terms = LexiconTerms::new(&words, &tokenizer).unwrap();
        let encoding = tokenizer.encode(text, false).unwrap();
        let of = encoding.get_word_ids();
        let starts: Vec<bool> = (0..of.len()).map(|at| at == 0 || of[at] != of[at - 1]).collect();
        let found = terms.find(encoding.get_ids(), &starts);
        let bytes = |range: &Range<usize>| {
            let offsets = &encoding.get_offsets()[range.clone()];
            &text[offsets[0].0..offsets[offsets.len() - 1].1]
        };
        let found: Vec<&str> = found.iter().map(bytes).collect();
        assert_eq!(found, ["sad", "sad", "难过", "难过"]);
    }

    #[test]
    fn files_have_a_word_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words.txt");
        std::fs::write(&path, "grief\t0.9\n\n heavy heart \n").unwrap();
        let lexicon = Lexicon { paths: vec![path], words: vec!["sad".into()], salient: None };
        assert_eq!(lexicon.read().unwrap(), ["grief", "heavy heart", "sad"]);
        assert!(Lexicon::default().read().is_err());
        let salient = |share| Lexicon { salient: Some(share), ..Lexicon::default() }.read();
        assert!(salient(0.2).unwrap().is_empty());
        assert!(salient(0.0).unwrap_err().to_string().contains("data.lexicon.salient"));
        let missing = Lexicon { paths: vec!["no-such-lexicon.txt".into()], ..Lexicon::default() };
        assert!(missing.read().unwrap_err().to_string().contains("no-such-lexicon.txt"));
    }
}
