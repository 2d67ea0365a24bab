//! OPT and Falcon: against `transformers`, there and back, and what is not read.

use super::{
    tests::{agrees, goes_there_and_back, written},
    *,
};
use crate::config::{EmbeddingConfig, LanguageHeadConfig};
use kiln_hub::testing::{config_error, each_made};
use kiln_nn::{Activation, AttentionBias, RotaryConfig, TransformerConfig};

const MADE: &str = include_str!("../../tests/python/make_decoders.py");

macro_rules! families {
    ($($family:ident),*) => {$(
        #[test]
        fn $family() {
            each_made(MADE, stringify!($family), |dir, failures| {
                agrees(dir, failures);
                goes_there_and_back(dir, failures);
            });
        }
    )*};
}

families!(opt, falcon);

fn small(embedding: EmbeddingConfig, backbone: TransformerConfig) -> TextModelConfig {
    let backbone = TransformerConfig { layers: 1, heads: 4, final_norm: true, ..backbone };
    TextModelConfig { vocabulary: 40, width: 16, embedding, backbone, ..TextModelConfig::default() }
}

pub(super) fn small_opt() -> TextModelConfig {
    let embedding =
        EmbeddingConfig { positions: 12, first_position: 2, ..EmbeddingConfig::default() };
    small(embedding, TransformerConfig { activation: Activation::Relu, ..Default::default() })
}

/// With so many heads of keys; and so many norms a block, where attention and feed-forward stand
/// side by side.
pub(super) fn small_falcon(kv_heads: Option<usize>, norms: Option<usize>) -> TextModelConfig {
    let embedding = EmbeddingConfig { positions: 0, ..EmbeddingConfig::default() };
    let backbone = TransformerConfig {
        kv_heads,
        positions: Some(PositionConfig::Rotary(RotaryConfig::default())),
        parallel: norms.is_some(),
        shared_norm: norms == Some(1),
        bias: false,
        attention_bias: AttentionBias::None,
        ..TransformerConfig::default()
    };
    small(embedding, backbone)
}

#[test]
fn opt_goes_there_and_back() {
    let (_out, dir) = written(small_opt());
    assert_eq!(dir.model_type(), "opt");
    assert_eq!(dir.config["architectures"][0], "OPTForCausalLM");
    assert_eq!(dir.config["max_position_embeddings"], 10);
    assert_eq!(dir.config["ffn_dim"], 64);
    let weights = dir.weights().unwrap().tensors;
    assert_eq!(weights["model.decoder.embed_positions.weight"].shape, [12, 16]);
    assert_eq!(weights["model.decoder.layers.0.final_layer_norm.bias"].shape, [16]);
    assert_eq!(weights["model.decoder.final_layer_norm.bias"].shape, [16]);
    assert!(!weights.contains_key("lm_head.weight"));
    let mut other = small_opt();
    (other.backbone.pre_norm, other.backbone.final_norm) = (false, false);
    other.language = Some(LanguageHeadConfig { tied: false, ..LanguageHeadConfig::default() });
    let (_out, dir) = written(other);
    assert_eq!((dir.model_type(), &dir.config["do_layer_norm_before"]), ("opt", &false.into()));
    assert!(dir.weights().unwrap().tensors.contains_key("lm_head.weight"));
}

#[test]
fn falcons_of_all_kinds_go_there_and_back() {
    for (kv_heads, norms, new, rows, norm) in [
        (Some(1), Some(1), false, 24, "input_layernorm"),
        (Some(1), None, false, 24, "post_attention_layernorm"),
        (None, None, false, 48, "post_attention_layernorm"),
        (None, Some(1), false, 48, "input_layernorm"),
        (None, Some(2), true, 48, "ln_mlp"),
        (Some(1), Some(2), true, 24, "ln_attn"),
        (Some(2), Some(2), true, 32, "ln_mlp"),
        (Some(2), Some(1), true, 32, "input_layernorm"),
    ] {
        let (_out, dir) = written(small_falcon(kv_heads, norms));
        assert_eq!(dir.model_type(), "falcon");
        assert_eq!(dir.config["new_decoder_architecture"], new);
        let weights = dir.weights().unwrap().tensors;
        let fused = &weights["transformer.h.0.self_attention.query_key_value.weight"];
        assert_eq!(fused.shape, [rows, 16]);
        assert!(weights.contains_key(&format!("transformer.h.0.{norm}.weight")), "{weights:?}");
    }
    // Groups of queries in blocks one after the other are nobody's.
    assert_eq!(written(small_falcon(Some(2), None)).1.model_type(), KILN);
}

#[test]
fn what_is_not_supported_is_named() {
    for (model_type, settings, expected) in [
        (
            "opt",
            r#""hidden_size": 1024, "word_embed_proj_dim": 512"#,
            "`word_embed_proj_dim` is 512",
        ),
        ("opt", r#""layer_norm_elementwise_affine": false"#, "`layer_norm_elementwise_affine`"),
        ("opt", r#""activation_function": "mish""#, "`activation_function` is mish"),
        ("opt", r#""architectures": ["OPTForQuestionAnswering"]"#, "`architectures`"),
        ("falcon", r#""alibi": true"#, "`alibi`"),
        ("falcon", r#""num_ln_in_parallel_attn": 2"#, "`num_ln_in_parallel_attn` is 2"),
        (
            "falcon",
            r#""new_decoder_architecture": true, "num_ln_in_parallel_attn": 3"#,
            "`num_ln_in_parallel_attn` is 3; expected 1 or 2",
        ),
        (
            "falcon",
            r#""new_decoder_architecture": true, "parallel_attn": false"#,
            "`parallel_attn`",
        ),
        ("falcon", r#""multi_query": false, "num_kv_heads": 2"#, "`num_kv_heads` is 2"),
        ("falcon", r#""rope_scaling": {"type": "dynamic", "factor": 2.0}"#, "`rope_type`"),
        ("falcon", r#""new_decoder_architecture": true, "num_kv_heads": 0"#, "kv_heads` is 0"),
        ("falcon", r#""hidden_size": 16, "num_attention_heads": 0"#, "heads` is 0"),
    ] {
        let json = format!(r#"{{"model_type": "{model_type}", {settings}}}"#);
        let message = config_error::<TextModelConfig>(&json);
        assert!(message.contains(expected), "{message}");
    }
}
