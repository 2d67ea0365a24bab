//! The names of wav2vec 2.0's weights.

use crate::config::SpeechModelConfig;
use kiln_hub::Rule;

/// Their names and ours.
pub(super) fn rules(config: &SpeechModelConfig) -> Vec<Rule> {
    // The bare model has no name in front; heads never have.
    let bare = config.ctc.is_none() && config.quantizer.is_none();
    let within = Rule::Regex {
        load: Some((r"^wav2vec2\.", "")),
        save: if bare { None } else { Some((WITHIN, "wav2vec2.$1")) },
    };
    let norm = if config.backbone.pre_norm { "backbone.norm." } else { "frontend.norm." };
    let norm = Rule::Prefix { theirs: "encoder.layer_norm.", ours: norm };
    [Rule::OldNames, within, norm].iter().chain(NAMES).copied().collect()
}

const WITHIN: &str = r"^(feature_extractor|feature_projection|encoder|masked_spec_embed)";

const NAMES: &[Rule] = &[
    Rule::Prefix { theirs: "feature_extractor.conv_layers.", ours: "frontend.stem.layers." },
    Rule::Path { theirs: "frontend.stem.layers.*.layer_norm", ours: "frontend.stem.layers.*.norm" },
    Rule::Prefix { theirs: "feature_projection.layer_norm.", ours: "frontend.feature_norm." },
    Rule::Prefix { theirs: "feature_projection.projection.", ours: "frontend.projection." },
    Rule::Prefix { theirs: "masked_spec_embed", ours: "frontend.mask" },
    // Only the spelling since version 2.1 of PyTorch is written.
    Rule::Regex {
        load: None,
        save: Some((r"conv\.weight_g$", "conv.parametrizations.weight.original0")),
    },
    Rule::Regex {
        load: None,
        save: Some((r"conv\.weight_v$", "conv.parametrizations.weight.original1")),
    },
    Rule::Prefix { theirs: "encoder.pos_conv_embed.conv.", ours: "frontend.position." },
    Rule::Prefix { theirs: "encoder.layers.", ours: "backbone.layers." },
    Rule::Path { theirs: "backbone.layers.*.layer_norm", ours: "backbone.layers.*.attention_norm" },
    Rule::Attention {
        theirs: "attention",
        projections: ["q_proj", "k_proj", "v_proj", "out_proj"],
    },
    Rule::Segments { theirs: "final_layer_norm", ours: "feed_forward_norm" },
    Rule::Segments { theirs: "feed_forward.intermediate_dense", ours: "feed_forward.hidden" },
    Rule::Segments { theirs: "feed_forward.output_dense", ours: "feed_forward.output" },
    Rule::Prefix { theirs: "quantizer.weight_proj.", ours: "quantizer.scores." },
    Rule::Prefix { theirs: "quantizer.codevectors", ours: "quantizer.codevectors" },
    Rule::Prefix { theirs: "project_q.", ours: "quantizer.project_codes." },
    Rule::Prefix { theirs: "project_hid.", ours: "quantizer.project_tokens." },
    Rule::Prefix { theirs: "lm_head.", ours: "ctc." },
];
