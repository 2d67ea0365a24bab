//! `kiln embed` and `kiln search`: text embeddings, and dense retrieval.

use super::arguments::{DocumentArgs, TextArgs, TextPooling, TextSplit, VectorArgs, text_model};
use crate::embed::{self, EmbedError, Passages, Prompt, Request, search};
use clap::{Parser, value_parser};
use indicatif::ProgressBar;
use kiln_datasets::{
    Documents,
    documents::Split,
    vectors::{Passage, VectorFormat, VectorWriter, Vectors},
};
use kiln_host::AtomicFile;
use kiln_hub::HubError;
use kiln_lm::config::Pooling;
use kiln_train::{
    dispatch,
    failure::{Failure, Result},
    interrupt::Interrupt,
    recipe::Device,
    task::TaskError,
    verb::{RunVerb, VerbContext},
};
use std::{
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Instant,
};

/// Embed texts: a vector each
#[derive(Debug, Parser)]
#[command(
    name = "embed",
    after_help = "\
Examples:
  kiln embed --model organisation/name reviews.jsonl --out reviews.parquet --with-text
  kiln embed --model runs/encoder notes/ --split blank-lines --out notes.npy
  kiln embed --model organisation/name --text 'How warm is it?' --prompt query

Each document has a row, in the order of the files; standard input has a text a line. Directories of
sentence-transformers are understood: their pooling, layers behind it, prompts and longest text."
)]
pub struct Embed {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// The texts
    #[command(flatten)]
    pub texts: TextArgs,
    /// A NumPy array or a Parquet table (source, id, embedding) [default: prints JSON lines]
    #[arg(long, short, visible_alias = "output", value_name = "FILE.npy|FILE.parquet")]
    pub out: Option<PathBuf>,
    /// Write the texts into the Parquet table, too
    #[arg(long, requires = "out")]
    pub with_text: bool,
    /// How vectors are made
    #[command(flatten)]
    pub vectors: VectorArgs,
    /// Scale vectors to length one, also where the model does not
    #[arg(long, visible_alias = "normalize")]
    pub normalise: bool,
    /// A prompt of the model, by name, before each text
    #[arg(long, value_name = "NAME")]
    pub prompt: Option<String>,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

/// Search documents by the similarity of embeddings (dense retrieval)
#[derive(Debug, Parser)]
#[command(
    name = "search",
    after_help = "\
Examples:
  kiln search --model organisation/name --in notes/ 'what was decided about the roof'
  kiln search --model runs/encoder --in mails.jsonl --field body --index mails.parquet --top 3 invoice
  kiln search --model runs/encoder --rerank runs/cross-encoder --in notes/ 'who mends the roof'

All documents are compared with the query, so none is missed. A cross-encoder (--rerank) then reads the
best of them together with the query and puts them in order. With --index their vectors are kept,
and only those of files that changed are made again. Where the model has prompts for queries and
documents, they are used."
)]
pub struct Search {
    /// A run, a model directory, or a hub id (organisation/name[@revision])
    #[arg(long, short)]
    pub model: String,
    /// What to look for
    pub query: String,
    /// Where: files, folders or patterns; repeat for several
    #[arg(long = "in", required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How many to show
    #[arg(long, short = 'k', value_name = "N", default_value = "10", value_parser = value_parser!(u32).range(1..))]
    pub top: u32,
    /// A cross-encoder that reranks the best: a run, a model directory, or a hub id
    #[arg(long, value_name = "MODEL")]
    pub rerank: Option<String>,
    /// How many it reads
    #[arg(long, value_name = "N", default_value = "50", requires = "rerank", value_parser = value_parser!(u32).range(1..))]
    pub rerank_among: u32,
    /// Keep the vectors in this file, and take them from there
    #[arg(long, value_name = "FILE.parquet")]
    pub index: Option<PathBuf>,
    /// How documents are read
    #[command(flatten)]
    pub documents: DocumentArgs,
    /// What a document of plain text is
    #[arg(long, default_value = "blank-lines")]
    pub split: TextSplit,
    /// How vectors are made
    #[command(flatten)]
    pub vectors: VectorArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    pub device: Device,
}

