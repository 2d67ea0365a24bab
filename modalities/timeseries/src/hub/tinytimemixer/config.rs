//! The `config.json` of Tiny Time Mixers.

use crate::hub::keys::{MixerKeys, SeriesKeys};
use serde_json::Value;

kiln_hub::family_config! {
    /// Its `config.json`, with its own names and defaults; keys that do not matter here are
    /// ignored.
    #[allow(missing_docs, reason = "documented by granite-tsfm")]
    pub struct TinyTimeMixerConfig {
        #[serde(flatten)]
        pub keys: SeriesKeys =
            SeriesKeys { context_length: 64, d_model: 16, ..SeriesKeys::default() },
        #[serde(flatten)]
        pub mixer: MixerKeys = MixerKeys::default(),
        pub exogenous_channel_indices: Option<Vec<usize>> = None,
        pub adaptive_patching_levels: usize = 0,
        pub resolution_prefix_tuning: bool = false,
        pub frequency_token_vocab_size: usize = 5,
        pub decoder_num_layers: usize = 8,
        pub decoder_d_model: usize = 8,
        pub decoder_adaptive_patching_levels: usize = 0,
        pub decoder_raw_residual: bool = false,
        pub decoder_mode: String = "common_channel".into(),
        pub use_decoder: bool = true,
        pub enable_forecast_channel_mixing: bool = false,
        pub fcm_gated_attn: bool = true,
        pub fcm_context_length: usize = 1,
        pub fcm_use_mixer: bool = false,
        pub fcm_mix_layers: usize = 2,
        pub fcm_prepend_past: bool = true,
        pub fcm_prepend_past_offset: Option<usize> = None,
        pub prediction_filter_length: Option<usize> = None,
        pub quantile: f64 = 0.5,
        pub huber_delta: f64 = 1.0,
        pub register_tokens: usize = 0,
        pub enable_base_norm_always: bool = false,
        #[serde(skip_serializing)]
        pub masked_context_length: Option<usize> = None,
        // Options that are refused.
        #[serde(skip_serializing)]
        pub categorical_vocab_size_list: Option<Value> = None,
        #[serde(skip_serializing)]
        pub multi_scale: bool = false,
        #[serde(skip_serializing)]
        pub fft_length: usize = 0,
        #[serde(skip_serializing)]
        pub multi_quantile_head: bool = false,
        #[serde(skip_serializing)]
        pub decompose: bool = false,
        #[serde(skip_serializing)]
        pub gate_mode: Option<String> = None,
        #[serde(skip_serializing)]
        pub use_register_context_gating: Option<bool> = None,
    }
}
