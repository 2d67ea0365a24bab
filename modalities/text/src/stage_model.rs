//! The model of a stage: what it provides for its objective, and the heads that are trained.

use crate::labelled::{Aim, LabelledTask};
use kiln_core::{Lack, Need, Provide, check_bidirectional};
use kiln_lm::{
    TextModelConfig,
    config::{Format, PoolerConfig, SpecialIds, Stacks, TaskHeadConfig, TaskKind},
};
use kiln_nn::{Activation, TransformerConfig};
use kiln_objectives::Objective;
use kiln_tokenize::{Role, TextTokenizer, tokenizer::TokenizerError};
use kiln_train::task::TaskError;

/// The plan of a text model: it has the heads that are needed, and no other.
pub(crate) struct TextPlan<'a> {
    recipe: &'a TextModelConfig,
    /// Whether there are labelled examples.
    labelled: bool,
    config: TextModelConfig,
}

impl<'a> TextPlan<'a> {
    /// The plan of a recipe's model, with or without labelled examples.
    pub fn new(recipe: &'a TextModelConfig, labelled: bool) -> Self {
        let config = TextModelConfig {
            // Without generation, only the encoder of an encoder-decoder is used.
            language: None,
            decoder: None,
            discriminator: false,
            generator: None,
            bottleneck: None,
            ..recipe.clone()
        };
        Self { recipe, labelled, config }
    }

    /// Adds the head that scores the vocabulary, and the decoder of an encoder-decoder.
    fn generate(&mut self) {
        self.config.language = Some(self.recipe.language.unwrap_or_default());
        self.config.decoder = self.recipe.decoder.clone();
    }

    fn labelled(&self) -> Result<(), Lack> {
        Lack::unless(
            self.labelled,
            "learns from labelled examples: name them in `data.labelled.train`",
        )
    }

    fn encoder(&self, reason: &str) -> Result<(), Lack> {
        Lack::unless(self.recipe.decoder.is_none(), reason)
    }
}

impl Provide for TextPlan<'_> {
    fn provide(&mut self, need: &Need) -> Result<(), Lack> {
        let recipe = self.recipe;
        match need {
            Need::TokenTargets => self.generate(),
            Need::Discriminator => {
                self.config.discriminator = true;
                self.config.generator = recipe.generator.clone();
            }
            Need::ValueHead => self.config.discriminator = true,
            Need::BottleneckDecoders(count) => {
                self.encoder("trains encoders; this model is an encoder-decoder")?;
                // By default one block of the backbone's kind each.
                let own =
                    || Stacks(vec![TransformerConfig { layers: 1, ..recipe.backbone.clone() }]);
                let decoders = recipe.bottleneck.clone().unwrap_or_else(own);
                self.config.bottleneck = Some(decoders.resized(*count));
            }
            Need::Labels
            | Need::Groups
            | Need::RankingHead
            | Need::Ratings
            | Need::Preferences => self.labelled()?,
            Need::GroupsOrDropout if self.labelled => {}
            Need::GroupsOrDropout => Lack::unless(
                recipe.backbone.drops() || recipe.embedding.dropout > 0.0,
                "encodes a text twice, which is the same without dropout: set some in \
                 `model.parts.backbone`, use `views.masked`, or name pairs in `data.labelled.train`",
            )?,
            Need::Completions => {
                self.labelled()?;
                Lack::unless(
                    recipe.causal,
                    "samples from a decoder; this model attends to all of a text at once \
                     (`model.*.causal`)",
                )?;
            }
            Need::Bidirectional => check_bidirectional(recipe.causal, "model.*.causal")?,
            Need::Causal { .. } => self.encoder(
                "trains decoders; this model is an encoder-decoder: use `denoising`, or \
                 `supervised` with pairs",
            )?,
            Need::HiddenStates => self.encoder(
                "predicts the hidden states of a teacher's blocks; this model is an encoder-decoder",
            )?,
            Need::Permutation => {
                self.encoder("permutes the tokens of one text; this model is an encoder-decoder")?;
                Lack::unless(
                    recipe.embedding.positions > 0 || recipe.backbone.positions.is_some(),
                    "permutes tokens; this model has no positions: set \
                     `model.parts.embedding.positions` or `model.parts.backbone.positions`",
                )?;
            }
            Need::Quantizer => {
                let reason = "needs a vector quantizer; tokens of text are ids already: use \
                              `info-nce`";
                return Err(Lack::new(reason));
            }
            Need::TokenIds
            | Need::MaskTokens
            | Need::RandomReplacement
            | Need::PrefixVisibility
            | Need::Embeddings
            | Need::GroupsOrMasking
            | Need::Sentinels { .. } => {}
            Need::PretextTask(_) | Need::Denoiser => return Err(need.lack("texts")),
        }
        Ok(())
    }
}

