//! What a model costs to train, from its configuration alone.

use crate::SeriesModelConfig;
use kiln_nn::BackboneConfig;
use kiln_train::{architecture::StageCost, cost::KEPT_A_FEATURE};

/// Floating-point operations of the forward pass for one sequence of tokens: the matrix
/// products, a multiplication and an addition each; norms and activations are left out.
pub fn forward_flops(config: &SeriesModelConfig) -> f64 {
    let tokens = config.tokens() as f64;
    let width = config.width as f64;
    let channels = config.built_channels();
    let patch = config.frontend.patch_values(channels) as f64;
    let mixed = config.frontend.sequences(channels);
    let mut flops = 2.0 * tokens * patch * width;
    flops += backbone_flops(&config.backbone, tokens, width, mixed);
    let mut read = width;
    if let Some(decoder) = &config.decoder {
        read = decoder.width as f64;
        flops += 2.0 * tokens * width * read;
        flops += backbone_flops(&decoder.backbone, tokens, read, mixed);
    }
    if let Some(forecast) = &config.forecast {
        let rows = config.rows() * config.frontend.patch_values(channels) / config.frontend.patch;
        let outputs = (rows * (1 + forecast.quantiles.len())) as f64;
        flops += 2.0 * forecast.pooling.features(config.tokens(), read as usize) as f64 * outputs;
    }
    if config.token.is_some() {
        flops += 2.0 * tokens * width * patch;
    }
    flops
}

fn backbone_flops(backbone: &BackboneConfig, tokens: f64, width: f64, channels: usize) -> f64 {
    match backbone {
        BackboneConfig::Transformer(transformer) => transformer.forward_flops(tokens, width),
        BackboneConfig::Mixer(mixer) => {
            let expansion = mixer.expansion as f64;
            // Two layers to the expansion and back, and a square gate.
            let mix = |along: f64, others: f64| {
                2.0 * others * along * along * (2.0 * expansion + f64::from(u8::from(mixer.gated)))
            };
            let cuts: Vec<f64> =
                mixer.cuts(width as usize).into_iter().map(|cut| cut as f64).collect();
            let one = |cut: &f64| {
                let (tokens, width) = (tokens * cut, width / cut);
                let channel = if mixer.channel_mixing {
                    mix(channels as f64, tokens * width / channels.max(1) as f64)
                } else {
                    0.0
                };
                mix(tokens, width) + mix(width, tokens) + channel
            };
            mixer.layers as f64 * cuts.iter().map(one).sum::<f64>()
        }
    }
}

/// What a micro-batch of so many windows costs.
pub fn of_stage(
    config: SeriesModelConfig,
    batch: usize,
    examples: Option<u64>,
) -> StageCost<SeriesModelConfig> {
    let blocks = match &config.backbone {
        BackboneConfig::Transformer(transformer) => transformer.layers,
        BackboneConfig::Mixer(mixer) => 2 * mixer.layers * mixer.adaptive_levels.max(1),
    };
    let channels = config.built_channels();
    let sequences = config.frontend.sequences(channels) * batch;
    let features = (blocks * config.tokens() * sequences * config.width) as f64;
    StageCost {
        examples,
        forward_flops: sequences as f64 * forward_flops(&config),
        tokens: (batch * channels * config.tokens()) as f64,
        activations: KEPT_A_FEATURE * features,
        config,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_nn::{MixerConfig, TransformerConfig};

    #[test]
    fn by_hand() {
        // 2 tokens of 4 features, hidden 8: projections 256, attention 64, feed-forward 256.
        let one = TransformerConfig { layers: 1, hidden: Some(8), ..Default::default() };
        assert_eq!(backbone_flops(&BackboneConfig::Transformer(one), 2.0, 4.0, 1), 576.0);
        // Tokens 2·4·(2·2)·(2·2+1) = 160; features 2·2·(4·4)·5 = 320.
        let one = MixerConfig { layers: 1, expansion: 2, gated: true, ..Default::default() };
        assert_eq!(backbone_flops(&BackboneConfig::Mixer(one), 2.0, 4.0, 1), 480.0);
    }
}
