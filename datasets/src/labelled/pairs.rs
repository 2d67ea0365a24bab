//! Texts beside others: pairs and triplets.

use super::{
    classification::LabelKind,
    example::{Pair, Triplet},
    files::Files,
    read::examples,
    rows::{Examples, Field},
    spec::ExampleSpec,
};
use crate::{DataError, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const FIRST: &[&str] =
    &["first", "anchor", "sentence1", "text_a", "premise", "question1", "query", "source", "src"];
const SECOND: &[&str] = &[
    "second",
    "positive",
    "sentence2",
    "text_b",
    "hypothesis",
    "question2",
    "answer",
    "target",
    "tgt",
];
const LABEL: &[&str] = &["label", "score", "similarity", "similarity_score"];

/// Files of pairs: translations, similar sentences, premises and hypotheses. A JSON field inside
/// another is named `translation.en`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PairSpec {
    /// The files.
    pub files: Files,
    /// The column of the one: `first`, `anchor`, `sentence1`, `text_a`, `premise`, `question1`,
    /// `query`, `source`, `src` without a name.
    pub first: Option<String>,
    /// The column of the other: `second`, `positive`, `sentence2`, `text_b`, `hypothesis`,
    /// `question2`, `answer`, `target`, `tgt` without a name.
    pub second: Option<String>,
    /// The column of the label: `label`, `score`, `similarity`, `similarity_score` without a name.
    pub label: Option<String>,
    /// What a label is; pairs have none without.
    pub kind: Option<LabelKind>,
}

impl ExampleSpec for PairSpec {
    type Example = Pair;

    fn stream(&self) -> Result<Examples<'_, Pair>> {
        let mut fields =
            vec![Field::required(&self.first, FIRST, 1), Field::required(&self.second, SECOND, 2)];
        match (&self.kind, &self.label) {
            (None, None) => {}
            (None, Some(_)) => {
                let expected = "`value`, `class` or `classes`, since `label` names a column";
                return Err(DataError::config("kind", "missing", expected));
            }
            (Some(_), label) => fields.push(Field::required(label, LABEL, 3)),
        }
        examples(&self.files, fields, |row| {
            let label = self.kind.as_ref().map(|kind| kind.of(row, 2)).transpose()?;
            Ok(Pair { first: row.text(0)?, second: row.text(1)?, label })
        })
    }
}

/// Files of triplets. Where a row lists several positives, each becomes a triplet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TripletSpec {
    /// The files.
    pub files: Files,
    /// The column of the text: `anchor`, `query` without a name.
    pub anchor: Option<String>,
    /// The column of what is near: `positive`, `pos` without a name.
    pub positive: Option<String>,
    /// The columns of what is not, each a text or a list: `negative`, `negatives` or `neg` without
    /// a name.
    pub negatives: Vec<String>,
}

impl ExampleSpec for TripletSpec {
    type Example = Triplet;

    fn stream(&self) -> Result<Examples<'_, Triplet>> {
        let mut fields = vec![
            Field::required(&self.anchor, &["anchor", "query"], 1),
            Field::required(&self.positive, &["positive", "pos"], 2),
        ];
        if self.negatives.is_empty() {
            fields.push(Field::required(&None, &["negative", "negatives", "neg"], 3));
        }
        let chosen = self.negatives.iter().cloned().map(Some);
        fields.extend(chosen.map(|name| Field::required(&name, &[], 3)));
        let columns = 2..fields.len();
        let whole = |text: &str| vec![text.to_owned()];
        let rows = examples(&self.files, fields, move |row| {
            let (anchor, mut negatives) = (row.text(0)?, Vec::new());
            for column in columns.clone() {
                negatives.extend(row.list(column, whole)?);
            }
            if negatives.is_empty() {
                return Err(format!("`{}` lists nothing, expected a text", row.name(2)));
            }
            let triplet = |positive| Triplet {
                anchor: anchor.clone(),
                positive,
                negatives: negatives.clone(),
            };
            Ok(row.list(1, whole)?.into_iter().map(triplet).collect::<Vec<_>>())
        })?;
        Ok(Box::new(rows.flat_map(|row| match row {
            Ok(triplets) => triplets.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })))
    }
}