/// What embeds or searches, for messages.
const PURPOSE: &str = "makes no vectors of texts";

impl RunVerb for Embed {
    /// Embeds each text; writes the vectors or prints them.
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()> {
        let format = match &self.out {
            Some(path) => Some(VectorFormat::of(path, self.with_text).ok_or_else(|| {
                Failure::user(
                    format!("{}: vectors are not written as that", path.display()),
                    "name a file that ends in .npy or .parquet",
                )
            })?),
            None => None,
        };
        let model = text_model(context, &self.model, PURPOSE)?;
        let device = dispatch::available(self.device)?;
        let mut request = request(&self.vectors, device);
        request.normalise = self.normalise;
        request.prompt = self.prompt.clone().map_or(Prompt::Default, Prompt::Named);
        let mut texts = Texts::of(&self.texts)?;
        let bar = context.spinner();
        let mut sink = match (&self.out, format) {
            (Some(path), Some(format)) => Sink::File { path: path.clone(), format, writer: None },
            _ => Sink::Lines(&mut *context.out),
        };
        let mut take = |passages: &[Passage], vectors: &Vectors| sink.take(passages, vectors);
        let started = Instant::now();
        let summary = watched(&bar, |watch| {
            embed::embed(&model.path, device, &request, &mut texts, &mut take, watch)
        })?;
        sink.finish()?;
        texts.tell();
        if summary.bare {
            tracing::warn!("the tokenizer puts no special tokens around texts: does it lack them?");
        }
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!("{summary}, in {seconds:.1} s");
        if let Some(path) = &self.out {
            tracing::info!("wrote {}", path.display());
        }
        Ok(())
    }
}

impl RunVerb for Search {
    /// Shows the documents most similar to the query.
    fn run(&self, context: &mut VerbContext<'_>) -> Result<()> {
        let model = text_model(context, &self.model, PURPOSE)?;
        let device = dispatch::available(self.device)?;
        let reranks =
            |name: &String| text_model(context, name, "says nothing of a query and a text");
        let rerank = self.rerank.as_ref().map(reranks).transpose()?;
        let wanted = search::Search {
            query: self.query.clone(),
            documents: documents(&self.documents, &self.paths, self.split.into()),
            id: self.documents.id.clone(),
            top: self.top as usize,
            index: self.index.clone(),
            request: request(&self.vectors, device),
            rerank: rerank.map(|model| search::Rerank {
                model: model.path,
                among: self.rerank_among as usize,
            }),
        };
        let bar = context.spinner();
        let found = watched(&bar, |watch| search::search(&model.path, device, &wanted, watch))?;
        tracing::info!("{} documents embedded, {} from the index", found.embedded, found.kept);
        if found.truncated > 0 {
            tracing::warn!(
                "{} documents were too long: only their beginnings count",
                found.truncated
            );
        }
        if self.json {
            let text = serde_json::to_string_pretty(&found.hits)
                .map_err(|error| Failure::from(std::io::Error::other(error)))?;
            return Ok(writeln!(context.out, "{text}")?);
        }
        for hit in &found.hits {
            writeln!(
                context.out,
                "{:.4}  {}:{}\n        {}",
                hit.score, hit.source, hit.id, hit.text
            )?;
        }
        Ok(())
    }
}

fn documents(args: &DocumentArgs, paths: &[PathBuf], split: Split) -> Documents {
    Documents { field: args.field.clone(), split, ..Documents::new(paths) }
}

/// Texts that were typed, or else the documents of files or of what comes in.
pub(super) struct Texts<'a> {
    typed: std::iter::Enumerate<std::slice::Iter<'a, String>>,
    read: Option<Passages>,
}

