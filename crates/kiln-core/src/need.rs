//! Needs: what an objective asks of a model and its data, said once for the check of a recipe, the
//! building of heads, and the run.

use crate::{Backend, Capabilities};

/// Something that a model or its data lacks, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Lack {
    /// The recipe key that would have to change, where it is not the objective's.
    pub key: Option<String>,
    /// Goes on after the objective's name: "needs a ranking head".
    pub reason: String,
}

impl Lack {
    /// A lack that another objective, or another model, would mend.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { key: None, reason: reason.into() }
    }

    /// A lack that the value of a key in the recipe would mend.
    pub fn at(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: Some(key.into()), reason: reason.into() }
    }

    /// The same, of an objective by its name.
    #[must_use]
    pub fn of(self, objective: &str) -> Self {
        if self.reason.starts_with('`') {
            return self;
        }
        Self { reason: format!("`{objective}` {}", self.reason), ..self }
    }

    /// Fine where `there`; otherwise the reason.
    ///
    /// # Errors
    /// The reason, where it is not there.
    pub fn unless(there: bool, reason: &str) -> Result<(), Self> {
        if there { Ok(()) } else { Err(Self::new(reason)) }
    }
}

/// What an objective needs of a model and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Labels, and a head that predicts them.
    Labels,
    /// A head for a pretext task of this name.
    PretextTask(String),
    /// Token targets, and a head that predicts them.
    TokenTargets,
    /// Token targets that are ids of a vocabulary, in sequences that can be read and written.
    TokenIds,
    /// Something that stands in the place of masked tokens.
    MaskTokens,
    /// Tokens that can be replaced at random.
    RandomReplacement,
    /// Attention to both sides.
    Bidirectional,
    /// Causal attention. Tokens must not show what the token `ahead` of them stands for.
    Causal {
        /// How many tokens ahead is predicted; the next is 1.
        ahead: usize,
    },
    /// Causal attention with a prefix that all tokens attend to.
    PrefixVisibility,
    /// A vector quantizer of the frontend's features.
    Quantizer,
    /// Hidden states of each block, and a prediction of the teacher's.
    HiddenStates,
    /// Embeddings of whole sequences, each of one document.
    Embeddings,
    /// Data that says what belongs together: pairs, triplets.
    Groups,
    /// Groups; or, without them, two views of a sequence by dropout.
    GroupsOrDropout,
    /// Groups; or, without them, two views of a sequence by masking.
    GroupsOrMasking,
    /// A ranking head, and queries with candidates.
    RankingHead,
    /// Ratings of examples or of pairs.
    Ratings,
    /// Sequence-to-sequence pairs with sentinels, the last `modes` of which stand for modes.
    Sentinels {
        /// How many modes are told apart.
        modes: usize,
    },
    /// Prompts with a chosen and a rejected completion.
    Preferences,
    /// Prompts with reference completions, and a model that samples its own.
    Completions,
    /// Positions of tokens that can stand in any order.
    Permutation,
    /// A discriminator head, and a generator if the model has one of its own.
    Discriminator,
    /// A value head.
    ValueHead,
    /// So many bottleneck decoders.
    BottleneckDecoders(usize),
    /// A denoiser.
    Denoiser,
}

impl Need {
    /// Whether a built model has the capability that this asks for: what [`Provide::provide`]
    /// promised. Needs of data alone are met by any model.
    pub fn is_met<B: Backend, T>(&self, model: &Capabilities<'_, B, T>) -> bool {
        match self {
            Self::Labels => model.labelled.is_some(),
            Self::PretextTask(task) => {
                model.pretext.is_some_and(|pretext| pretext.tasks().contains(&task.as_str()))
            }
            Self::TokenTargets => model.predict_tokens.is_some(),
            Self::TokenIds => model.predict_tokens.is_some() && model.language.is_some(),
            Self::MaskTokens
            | Self::RandomReplacement
            | Self::Bidirectional
            | Self::Causal { .. }
            | Self::PrefixVisibility => model.encode.is_some(),
            Self::Quantizer => model.quantize.is_some(),
            Self::HiddenStates => model.hidden_states.is_some(),
            Self::Embeddings | Self::Groups | Self::GroupsOrDropout | Self::GroupsOrMasking => {
                model.embed_groups.is_some()
            }
            Self::RankingHead => model.rank.is_some(),
            Self::Ratings => model.ratings.is_some(),
            Self::Sentinels { .. } | Self::Completions => model.language.is_some(),
            Self::Preferences => model.encode.is_some(),
            Self::Permutation => model.encode_permuted.is_some(),
            Self::Discriminator => model.discriminate.is_some(),
            Self::ValueHead => model.value.is_some(),
            Self::BottleneckDecoders(count) => {
                model.bottleneck_decode.is_some_and(|model| model.decoders() >= *count)
            }
            Self::Denoiser => model.denoise.is_some(),
        }
    }
}

/// The plan of a model and its data, before anything is built.
pub trait Provide {
    /// Adds what is needed to the model's configuration, such as a head; or says why it cannot be
    /// had, and which key would change that.
    ///
    /// # Errors
    /// What is missing.
    fn provide(&mut self, need: &Need) -> Result<(), Lack>;
}

impl Need {
    /// The lack of this where a modality has nothing of the kind; `things` is what its examples are,
    /// such as "series".
    pub fn lack(&self, things: &str) -> Lack {
        let (what, of_model) = match self {
            Self::Labels => ("labels", false),
            Self::PretextTask(task) => {
                return Lack::new(format!(
                    "needs a head for the task `{task}`, which the model lacks"
                ));
            }
            Self::TokenTargets => ("a head that predicts tokens", true),
            Self::TokenIds => ("token ids of a vocabulary", false),
            Self::MaskTokens => ("something that stands for masked tokens", true),
            Self::RandomReplacement => {
                ("tokens that can be replaced at random or kept unchanged", false)
            }
            Self::Bidirectional => ("bidirectional attention", true),
            Self::Causal { .. } => ("causal attention", true),
            Self::PrefixVisibility => ("causal attention with a prefix", true),
            Self::Quantizer => ("a vector quantizer", true),
            Self::HiddenStates => ("the hidden states of blocks", true),
            Self::Embeddings => ("embeddings of whole sequences", true),
            Self::Groups => ("pairs or triplets", false),
            Self::GroupsOrDropout => ("dropout, which makes two views of a sequence differ", true),
            Self::GroupsOrMasking => ("something that stands for masked tokens", true),
            Self::RankingHead => ("a ranking head", true),
            Self::Ratings => ("ratings", false),
            Self::Sentinels { .. } => ("sentinel tokens", false),
            Self::Preferences => ("chosen and rejected completions", false),
            Self::Completions => ("prompts with reference completions", false),
            Self::Permutation => ("tokens that can stand in any order", true),
            Self::Discriminator => ("a discriminator", true),
            Self::ValueHead => ("a value head", true),
            Self::BottleneckDecoders(_) => ("bottleneck decoders", true),
            Self::Denoiser => ("a denoiser", true),
        };
        let owner = if of_model { format!("models of {things}") } else { things.to_owned() };
        Lack::new(format!("needs {what}; {owner} have none"))
    }
}

/// Whether a model attends to both sides; a causal one does not until its setting `key` is turned
/// off.
///
/// # Errors
/// When it is causal.
pub fn check_bidirectional(causal: bool, key: &str) -> Result<(), Lack> {
    let reason = format!(
        "needs bidirectional attention; this model is causal: use `autoregressive`, or set `{key}` to \
         false"
    );
    Lack::unless(!causal, &reason)
}
