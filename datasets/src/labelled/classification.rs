//! Texts with a class, several classes or a number.

use super::{
    example::{Label, Labelled},
    files::Files,
    read::examples,
    rows::{Cell, Examples, Field, Row},
    spec::ExampleSpec,
};
use crate::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Kind of label: one class, several classes (multi-label), or a number (regression).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LabelKind {
    /// One class.
    #[default]
    Class,
    /// Any number of classes: a JSON list, or text between separators.
    Classes {
        /// What stands between them in text.
        #[serde(default = "comma")]
        separator: String,
    },
    /// A number.
    Value,
}

fn comma() -> String {
    ",".to_owned()
}

impl LabelKind {
    /// The label of a row.
    pub(super) fn of(&self, row: &Row, field: usize) -> Cell<Label> {
        Ok(match self {
            Self::Class => Label::Class(row.word(field)?),
            Self::Classes { separator } => {
                Label::Classes(row.list(field, |text| classes(text, separator))?)
            }
            Self::Value => Label::Value(row.number(field)?),
        })
    }
}

/// The classes of a cell, in its order.
fn classes(text: &str, separator: &str) -> Vec<String> {
    if let Ok(items) = serde_json::from_str::<Vec<Value>>(text) {
        let name = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
        return items.iter().map(name).collect();
    }
    let parts = text.split(separator).map(str::trim).filter(|name| !name.is_empty());
    parts.map(str::to_owned).collect()
}

/// Files of labelled texts: a row each, with columns for the text, maybe a second one, and the
/// label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LabelledSpec {
    /// The files.
    pub files: Files,
    /// The column of the text: `text`, `text_a`, `sentence`, `sentence1`, `premise` without a name.
    pub text: Option<String>,
    /// The column of a second text: `text_b`, `sentence2`, `hypothesis` where they are there.
    pub second: Option<String>,
    /// The column of the label: `label`, `labels`, `score` without a name.
    pub label: Option<String>,
    /// Kind of label: one class, several classes (multi-label), or a number (regression).
    pub kind: LabelKind,
}

impl ExampleSpec for LabelledSpec {
    type Example = Labelled;

    fn stream(&self) -> Result<Examples<'_, Labelled>> {
        const TEXT: &[&str] = &["text", "text_a", "sentence", "sentence1", "premise"];
        let fields = vec![
            Field::required(&self.text, TEXT, 1),
            Field::optional(&self.second, &["text_b", "sentence2", "hypothesis"], 0),
            Field::required(&self.label, &["label", "labels", "score"], 2),
        ];
        examples(&self.files, fields, |row| {
            let (text, second) = (row.text(0)?, row.optional(1)?);
            Ok(Labelled { text, second, label: self.kind.of(row, 2)? })
        })
    }
}
