//! Whether a model and its data offer what an objective needs.

use crate::{Graded, Objective, Views};

/// Something that an objective may need, or why it is not there and how to get it.
pub type Offer = Result<(), String>;

/// What a model and its data offer to objectives. A modality fills it in from a recipe, so that a
/// combination that makes no sense is refused before anything is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offers {
    /// Labels, and a head that predicts them.
    pub labels: Offer,
    /// Something that each token stands for, and a head that predicts it.
    pub targets: Offer,
    /// Something that stands for the content of tokens that are hidden.
    pub hiding: Offer,
    /// Tokens that see those after them, too.
    pub both_sides: Offer,
    /// Tokens that can be kept from seeing those after them.
    pub next: Offer,
    /// How many tokens ahead a token does not show through the frontend.
    pub ahead: usize,
    /// A quantiser of what tokens are made of.
    pub quantiser: Offer,
    /// Blocks whose outputs can be taught and predicted.
    pub blocks: Offer,
    /// Sequences that belong together.
    pub pairs: Offer,
    /// Sequences, or pairs of them, with grades.
    pub grades: Offer,
    /// Dropout, which makes two views of a sequence differ.
    pub dropout: Offer,
    /// Sequences of ids that can be written anew, with sentinels for what was taken out.
    pub writing: Offer,
    /// Better answers beside worse.
    pub preferences: Offer,
    /// Questions with right answers, and a model that answers.
    pub answers: Offer,
    /// Tokens that can be told where they stand one by one.
    pub places: Offer,
    /// A head that says a number of each token.
    pub judge: Offer,
    /// A second backbone that tells a sequence again from one vector.
    pub reconstruction: Offer,
    /// Tasks of the modality's own, by name.
    pub tasks: Vec<String>,
}

impl Offers {
    /// Nothing, of a modality whose sequences are `things`, such as "series": a modality says what
    /// it has beside it.
    pub fn none(things: &str) -> Self {
        let no = |needs: &str| Err(format!("needs {needs}; {things} have none"));
        let model = |needs: &str| Err(format!("needs {needs}; models of {things} have none"));
        Self {
            labels: no("labels"),
            targets: model("a head that predicts what tokens stand for"),
            hiding: model("something that stands for hidden tokens"),
            both_sides: model("tokens that see those after them"),
            next: model("tokens that can be kept from seeing those after them"),
            ahead: 1,
            quantiser: model("a quantiser"),
            blocks: model("blocks that show their outputs"),
            pairs: no("pairs of what belongs together"),
            grades: no("grades, or graded pairs"),
            dropout: model("dropout, which makes two views of a sequence differ"),
            writing: no("ids of a vocabulary that can be written"),
            preferences: no("better answers beside worse"),
            answers: no("questions with right answers"),
            places: model("tokens that can be told where they stand one by one"),
            judge: model("a head that says a number of each token"),
            reconstruction: model("a second backbone that tells a sequence from a vector"),
            tasks: Vec::new(),
        }
    }
}

/// What is there, or the reason why not.
///
/// # Errors
/// The reason, where it is not.
pub fn offer(there: bool, reason: &str) -> Offer {
    if there { Ok(()) } else { Err(reason.to_owned()) }
}

/// Whether a model sees both sides of what is hidden; a causal one does not until its setting `key`
/// is turned off.
///
/// # Errors
/// The reason, where it does not.
pub fn both_sides(causal: bool, key: &str) -> Offer {
    let reason = format!(
        "needs a model that sees both sides of what is hidden; this one is causal: use \
         `autoregressive`, or set `{key}` to false"
    );
    offer(!causal, &reason)
}

impl Objective {
    /// Checks its settings, and that it is offered what it needs.
    ///
    /// # Errors
    /// The key below the stage, and what is wrong.
    pub fn check(&self, offers: &Offers) -> Result<(), (String, String)> {
        self.validate().map_err(|error| (format!("objective.{}", error.key), error.problem))?;
        self.fits(offers).map_err(|problem| ("objective".into(), problem))
    }

    /// Whether a head says of each token of the backbone what it, or another, stands for.
    pub(crate) fn predicts_tokens(&self) -> bool {
        match self {
            Self::Masked(_)
            | Self::Autoregressive(_)
            | Self::Denoising(_)
            | Self::Permuted(_)
            | Self::Replaced(_)
            | Self::Bottleneck(_)
            | Self::Graded(_)
            | Self::Preference(_)
            | Self::Rewarded(_) => true,
            Self::Supervised(_)
            | Self::Contrastive(_)
            | Self::Paired(_)
            | Self::Ranked(_)
            | Self::Reranked(_)
            | Self::SelfDistillation(_)
            | Self::Pretext(_)
            | Self::Mixture(_) => false,
        }
    }

