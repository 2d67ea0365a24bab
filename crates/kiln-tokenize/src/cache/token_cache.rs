//! A cache in memory-mapped files.

use super::{
    build::build,
    layout::{
        CacheError, CacheSpec, DOCUMENTS, META, Meta, PREFIXES, Result, SourceFile, TOKENS,
        VERSION, WORDS,
    },
};
use crate::tokenizer::{Progress, TextTokenizer};
use kiln_datasets::Documents;
use kiln_host::FileError;
use memmap2::Mmap;
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// Memory-mapped token ids of a corpus.
#[derive(Debug)]
pub struct TokenCache {
    dir: PathBuf,
    meta: Meta,
    tokens: Mmap,
    documents: Mmap,
    words: Option<Mmap>,
    prefixes: Option<Mmap>,
}

impl TokenCache {
    /// Opens the cache of these documents and this tokenizer in `dir`, and builds it first where it
    /// is not there. Memory stays flat while it is built, on all cores.
    ///
    /// # Errors
    /// When documents cannot be read or encoded or hold no text, and when the cache cannot be
    /// written, read, or is damaged.
    pub fn open_or_build(
        dir: &Path,
        spec: &CacheSpec,
        tokenizer: &TextTokenizer,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let sources = sources(&spec.documents)?;
        let path = dir.join(fingerprint(spec, tokenizer, &sources));
        if !path.join(META).exists() {
            build(&path, spec, tokenizer, sources, progress)?;
        }
        Self::open(&path)
    }

    /// Opens a cache: the folder that holds `meta.json`.
    ///
    /// # Errors
    /// When a file is missing or has another size than it should.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(META);
        let text = std::fs::read(&path).map_err(FileError::new("read", &path))?;
        let damaged = |path: PathBuf, reason| CacheError::Damaged { path, reason };
        let meta: Meta = serde_json::from_slice(&text)
            .map_err(|error| damaged(path.clone(), error.to_string()))?;
        if !matches!(meta.width, 2 | 4) || meta.version != VERSION {
            let reason = format!(
                "it says version {} and {} bytes a token, expected {VERSION} and 2 or 4",
                meta.version, meta.width
            );
            return Err(damaged(path, reason));
        }
        let map = |name: &str, size: Option<u64>| {
            let path = dir.join(name);
            let file = File::open(&path).map_err(FileError::new("read", &path))?;
            let found = file.metadata().map_err(FileError::new("read", &path))?.len();
            if Some(found) != size {
                let size = size.unwrap_or(u64::MAX);
                return Err(damaged(path, format!("expected {size} bytes, found {found}")));
            }
            // SAFETY: a finished cache is never written to; if another program changes it, ids
            // change, and every access is within the mapped length.
            Ok::<_, CacheError>(unsafe { Mmap::map(&file) }.map_err(FileError::new("read", &path))?)
        };
        let tokens = map(TOKENS, meta.tokens.checked_mul(meta.width as u64))?;
        let documents =
            map(DOCUMENTS, meta.documents.checked_add(1).and_then(|n| n.checked_mul(8)))?;
        let words =
            if meta.words { Some(map(WORDS, Some(meta.tokens.div_ceil(8)))?) } else { None };
        let prefixes =
            if meta.prefixes { Some(map(PREFIXES, meta.documents.checked_mul(4))?) } else { None };
        Ok(Self { dir: dir.to_owned(), meta, tokens, documents, words, prefixes })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is known of it.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// How many documents there are.
    pub fn documents(&self) -> u64 {
        self.meta.documents
    }

    /// How many tokens there are.
    pub fn len(&self) -> u64 {
        self.meta.tokens
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.meta.tokens == 0
    }

    /// Where a document's tokens are; nowhere for one that does not exist.
    pub fn range(&self, document: u64) -> Range<u64> {
        let start = |at: u64| {
            let at = usize::try_from(at).ok()?.checked_mul(8)?;
            let bytes = self.documents.get(at..at.checked_add(8)?)?;
            Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        let end = document.checked_add(1).and_then(start);
        start(document).zip(end).map_or(0..0, |(start, end)| start..end)
    }

    /// The ids of a document.
    pub fn document(&self, document: u64) -> Vec<u32> {
        self.tokens(self.range(document))
    }

    /// The ids of a range of tokens, documents following one another; as far as they are there.
    pub fn tokens(&self, range: Range<u64>) -> Vec<u32> {
        let mut ids = Vec::new();
        self.append(range, &mut ids);
        ids
    }

    /// Appends the ids of a range of tokens.
    pub fn append(&self, range: Range<u64>, ids: &mut Vec<u32>) {
        let width = self.meta.width;
        let range = self.within(range);
        let bytes = self.tokens.get(range.start * width..range.end * width).unwrap_or_default();
        match width {
            2 => {
                ids.extend(bytes.as_chunks().0.iter().map(|id| u32::from(u16::from_le_bytes(*id))))
            }
            _ => ids.extend(bytes.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id))),
        }
    }

    /// Appends the word starts of a range of tokens; nothing where they are not cached.
    pub fn append_word_starts(&self, range: Range<u64>, word_starts: &mut Vec<bool>) {
        let Some(words) = &self.words else { return };
        let bit = |at: usize| words.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        word_starts.extend(self.within(range).map(bit));
    }

    /// Whether word starts are cached.
    pub fn has_words(&self) -> bool {
        self.words.is_some()
    }

    /// The length of a document's prefix in tokens (metadata conditioning); the loss leaves it out.
    pub fn prefix_len(&self, document: u64) -> u64 {
        let found = self.prefixes.as_ref().and_then(|prefixes| {
            let at = usize::try_from(document).ok()?.checked_mul(4)?;
            prefixes.get(at..)?.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes)))
        });
        found.unwrap_or(0)
    }

    /// Whether documents have prefixes.
    pub fn has_prefixes(&self) -> bool {
        self.prefixes.is_some()
    }

    fn within(&self, range: Range<u64>) -> Range<usize> {
        let end = range.end.min(self.meta.tokens);
        range.start.min(end) as usize..end as usize
    }
}

/// The files with their sizes and times, which show whether they have changed.
fn sources(documents: &Documents) -> Result<Vec<SourceFile>> {
    let source = |path: PathBuf| {
        let about = std::fs::metadata(&path).map_err(FileError::new("read", &path))?;
        let modified = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |time| time.as_nanos() as u64);
        Ok(SourceFile { path, size: about.len(), modified })
    };
    documents.files()?.into_iter().map(|(path, _)| source(path)).collect()
}

/// The fingerprint of a cache: the name of its folder.
fn fingerprint(spec: &CacheSpec, tokenizer: &TextTokenizer, sources: &[SourceFile]) -> String {
    let documents = Documents { metadata: Vec::new(), paths: Vec::new(), ..spec.documents.clone() };
    let made_of =
        serde_json::json!([VERSION, tokenizer.fingerprint(), documents, spec.words, sources]);
    let hash = Sha256::digest(made_of.to_string());
    hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}
