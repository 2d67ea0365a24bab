//! The names of Tiny Time Mixers' weights.

use crate::{
    config::SeriesModelConfig,
    hub::{
        mixer_names::layer_rules,
        patchtsmixer::{HEAD, HEAD_DISTRIBUTION},
    },
};
use kiln_hub::Rule;
use kiln_nn::{BackboneConfig, NormKind};

/// Their names and ours.
pub(super) fn rules(config: &SeriesModelConfig) -> Vec<Rule> {
    let mixer = |backbone: &BackboneConfig| match backbone {
        BackboneConfig::Mixer(mixer) => (mixer.adaptive_levels > 0, mixer.norm.kind),
        BackboneConfig::Transformer(_) => (false, NormKind::Layer),
    };
    let (adaptive, norm) = mixer(&config.backbone);
    let adaptive_decoder =
        config.decoder.as_ref().is_some_and(|decoder| mixer(&decoder.backbone).0);
    let head = if config.loss.distribution().is_some() { HEAD_DISTRIBUTION } else { HEAD };
    let mut rules = vec![
        head,
        if adaptive { ENCODER_ADAPTIVE } else { ENCODER },
        if adaptive_decoder { DECODER_ADAPTIVE } else { DECODER },
    ];
    rules.extend(NAMES);
    rules.extend(layer_rules(norm));
    rules
}

const ENCODER: Rule = Rule::Prefix {
    theirs: "backbone.encoder.mlp_mixer_encoder.mixers.",
    ours: "backbone.stages.0.layers.",
};
const ENCODER_ADAPTIVE: Rule = Rule::Path {
    theirs: "backbone.encoder.mlp_mixer_encoder.mixers.*.mixer_layers",
    ours: "backbone.stages.*.layers",
};
const DECODER: Rule = Rule::Prefix {
    theirs: "decoder.decoder_block.mixers.",
    ours: "decoder.backbone.stages.0.layers.",
};
const DECODER_ADAPTIVE: Rule = Rule::Path {
    theirs: "decoder.decoder_block.mixers.*.mixer_layers",
    ours: "decoder.backbone.stages.*.layers",
};

const NAMES: &[Rule] = &[
    Rule::Prefix { theirs: "backbone.encoder.patcher.", ours: "frontend.embedding." },
    Rule::Prefix {
        theirs: "backbone.encoder.positional_encoder.position_enc",
        ours: "frontend.position",
    },
    Rule::Prefix { theirs: "backbone.encoder.add_tokens.patch_tokens", ours: "frontend.registers" },
    Rule::Prefix { theirs: "backbone.encoder.base_norm.", ours: "frontend.norm." },
    Rule::Prefix { theirs: "backbone.encoder.freq_mod.0.", ours: "frontend.resolution.embedding." },
    Rule::Prefix { theirs: "backbone.encoder.freq_mod.1.", ours: "frontend.resolution.hidden." },
    Rule::Prefix { theirs: "backbone.encoder.freq_mod.3.", ours: "frontend.resolution.output." },
    Rule::Prefix { theirs: "decoder.decoder_raw_embedding.", ours: "decoder.raw." },
    Rule::Prefix {
        theirs: "head.fcm_block.exog_mixer.mixers.",
        ours: "forecast_head.reconcile.mixer.stages.0.layers.",
    },
    Rule::Prefix {
        theirs: "head.fcm_block.fcm_embedding.",
        ours: "forecast_head.reconcile.window_embedding.",
    },
    Rule::Prefix {
        theirs: "head.fcm_block.fcm_gating_block.attn_layer.",
        ours: "forecast_head.reconcile.window_gate.",
    },
    Rule::Prefix { theirs: "head.fcm_block.mlp.", ours: "forecast_head.reconcile.output." },
];