    /// Checks that it is offered what it needs.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub fn fits(&self, offers: &Offers) -> Result<(), String> {
        let of_tokens = self.each().into_iter().find(|one| one.predicts_tokens());
        if let Some(other) = of_tokens
            && self.has(|one| matches!(one, Self::SelfDistillation(_)))
        {
            return Err(format!(
                "has `self-distillation` beside `{}`: what the backbone makes of a token cannot be \
                 what a teacher makes of it and also say what the token stands for; give each a \
                 stage",
                other.name()
            ));
        }
        for objective in self.each() {
            let needs: &[&Offer] = match objective {
                Self::Supervised(_) => &[&offers.labels],
                Self::Masked(_) => &[&offers.targets, &offers.hiding, &offers.both_sides],
                Self::Autoregressive(_) => &[&offers.targets, &offers.next],
                Self::Contrastive(_) => &[&offers.quantiser, &offers.both_sides],
                Self::Paired(paired) => match (&offers.pairs, &paired.views) {
                    (Ok(()), _) => &[],
                    (_, Views::Dropout) => &[&offers.dropout],
                    (_, Views::Hidden(_)) => &[&offers.hiding],
                },
                Self::Ranked(_) => &[&offers.grades],
                Self::Reranked(_) => &[&offers.pairs],
                Self::SelfDistillation(_) => &[&offers.blocks, &offers.hiding, &offers.both_sides],
                Self::Denoising(_) => &[&offers.targets, &offers.writing],
                Self::Permuted(_) => {
                    &[&offers.writing, &offers.targets, &offers.both_sides, &offers.places]
                }
                Self::Replaced(_) => {
                    &[&offers.writing, &offers.targets, &offers.both_sides, &offers.judge]
                }
                Self::Bottleneck(bottleneck) => {
                    let places = if bottleneck.arranges() { &offers.places } else { &Ok(()) };
                    let Offers { writing, targets, both_sides, reconstruction, .. } = offers;
                    &[writing, targets, both_sides, reconstruction, places]
                }
                Self::Graded(Graded::Advantage(_)) => {
                    &[&offers.targets, &offers.next, &offers.grades, &offers.judge]
                }
                Self::Graded(_) => &[&offers.targets, &offers.next, &offers.grades],
                Self::Preference(_) => &[&offers.targets, &offers.next, &offers.preferences],
                Self::Rewarded(_) => {
                    &[&offers.targets, &offers.next, &offers.writing, &offers.answers]
                }
                Self::Pretext(pretext) => {
                    let unknown = pretext.tasks.keys().find(|task| !offers.tasks.contains(task));
                    let Some(task) = unknown else { continue };
                    let heads = offers.tasks.join(", ");
                    let heads = if heads.is_empty() { "none" } else { &heads };
                    return Err(format!(
                        "the model has no head for the task `{task}`; it has {heads}"
                    ));
                }
                Self::Mixture(_) => &[],
            };
            for need in needs {
                if let Err(reason) = need {
                    return Err(format!("`{}` {reason}", objective.name()));
                }
            }
            if let Self::Autoregressive(settings) = objective
                && settings.ahead < offers.ahead
            {
                return Err(format!(
                    "`autoregressive.ahead` is {}; a token of this model shows what the next stands \
                     for: expected {} or more",
                    settings.ahead, offers.ahead
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Autoregressive, Masked, Mixture, Paired, Part, Pretext, SelfDistillation};

    fn offers() -> Offers {
        Offers {
            targets: Ok(()),
            hiding: Ok(()),
            both_sides: Ok(()),
            next: Ok(()),
            ahead: 2,
            tasks: vec!["order".into()],
            ..Offers::none("stones")
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let offers = offers();
        let hidden = Paired { views: Views::Hidden(Masked::default()), ..Paired::default() };
        assert_eq!(Objective::Paired(hidden).fits(&offers), Ok(()));
        let dropped = Objective::Paired(Paired::default());
        let reason = dropped.fits(&offers).unwrap_err();
        let expected = "`paired` needs dropout, which makes two views of a sequence differ; models \
                        of stones have none";
        assert_eq!(reason, expected);
        let ids = Objective::Replaced(crate::Replaced::default()).fits(&offers).unwrap_err();
        assert_eq!(
            ids,
            "`replaced` needs ids of a vocabulary that can be written; stones have none"
        );
        let next = |ahead| {
            Objective::Autoregressive(Autoregressive { ahead, ..Autoregressive::default() })
        };
        assert!(next(2).fits(&offers).is_ok());
        assert!(next(1).fits(&offers).unwrap_err().contains("expected 2 or more"));
        let part = |objective| Part { objective, weight: 1.0, from: 0 };
        let parts = vec![part(Objective::Masked(Masked::default())), part(dropped)];
        assert!(Objective::Mixture(Mixture { parts, sum: true }).fits(&offers).is_err());
        let task = |name: &str| Objective::Pretext(Pretext { tasks: [(name.into(), 1.0)].into() });
        assert!(task("order").fits(&offers).is_ok());
        assert!(task("other").fits(&offers).unwrap_err().contains("it has order"));
    }

    #[test]
    fn a_token_is_not_pulled_two_ways() {
        let offers = Offers { blocks: Ok(()), ..offers() };
        let distilled = || Objective::SelfDistillation(SelfDistillation::default());
        let beside = |objective| {
            let part = |objective| Part { objective, weight: 1.0, from: 0 };
            let parts = vec![part(objective), part(distilled())];
            Objective::Mixture(Mixture { parts, sum: true }).fits(&offers)
        };
        assert_eq!(distilled().fits(&offers), Ok(()));
        let reason = beside(Objective::Masked(Masked::default())).unwrap_err();
        assert!(reason.starts_with("has `self-distillation` beside `masked`"), "{reason}");
        let tasks = Pretext { tasks: [("order".into(), 1.0)].into() };
        assert_eq!(beside(Objective::Pretext(tasks)), Ok(()));
    }
}
