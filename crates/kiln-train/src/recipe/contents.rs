//! What a recipe holds, as far as all modalities share it.

use super::{optimizer::Optimizer, problem::Problem};
use clap::ValueEnum;
use kiln_nn::adapt::AdaptConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt::Debug, path::PathBuf};

/// What a modality fills in of its recipes: data, model, objectives, evaluation.
pub trait ModalitySpec: Debug + Clone + 'static {
    /// Where examples come from.
    type Data: Debug + Clone + Serialize + DeserializeOwned + JsonSchema;
    /// The model: a preset's name, a model directory, or its parts.
    type Model: Debug + Clone + Serialize + DeserializeOwned + JsonSchema;
    /// What a stage optimises.
    type Objective: Debug + Clone + Serialize + DeserializeOwned + JsonSchema;
    /// How the finished model is measured.
    type Evaluation: Debug + Clone + Serialize + DeserializeOwned + JsonSchema;

    /// What is wrong with this modality's own values beyond their types.
    fn check(recipe: &Recipe<Self>) -> Vec<Problem>
    where
        Self: Sized,
    {
        let _ = recipe;
        Vec::new()
    }
}

/// The keys that all modalities share: a recipe as the trainer sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SharedOnly;

impl ModalitySpec for SharedOnly {
    type Data = ();
    type Model = ();
    type Objective = ();
    type Evaluation = ();
}

/// What all modalities' recipes have in common.
pub type Common = Recipe<SharedOnly>;

/// A recipe.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "")]
#[schemars(bound = "")]
pub struct Recipe<P: ModalitySpec> {
    /// The run's name; its directory is `runs/<name>` unless the command line says otherwise.
    pub name: String,
    /// Which modality reads this recipe: `timeseries`.
    pub modality: String,
    /// One sentence for `kiln recipes`.
    #[serde(default)]
    pub description: String,
    /// Every random number of the run follows from it.
    #[serde(default = "defaults::seed")]
    pub seed: u64,
    /// Where to compute.
    #[serde(default)]
    pub device: Device,
    /// Where training examples come from; a stage may name its own instead.
    pub data: P::Data,
    /// The model.
    pub model: P::Model,
    /// One or more stages, in order; each starts from the model of the one before.
    pub stage: Vec<Stage<P>>,
    /// How the finished model is measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluation: Vec<P::Evaluation>,
}

/// One stage of training.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "")]
#[schemars(bound = "")]
pub struct Stage<P: ModalitySpec> {
    /// A name for logs and checkpoints.
    #[serde(default = "defaults::stage")]
    pub name: String,
    /// What is optimised.
    pub objective: P::Objective,
    /// This stage's data, where it differs from the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<P::Data>,
    /// Weights to start from instead of the stage before (or random ones). Optimizer and schedule
    /// start fresh; what does not match is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// The numbers that blocks compute with.
    #[serde(default)]
    pub precision: Precision,
    /// Optimizer steps.
    pub steps: u64,
    /// Examples a micro-batch.
    pub batch: usize,
    /// Gradient accumulation: micro-batches a step, their gradients averaged.
    #[serde(default = "defaults::one")]
    pub accumulate: u64,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The learning rate over the steps.
    #[serde(default)]
    pub schedule: Schedule,
    /// Gradient clipping: gradients whose joint norm exceeds this are scaled down to it.
    #[serde(default = "defaults::clip", skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// EMA: decay of a moving average of the weights, such as 0.999; the average is then what is
    /// validated and saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Frozen parameters: patterns of names; `*` stands for anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// Active forgetting: embeddings that are reset as the stage goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forget: Option<ResetEmbeddings>,
    /// Adapters (LoRA and others): few new parameters are trained, all others are frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapt: Option<AdaptConfig>,
    /// Layer-wise learning-rate decay: each block's rate is this times that of the block after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// Steps between validations; 0 for none but the last.
    #[serde(default)]
    pub validate_every: u64,
    /// Steps between checkpoints; 0 for one at the end only.
    #[serde(default = "defaults::checkpoint_every")]
    pub checkpoint_every: u64,
    /// How many of the latest checkpoints are kept, besides the best.
    #[serde(default = "defaults::keep")]
    pub keep: usize,
    /// Early stopping: stop after this many validations without improvement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Go on with the best validated weights rather than the last.
    #[serde(default)]
    pub restore_best: bool,
    /// Steps with a NaN or infinite loss or gradient are skipped; after this many in all, stop.
    #[serde(default = "defaults::bad_steps")]
    pub max_bad_steps: u64,
    /// Steps between lines in `metrics.jsonl` and readings of training diagnostics.
    #[serde(default = "defaults::log_every")]
    pub log_every: u64,
}

