//! Training targets: what is learned of labelled rows.

use super::row::Row;
use kiln_datasets::labelled::{Label, Labels, to_bio};
use kiln_lm::config::TaskKind;
use kiln_objectives::Objective;

/// What a model learns of labelled rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Aim {
    /// A task head, with the names of its outputs.
    Head(TaskKind, Labels),
    /// Sequence-to-sequence: the target given the source.
    Seq2Seq,
    /// Completions of a prompt, the assistant's turns (supervised fine-tuning, GRPO).
    Completion,
    /// Texts weighted by their rewards.
    RewardWeighted,
    /// Embedding similarity: contrastive pairs and triplets, or pairs with a score (CoSENT).
    Similarity,
    /// Preferences between a chosen and a rejected answer (DPO).
    Preference,
}

impl Aim {
    /// What an objective learns of rows, decided by the first of them; with `names` of labels, or
    /// those that occur. `seq2seq` says whether the model is an encoder-decoder.
    ///
    /// # Errors
    /// When the objective does not learn from such rows: what it learns from.
    pub fn of(
        objective: &Objective,
        rows: &[Row],
        names: &[String],
        seq2seq: bool,
    ) -> Result<Self, String> {
        let mut found: Option<Self> = None;
        let parts = objective.each();
        for objective in &parts {
            // In a mixture, self-supervised parts take the texts of any rows.
            let texts = matches!(
                objective,
                Objective::Masked(_) | Objective::SelfDistillation(_) | Objective::Denoising(_)
            );
            if texts && parts.len() > 1 {
                continue;
            }
            let aim = Self::of_one(objective, rows, names, seq2seq)?;
            if found.as_ref().is_some_and(|found| *found != aim) {
                return Err("holds rows for one part of the mixture, but not for another".into());
            }
            found = Some(aim);
        }
        found.ok_or_else(|| "is not looked at: no part of the mixture learns from labels".into())
    }

    fn of_one(
        objective: &Objective,
        rows: &[Row],
        names: &[String],
        seq2seq: bool,
    ) -> Result<Self, String> {
        let Some(first) = rows.first() else { return Err("holds no examples".into()) };
        let learns =
            |what: &str| Err(format!("is not what `{}` learns from: {what}", objective.name()));
        match (objective, first) {
            (Objective::Supervised(_), Row::Pair(pair)) if pair.label.is_none() => {
                if seq2seq {
                    Ok(Self::Seq2Seq)
                } else {
                    learns(
                        "texts without labels are for encoder-decoders, `info-nce`, or, where a \
                            decoder is to answer, `autoregressive`",
                    )
                }
            }
            (
                Objective::Supervised(_),
                Row::Conversation(_) | Row::Triplet(_) | Row::Queries(_),
            ) if seq2seq => Ok(Self::Seq2Seq),
            (Objective::Supervised(_), Row::Labelled(_) | Row::Pair(_)) => {
                let label = |row| Row::labelled(row).map(|(.., label)| label);
                let named = named(names, || Labels::of_labels(rows.iter().filter_map(label)))?;
                Ok(match label(first) {
                    Some(Label::Classes(_)) => Self::Head(TaskKind::Labels(named.len()), named),
                    Some(Label::Value(_)) => Self::Head(TaskKind::Numbers(1), Labels::default()),
                    _ => Self::Head(TaskKind::Classes(named.len()), named),
                })
            }
            (Objective::Supervised(_), Row::Tagged(_)) => {
                let tags = rows.iter().flat_map(|row| match row {
                    Row::Tagged(row) => to_bio(&row.tags),
                    _ => Vec::new(),
                });
                let tags: Vec<String> = tags.collect();
                let named = named(names, || Labels::of_tags(tags.iter().map(String::as_str)))?;
                Ok(Self::Head(TaskKind::Tags(named.len()), named))
            }
            (Objective::Supervised(_), Row::Question(_)) => {
                Ok(Self::Head(TaskKind::Span, Labels::default()))
            }
            (Objective::Supervised(_), Row::Shuffled(_)) => {
                Ok(Self::Head(TaskKind::Order, Labels::default()))
            }
            (Objective::Supervised(_), _) => {
                learns("it wants texts with labels, tags, questions, or pairs to translate")
            }
            (
                Objective::Autoregressive(_) | Objective::Grpo(_),
                Row::Conversation(_) | Row::Pair(_),
            ) => Ok(Self::Completion),
            (Objective::InfoNce(_), Row::Pair(_) | Row::Triplet(_) | Row::Queries(_)) => {
                Ok(Self::Similarity)
            }
            (Objective::CrossEncoder(_), Row::Triplet(_) | Row::Queries(_)) => {
                Ok(Self::Head(TaskKind::Numbers(1), Labels::default()))
            }
            (Objective::Cosent(_), Row::Pair(pair)) if pair.label.is_some() => Ok(Self::Similarity),
            (Objective::Cosent(_), Row::Labelled(row)) if row.second.is_some() => {
                Ok(Self::Similarity)
            }
            (Objective::RewardWeighted(_), row) if row.grade().is_some() => {
                Ok(Self::RewardWeighted)
            }
            (Objective::RewardWeighted(_), _) => learns("it wants texts, each with a number"),
            (Objective::Dpo(_), Row::Preference(_)) => Ok(Self::Preference),
            (Objective::Autoregressive(_) | Objective::Grpo(_), _) => {
                learns("it wants conversations or pairs")
            }
            (Objective::InfoNce(_), _) => learns("it wants pairs or triplets"),
            (Objective::Cosent(_), _) => learns("it wants pairs with grades"),
            (Objective::CrossEncoder(_), _) => {
                learns("it wants queries, each with a text that answers it and others: triplets")
            }
            (Objective::Dpo(_), _) => learns("it wants preferences"),
            _ => learns("it wants plain text, `data.sources`"),
        }
    }
}

fn named(names: &[String], found: impl FnOnce() -> Labels) -> Result<Labels, String> {
    if names.is_empty() {
        Ok(found())
    } else {
        Labels::new(names.iter().cloned()).map_err(|error| error.to_string())
    }
}