/// The model with the heads that an objective and its labelled tasks train.
pub(crate) fn with_heads(
    recipe: &TextModelConfig,
    objective: &Objective,
    tasks: &[LabelledTask<'_>],
) -> Result<TextModelConfig, TaskError> {
    let mut plan = TextPlan::new(recipe, !tasks.is_empty());
    objective.prepare(&mut plan)?;
    if tasks.iter().any(|task| task.aim == Aim::Seq2Seq) {
        plan.generate();
    }
    let mut config = plan.config;
    let before = (config.task.take(), std::mem::take(&mut config.tasks));
    for task in tasks {
        let Aim::Head(kind, labels) = &task.aim else { continue };
        let mut head = TaskHeadConfig::new(*kind, labels.names().to_vec());
        let before = task.name.map_or(before.0.as_ref(), |name| before.1.get(name));
        head.dropout = before.map_or(config.embedding.dropout, |head| head.dropout);
        if config.causal && !kind.is_of_tokens() {
            head = TaskHeadConfig { bias: false, dropout: 0.0, ..head };
        }
        match task.name {
            Some(name) => drop(config.tasks.insert(name.to_owned(), head)),
            None => config.task = Some(head),
        }
    }
    let heads: Vec<TaskKind> = config.heads().map(|(_, head)| head.kind).collect();
    if !heads.is_empty() {
        let of_texts = heads.iter().any(|kind| !kind.is_of_tokens());
        let pooler = config.pooler.or(published_pooler(&config));
        config.pooler = pooler.filter(|_| of_texts);
    }
    Ok(config)
}

/// What published classifiers of the model's family make a text's vector with.
fn published_pooler(config: &TextModelConfig) -> Option<PoolerConfig> {
    match config.format {
        _ if config.causal => Some(PoolerConfig::of_last()),
        Some(Format::Bert | Format::Roberta | Format::Mpnet) => Some(PoolerConfig::of_first()),
        Some(Format::ModernBert) => Some(PoolerConfig {
            transform: Some(Activation::Gelu),
            bias: false,
            norm: true,
            ..PoolerConfig::default()
        }),
        _ => None,
    }
}

/// The model of a stage: its vocabulary is the tokenizer's, and it has the head that its objective
/// trains.
pub(crate) fn stage_config(
    config: &TextModelConfig,
    objective: &Objective,
    tasks: &[LabelledTask<'_>],
    tokenizer: &TextTokenizer,
) -> Result<TextModelConfig, TaskError> {
    let mut config = with_heads(config, objective, tasks)?;
    let id = |role: Role| tokenizer.special().get(role).map(|token| token.id);
    config.special = SpecialIds {
        pad: id(Role::Pad),
        bos: tokenizer.begin(),
        eos: tokenizer.end(),
        mask: id(Role::Mask),
        decoder_start: config.special.decoder_start.or(id(Role::Pad)).or(tokenizer.begin()),
        sentinels: tokenizer.special().sentinels(),
    };
    // A published model may have more rows than its tokenizer has tokens, but not fewer.
    if config.format.is_none() || config.vocabulary < tokenizer.vocabulary() {
        config.vocabulary = tokenizer.vocabulary();
    }
    let labelled = !tasks.is_empty();
    let masks = |need: &Need| match need {
        Need::MaskTokens => true,
        Need::GroupsOrMasking => !labelled,
        _ => false,
    };
    if objective.has_need(masks) {
        tokenizer.need(Role::Mask, "training on masked tokens, to stand for them")?;
    }
    for task in tasks.iter().filter(|task| task.ranks_in_words()) {
        task.data.ranking.first_ids(tokenizer)?;
    }
    let sentinels = config.special.sentinels().len();
    for need in objective.needs() {
        let Need::Sentinels { modes } = need else { continue };
        if config.special.sentinels.is_none() {
            return Err(TokenizerError::NoSentinels.into());
        }
        if modes > 0 && modes >= sentinels {
            return Err(TokenizerError::FewSentinels { modes, sentinels }.into());
        }
    }
    config.validate()?;
    Ok(config)
}