/// Active forgetting, <https://arxiv.org/abs/2307.01163>: embeddings that are reset every so
/// often leave a body that takes to another language more easily.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetEmbeddings {
    /// Patterns of parameter names; `*` stands for anything.
    pub parameters: Vec<String>,
    /// Steps between.
    pub every: u64,
    /// The last step after which they are; to the end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Their learning rate, which starts over with them: from each time to the next, and from the
    /// last to the end of the stage. The stage's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
}

/// Weights to start from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// A run, a model directory or a hub id.
    pub model: String,
    /// Parts that other models fill, the last that names a parameter winning: a body that learned a
    /// task with the embeddings of another language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<InitPart>,
}

/// Parameters of a model to start from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitPart {
    /// A run, a model directory or a hub id.
    pub model: String,
    /// Patterns of parameter names as Kiln has them; `*` stands for anything.
    pub names: Vec<String>,
}

/// Mixed precision: the numbers that a stage computes with. Weights, optimizer and losses are f32 in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits throughout.
    #[default]
    F32,
    /// Blocks (attention, feed-forward, mixing) in bfloat16, their sums in f32: for GPUs. On the
    /// CPU it saves memory and takes longer.
    Bf16,
}

/// Where to compute.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// All cores of this machine.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; needs a binary built with `--features cuda`.
    Cuda,
}

impl Device {
    /// As recipes spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// The learning rate over a stage's steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine down to `floor`, which it keeps after the last step.
    Cosine(Decay),
    /// A straight line down to `floor`.
    Linear(Decay),
    /// The same rate after warm-up.
    Constant(Warmup),
    /// Warm-up, a plateau, then a straight line down to `floor` over the last `decay` steps.
    WarmupStableDecay(StableDecay),
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Cosine(Decay::default())
    }
}

/// Warm-up, then decay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decay {
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// The lowest rate, as a share of the highest.
    pub floor: f64,
}

/// Warm-up alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Warmup {
    /// Steps of linear warm-up.
    pub warmup: u64,
}

/// Warm-up, plateau, decay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StableDecay {
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Steps of decay at the end.
    pub decay: u64,
    /// The lowest rate, as a share of the highest.
    pub floor: f64,
}

/// A recipe as it was given: the text, where it came from, and what the command line overrode.
#[derive(Debug, Clone)]
pub struct RecipeText {
    /// The file.
    pub path: PathBuf,
    /// Its text, with `--set` applied.
    pub text: String,
}

/// Defaults that serde wants as functions.
mod defaults {
    pub fn seed() -> u64 {
        42
    }
    pub fn stage() -> String {
        "train".into()
    }
    pub fn one() -> u64 {
        1
    }
    #[allow(clippy::unnecessary_wraps, reason = "serde's default has the field's type")]
    pub fn clip() -> Option<f64> {
        Some(1.0)
    }
    pub fn checkpoint_every() -> u64 {
        500
    }
    pub fn keep() -> usize {
        2
    }
    pub fn bad_steps() -> u64 {
        10
    }
    pub fn log_every() -> u64 {
        10
    }
}
