//! Language models: encoder, decoder or encoder-decoder with heads, assembled by configuration.

use crate::{
    batch::Text,
    branches::Branches,
    config::{GeneratorConfig, TextModelConfig},
    embedding::TextEmbedding,
    head::{LanguageHead, Pooler, TaskHead, pool},
    initial::NormalStart,
    pointer::Segment,
    stack::{decoder_states, in_a_row, through},
};
use burn::{module::Module, tensor::Tensor};
use kiln_core::{Backend, Tokens};
use kiln_nn::{
    AttentionVisibility, ByName, ConfigError, DecoderCache, ForwardOptions, Linear, LinearConfig,
    Transformer,
    adapt::{Adapt, Walk},
};

/// A language model: embedding, transformer blocks and heads.
#[derive(Module, Debug)]
pub struct TextModel<B: Backend> {
    /// Input embedding.
    pub embedding: TextEmbedding<B>,
    /// Transformer blocks: the encoder, or the decoder of a causal model.
    pub backbone: Transformer<B>,
    /// Branches above it, for understanding and for generation.
    pub branches: Option<Branches<B>>,
    /// The decoder with cross-attention of an encoder-decoder.
    pub decoder: Option<Transformer<B>>,
    /// Language-model head.
    pub language: Option<LanguageHead<B>>,
    /// Pooler.
    pub pooler: Option<Pooler<B>>,
    /// Task head.
    pub task: Option<TaskHead<B>>,
    /// Task heads by name.
    pub tasks: ByName<TaskHead<B>>,
    /// Discriminator of ELECTRA, or value head of an advantage: a number per token.
    pub discriminator: Option<Linear<B>>,
    /// Generator of ELECTRA.
    pub generator: Option<Generator<B>>,
    /// Bottleneck decoders (RetroMAE): each reconstructs a text from its vector.
    pub bottleneck: Vec<Transformer<B>>,
    #[module(skip)]
    config: TextModelConfig,
}

/// Options of a forward pass: attention mask, KV cache and attention bias.
#[derive(Debug)]
pub struct EncodeOptions<'a, B: Backend> {
    /// Which tokens a token attends to; the model's own way if absent. Padding and documents are
    /// those of the text.
    pub visibility: Option<AttentionVisibility<B>>,
    /// KV cache of the tokens before, which these attend to and join. The text's padding mask then
    /// covers all tokens, `[batch, tokens before and now]`.
    pub cache: Option<&'a mut DecoderCache<B>>,
    /// Whether the text takes the generation branch, whatever its tokens attend to.
    pub generates: bool,
}

impl<B: Backend> Default for EncodeOptions<'_, B> {
    fn default() -> Self {
        Self { visibility: None, cache: None, generates: false }
    }
}

