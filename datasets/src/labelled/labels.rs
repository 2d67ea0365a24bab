//! The names of classes and their ids.

use super::example::Label;
use crate::{DataError, Result, error::nearest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Names of classes in the order of their ids, stored as Hugging Face's `id2label` and `label2id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LabelMaps", into = "LabelMaps")]
pub struct Labels {
    names: Vec<String>,
    ids: HashMap<String, usize>,
}

impl Labels {
    /// Names in the order of their ids.
    ///
    /// # Errors
    /// When a name comes twice.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Self> {
        let mut labels = Self::default();
        for name in names.into_iter().map(Into::into) {
            if labels.ids.insert(name.clone(), labels.names.len()).is_some() {
                let found = format!("a list with `{name}` twice");
                return Err(DataError::config("labels", found, "each name once"));
            }
            labels.names.push(name);
        }
        Ok(labels)
    }

    /// The names that occur: numbers by size, others by their letters.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<&str> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        if names.iter().all(|name| name.parse::<i64>().is_ok()) {
            names.sort_by_key(|name| name.parse::<i64>().ok());
        }
        Self::distinct(names)
    }

    /// The classes of labels; a [`Label::Value`] has none.
    pub fn of_labels<'a>(labels: impl IntoIterator<Item = &'a Label>) -> Self {
        let mut names = Vec::new();
        for label in labels {
            match label {
                Label::Class(name) => names.push(name.as_str()),
                Label::Classes(several) => names.extend(several.iter().map(String::as_str)),
                Label::Value(_) => {}
            }
        }
        Self::of(names)
    }

    /// The tags of sentences: `O` first, then `B-` and `I-` of each type, whether or not both
    /// occur; plain tags by their letters.
    pub fn of_tags<'a>(tags: impl IntoIterator<Item = &'a str>) -> Self {
        let tags: BTreeSet<&str> = tags.into_iter().collect();
        let kinds: BTreeSet<&str> = tags
            .iter()
            .filter_map(|tag| tag.strip_prefix("B-").or_else(|| tag.strip_prefix("I-")))
            .collect();
        if kinds.is_empty() {
            return Self::of(tags);
        }
        let both = kinds.iter().flat_map(|kind| [format!("B-{kind}"), format!("I-{kind}")]);
        Self::distinct(std::iter::once("O".to_owned()).chain(both))
    }

    fn distinct<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let ids = names.iter().cloned().zip(0..).collect();
        Self { names, ids }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names in the order of their ids.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of an id.
    pub fn name(&self, id: usize) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    /// The id of a name.
    pub fn id(&self, name: &str) -> Option<usize> {
        self.ids.get(name).copied()
    }

    /// The id of a name that has to be known.
    ///
    /// # Errors
    /// When it is not; the error lists what there is.
    pub fn expect_id(&self, name: &str) -> Result<usize> {
        self.id(name).ok_or_else(|| {
            let like = nearest(name, self.names.iter().map(String::as_str));
            let like = like.map_or_else(String::new, |like| format!(" (like `{like}`)"));
            let expected = format!("one of the {} known labels{like}", self.len());
            DataError::config("label", format!("`{name}`"), expected)
        })
    }
}

/// As `config.json` holds them.
#[derive(Serialize, Deserialize)]
struct LabelMaps {
    id2label: BTreeMap<usize, String>,
    #[serde(default)]
    label2id: BTreeMap<String, usize>,
}

impl From<Labels> for LabelMaps {
    fn from(labels: Labels) -> Self {
        let id2label = labels.names.into_iter().enumerate().collect();
        Self { id2label, label2id: labels.ids.into_iter().collect() }
    }
}

impl TryFrom<LabelMaps> for Labels {
    type Error = DataError;

    fn try_from(maps: LabelMaps) -> Result<Self> {
        if let Some((place, id)) = maps.id2label.keys().enumerate().find(|(place, id)| place != *id)
        {
            return Err(DataError::config(
                "id2label",
                format!("without {place}, with {id}"),
                "ids from 0 on",
            ));
        }
        let labels = Self::new(maps.id2label.into_values())?;
        if let Some((name, id)) =
            maps.label2id.iter().find(|(name, id)| labels.id(name) != Some(**id))
        {
            let found = format!("{id} for `{name}`");
            return Err(DataError::config("label2id", found, "the ids of `id2label`"));
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        assert_eq!(Labels::of(["10", "9", "-1", "9"]).names(), ["-1", "9", "10"]);
        assert_eq!(Labels::of(["b", "a", "10"]).names(), ["10", "a", "b"]);
        let tags = Labels::of_tags(["I-PER", "O", "B-LOC"]);
        assert_eq!(tags.names(), ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]);
        assert_eq!(Labels::of_tags(["VERB", "NOUN"]).names(), ["NOUN", "VERB"]);
        let classes = [Label::Classes(vec!["x".into(), "y".into()]), Label::Class("a".into())];
        assert_eq!(Labels::of_labels(&classes).id("y"), Some(2));
        assert!(Labels::new(["a", "a"]).is_err());
    }

    #[test]
    fn the_maps_of_hugging_face() {
        let labels = Labels::new(["neg", "pos"]).unwrap();
        let json = serde_json::to_string(&labels).unwrap();
        let expected = r#"{"id2label":{"0":"neg","1":"pos"},"label2id":{"neg":0,"pos":1}}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::from_value::<Labels>(value).unwrap(), labels);

        let message = |json| serde_json::from_str::<Labels>(json).unwrap_err().to_string();
        assert!(message(r#"{"id2label":{"0":"a","2":"b"}}"#).contains("without 1, with 2"));
        let text = message(r#"{"id2label":{"0":"a"},"label2id":{"a":1}}"#);
        assert!(text.contains("`label2id` is 1 for `a`"), "{text}");
        let text = labels.expect_id("poss").unwrap_err().to_string();
        assert!(text.contains("one of the 2 known labels (like `pos`)"), "{text}");
    }
}
