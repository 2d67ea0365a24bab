//! A model directory opened as a whole: its tokenizer and its model, which belong together.

use kiln_core::{
    Backend,
    blame::{Blame, Blamed},
};
use kiln_hub::{ModelDir, ModelError};
use kiln_lm::TextModel;
use kiln_tokenize::{
    TextTokenizer,
    tokenizer::{TOKENIZER_FILE, TokenizerError},
};
use std::path::{Path, PathBuf};

/// Why a model directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Its model cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tokenizer that is not the model's.
    #[error(
        "{}: the tokenizer has {tokens} ids and the model knows {vocabulary}: they do not belong \
         together; put the tokenizer there that the model was trained with", path.display()
    )]
    Vocabulary {
        /// The directory.
        path: PathBuf,
        /// Ids of the tokenizer.
        tokens: usize,
        /// Ids that the model knows.
        vocabulary: usize,
    },
}

/// Opens the tokenizer of a model directory, of an adapter that of its base, or a `tokenizer.json`.
///
/// # Errors
/// When there is none, or it is damaged.
pub(crate) fn open_tokenizer(path: &Path) -> Result<TextTokenizer, TokenizerError> {
    TextTokenizer::open(&ModelDir::home(path, TOKENIZER_FILE))
}

/// Whether a model directory has a tokenizer.
pub(crate) fn has_tokenizer(dir: &Path) -> bool {
    ModelDir::home(dir, TOKENIZER_FILE).join(TOKENIZER_FILE).is_file()
}

impl Blamed for OpenError {
    fn blame(&self) -> Blame<'_> {
        match self {
            Self::Model(error) => Blame::Inner(error),
            _ => Blame::User,
        }
    }
}

/// The tokenizer and the model of a directory. A model may know more ids than its tokenizer gives,
/// as published ones do, but not fewer.
///
/// # Errors
/// When one of them cannot be read, or they do not belong together.
pub fn open<B: Backend>(
    dir: &Path,
    device: &B::Device,
) -> Result<(TextTokenizer, TextModel<B>), OpenError> {
    // The tokenizer is parsed while the weights are read.
    let (tokenizer, model) = rayon::join(
        || open_tokenizer(dir).map(|tokenizer| (tokenizer.vocabulary(), tokenizer)),
        || TextModel::load(dir, device),
    );
    let ((tokens, tokenizer), model) = (tokenizer?, model?);
    let vocabulary = model.config().vocabulary;
    if tokens > vocabulary {
        return Err(OpenError::Vocabulary { path: dir.to_owned(), tokens, vocabulary });
    }
    Ok((tokenizer, model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;
    use kiln_lm::TextModelConfig;
    use kiln_tokenize::{TokenizerSpec, tokenizer::Model};

    #[test]
    fn a_model_knows_its_tokenizers_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = TokenizerSpec::new(Model::Bytes {});
        let tokenizer = tokenizer.train(std::iter::empty(), &mut |_| {}).unwrap();
        tokenizer.write(dir.path()).unwrap();
        let tokens = tokenizer.vocabulary();
        let opened = |vocabulary| {
            let config = TextModelConfig { vocabulary, ..TextModelConfig::default() };
            let model = TextModel::<Flex>::new(config, &Default::default()).unwrap();
            model.save(dir.path()).unwrap();
            open::<Flex>(dir.path(), &Default::default())
        };
        assert!(opened(tokens).is_ok() && opened(tokens + 7).is_ok());
        let error = opened(tokens - 1).unwrap_err();
        assert!(matches!(error, OpenError::Vocabulary { vocabulary, .. } if vocabulary < tokens));
        let text = error.to_string();
        assert!(text.contains(&format!("has {tokens} ids")), "{text}");
        assert!(text.contains(&format!("knows {}", tokens - 1)), "{text}");
    }
}
