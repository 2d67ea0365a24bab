//! Whisper's `config.json`.

use kiln_nn::{Activation, AttentionBias, ConfigError, TransformerConfig, activation_named};
use serde::{Deserialize, Serialize};

/// Its `model_type`.
pub const MODEL_TYPE: &str = "whisper";

/// Its `config.json`, with its own names and defaults; keys that do not matter here are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented by transformers")]
pub struct WhisperConfig {
    pub architectures: Option<Vec<String>>,
    pub vocab_size: usize,
    pub num_mel_bins: usize,
    pub d_model: usize,
    pub encoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    pub encoder_layerdrop: f64,
    pub decoder_layers: usize,
    pub decoder_attention_heads: usize,
    pub decoder_ffn_dim: usize,
    pub decoder_layerdrop: f64,
    pub activation_function: String,
    pub dropout: f64,
    pub attention_dropout: f64,
    pub activation_dropout: f64,
    pub max_source_positions: usize,
    pub max_target_positions: usize,
    pub bos_token_id: u32,
    pub eos_token_id: u32,
    pub pad_token_id: u32,
    pub decoder_start_token_id: u32,
    pub tie_word_embeddings: bool,
    /// Hides frames while training; not done here.
    pub apply_spec_augment: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppress_tokens: Option<Vec<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin_suppress_tokens: Option<Vec<i64>>,
}

impl Default for WhisperConfig {
    /// Whisper tiny: <https://huggingface.co/openai/whisper-tiny>.
    fn default() -> Self {
        Self {
            architectures: None,
            vocab_size: 51_865,
            num_mel_bins: 80,
            d_model: 384,
            encoder_layers: 4,
            encoder_attention_heads: 6,
            encoder_ffn_dim: 1536,
            encoder_layerdrop: 0.0,
            decoder_layers: 4,
            decoder_attention_heads: 6,
            decoder_ffn_dim: 1536,
            decoder_layerdrop: 0.0,
            activation_function: "gelu".into(),
            dropout: 0.0,
            attention_dropout: 0.0,
            activation_dropout: 0.0,
            max_source_positions: 1500,
            max_target_positions: 448,
            bos_token_id: 50_256,
            eos_token_id: 50_256,
            pad_token_id: 50_256,
            decoder_start_token_id: 50_257,
            tie_word_embeddings: true,
            apply_spec_augment: false,
            suppress_tokens: None,
            begin_suppress_tokens: None,
        }
    }
}

impl WhisperConfig {
    /// The encoder's blocks.
    ///
    /// # Errors
    /// When the activation is unknown.
    pub fn encoder(&self) -> Result<TransformerConfig, ConfigError> {
        Ok(TransformerConfig {
            layers: self.encoder_layers,
            heads: self.encoder_attention_heads,
            hidden: Some(self.encoder_ffn_dim),
            layer_drop: self.encoder_layerdrop,
            ..self.blocks()?
        })
    }

    /// The decoder's blocks.
    ///
    /// # Errors
    /// When the activation is unknown.
    pub fn decoder(&self) -> Result<TransformerConfig, ConfigError> {
        Ok(TransformerConfig {
            layers: self.decoder_layers,
            heads: self.decoder_attention_heads,
            hidden: Some(self.decoder_ffn_dim),
            layer_drop: self.decoder_layerdrop,
            ..self.blocks()?
        })
    }

    fn blocks(&self) -> Result<TransformerConfig, ConfigError> {
        Ok(TransformerConfig {
            activation: activation_named("activation_function", &self.activation_function)?,
            pre_norm: true,
            final_norm: true,
            attention_bias: AttentionBias::NoKey,
            attention_dropout: self.attention_dropout,
            hidden_dropout: self.activation_dropout,
            residual_dropout: self.dropout,
            ..TransformerConfig::default()
        })
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// When one is out of range or not supported.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("vocab_size", self.vocab_size),
            ("num_mel_bins", self.num_mel_bins),
            ("d_model", self.d_model),
            ("max_source_positions", self.max_source_positions),
            ("max_target_positions", self.max_target_positions),
        ] {
            ConfigError::positive(key, value)?;
        }
        if !self.d_model.is_multiple_of(2) {
            return Err(ConfigError::new("d_model", self.d_model, "an even number"));
        }
        // The stem's is always GELU, and fused with its convolutions.
        let activation = activation_named("activation_function", &self.activation_function)?;
        if activation != Activation::Gelu {
            return Err(ConfigError::new("activation_function", &self.activation_function, "gelu"));
        }
        for (key, found, supported) in [
            ("tie_word_embeddings", self.tie_word_embeddings, true),
            ("apply_spec_augment", self.apply_spec_augment, false),
        ] {
            if found != supported {
                return Err(ConfigError::new(key, found, supported.to_string()));
            }
        }
        if let Some(name) = self.architectures.as_ref().and_then(|names| names.first())
            && name != CLASS
        {
            return Err(ConfigError::new("architectures", name, CLASS));
        }
        let parts = [("encoder", self.encoder()?), ("decoder", self.decoder()?)];
        parts.into_iter().try_for_each(|(part, blocks)| {
            blocks.validate(self.d_model).map_err(|e| e.within(part))
        })
    }
}

/// The class that is read and written.
pub(super) const CLASS: &str = "WhisperForConditionalGeneration";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_is_named() {
        let default = WhisperConfig::default;
        assert!(default().validate().is_ok());
        let message = |config: WhisperConfig| config.validate().unwrap_err().to_string();
        let untied = WhisperConfig { tie_word_embeddings: false, ..default() };
        assert_eq!(message(untied), "`tie_word_embeddings` is false; expected true");
        let augmented = WhisperConfig { apply_spec_augment: true, ..default() };
        assert_eq!(message(augmented), "`apply_spec_augment` is true; expected false");
        let relu = WhisperConfig { activation_function: "relu".into(), ..default() };
        assert_eq!(message(relu), "`activation_function` is relu; expected gelu");
        let heads = WhisperConfig { decoder_attention_heads: 5, ..default() };
        assert!(message(heads).starts_with("`decoder.heads` is 5"));
        let architectures = Some(vec!["WhisperForAudioClassification".into()]);
        assert!(message(WhisperConfig { architectures, ..default() }).contains(CLASS));
    }
}
