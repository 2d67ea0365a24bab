//! The `config.json` of Tiny Time Mixers.

use crate::hub::keys::{MixerKeys, SeriesKeys};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Its `config.json`, with its own names and defaults; keys that do not matter here are ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented by granite-tsfm")]
pub struct TinyTimeMixerConfig {
    #[serde(flatten)]
    pub keys: SeriesKeys,
    #[serde(flatten)]
    pub mixer: MixerKeys,
    pub exogenous_channel_indices: Option<Vec<usize>>,
    pub adaptive_patching_levels: usize,
    pub resolution_prefix_tuning: bool,
    pub frequency_token_vocab_size: usize,
    pub decoder_num_layers: usize,
    pub decoder_d_model: usize,
    pub decoder_adaptive_patching_levels: usize,
    pub decoder_raw_residual: bool,
    pub decoder_mode: String,
    pub use_decoder: bool,
    pub enable_forecast_channel_mixing: bool,
    pub fcm_gated_attn: bool,
    pub fcm_context_length: usize,
    pub fcm_use_mixer: bool,
    pub fcm_mix_layers: usize,
    pub fcm_prepend_past: bool,
    pub fcm_prepend_past_offset: Option<usize>,
    pub prediction_filter_length: Option<usize>,
    pub quantile: f64,
    pub huber_delta: f64,
    pub register_tokens: usize,
    pub enable_base_norm_always: bool,
    #[serde(skip_serializing)]
    pub masked_context_length: Option<usize>,
    // Options that are refused.
    #[serde(skip_serializing)]
    pub categorical_vocab_size_list: Option<Value>,
    #[serde(skip_serializing)]
    pub multi_scale: bool,
    #[serde(skip_serializing)]
    pub fft_length: usize,
    #[serde(skip_serializing)]
    pub multi_quantile_head: bool,
    #[serde(skip_serializing)]
    pub decompose: bool,
    #[serde(skip_serializing)]
    pub gate_mode: Option<String>,
    #[serde(skip_serializing)]
    pub use_register_context_gating: Option<bool>,
}

impl Default for TinyTimeMixerConfig {
    fn default() -> Self {
        Self {
            keys: SeriesKeys { context_length: 64, d_model: 16, ..SeriesKeys::default() },
            mixer: MixerKeys::default(),
            exogenous_channel_indices: None,
            adaptive_patching_levels: 0,
            resolution_prefix_tuning: false,
            frequency_token_vocab_size: 5,
            decoder_num_layers: 8,
            decoder_d_model: 8,
            decoder_adaptive_patching_levels: 0,
            decoder_raw_residual: false,
            decoder_mode: "common_channel".into(),
            use_decoder: true,
            enable_forecast_channel_mixing: false,
            fcm_gated_attn: true,
            fcm_context_length: 1,
            fcm_use_mixer: false,
            fcm_mix_layers: 2,
            fcm_prepend_past: true,
            fcm_prepend_past_offset: None,
            prediction_filter_length: None,
            quantile: 0.5,
            huber_delta: 1.0,
            register_tokens: 0,
            enable_base_norm_always: false,
            masked_context_length: None,
            categorical_vocab_size_list: None,
            multi_scale: false,
            fft_length: 0,
            multi_quantile_head: false,
            decompose: false,
            gate_mode: None,
            use_register_context_gating: None,
        }
    }
}