impl<B: Backend> TextModel<B> {
    /// A model with random weights.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(config: TextModelConfig, device: &B::Device) -> Result<Self, ConfigError> {
        let model = Self::undrawn(config, device)?;
        Ok(match model.config.initial_deviation {
            Some(deviation) => {
                let mut start = NormalStart::new(deviation, &model.config);
                model.map(&mut start)
            }
            None => model,
        })
    }

    /// A model whose weights are yet to be initialised, or loaded.
    pub(crate) fn undrawn(
        config: TextModelConfig,
        device: &B::Device,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let (width, norm) = (config.width, config.backbone.norm);
        let sizes = [config.vocabulary, width];
        Ok(Self {
            embedding: TextEmbedding::new(&config.embedding, sizes, norm, device),
            backbone: config.backbone.init(width, device),
            branches: config
                .branches
                .map(|branches| Branches::new(branches, &config.backbone, width, device)),
            decoder: config
                .decoder
                .as_ref()
                .map(|decoder| decoder.init_cross_attention(width, device)),
            language: config.language.map(|head| LanguageHead::new(head, sizes, norm, device)),
            pooler: config
                .pooler
                .map(|pooler| Pooler::new(pooler, width, &config.backbone, device)),
            task: config.task.as_ref().map(|task| TaskHead::new(task, width, device)),
            tasks: config
                .tasks
                .iter()
                .map(|(name, task)| (name.clone(), TaskHead::new(task, width, device)))
                .collect(),
            discriminator: config.discriminator.then(|| LinearConfig::new(width, 1).init(device)),
            generator: config.generator.as_ref().map(|one| Generator::new(one, width, device)),
            bottleneck: (config.bottleneck.iter().flat_map(|stacks| &stacks.0))
                .map(|stack| stack.init(width, device))
                .collect(),
            config,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &TextModelConfig {
        &self.config
    }

    /// Hidden states of the backbone, `[batch, tokens, width]`, with the model's own attention mask.
    pub fn encode_text(&self, text: &Text<B>) -> Tokens<B> {
        self.read(text, EncodeOptions::default())
    }

    /// Hidden states of the backbone, `[batch, tokens, width]`, with options.
    pub fn read(&self, text: &Text<B>, options: EncodeOptions<'_, B>) -> Tokens<B> {
        let before = options.cache.as_ref().map_or(0, |cache| cache.len());
        self.read_tokens(self.embedding.forward(text, before), text, options)
    }

    /// Hidden states of the backbone for given input embeddings, both `[batch, tokens, width]`.
    pub(crate) fn read_tokens(
        &self,
        values: Tensor<B, 3>,
        text: &Text<B>,
        options: EncodeOptions<'_, B>,
    ) -> Tokens<B> {
        let EncodeOptions { visibility, mut cache, generates } = options;
        let positions = text.positions.clone();
        let own = || AttentionVisibility::causal_if(self.config.causal);
        let visibility = visibility.unwrap_or_else(own);
        let causal = visibility.is_causal();
        let Some(branches) = &self.branches else {
            let options = ForwardOptions { cache, positions, ..visibility.into() };
            let tokens = through(&self.backbone, values, text, options);
            return self.drop_of_stack(tokens);
        };
        let mut above = cache.as_mut().map(|cache| cache.split_off(self.config.backbone.layers));
        let below = ForwardOptions {
            cache: cache.as_deref_mut(),
            positions: positions.clone(),
            ..visibility.clone().into()
        };
        let shared = through(&self.backbone, values, text, below);
        let options = ForwardOptions { cache: above.as_mut(), positions, ..visibility.into() };
        let tokens = through(branches.of(causal || generates), shared.values, text, options);
        if let (Some(cache), Some(above)) = (cache, above) {
            cache.append(above);
        }
        tokens
    }

    /// Hidden states of every block, `[batch, tokens, width]` each, with the model's own attention
    /// mask; of branches that for understanding.
    pub(crate) fn read_each(&self, text: &Text<B>) -> Vec<Tensor<B, 3>> {
        let values = self.embedding.forward(text, 0);
        let shape = values.dims();
        let (causal, positions) = (self.config.causal, text.positions.clone());
        let options = || ForwardOptions {
            positions: positions.clone(),
            ..AttentionVisibility::causal_if(causal).into()
        };
        let each = |stack: &Transformer<B>, values: Tensor<B, 3>| {
            let (row, options) = in_a_row(stack, values, text, options());
            stack
                .forward_each_with(row, options)
                .into_iter()
                .map(|x| x.reshape(shape))
                .collect::<Vec<_>>()
        };
        let mut all = each(&self.backbone, values.clone());
        if let Some(branches) = &self.branches {
            let shared = through(&self.backbone, values, text, options());
            all.extend(each(branches.of(causal), shared.values));
        }
        all
    }

    /// Hidden states of the decoder of an encoder-decoder, `[batch, tokens, width]`: `target` holds
    /// the target tokens so far, `memory` the encoder's hidden states. `None` without a decoder.
    pub fn decode(
        &self,
        target: &Text<B>,
        memory: &Tokens<B>,
        cache: Option<&mut DecoderCache<B>>,
    ) -> Option<Tokens<B>> {
        let decoder = self.decoder.as_ref()?;
        let states = decoder_states(decoder, &self.embedding, target, memory, cache);
        Some(self.drop_of_stack(states))
    }

    /// Dropout after a stack, which encoder-decoders (T5) have.
    fn drop_of_stack(&self, tokens: Tokens<B>) -> Tokens<B> {
        if self.decoder.is_none() {
            return tokens;
        }
        let values = self.embedding.drop(tokens.values.clone());
        tokens.with_values(values)
    }

    /// Logits of the vocabulary: `[batch, tokens, width]` to `[batch, tokens, vocabulary]`. `None`
    /// without a language-model head.
    pub fn scores(&self, values: Tensor<B, 3>) -> Option<Tensor<B, 3>> {
        let head = self.language.as_ref()?;
        Some(head.forward(values, &self.embedding.words))
    }

    /// Pooled vectors, one per text: `[batch, tokens, width]` to `[batch, width]`.
    pub fn pooled(&self, tokens: &Tokens<B>) -> Tensor<B, 2> {
        match &self.pooler {
            Some(pooler) => pooler.forward(tokens),
            None => pool(tokens, self.config.default_pooling()),
        }
    }

    /// Logits of a task head for texts, by its name where it has one, `[batch, outputs]`. `None`
    /// without one, or where it is for tokens.
    pub fn task_of_texts(&self, task: Option<&str>, tokens: &Tokens<B>) -> Option<Tensor<B, 2>> {
        let head = self.task_head(task, false)?;
        Some(head.forward(self.pooled(tokens)))
    }

    /// Logits of a task head for tokens, `[batch, tokens, outputs]`. `None` without one, or where it
    /// is for texts.
    pub fn task_of_tokens(&self, task: Option<&str>, tokens: &Tokens<B>) -> Option<Tensor<B, 3>> {
        let head = self.task_head(task, true).filter(|head| head.places.is_none())?;
        Some(head.forward(tokens.values.clone()))
    }

    /// Pointer logits of a task head, `[batch, segments, places]`, see [`TaskHead::point`]. `None`
    /// without one, or where it does not point.
    pub fn task_of_segments(
        &self,
        task: Option<&str>,
        tokens: &Tokens<B>,
        segments: &[Vec<Segment>],
    ) -> Option<Tensor<B, 3>> {
        self.task_head(task, true)?.point(tokens.values.clone(), segments)
    }

    fn task_head(&self, task: Option<&str>, of_tokens: bool) -> Option<&TaskHead<B>> {
        let kind = self.config.head(task)?.kind;
        let head = task.map_or(self.task.as_ref(), |name| self.tasks.get(name));
        head.filter(|_| kind.is_of_tokens() == of_tokens)
    }
}

/// Generator of ELECTRA: a smaller backbone over the model's token embedding.
#[derive(Module, Debug)]
pub struct Generator<B: Backend> {
    /// To its width.
    pub input: Linear<B>,
    /// From its tokens to its tokens.
    pub backbone: Transformer<B>,
    /// Back to the model's width.
    pub output: Linear<B>,
}

impl<B: Backend> Generator<B> {
    fn new(config: &GeneratorConfig, width: usize, device: &B::Device) -> Self {
        Self {
            input: LinearConfig::new(width, config.width).init(device),
            backbone: config.backbone.init(config.width, device),
            output: LinearConfig::new(config.width, width).init(device),
        }
    }

    /// Input embeddings, `[batch, tokens, width]`, to hidden states of the same shape.
    pub(crate) fn forward(&self, values: Tensor<B, 3>, text: &Text<B>) -> Tensor<B, 3> {
        let options =
            ForwardOptions { positions: text.positions.clone(), ..ForwardOptions::default() };
        let tokens = through(&self.backbone, self.input.forward(values), text, options);
        self.output.forward(tokens.values)
    }
}

impl<B: Backend> Adapt<B> for TextModel<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("backbone", &mut self.backbone);
        walk.enter("decoder", &mut self.decoder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::HostText;
    use burn_flex::Flex;

    fn values<const D: usize>(x: Tensor<Flex, D>) -> Vec<f32> {
        x.into_data().to_vec().unwrap()
    }

    #[test]
    fn weights_start_with_the_deviation_asked_for() {
        let config = TextModelConfig { initial_deviation: Some(0.1), ..Default::default() };
        let model = TextModel::<Flex>::new(config, &Default::default()).unwrap();
        let deviation = |x: Tensor<Flex, 2>| {
            let x = values(x);
            (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32).sqrt()
        };
        let layer = &model.backbone.layers[0];
        assert!((deviation(layer.attention.query.weight.val()) - 0.1).abs() < 0.005);
        assert!((deviation(model.embedding.words.weight.val()) - 0.1).abs() < 0.005);
        let added = deviation(layer.feed_forward.output.weight.val());
        assert!((added - 0.1 / 8f32.sqrt()).abs() < 0.002);
        assert!(
            values(layer.attention.query.bias.as_ref().unwrap().val()).iter().all(|x| *x == 0.0)
        );
        assert!(
            values(layer.attention_norm.as_ref().unwrap().weight.val()).iter().all(|x| *x == 1.0)
        );
    }

    #[test]
    fn documents_in_a_row_do_not_see_each_other() {
        let device = Default::default();
        let config = TextModelConfig::default();
        let model = TextModel::<Flex>::new(config.clone(), &device).unwrap();
        let packed = HostText {
            batch: 2,
            tokens: 3,
            ids: vec![1, 2, 3, 4, 5, 6],
            documents: vec![0, 2, 3, 6],
            ..HostText::default()
        };
        let upload = |host: &HostText| host.upload::<Flex>(&config.embedding, &device);
        let together = values(model.encode_text(&upload(&packed)).values);
        let alone =
            |ids: Vec<u32>| values(model.encode_text(&upload(&HostText::of(&[ids], 0))).values);
        let expected = [alone(vec![1, 2]), alone(vec![3]), alone(vec![4, 5, 6])].concat();
        for (one, other) in together.iter().zip(&expected) {
            assert!((one - other).abs() < 1e-5);
        }
    }
}
