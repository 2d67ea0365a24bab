//! What a model costs to train, from its configuration alone.

use kiln_lm::TextModelConfig;
use kiln_nn::TransformerConfig;
use kiln_train::{architecture::StageCost, cost::KEPT_A_FEATURE};

/// Floating-point operations of the forward pass over a sequence of so many tokens: the matrix
/// products, a multiplication and an addition each; norms and activations are left out.
pub fn forward_flops(config: &TextModelConfig, tokens: usize) -> f64 {
    let (tokens, width) = (tokens as f64, config.width as f64);
    let scores = config.language.map_or(0.0, |head| {
        let transform = if head.transform.is_some() { width * width } else { 0.0 };
        2.0 * tokens * (width * config.vocabulary as f64 + transform)
    });
    let decoder = config.decoder.as_ref().map_or(0.0, |decoder| {
        // Cross-attention costs as much as self-attention.
        let across = 2.0 * tokens * width * (4.0 * width + 2.0 * tokens);
        decoder.forward_flops(tokens, width) + decoder.layers as f64 * across
    });
    let generator = config.generator.as_ref().map_or(0.0, |generator| {
        let inner = generator.width as f64;
        generator.backbone.forward_flops(tokens, inner) + 4.0 * tokens * width * inner
    });
    let backbone = TransformerConfig {
        layers: config.backbone.layers + config.branch_layers(),
        ..config.backbone.clone()
    };
    backbone.forward_flops(tokens, width) + decoder + generator + scores
}

/// What a micro-batch of so many sequences of so many tokens costs.
pub fn of_stage(
    config: TextModelConfig,
    tokens: usize,
    sequences: f64,
    examples: Option<u64>,
) -> StageCost<TextModelConfig> {
    let decoder = config.decoder.as_ref().map_or(0, |decoder| decoder.layers);
    let layers = config.backbone.layers + config.branch_layers() + decoder;
    let features = (layers * tokens * config.width) as f64;
    // Target tokens are counted beside source tokens.
    let texts = if config.decoder.is_some() { 2.0 } else { 1.0 };
    StageCost {
        examples,
        forward_flops: sequences * forward_flops(&config, tokens),
        tokens: texts * sequences * tokens as f64,
        activations: sequences * KEPT_A_FEATURE * features,
        config,
    }
}
