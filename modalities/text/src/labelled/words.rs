//! Ranking with a sequence-to-sequence model, as monoT5, <https://arxiv.org/abs/2003.06713>: the
//! source is a query with a text, the target one of two words.

use super::{encode::Encoder, row::Row};
use crate::recipe::{
    RankingWords,
    labelled::{QUERY, TEXT},
};
use kiln_hub::{
    HubError,
    json_file::{read_json, write_json},
};
use kiln_lm::examples::Example;
use kiln_tokenize::{TextTokenizer, tokenizer::TokenizerError};
use std::path::Path;

/// The file of a model directory with prompt and target words of its ranker.
const FILE: &str = "ranking.json";

impl RankingWords {
    /// The file of a model directory; `None` where there is none.
    ///
    /// # Errors
    /// When the file is there and holds something else.
    pub fn read(dir: &Path) -> Result<Option<Self>, HubError> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let words: Self = read_json(&path)?;
        words.validate().map_err(|(key, problem)| HubError::Config {
            path,
            cause: format!("`{key}` {problem}"),
        })?;
        Ok(Some(words))
    }

    /// Writes the file into a model directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), HubError> {
        write_json(&dir.join(FILE), self)
    }

    /// The first ids of both words.
    ///
    /// # Errors
    /// When the tokenizer fails, or they begin with the same token.
    pub fn first_ids(&self, tokenizer: &TextTokenizer) -> Result<[u32; 2], TokenizerError> {
        let first = |word: &str| -> Result<Option<u32>, TokenizerError> {
            Ok(tokenizer.encode(word, false)?.get_ids().first().copied())
        };
        match [first(&self.relevant)?, first(&self.other)?] {
            [Some(one), Some(other)] if one != other => Ok([one, other]),
            _ => {
                let [relevant, other] = [&self.relevant, &self.other].map(Clone::clone);
                Err(TokenizerError::SameWords { relevant, other })
            }
        }
    }

    /// The filled prompt, and the bytes of it that are the text.
    fn filled(&self, query: &str, text: &str) -> (String, std::ops::Range<usize>) {
        // Placeholders are those of the prompt; the query may contain the same strings.
        let (before, after) = self.prompt.split_once(TEXT).unwrap_or((&self.prompt, ""));
        let [before, after] = [before, after].map(|part| part.replacen(QUERY, query, 1));
        let place = before.len()..before.len() + text.len();
        (before + text + &after, place)
    }
}

impl Encoder {
    /// The source of a query and a text, with the text truncated at the end where it is too long.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn asked(
        &self,
        words: &RankingWords,
        query: &str,
        text: &str,
    ) -> Result<Example, TokenizerError> {
        let (read, place) = words.filled(query, text);
        let tokens = self.tokens(&read, None)?;
        let offsets = tokens.encoding().get_offsets();
        let within = |token: &&usize| {
            let (from, to) = offsets[**token];
            from < to && place.start <= from && to <= place.end
        };
        // Tokens without bytes, such as trimmed spaces, belong to their neighbours.
        let own = tokens.of(0);
        let [first, last] = [own.iter().find(within), own.iter().rfind(within)];
        let of_text = match (first, last) {
            (Some(first), Some(last)) => *first..*last + 1,
            _ => 0..0,
        };
        let over = tokens.len().saturating_sub(self.length);
        let lost = of_text.end - over.min(of_text.len())..of_text.end;
        let mut chosen: Vec<usize> =
            (0..tokens.len()).filter(|token| !lost.contains(token)).collect();
        chosen.truncate(self.length);
        Ok(self.example(&tokens, &chosen))
    }

    /// A query with each of its candidates as sources, with the words of relevance as targets.
    pub(super) fn ranking(
        &self,
        words: &RankingWords,
        row: &Row,
        most: usize,
    ) -> Result<Vec<Example>, TokenizerError> {
        let one = |(at, (query, text)): (usize, (&str, &str))| {
            let word = if at == 0 { &words.relevant } else { &words.other };
            let target = Some(self.target_ids(word, most)?);
            Ok(Example { target, ..self.asked(words, query, text)? })
        };
        row.candidates().into_iter().enumerate().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_tokenize::{TokenizerSpec, tokenizer::Model};
    use std::sync::Arc;

    fn encoder(length: usize) -> Encoder {
        let tokenizer = TokenizerSpec::new(Model::Bytes {});
        let tokenizer = tokenizer.train(std::iter::empty(), &mut |_| {}).unwrap();
        Encoder::new(Arc::new(tokenizer), length)
    }

    #[test]
    fn only_the_text_is_cut() {
        let words = RankingWords { prompt: "{query}|{text}|?".into(), ..RankingWords::default() };
        let read = |length: usize, query: &str, text: &str| {
            let encoder = encoder(length);
            let ids = encoder.asked(&words, query, text).unwrap().ids;
            encoder.tokenizer.decode(&ids, true).unwrap()
        };
        let all = encoder(100).asked(&words, "who", "the miller").unwrap().ids.len();
        assert_eq!(read(all, "who", "the miller"), "who|the miller|?");
        assert_eq!(read(all - 7, "who", "the miller"), "who|the|?");
        // Names within what is filled in are no names.
        assert_eq!(read(100, "{text}", "{query}"), "{text}|{query}|?");
        assert_eq!(encoder(4).asked(&words, "who", "the miller").unwrap().ids.len(), 4);
    }

    #[test]
    fn directories_say_how_their_models_rank() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RankingWords::read(dir.path()).unwrap(), None);
        let words = RankingWords { relevant: "yes".into(), ..RankingWords::default() };
        words.write(dir.path()).unwrap();
        assert_eq!(RankingWords::read(dir.path()).unwrap(), Some(words.clone()));
        RankingWords { prompt: "{query}".into(), ..words }.write(dir.path()).unwrap();
        let error = RankingWords::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("`prompt` has `{text}` 0 times"), "{error}");
    }

    #[test]
    fn words_have_to_begin_differently() {
        let ids = |relevant: &str, other: &str| {
            let [relevant, other] = [relevant, other].map(Into::into);
            let words = RankingWords { relevant, other, ..RankingWords::default() };
            words.first_ids(&encoder(9).tokenizer)
        };
        assert!(ids("true", "false").is_ok_and(|[one, other]| one != other));
        assert!(matches!(ids("true", "tame"), Err(TokenizerError::SameWords { .. })));
    }
}
