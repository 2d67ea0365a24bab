//! Building a cache: documents are read ahead while those before are encoded on all cores, and
//! written in their order.

use super::layout::{
    CacheError, CacheSpec, DOCUMENTS, META, Meta, PREFIXES, Result, SourceFile, TOKENS, VERSION,
    WORDS,
};
use crate::tokenizer::{Encoded, IdEncoder, Progress, TextTokenizer, TokenizerError};
use kiln_datasets::{Document, documents::DocumentReader};
use kiln_host::FileError;
use rayon::prelude::*;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Bytes of text that a core encodes at once.
const BATCH: usize = 1 << 20;

/// Builds a cache at `path`, unless another process was faster.
pub(super) fn build(
    path: &Path,
    spec: &CacheSpec,
    tokenizer: &TextTokenizer,
    sources: Vec<SourceFile>,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(FileError::new("write", parent))?;
    let beside = tempfile::Builder::new().prefix(".building-").tempdir_in(parent);
    let beside = beside.map_err(FileError::new("write", parent))?;
    let dir = beside.path();
    let width = if tokenizer.vocabulary() <= 1 << 16 { 2 } else { 4 };
    let prefixes = !spec.documents.before.is_empty();
    let mut writer = Writer::create(dir, width, spec.words, prefixes)?;
    let tally = fill(&mut writer, spec.documents.read()?, tokenizer, progress)?;
    let (documents, tokens) = writer.finish()?;
    if tokens == 0 {
        return Err(CacheError::Empty(tally));
    }
    let meta = Meta {
        version: VERSION,
        tokenizer: tokenizer.fingerprint().to_owned(),
        width,
        documents,
        tokens,
        words: spec.words,
        prefixes,
        tally,
        sources,
    };
    let meta_path = dir.join(META);
    let file = File::create(&meta_path).map_err(FileError::new("write", &meta_path))?;
    serde_json::to_writer_pretty(&file, &meta)
        .map_err(|error| FileError::new("write", &meta_path)(error.into()))?;
    file.sync_all().map_err(FileError::new("write", &meta_path))?;
    // Temporary folders are private by default.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir, open).map_err(FileError::new("write", dir))?;
    }
    match fs::rename(dir, path) {
        Ok(()) => {
            // Renamed: nothing is left to delete.
            let _ = beside.keep();
            Ok(())
        }
        // Another process built the same meanwhile: its cache is as good, ours is deleted.
        Err(_) if path.join(META).exists() => Ok(()),
        Err(error) => Err(FileError::new("write", path)(error).into()),
    }
}

/// Encodes all documents.
fn fill(
    writer: &mut Writer,
    mut reader: DocumentReader,
    tokenizer: &TextTokenizer,
    progress: &mut dyn FnMut(Progress),
) -> Result<kiln_datasets::documents::Tally> {
    let encoders = Mutex::new(Vec::new());
    let mut batches = read(&mut reader)?;
    while !batches.is_empty() {
        let (encoded, next) = rayon::join(
            || {
                let new = || IdEncoder::new(tokenizer, writer.words.is_some());
                let encode = |batch: Vec<Document>| encode(batch, &encoders, new);
                batches.into_par_iter().map(encode).collect::<std::result::Result<Vec<_>, _>>()
            },
            || read(&mut reader),
        );
        for batch in encoded? {
            writer.write(&batch)?;
        }
        let tally = reader.tally();
        progress(Progress { stage: "encoding", documents: tally.documents, bytes: tally.bytes });
        batches = next?;
    }
    Ok(reader.tally())
}

