//! Entity-level F1 of tagging (NER, chunking): entities with the right borders and type, Tjong Kim
//! Sang and Buchholz 2000, <https://aclanthology.org/W00-0726>. Numbers agree with seqeval's
//! default mode and `conlleval`: an `I-` that continues nothing begins an entity.

use crate::{
    classification::{Average, Counts, Scores, average},
    error::{MetricError, same_length},
};
use kiln_datasets::labelled::entities;
use std::collections::{BTreeMap, HashSet};

/// Entity scores: how often entities of each type were predicted, expected, and both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagScores {
    kinds: BTreeMap<String, Counts>,
    tokens: u64,
    equal: u64,
}

impl TagScores {
    /// Counts a sentence.
    ///
    /// # Errors
    /// When it has more tags than were predicted, or fewer.
    pub fn add<T: AsRef<str>, P: AsRef<str>>(
        &mut self,
        truth: &[T],
        predicted: &[P],
    ) -> Result<(), MetricError> {
        same_length("predicted tags", truth.len(), predicted.len())?;
        self.tokens += truth.len() as u64;
        let pairs = truth.iter().zip(predicted);
        self.equal += pairs.filter(|(t, p)| t.as_ref() == p.as_ref()).count() as u64;
        let expected: HashSet<_> = entities(truth).into_iter().collect();
        for entity in entities(predicted) {
            let counts = self.kinds.entry(entity.kind.to_owned()).or_default();
            counts.predicted += 1;
            counts.correct += u64::from(expected.contains(&entity));
        }
        for entity in &expected {
            self.kinds.entry(entity.kind.to_owned()).or_default().expected += 1;
        }
        Ok(())
    }

    /// The counts of each type, by name.
    pub fn kinds(&self) -> &BTreeMap<String, Counts> {
        &self.kinds
    }

    /// Precision, recall and F1 of entities; [`Average::Micro`] is what is usually reported.
    /// `None` where there are none, neither expected nor predicted.
    pub fn scores(&self, how: Average) -> Option<Scores> {
        average(self.kinds.values().copied(), how)
    }

    /// The share of tokens with the right tag.
    pub fn token_accuracy(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.equal as f64 / self.tokens as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;

    /// seqeval 1.2.2's numbers for tags that are no BIO.
    #[test]
    fn as_seqeval() {
        let mut scores = TagScores::default();
        for (truth, predicted) in [
            ("B-PER I-PER O I-LOC B-LOC", "B-PER I-PER I-PER I-LOC I-LOC"),
            ("O B-ORG I-PER I-PER", "I-ORG I-ORG B-PER I-PER"),
        ] {
            let [truth, predicted] = [truth, predicted].map(|t| t.split(' ').collect::<Vec<_>>());
            scores.add(&truth, &predicted).unwrap();
        }
        let micro = scores.scores(Average::Micro).unwrap();
        assert!(close(micro.precision, 0.25) && close(micro.recall, 0.2));
        assert!(close(micro.f1, 0.22222222222222224));
        assert!(close(scores.scores(Average::Macro).unwrap().f1, 0.16666666666666666));
        assert!(close(scores.scores(Average::Weighted).unwrap().f1, 0.2));
        assert_eq!(scores.kinds()["PER"], Counts { correct: 1, predicted: 2, expected: 2 });
        assert!(close(scores.token_accuracy().unwrap(), 4.0 / 9.0));
        assert!(scores.add(&["O"], &["O", "O"]).is_err());
        assert_eq!(TagScores::default().scores(Average::Micro), None);
    }
}
