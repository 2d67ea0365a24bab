//! What a model costs to train, from its configuration alone.

use kiln_lm::TextModelConfig;
use kiln_nn::TransformerConfig;
use kiln_train::{
    cost::{self, KEPT_A_FEATURE},
    recipe::{Parts, Stage},
};

/// Floating-point operations of the forward pass over a sequence of so many tokens: the matrix
/// products, a multiplication and an addition each; norms and activations are left out.
pub fn forward_flops(config: &TextModelConfig, tokens: usize) -> f64 {
    let (tokens, width) = (tokens as f64, config.width as f64);
    let scores = config.language.map_or(0.0, |head| {
        let transform = if head.transform.is_some() { width * width } else { 0.0 };
        2.0 * tokens * (width * config.vocabulary as f64 + transform)
    });
    let decoder = config.decoder.as_ref().map_or(0.0, |decoder| {
        // Attention to what was read costs what attention to itself does.
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

/// Operations of one optimizer step, whose backward pass costs so many forward passes.
pub fn step_flops<P: Parts>(
    config: &TextModelConfig,
    tokens: usize,
    stage: &Stage<P>,
    backward: f64,
) -> f64 {
    let sequences = stage.accumulate as f64 * stage.batch as f64;
    (1.0 + backward) * sequences * forward_flops(config, tokens)
}

/// Tokens of one optimizer step: what is written counts beside what is read.
pub fn step_tokens<P: Parts>(config: &TextModelConfig, tokens: usize, stage: &Stage<P>) -> f64 {
    let texts = if config.decoder.is_some() { 2.0 } else { 1.0 };
    texts * stage.accumulate as f64 * stage.batch as f64 * tokens as f64
}

/// Bytes of weights, gradients, optimizer state and kept activations, an estimate.
pub fn step_memory<P: Parts>(
    config: &TextModelConfig,
    tokens: usize,
    stage: &Stage<P>,
    parameters: usize,
    trainable: usize,
) -> f64 {
    let decoder = config.decoder.as_ref().map_or(0, |decoder| decoder.layers);
    let layers = config.backbone.layers + config.branch_layers() + decoder;
    let blocks = KEPT_A_FEATURE * (layers * tokens * config.width) as f64;
    cost::step_memory(stage, parameters, trainable, stage.batch as f64 * blocks)
}