/// Documents for all cores, in their order; none at the end.
fn read(reader: &mut DocumentReader) -> Result<Vec<Vec<Document>>> {
    let mut batches = Vec::new();
    for _ in 0..2 * rayon::current_num_threads() {
        let (mut batch, mut size) = (Vec::new(), 0);
        while size < BATCH
            && let Some(document) = reader.next().transpose()?
        {
            size += document.text.len();
            batch.push(document);
        }
        if batch.is_empty() {
            break;
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// A batch as ids.
struct Batch {
    encoded: Encoded,
    documents: Vec<Ended>,
}

/// A document of a batch.
struct Ended {
    /// Where it ends in the batch's ids.
    end: usize,
    /// How many of its ids are its prefix.
    prefix: usize,
    /// Whether it goes on from the one before.
    continues: bool,
}

fn encode<'a>(
    batch: Vec<Document>,
    encoders: &Mutex<Vec<IdEncoder<'a>>>,
    new: impl FnOnce() -> IdEncoder<'a>,
) -> std::result::Result<Batch, TokenizerError> {
    // One encoder a thread; its cache of pieces is kept for the next batch.
    let lock = || encoders.lock().unwrap_or_else(PoisonError::into_inner);
    let idle = lock().pop();
    let mut encoder = idle.unwrap_or_else(new);
    let mut encoded = Encoded::default();
    let mut documents = Vec::with_capacity(batch.len());
    for document in batch {
        // Encoded apart, so that the ids of a document do not depend on its prefix.
        let begin = encoded.ids.len();
        let (prefix, text) =
            document.text.split_at_checked(document.prefix_len).unwrap_or_default();
        encoder.encode(prefix, &mut encoded)?;
        let prefix = encoded.ids.len() - begin;
        encoder.encode(text, &mut encoded)?;
        documents.push(Ended { end: encoded.ids.len(), prefix, continues: document.continues });
    }
    lock().push(encoder);
    Ok(Batch { encoded, documents })
}

/// The files of a cache.
struct Writer {
    tokens: Stream,
    documents: Stream,
    words: Option<Stream>,
    prefixes: Option<Stream>,
    width: usize,
    /// Tokens so far, and documents that have begun.
    count: u64,
    begun: u64,
    /// Bits that do not make a byte yet.
    bits: u8,
}

impl Writer {
    fn create(dir: &Path, width: usize, words: bool, prefixes: bool) -> Result<Self> {
        Ok(Self {
            tokens: Stream::create(dir, TOKENS)?,
            documents: Stream::create(dir, DOCUMENTS)?,
            words: if words { Some(Stream::create(dir, WORDS)?) } else { None },
            prefixes: if prefixes { Some(Stream::create(dir, PREFIXES)?) } else { None },
            width,
            count: 0,
            begun: 0,
            bits: 0,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let mut from = 0;
        for Ended { end, prefix, continues } in &batch.documents {
            if !continues {
                self.documents.write(&(self.count + from as u64).to_le_bytes())?;
                if let Some(stream) = &mut self.prefixes {
                    stream.write(&(*prefix as u32).to_le_bytes())?;
                }
                self.begun += 1;
            }
            from = *end;
        }
        let width = self.width;
        let mut bytes = Vec::with_capacity(batch.encoded.ids.len() * width);
        for id in &batch.encoded.ids {
            bytes.extend_from_slice(id.to_le_bytes().get(..width).unwrap_or_default());
        }
        self.tokens.write(&bytes)?;
        if let Some(words) = &mut self.words {
            bytes.clear();
            for (at, begins) in (self.count..).zip(&batch.encoded.word_starts) {
                self.bits |= u8::from(*begins) << (at % 8);
                if at % 8 == 7 {
                    bytes.push(std::mem::take(&mut self.bits));
                }
            }
            words.write(&bytes)?;
        }
        self.count += batch.encoded.ids.len() as u64;
        Ok(())
    }

    /// Documents and tokens, once all is on the disk.
    fn finish(mut self) -> Result<(u64, u64)> {
        self.documents.write(&self.count.to_le_bytes())?;
        if let Some(words) = &mut self.words
            && !self.count.is_multiple_of(8)
        {
            words.write(&[self.bits])?;
        }
        let streams = [Some(self.tokens), Some(self.documents), self.words, self.prefixes];
        for stream in streams.into_iter().flatten() {
            stream.finish()?;
        }
        Ok((self.begun, self.count))
    }
}

/// A file that is written from begin to end.
struct Stream {
    path: std::path::PathBuf,
    file: BufWriter<File>,
}

impl Stream {
    fn create(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(name);
        let file = File::create(&path).map_err(FileError::new("write", &path))?;
        Ok(Self { path, file: BufWriter::with_capacity(1 << 20, file) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.file.write_all(bytes).map_err(FileError::new("write", &self.path))?)
    }

    fn finish(self) -> Result<()> {
        let file = self.file.into_inner().map_err(|error| error.into_error());
        Ok(file.and_then(|file| file.sync_all()).map_err(FileError::new("write", &self.path))?)
    }
}
