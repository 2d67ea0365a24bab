//! Streaming embedding of passages.

use super::{EmbedError, Embedder, Request, Take, Watch};
use kiln_core::AutodiffBackend;
use kiln_datasets::vectors::Passage;
use kiln_train::{
    dispatch::{self, OnBackend},
    recipe::Device,
    task::TaskError,
};
use std::{fmt, path::Path};

/// Texts that are sorted by their length and embedded together, at most, and their bytes.
const TEXTS: usize = 1 << 13;
const BYTES: usize = 1 << 24;

/// How much was embedded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Texts.
    pub texts: usize,
    /// Their tokens, without padding.
    pub tokens: usize,
    /// Truncated texts.
    pub truncated: usize,
    /// Texts without any token: their vectors are zeros.
    pub blank: usize,
    /// Whether the tokenizer puts no special tokens around texts.
    pub bare: bool,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.texts += other.texts;
        self.tokens += other.tokens;
        self.truncated += other.truncated;
        self.blank += other.blank;
        self.bare |= other.bare;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} texts, {} tokens", self.texts, self.tokens)?;
        for (count, what) in
            [(self.truncated, "too long and cut"), (self.blank, "without tokens: zeros")]
        {
            if count > 0 {
                write!(out, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// Embeds passages; `take` is called with them and their vectors, piece by piece and in order.
///
/// # Errors
/// When the model cannot be read, a request does not fit it, and what `passages` and `take` give.
pub fn embed(
    model: &Path,
    device: Device,
    request: &Request,
    passages: &mut dyn Iterator<Item = Result<Passage, EmbedError>>,
    take: &mut Take<'_>,
    watch: &mut Watch<'_>,
) -> Result<Summary, TaskError> {
    Ok(dispatch::on(device, Work { model, request, passages, take, watch })??)
}

/// Embedding that waits for its backend.
struct Work<'a, 'w> {
    model: &'a Path,
    request: &'a Request,
    passages: &'a mut dyn Iterator<Item = Result<Passage, EmbedError>>,
    take: &'a mut Take<'w>,
    watch: &'a mut Watch<'w>,
}

impl OnBackend for Work<'_, '_> {
    type Output = Result<Summary, EmbedError>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let Self { model, request, passages, take, watch } = self;
        let embedder = Embedder::<B::InnerBackend>::load(model, &device)?;
        embedder.stream(request, passages, take, watch)
    }
}

impl<B: kiln_core::Backend> Embedder<B> {
    /// [`embed`] by a model that is loaded.
    ///
    /// # Errors
    /// As there.
    pub fn stream(
        &self,
        request: &Request,
        passages: &mut dyn Iterator<Item = Result<Passage, EmbedError>>,
        take: &mut Take<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Summary, EmbedError> {
        let mut summary = Summary::default();
        loop {
            let (mut piece, mut bytes) = (Vec::new(), 0);
            while piece.len() < TEXTS && bytes < BYTES {
                let Some(passage) = passages.next().transpose()? else { break };
                bytes += passage.text.len();
                piece.push(passage);
            }
            if piece.is_empty() {
                return if summary.texts > 0 { Ok(summary) } else { Err(EmbedError::NoTexts) };
            }
            let texts: Vec<&str> = piece.iter().map(|passage| passage.text.as_str()).collect();
            let (vectors, done) = self.embed(&texts, request, watch)?;
            summary += done;
            take(&piece, &vectors)?;
        }
    }
}
