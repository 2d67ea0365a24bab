//! The embedder: a bi-encoder of a model directory.

use super::{
    EmbedError, Prompt, Request, Summary, Watch,
    directory::{DenseSpec, Directory, Module as Part},
    reader::Reader,
};
use crate::opened;
use burn::{
    module::Module,
    tensor::{Bool, Tensor, TensorData},
};
use kiln_core::{Backend, Tokens};
use kiln_datasets::vectors::Vectors;
use kiln_hub::{Mode, Weights};
use kiln_kernels::activate;
use kiln_lm::{
    batch::{HostText, Text},
    config::Pooling,
    head::pool,
    model::TextModel,
};
use kiln_nn::{Linear, LinearConfig, Norm, NormConfig};
use kiln_tokenize::TextTokenizer;
use std::path::Path;

/// Lower bound of vector norms in the normalisation.
const SHORTEST: f32 = 1e-12;

/// Bi-encoder for text embeddings: a transformer, a pooling, and the layers after it.
#[derive(Debug)]
pub struct Embedder<B: Backend> {
    model: TextModel<B>,
    tokenizer: TextTokenizer,
    directory: Directory,
    after: Vec<Stage<B>>,
    device: B::Device,
}

/// A layer after the pooling, `[texts, width]` to `[texts, width]`.
#[derive(Debug)]
enum Stage<B: Backend> {
    Dense(Box<DenseLayer<B>>, DenseSpec),
    Norm(Box<NormLayer<B>>),
    Normalise,
}

/// A dense layer with its names in sentence-transformers.
#[derive(Module, Debug)]
struct DenseLayer<B: Backend> {
    linear: Linear<B>,
    residual: Option<Linear<B>>,
}

/// A norm with its names in sentence-transformers.
#[derive(Module, Debug)]
struct NormLayer<B: Backend> {
    norm: Norm<B>,
}

impl<B: Backend> Stage<B> {
    fn load(part: &Part, device: &B::Device) -> Result<Self, EmbedError> {
        Ok(match part {
            Part::Normalise => Self::Normalise,
            Part::Norm { dir, width } => {
                let mut layer = NormLayer { norm: NormConfig::default().init(*width, device) };
                kiln_hub::apply::<B, _>(&mut layer, &Weights::read_dir(dir)?, Mode::Strict)?;
                Self::Norm(Box::new(layer))
            }
            Part::Dense { dir, spec } => {
                let linear = |bias| LinearConfig::new(spec.inputs, spec.outputs).with_bias(bias);
                let turned = spec.residual && spec.inputs != spec.outputs;
                let mut layer = DenseLayer {
                    linear: linear(spec.bias).init(device),
                    residual: turned.then(|| linear(false).init(device)),
                };
                kiln_hub::apply::<B, _>(&mut layer, &Weights::read_dir(dir)?, Mode::Strict)?;
                Self::Dense(Box::new(layer), *spec)
            }
        })
    }

    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Normalise => normalised(x),
            Self::Norm(layer) => layer.norm.forward(x),
            Self::Dense(layer, spec) => {
                let y = activate(layer.linear.forward(x.clone()), None, spec.activation);
                match &layer.residual {
                    Some(residual) => y + residual.forward(x),
                    None if spec.residual => y + x,
                    None => y,
                }
            }
        }
    }
}

/// L2 normalisation: `[texts, width]`.
fn normalised<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let length = x.clone().square().sum_dim(1).sqrt().clamp_min(SHORTEST);
    x / length
}

