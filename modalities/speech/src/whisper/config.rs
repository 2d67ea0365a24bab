//! Whisper's `config.json`.

use kiln_nn::{Activation, AttentionBias, ConfigError, TransformerConfig, activation_named};

/// Its `model_type`.
pub const MODEL_TYPE: &str = "whisper";

kiln_hub::family_config! {
    /// Its `config.json`, with its own names; keys that do not matter here are ignored. Defaults are
    /// Whisper tiny's: <https://huggingface.co/openai/whisper-tiny>.
    #[allow(missing_docs, reason = "documented by transformers")]
    pub struct WhisperConfig {
        pub architectures: Option<Vec<String>> = None,
        pub vocab_size: usize = 51_865,
        pub num_mel_bins: usize = 80,
        pub d_model: usize = 384,
        pub encoder_layers: usize = 4,
        pub encoder_attention_heads: usize = 6,
        pub encoder_ffn_dim: usize = 1536,
        pub encoder_layerdrop: f64 = 0.0,
        pub decoder_layers: usize = 4,
        pub decoder_attention_heads: usize = 6,
        pub decoder_ffn_dim: usize = 1536,
        pub decoder_layerdrop: f64 = 0.0,
        pub activation_function: String = "gelu".into(),
        pub dropout: f64 = 0.0,
        pub attention_dropout: f64 = 0.0,
        pub activation_dropout: f64 = 0.0,
        pub max_source_positions: usize = 1500,
        pub max_target_positions: usize = 448,
        pub bos_token_id: u32 = 50_256,
        pub eos_token_id: u32 = 50_256,
        pub pad_token_id: u32 = 50_256,
        pub decoder_start_token_id: u32 = 50_257,
        pub tie_word_embeddings: bool = true,
        /// Hides frames while training; not done here.
        pub apply_spec_augment: bool = false,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub suppress_tokens: Option<Vec<i64>> = None,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub begin_suppress_tokens: Option<Vec<i64>> = None,
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