impl<'a> Texts<'a> {
    /// The texts of a command; blank documents keep their row.
    pub(super) fn of(args: &'a TextArgs) -> Result<Self> {
        let TextArgs { inputs, texts, documents: reading, split } = args;
        let split = |default| split.map_or(default, Split::from);
        let spec = Documents { blank: true, ..documents(reading, inputs, split(Split::File)) };
        let read = if !texts.is_empty() {
            None
        } else if inputs.is_empty() {
            let passages = Passages::of_stream(std::io::stdin(), &spec, split(Split::Lines));
            let failed = |error| Failure::io("read", Path::new("standard input"), error);
            Some(passages.map_err(failed)?)
        } else {
            Some(Passages::new(spec, reading.id.as_deref(), |_| true)?)
        };
        Ok(Self { typed: texts.iter().enumerate(), read })
    }

    /// With what a change makes of documents.
    pub(super) fn map(self, change: impl FnOnce(Passages) -> Passages) -> Self {
        Self { read: self.read.map(change), ..self }
    }

    /// The next text, with the second of its document where that is read, too.
    pub(super) fn advance(
        &mut self,
    ) -> std::result::Result<Option<(Passage, Option<String>)>, EmbedError> {
        if let Some(read) = &mut self.read {
            return read.advance();
        }
        Ok(self.typed.next().map(|(at, text)| {
            let (source, id, text) = (String::new(), (at + 1).to_string(), text.clone());
            (Passage { source, id, text }, None)
        }))
    }

    /// Tells of documents that were cut or not all UTF-8.
    pub(super) fn tell(&self) {
        if let Some(tally) = self.read.as_ref().map(Passages::tally)
            && (tally.replaced > 0 || tally.cut > 0)
        {
            tracing::warn!("{tally}");
        }
    }
}

impl Iterator for Texts<'_> {
    type Item = std::result::Result<Passage, EmbedError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().map(|found| found.map(|(passage, _)| passage)).transpose()
    }
}

fn request(args: &VectorArgs, device: Device) -> Request {
    let usual = Request::on(device);
    Request {
        longest: args.max_length,
        batch_tokens: args.batch_tokens.map_or(usual.batch_tokens, |tokens| tokens as usize),
        pooling: args.pooling.map(|pooling| match pooling {
            TextPooling::First => Pooling::First,
            TextPooling::Mean => Pooling::Mean,
            TextPooling::Last => Pooling::Last,
            TextPooling::Max => Pooling::Max,
        }),
        ..usual
    }
}

/// Runs work on texts with a progress bar; Ctrl-C ends it.
pub(super) fn watched<T>(
    bar: &ProgressBar,
    work: impl FnOnce(&mut embed::Watch<'_>) -> std::result::Result<T, TaskError>,
) -> Result<T> {
    let interrupt = Interrupt::on_signals()?;
    let (started, mut done) = (Instant::now(), 0);
    let mut watch = |more: usize| {
        done += more;
        let rate = done as f64 / started.elapsed().as_secs_f64();
        bar.set_message(format!("{done} texts, {rate:.0}/s"));
        if interrupt.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let result = work(&mut watch);
    bar.finish_and_clear();
    match result {
        Err(_) if interrupt.requested() => Err(Failure::Interrupted),
        result => result.map_err(Failure::Error),
    }
}

/// Where vectors go.
enum Sink<'a> {
    Lines(&'a mut dyn Write),
    File { path: PathBuf, format: VectorFormat, writer: Option<VectorWriter<AtomicFile>> },
}

impl Sink<'_> {
    fn take(
        &mut self,
        passages: &[Passage],
        vectors: &Vectors,
    ) -> std::result::Result<(), EmbedError> {
        match self {
            Self::Lines(out) => {
                for (passage, vector) in passages.iter().zip(vectors.rows()) {
                    let Passage { source, id, text } = passage;
                    let line = serde_json::json!({
                        "source": source, "id": id, "text": text, "embedding": vector,
                    });
                    writeln!(out, "{line}").map_err(EmbedError::Output)?;
                }
            }
            Self::File { path, format, writer } => {
                let writer = match writer {
                    Some(writer) => writer,
                    None => {
                        let file = AtomicFile::create(path).map_err(HubError::from)?;
                        writer.insert(VectorWriter::new(*format, vectors.width, file, path)?)
                    }
                };
                writer.write(passages, vectors)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::File { writer: Some(writer), .. } => Ok(writer.finish(&[])?.commit()?),
            _ => Ok(()),
        }
    }
}