impl<B: Backend> Embedder<B> {
    /// Reads a model directory: a text model with its tokenizer, or one of sentence-transformers.
    ///
    /// # Errors
    /// When it cannot be read, or has parts that are not supported.
    pub fn load(dir: &Path, device: &B::Device) -> Result<Self, EmbedError> {
        let directory = Directory::open(dir)?;
        let (tokenizer, model) = opened::open(&directory.transformer, device)?;
        let after = directory.after.iter().map(|part| Stage::load(part, device));
        let after = after.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { model, tokenizer, directory, after, device: device.clone() })
    }

    /// The same embedder around another model of the same shape, such as one with int8 weights.
    pub(crate) fn with_model(self, model: TextModel<B>) -> Self {
        Self { model, ..self }
    }

    /// Whether similarity is the dot product rather than the cosine.
    pub fn compares_by_product(&self) -> bool {
        self.directory.by_product
    }

    /// The reader of texts for a request.
    fn reader(&self, request: &Request) -> Result<Reader<'_>, EmbedError> {
        let config = self.model.config();
        let positions = config.longest();
        if let (Some(asked), Some(most)) = (request.longest, positions)
            && asked > most
        {
            return Err(EmbedError::TooLong { asked, most });
        }
        let longest = request.longest.or(self.directory.longest).or(positions);
        let longest = longest.unwrap_or(usize::MAX).min(positions.unwrap_or(usize::MAX));
        let lowercase = self.directory.lowercase;
        let prompt = self.prompt(&request.prompt)?;
        Reader::new(&self.tokenizer, prompt, lowercase, longest)
    }

    fn prompt(&self, asked: &Prompt) -> Result<&str, EmbedError> {
        let Directory { prompts, default_prompt, .. } = &self.directory;
        let first = |names: &[&str]| names.iter().find_map(|name| prompts.get(*name));
        let default = || prompts.get(default_prompt.as_ref()?);
        let found = match asked {
            Prompt::Default => default(),
            Prompt::Query => first(&["query"]).or_else(default),
            Prompt::Document => first(&["document", "passage", "corpus"]).or_else(default),
            Prompt::Named(name) => {
                let known = || prompts.keys().cloned().collect();
                let unknown = || EmbedError::Prompt { name: name.clone(), known: known() };
                Some(prompts.get(name).ok_or_else(unknown)?)
            }
        };
        Ok(found.map_or("", String::as_str))
    }

    /// Embeds texts, in their order. `watch` is called with the number of texts after each batch.
    ///
    /// A text without any token, not even a special one, has a vector of zeros.
    ///
    /// # Errors
    /// When the request does not fit the model, a text cannot be encoded, or `watch` stops it.
    pub fn embed<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        request: &Request,
        watch: &mut Watch<'_>,
    ) -> Result<(Vectors, Summary), EmbedError> {
        let reader = self.reader(request)?;
        let skip = if self.directory.pools_prompt { 0 } else { reader.prompt_tokens()? };
        let read = reader.read(texts)?;
        let mut summary =
            Summary { texts: texts.len(), bare: reader.is_bare(), ..Summary::default() };
        for read in &read {
            summary.tokens += read.ids.len();
            summary.truncated += usize::from(read.truncated);
            summary.blank += usize::from(read.ids.is_empty());
        }
        let mut order: Vec<usize> =
            (0..read.len()).filter(|at| !read[*at].ids.is_empty()).collect();
        // Long texts first: a lack of memory shows at once.
        order.sort_by_key(|at| std::cmp::Reverse(read[*at].ids.len()));
        let width = self.width(request);
        let mut vectors = Vectors { width, values: vec![0.0; width * texts.len()] };
        let mut rest = order.as_slice();
        while let Some(first) = rest.first() {
            let tokens = read[*first].ids.len();
            let count = (request.batch_tokens / tokens).clamp(1, rest.len());
            let (now, later) = rest.split_at(count);
            rest = later;
            let ids: Vec<&[u32]> = now.iter().map(|at| read[*at].ids.as_slice()).collect();
            let values = self.forward(&ids, request, skip)?;
            for (at, vector) in now.iter().zip(values.chunks_exact(width)) {
                vectors.values[at * width..][..width].copy_from_slice(vector);
            }
            if watch(now.len()).is_break() {
                return Err(EmbedError::Interrupted);
            }
        }
        Ok((vectors, summary))
    }

    /// The dimension of embeddings.
    fn width(&self, request: &Request) -> usize {
        let pooled = match request.pooling {
            Some(_) => 1,
            None => self.directory.poolings.len().max(1),
        };
        let dense = self.directory.after.iter().rev().find_map(|part| match part {
            Part::Dense { spec, .. } => Some(spec.outputs),
            _ => None,
        });
        dense.unwrap_or(pooled * self.model.config().width)
    }

    /// The vectors of one batch, one after the other.
    fn forward(
        &self,
        ids: &[&[u32]],
        request: &Request,
        skip: usize,
    ) -> Result<Vec<f32>, EmbedError> {
        let config = self.model.config();
        let host = HostText::of(ids, config.special.pad.unwrap_or(0));
        let text: Text<B> = host.upload(&config.embedding, &self.device);
        let tokens = self.model.encode_text(&text);
        let tokens = if skip > 0 { self.without_prompt(tokens, ids, skip) } else { tokens };
        let mut x = match (&request.pooling, self.directory.poolings.as_slice()) {
            (Some(pooling), _) => pool(&tokens, *pooling),
            (None, []) => self.model.pooled(&tokens),
            (None, poolings) => side_by_side(&tokens, poolings),
        };
        for stage in &self.after {
            x = stage.forward(x);
        }
        if request.normalise {
            x = normalised(x);
        }
        let values = x.into_data().convert::<f32>().into_vec();
        values.map_err(|error| EmbedError::Device(format!("{error:?}")))
    }

    /// The tokens with the prompt masked as padding, except for texts of nothing else.
    fn without_prompt(&self, tokens: Tokens<B>, ids: &[&[u32]], skip: usize) -> Tokens<B> {
        let [batch, count, _] = tokens.dims();
        let hidden = ids.iter().flat_map(|ids| {
            let skip = if ids.len() > skip { skip } else { 0 };
            (0..count).map(move |at| at < skip || at >= ids.len())
        });
        let hidden = TensorData::new(hidden.collect::<Vec<bool>>(), [batch, count]);
        let mask_pad = Some(Tensor::<B, 2, Bool>::from_data(hidden, &self.device));
        Tokens { mask_pad, ..tokens }
    }
}

fn side_by_side<B: Backend>(tokens: &Tokens<B>, poolings: &[Pooling]) -> Tensor<B, 2> {
    let mut pooled: Vec<Tensor<B, 2>> = poolings.iter().map(|one| pool(tokens, *one)).collect();
    match pooled.len() {
        1 => pooled.remove(0),
        _ => Tensor::cat(pooled, 1),
    }
}
