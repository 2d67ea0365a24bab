//! The names that PatchTSMixer and Tiny Time Mixers share.

use kiln_hub::Rule;
use kiln_nn::NormKind;

/// The parts of a mixer layer; to be put after the rules that name the layers.
pub(super) fn layer_rules(norm: NormKind) -> Vec<Rule> {
    let norms = if norm == NormKind::Batch { BATCH } else { LAYER };
    norms.iter().chain(LAYERS).copied().collect()
}

// While loading these come before the parts are renamed, while saving after.
const LAYER: &[Rule] = &[
    Rule::Regex {
        load: Some((r"_mixer\.norm\.norm\.", "_mixer.norm.")),
        save: Some((r"_mixer\.norm\.", "_mixer.norm.norm.")),
    },
    Rule::Segments { theirs: "norm_attn.norm", ours: "attention_norm" },
];

const BATCH: &[Rule] = &[
    Rule::Regex {
        load: Some((r"_mixer\.norm\.norm\.batchnorm\.", "_mixer.norm.")),
        save: Some((r"_mixer\.norm\.", "_mixer.norm.norm.batchnorm.")),
    },
    Rule::Segments { theirs: "norm_attn.norm.batchnorm", ours: "attention_norm" },
    Rule::BatchNormBuffers,
];

const LAYERS: &[Rule] = &[
    Rule::Segments { theirs: "channel_feature_mixer", ours: "channel" },
    Rule::Segments { theirs: "patch_mixer", ours: "token" },
    Rule::Segments { theirs: "feature_mixer", ours: "feature" },
    Rule::Segments { theirs: "mlp.fc1", ours: "mix.hidden" },
    Rule::Segments { theirs: "mlp.fc2", ours: "mix.output" },
    Rule::Segments { theirs: "gating_block.attn_layer", ours: "gate" },
    Rule::Attention {
        theirs: "self_attn_layer",
        projections: ["q_proj", "k_proj", "v_proj", "out_proj"],
    },
];
