//! The model of a stage: the heads that its objective trains, and what it offers to objectives.

use crate::{
    TextModelConfig,
    config::{
        Format, LanguageHeadConfig, PoolerConfig, SpecialIds, Stacks, TaskHeadConfig, TaskKind,
    },
    labelled::{Aim, LabelledTask},
    recipe::TextData,
};
use kiln_nn::{Activation, TransformerConfig};
use kiln_objectives::{Graded, Objective, Offer, Offers, both_sides, offer};
use kiln_tokenize::{Role, TextTokenizer, tokenizer::TokenizerError};
use kiln_train::task::TaskError;

/// With the heads that an objective trains.
pub(crate) fn with_heads(
    config: &TextModelConfig,
    objective: &Objective,
    tasks: &[LabelledTask<'_>],
) -> TextModelConfig {
    let mut config = config.clone();
    if objective.writes_vocabulary() || tasks.iter().any(|task| task.aim == Aim::Write) {
        config.language.get_or_insert_with(LanguageHeadConfig::default);
    } else {
        // Where nothing is written, an encoder-decoder's encoder does it all.
        (config.language, config.decoder) = (None, None);
    }
    let replaces = objective.has(|one| matches!(one, Objective::Replaced(_)));
    let values = |one: &Objective| matches!(one, Objective::Graded(Graded::Advantage(_)));
    config.judge = replaces || objective.has(values);
    config.generator = config.generator.filter(|_| replaces);
    let decoders = objective.each().into_iter().filter_map(|one| match one {
        Objective::Bottleneck(bottleneck) => Some(bottleneck.decoders.len()),
        _ => None,
    });
    config.bottleneck = decoders.max().map(|count| {
        // One block of the backbone's kind each.
        let own = || Stacks(vec![TransformerConfig { layers: 1, ..config.backbone.clone() }]);
        config.bottleneck.take().unwrap_or_else(own).resized(count)
    });
    let before = (config.task.take(), std::mem::take(&mut config.tasks));
    for task in tasks {
        let Aim::Head(kind, labels) = &task.aim else { continue };
        let mut head = TaskHeadConfig::new(*kind, labels.names().to_vec());
        let before = task.name.map_or(before.0.as_ref(), |name| before.1.get(name));
        head.dropout = before.map_or(config.embedding.dropout, |head| head.dropout);
        if config.causal && !kind.is_of_tokens() {
            head = TaskHeadConfig { bias: false, dropout: 0.0, ..head };
        }
        match task.name {
            Some(name) => drop(config.tasks.insert(name.to_owned(), head)),
            None => config.task = Some(head),
        }
    }
    let heads: Vec<TaskKind> = config.heads().map(|(_, head)| head.kind).collect();
    if !heads.is_empty() {
        let of_texts = heads.iter().any(|kind| !kind.is_of_tokens());
        let pooler = config.pooler.or(published_pooler(&config));
        config.pooler = pooler.filter(|_| of_texts);
    }
    config
}

/// What published classifiers of the model's family make a text's vector with.
fn published_pooler(config: &TextModelConfig) -> Option<PoolerConfig> {
    match config.format {
        _ if config.causal => Some(PoolerConfig::of_last()),
        Some(Format::Bert | Format::Roberta | Format::Mpnet) => Some(PoolerConfig::of_first()),
        Some(Format::ModernBert) => Some(PoolerConfig {
            transform: Some(Activation::Gelu),
            bias: false,
            norm: true,
            ..PoolerConfig::default()
        }),
        _ => None,
    }
}

/// The model of a stage: its vocabulary is the tokenizer's, and it has the head that its objective
/// trains.
pub(crate) fn stage_config(
    config: &TextModelConfig,
    objective: &Objective,
    tasks: &[LabelledTask<'_>],
    tokenizer: &TextTokenizer,
) -> Result<TextModelConfig, TaskError> {
    let mut config = with_heads(config, objective, tasks);
    let id = |role: Role| tokenizer.special().get(role).map(|token| token.id);
    config.special = SpecialIds {
        pad: id(Role::Pad),
        bos: tokenizer.begin(),
        eos: tokenizer.end(),
        mask: id(Role::Mask),
        decoder_start: config.special.decoder_start.or(id(Role::Pad)).or(tokenizer.begin()),
        sentinels: tokenizer.special().sentinels(),
    };
    // A published model may have more rows than its tokenizer has tokens, but not fewer.
    if config.format.is_none() || config.vocabulary < tokenizer.vocabulary() {
        config.vocabulary = tokenizer.vocabulary();
    }
    if objective.hides_tokens(!tasks.is_empty()) {
        tokenizer.need(Role::Mask, "training on hidden tokens, to stand for them")?;
    }
    for task in tasks.iter().filter(|task| task.ranks_in_words()) {
        task.data.ranking.first_ids(tokenizer)?;
    }
    let denoises = |one: &Objective| matches!(one, Objective::Denoising(_));
    if objective.has(denoises) && config.special.sentinels.is_none() {
        return Err(TokenizerError::NoSentinels.into());
    }
    let sentinels = config.special.sentinels().len();
    let modes = objective.each().into_iter().filter_map(|one| match one {
        Objective::Denoising(denoising) => Some(denoising.modes()),
        _ => None,
    });
    if let Some(modes) = modes.max().filter(|modes| *modes > 0 && *modes >= sentinels) {
        return Err(TokenizerError::FewSentinels { modes, sentinels }.into());
    }
    config.validate()?;
    Ok(config)
}

/// Whether tokens can be told where they stand one by one.
fn places(config: &TextModelConfig) -> Offer {
    offer(
        config.decoder.is_none(),
        "tells tokens of one text where they stand; this model is an encoder-decoder",
    )?;
    offer(
        config.embedding.positions > 0 || config.backbone.positions.is_some(),
        "tells tokens where they stand; this model knows no positions: set \
         `model.parts.embedding.positions` or `model.parts.backbone.positions`",
    )
}

/// What a text model and its data offer to objectives. Heads are made where they are needed.
pub(crate) fn offers(config: &TextModelConfig, data: &TextData) -> Offers {
    let labelled = offer(
        data.tasks().next().is_some(),
        "learns from labelled examples: name them in `data.labelled.train`",
    );
    Offers {
        labels: labelled.clone(),
        targets: Ok(()),
        hiding: Ok(()),
        both_sides: both_sides(config.causal, "model.*.causal"),
        next: offer(
            config.decoder.is_none(),
            "trains decoders; this model is an encoder-decoder: use `denoising`, or `supervised` \
             with pairs",
        ),
        quantiser: offer(
            false,
            "needs a quantiser of what tokens are made of; words are ids already: use `paired`",
        ),
        blocks: offer(
            config.decoder.is_none(),
            "predicts what a teacher's blocks give; this model is an encoder-decoder",
        ),
        pairs: labelled.clone(),
        grades: labelled.clone(),
        dropout: offer(
            config.backbone.drops() || config.embedding.dropout > 0.0,
            "sees a text twice, which is the same without dropout: set some in \
             `model.parts.backbone`, use `views.hidden`, or name pairs in `data.labelled.train`",
        ),
        writing: Ok(()),
        preferences: labelled.clone(),
        answers: labelled.and(offer(
            config.causal,
            "rewards what a decoder writes; this model sees all of a text at once (`model.*.causal`)",
        )),
        places: places(config),
        judge: Ok(()),
        reconstruction: offer(
            config.decoder.is_none(),
            "trains encoders; this model is an encoder-decoder",
        ),
        ..Offers::none("texts")
    }
}
