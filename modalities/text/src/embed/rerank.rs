//! Reranking: cross-encoders, <https://arxiv.org/abs/1901.04085>, and sequence-to-sequence rankers
//! (monoT5), <https://arxiv.org/abs/2003.06713>.

use super::EmbedError;
use crate::{labelled::Encoder, opened, recipe::RankingWords};
use kiln_core::Backend;
use kiln_lm::{TextModel, predict::Prediction};
use kiln_metrics::ranking::rank;
use kiln_tokenize::TextTokenizer;
use std::{path::Path, sync::Arc};

/// Tokens of query and text at most, where the model has no limit of its own.
const LONGEST: usize = 512;

/// Reranker: scores the relevance of a text to a query.
#[derive(Debug)]
pub struct Reranker<B: Backend> {
    model: TextModel<B>,
    encoder: Encoder,
    /// The target words of a seq2seq ranker, and their first ids; none for a cross-encoder.
    words: Option<(RankingWords, [u32; 2])>,
    device: B::Device,
}

impl<B: Backend> Reranker<B> {
    /// A cross-encoder of a model with a regression head for the encoder's task, or a seq2seq
    /// ranker with the target `words`.
    ///
    /// # Errors
    /// When the model can do neither, or the words begin alike.
    pub fn new(
        model: TextModel<B>,
        encoder: Encoder,
        words: Option<RankingWords>,
        device: &B::Device,
    ) -> Result<Self, EmbedError> {
        let config = model.config();
        let words = if config.ranks(encoder.task()) {
            None
        } else {
            let writes = config.decoder.is_some() && config.language.is_some();
            let words = words.filter(|_| writes).ok_or(EmbedError::NoRanking)?;
            let ids = words.first_ids(encoder.tokenizer())?;
            Some((words, ids))
        };
        Ok(Self { model, encoder, words, device: device.clone() })
    }

    /// The reranker of a model directory, with inputs of `longest` tokens at most.
    ///
    /// # Errors
    /// As [`Reranker::new`] has them, and when the directory's `ranking.json` cannot be read.
    pub fn of_dir(
        dir: &Path,
        model: TextModel<B>,
        tokenizer: Arc<TextTokenizer>,
        longest: Option<usize>,
        device: &B::Device,
    ) -> Result<Self, EmbedError> {
        let most = model.config().longest();
        let longest = longest.or(most).unwrap_or(LONGEST).min(most.unwrap_or(usize::MAX));
        Self::new(model, Encoder::new(tokenizer, longest), RankingWords::read(dir)?, device)
    }

    /// Loads a model directory.
    ///
    /// # Errors
    /// When it cannot be read, or its model cannot rank.
    pub fn load(dir: &Path, device: &B::Device) -> Result<Self, EmbedError> {
        let (tokenizer, model) = opened::open::<B>(dir, device)?;
        Self::of_dir(dir, model, Arc::new(tokenizer), None, device)
    }

    /// Relevance scores of (query, text) pairs; log-odds of the target words for a seq2seq ranker.
    /// `watch` is called with the number of pairs done.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn scores(
        &self,
        pairs: &[(&str, &str)],
        watch: impl FnMut(usize),
    ) -> Result<Vec<f32>, EmbedError> {
        let (model, encoder) = (&self.model, &self.encoder);
        let read = |(query, text): &(&str, &str)| match &self.words {
            Some((words, _)) => encoder.asked(words, query, text),
            None => encoder.text(query, Some(text)),
        };
        let read = pairs.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        match &self.words {
            Some((_, ids)) => {
                model.log_odds(&read, *ids, &self.device, watch).ok_or(EmbedError::NoRanking)
            }
            None => Ok(model
                .predict(&read, &self.device, watch)
                .iter()
                .map(Prediction::number)
                .collect()),
        }
    }

    /// Reranks texts, the most relevant first: scores and places. `watch` is called with the number
    /// of pairs done.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn order<T: AsRef<str>>(
        &self,
        query: &str,
        texts: &[T],
        watch: impl FnMut(usize),
    ) -> Result<Vec<(f32, usize)>, EmbedError> {
        let pairs: Vec<_> = texts.iter().map(|text| (query, text.as_ref())).collect();
        let scores = self.scores(&pairs, watch)?;
        Ok(rank(&scores).into_iter().map(|at| (scores[at], at)).collect())
    }
}
