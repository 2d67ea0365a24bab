//! How relevant texts are to a query, each read together with it: cross-encoders,
//! <https://arxiv.org/abs/1901.04085>.

use super::EmbedError;
use crate::{
    TextModel, labelled::Encoder, metrics::rank, opened, predict::Said, tokenizer::TextTokenizer,
};
use kiln_core::Backend;
use std::{path::Path, sync::Arc};

/// Tokens of query and text at most, where the model has no limit of its own.
const LONGEST: usize = 512;

/// A model that says how relevant a text is to a query.
#[derive(Debug)]
pub struct Reranker<B: Backend> {
    model: TextModel<B>,
    encoder: Encoder,
    device: B::Device,
}

impl<B: Backend> Reranker<B> {
    /// Of a model with a head that says one number, reading so many tokens at most.
    ///
    /// # Errors
    /// When the model has no such head.
    pub fn new(
        model: TextModel<B>,
        tokenizer: Arc<TextTokenizer>,
        longest: Option<usize>,
        device: &B::Device,
    ) -> Result<Self, EmbedError> {
        if !model.config().ranks() {
            return Err(EmbedError::NoRanking);
        }
        let most = model.config().longest();
        let longest = longest.or(most).unwrap_or(LONGEST).min(most.unwrap_or(usize::MAX));
        let encoder = Encoder::new(tokenizer, longest);
        Ok(Self { model, encoder, device: device.clone() })
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// When it cannot be read, or its model has no such head.
    pub fn load(dir: &Path, device: &B::Device) -> Result<Self, EmbedError> {
        let (tokenizer, model) = opened::open::<B>(dir, device)?;
        Self::new(model, Arc::new(tokenizer), None, device)
    }

    /// The order of texts, the most relevant first: scores and places. `watch` hears how many more
    /// are done.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn order<T: AsRef<str>>(
        &self,
        query: &str,
        texts: &[T],
        watch: impl FnMut(usize),
    ) -> Result<Vec<(f32, usize)>, EmbedError> {
        let read = texts.iter().map(|text| self.encoder.text(query, Some(text.as_ref())));
        let read = read.collect::<Result<Vec<_>, _>>()?;
        let said = self.model.say(&read, &self.device, watch);
        let scores: Vec<f32> = said.iter().map(Said::number).collect();
        Ok(rank(&scores).into_iter().map(|at| (scores[at], at)).collect())
    }
}
