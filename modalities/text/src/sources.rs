//! Where the texts of a stage come from, and its tokenizer.

use crate::{
    data_error::StageDataError,
    documents::{Counter, documents, size},
    labelled::{Row, task_seed},
    opened::{has_tokenizer, open_tokenizer},
    recipe::{TextData, TextSource, TokenizerSource},
};
use kiln_core::Seed;
use kiln_datasets::{DataError, Document};
use kiln_tokenize::{TextTokenizer, tokenizer::TOKENIZER_FILE};
use kiln_train::start::resolve;
use std::{path::Path, sync::Arc};

/// The tokenizer of a stage: that of the data, or else that of the model it starts from.
///
/// # Errors
/// When it cannot be read or trained.
pub fn tokenizer(
    data: &TextData,
    from: Option<&Path>,
    seed: Seed,
) -> Result<Arc<TextTokenizer>, StageDataError> {
    let found = match (&data.tokenizer, from) {
        // A model keeps its tokenizer from stage to stage.
        (Some(TokenizerSource::Train(_)) | None, Some(dir)) if has_tokenizer(dir) => {
            open_tokenizer(dir)?
        }
        (Some(TokenizerSource::Directory(name)), _) => {
            let path = Path::new(name);
            // A tokenizer alone, as `kiln data tokenizer` writes it, is no model.
            if path.is_file() || path.join(TOKENIZER_FILE).is_file() {
                open_tokenizer(path)?
            } else {
                open_tokenizer(&resolve(name).map_err(StageDataError::Directory)?)?
            }
        }
        (Some(TokenizerSource::Train(spec) | TokenizerSource::Retrain(spec)), _) => {
            let (documents, bytes) = texts(data, seed)?;
            let progress = Counter::new("training a tokenizer", bytes);
            let trained = spec.train(documents, &mut |at| progress.at(at.bytes))?;
            progress.finish();
            trained
        }
        (None, _) => return Err(StageDataError::NoTokenizer),
    };
    Ok(Arc::new(found))
}

/// A document after the other, or why not.
pub(crate) type Texts = Box<dyn Iterator<Item = Result<Document, DataError>>>;

/// The texts of a stage, those kept for validation among them, and their bytes in files: of its
/// sources, or else of its labelled rows.
///
/// # Errors
/// When they cannot be found, or there are none.
pub(crate) fn texts(data: &TextData, seed: Seed) -> Result<(Texts, u64), StageDataError> {
    if data.sources.is_empty() && data.tasks().next().is_some() {
        let mut texts: Vec<String> = Vec::new();
        for (name, labelled) in data.tasks() {
            let rows = labelled.rows(task_seed(name, seed))?;
            texts.extend(rows.train.iter().flat_map(Row::texts).map(str::to_owned));
        }
        let bytes = texts.iter().map(|text| text.len() as u64).sum();
        let documents = texts.into_iter().map(|text| Ok(Document { text, ..Document::default() }));
        return Ok((Box::new(documents), bytes));
    }
    if data.sources.is_empty() {
        return Err(StageDataError::NoSources);
    }
    let mut readers = Vec::with_capacity(data.sources.len());
    let mut bytes = 0;
    for source in &data.sources {
        let files = documents(source, seed)?;
        bytes += size(&files)?;
        readers.push(files.read()?);
    }
    Ok((Box::new(readers.into_iter().flatten()), bytes))
}

/// Looks whether the documents of a stage are there, without reading them, and its lexicon.
///
/// # Errors
/// When some are not.
pub fn find(data: &TextData) -> Result<(), StageDataError> {
    for source in &data.sources {
        if let TextSource::Documents(documents) = source {
            documents.files()?;
        }
    }
    if let Some(lexicon) = &data.lexicon {
        lexicon.read()?;
    }
    Ok(())
}
