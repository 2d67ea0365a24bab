//! What a model costs to train, from its configuration alone.

use crate::{SpeechModelConfig, frontend::StemConfig, recipe::SpeechData};
use kiln_train::{architecture::StageCost, cost::KEPT_A_FEATURE};

/// Of a recording, s, where nothing says how long recordings are.
const TYPICAL: f64 = 5.0;

/// Floating-point operations of the forward pass over so many samples: the matrix products, a
/// multiplication and an addition each; norms and activations are left out.
pub fn forward_flops(config: &SpeechModelConfig, samples: usize) -> f64 {
    let frames = config.frames(samples) as f64;
    let (width, channels) = (config.width as f64, config.frontend.stem.channels() as f64);
    let stem = match &config.frontend.stem {
        StemConfig::Wave(wave) => {
            let (mut length, mut inputs, mut flops) = (samples, 1, 0.0);
            for layer in &wave.layers {
                length = length.saturating_sub(layer.kernel) / layer.stride.max(1) + 1;
                flops += 2.0 * (length * layer.kernel * inputs * layer.channels) as f64;
                inputs = layer.channels;
            }
            flops
        }
        // Kernels of 3 frames, the first over twice as many.
        StemConfig::LogMel(mel) => {
            6.0 * frames * channels * (2.0 * mel.spectrogram.bins as f64 + channels)
        }
    };
    let positions = &config.frontend.positions;
    let place = 2.0 * width * width * positions.kernel as f64 / positions.groups.max(1) as f64;
    stem + 2.0 * frames * channels * width
        + frames * place
        + config.backbone.forward_flops(frames, width)
}

/// Samples that pass a model in a step.
fn samples(config: &SpeechModelConfig, data: &SpeechData, clips: usize) -> (usize, f64) {
    let rate = config.audio.sample_rate as f64;
    match &data.buckets {
        Some(buckets) => {
            let each = TYPICAL.min(buckets.seconds);
            ((each * rate) as usize, clips as f64 * buckets.seconds / each)
        }
        None => ((TYPICAL.min(data.longest) * rate) as usize, clips as f64),
    }
}

/// What a micro-batch of so many clips costs.
pub fn of_stage(
    config: SpeechModelConfig,
    data: &SpeechData,
    batch: usize,
    examples: u64,
) -> StageCost<SpeechModelConfig> {
    let (length, clips) = samples(&config, data, batch);
    let frames = config.frames(length) as f64;
    let stem = match &config.frontend.stem {
        // Each layer of the stem halves what the one before it kept.
        StemConfig::Wave(wave) => {
            let first = wave.layers.first().map_or(1, |layer| layer.stride.max(1));
            4.0 * (length / first * config.frontend.stem.channels()) as f64
        }
        StemConfig::LogMel(_) => 4.0 * frames * config.frontend.stem.channels() as f64,
    };
    let blocks = config.backbone.layers as f64 * frames * config.width as f64;
    StageCost {
        examples: Some(examples),
        forward_flops: clips * forward_flops(&config, length),
        tokens: clips * frames,
        activations: clips * (stem + KEPT_A_FEATURE * blocks),
        config,
    }
}
