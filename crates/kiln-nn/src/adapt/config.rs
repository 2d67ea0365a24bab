//! What adapters a model gets, and where.

use crate::{Activation, ConfigError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adapters: each method that is named is used, one beside the other. `modules` are patterns of
/// module names, in which `*` stands for anything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptConfig {
    /// LoRA: low-rank updates of linear layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// (IA)³: learned factors of features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ia3: Option<Ia3Config>,
    /// Bottleneck adapters after attention and feed-forward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<BottleneckConfig>,
    /// Parallel adapters beside attention or feed-forward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<ParallelConfig>,
    /// Prefix tuning: learned keys and values that all tokens attend to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PrefixConfig>,
    /// Prompt tuning: learned tokens in front of those of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptConfig>,
    /// BitFit: the model's own biases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitfit: Option<BitFitConfig>,
    /// Patterns of parameter names that are trained in full beside the adapters; by default those
    /// that the stage's starting weights lack, such as a new head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Vec<String>>,
}

/// LoRA, <https://arxiv.org/abs/2106.09685>: `x · weight + scale · (x · down) · up`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Features between `down` and `up`.
    pub rank: usize,
    /// The update's scale is this over the rank.
    pub alpha: f64,
    /// The share dropped of what enters the update while training.
    pub dropout: f64,
    /// Whether the scale is alpha over the root of the rank, so that high ranks learn as fast
    /// (<https://arxiv.org/abs/2312.03732>).
    pub rank_stabilised: bool,
    /// Linear layers; by default those that make queries and values, as in the paper.
    pub modules: Vec<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            rank_stabilised: false,
            modules: strings(&["*.attention.query", "*.attention.value"]),
        }
    }
}

impl LoraConfig {
    /// What the update is multiplied with.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilised { rank.sqrt() } else { rank }
    }
}

/// (IA)³, <https://arxiv.org/abs/2205.05638>: features are multiplied with learned factors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ia3Config {
    /// Linear layers whose outputs are multiplied; by default those that make keys and values.
    pub modules: Vec<String>,
    /// Linear layers whose inputs are; by default the last of each feed-forward block.
    pub feed_forward: Vec<String>,
}

impl Default for Ia3Config {
    fn default() -> Self {
        Self {
            modules: strings(&["*.attention.key", "*.attention.value"]),
            feed_forward: strings(&["*.feed_forward.output"]),
        }
    }
}

/// Bottleneck adapters, <https://arxiv.org/abs/1902.00751>: `y + up(activation(down(y)))` of what a
/// block adds to the residual stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BottleneckConfig {
    /// Features between `down` and `up`.
    pub width: usize,
    /// Between them.
    pub activation: Activation,
    /// Attention and feed-forward blocks; by default all, as in the paper.
    pub modules: Vec<String>,
}

impl Default for BottleneckConfig {
    fn default() -> Self {
        let modules = strings(&["*.attention", "*.feed_forward"]);
        Self { width: 16, activation: Activation::Gelu, modules }
    }
}

/// Parallel adapters, <https://arxiv.org/abs/2110.04366>: `block(x) + scale · up(activation(down(x)))`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParallelConfig {
    /// Features between `down` and `up`.
    pub width: usize,
    /// Between them.
    pub activation: Activation,
    /// What the sum is multiplied with.
    pub scale: f64,
    /// Attention and feed-forward blocks; by default those of feed-forward, the paper's best.
    pub modules: Vec<String>,
}

impl Default for ParallelConfig {
    fn default() -> Self {
        let modules = strings(&["*.feed_forward"]);
        Self { width: 16, activation: Activation::Relu, scale: 4.0, modules }
    }
}

/// Prefix tuning, <https://arxiv.org/abs/2101.00190>, without the paper's network that makes the
/// prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrefixConfig {
    /// How many keys and values.
    pub tokens: usize,
    /// Attention blocks; by default all.
    pub modules: Vec<String>,
}

impl Default for PrefixConfig {
    fn default() -> Self {
        Self { tokens: 8, modules: strings(&["*.attention"]) }
    }
}

/// Prompt tuning, <https://arxiv.org/abs/2104.08691>: tokens in front of those that enter a
/// transformer; they leave it with the others and are then taken away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptConfig {
    /// How many.
    pub tokens: usize,
    /// Transformers; by default the backbone.
    pub modules: Vec<String>,
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self { tokens: 8, modules: strings(&["backbone"]) }
    }
}

/// BitFit, <https://arxiv.org/abs/2106.10199>: the model's own biases are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BitFitConfig {
    /// Patterns of parameter names; by default all biases.
    pub parameters: Vec<String>,
}

impl Default for BitFitConfig {
    fn default() -> Self {
        Self { parameters: strings(&["*.bias"]) }
    }
}

fn strings(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

impl AdaptConfig {
    /// Checks the settings; keys are those of this config.
    ///
    /// # Errors
    /// When no method is named, a size is zero or a number out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self { lora, ia3, bottleneck, parallel, prefix, prompt, bitfit, train } = self;
        let modules = [
            ("lora.modules", lora.as_ref().map(|one| one.modules.len())),
            ("ia3.modules", ia3.as_ref().map(|one| one.modules.len() + one.feed_forward.len())),
            ("bottleneck.modules", bottleneck.as_ref().map(|one| one.modules.len())),
            ("parallel.modules", parallel.as_ref().map(|one| one.modules.len())),
            ("prefix.modules", prefix.as_ref().map(|one| one.modules.len())),
            ("prompt.modules", prompt.as_ref().map(|one| one.modules.len())),
            ("bitfit.parameters", bitfit.as_ref().map(|one| one.parameters.len())),
        ];
        if modules.iter().all(|(_, count)| count.is_none()) && train.is_none() {
            let expected = "it or another method: `ia3`, `bottleneck`, `parallel`, `prefix`, `prompt` \
                            or `bitfit`";
            return Err(ConfigError::new("lora", "absent", expected));
        }
        if let Some((key, _)) = modules.iter().find(|(_, count)| *count == Some(0)) {
            return Err(ConfigError::new(*key, "empty", "a pattern of names"));
        }
        let sizes = [
            ("lora.rank", lora.as_ref().map(|one| one.rank)),
            ("bottleneck.width", bottleneck.as_ref().map(|one| one.width)),
            ("parallel.width", parallel.as_ref().map(|one| one.width)),
            ("prefix.tokens", prefix.as_ref().map(|one| one.tokens)),
            ("prompt.tokens", prompt.as_ref().map(|one| one.tokens)),
        ];
        for (key, size) in sizes {
            ConfigError::positive(key, size.unwrap_or(1))?;
        }
        let scales = [
            ("lora.alpha", lora.as_ref().map(|one| one.alpha)),
            ("parallel.scale", parallel.as_ref().map(|one| one.scale)),
        ];
        for (key, scale) in scales {
            if let Some(scale) = scale.filter(|scale| !(*scale > 0.0 && scale.is_finite())) {
                return Err(ConfigError::new(key, scale, "a number above 0"));
            }
        }
        ConfigError::dropout("lora.dropout", lora.as_ref().map_or(0.0, |one| one.dropout))
    }

    /// The methods that no weight of the model itself can take up, for what reads the model later.
    pub fn unfolded(&self) -> Option<Self> {
        let Self { bottleneck, parallel, prefix, prompt, .. } = self.clone();
        let kept = Self { bottleneck, parallel, prefix, prompt, ..Self::default() };
        (kept != Self::default()).then_some(kept)
    }
}
