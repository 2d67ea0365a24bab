//! Metadata prefixes of documents: where a text comes from, how good it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Metadata prefix: text put before each document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prefix {
    /// A text with fields in braces, such as `"URL: {url}\n\n"`, so that a model learns where what
    /// comes from: metadata conditioning, <https://arxiv.org/abs/2501.01956>. Nothing where a
    /// document lacks one of the fields.
    Text(String),
    /// One of two texts by a number, such as tokens for good and bad: conditional training,
    /// <https://arxiv.org/abs/2302.08582>.
    Score(ScoreText),
}

/// Control text by score: one of two texts, by a number in the metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreText {
    /// The field or column of the number.
    pub field: String,
    /// From here on a document counts as good.
    pub least: f64,
    /// Before a good one.
    pub good: String,
    /// Before any other with a number.
    pub bad: String,
}

impl Prefix {
    /// The metadata fields that it needs.
    pub(super) fn fields(&self) -> Vec<&str> {
        match self {
            Self::Score(score) => vec![&score.field],
            Self::Text(text) => {
                let pieces = text.split('{').skip(1);
                pieces.filter_map(|piece| piece.split_once('}').map(|(field, _)| field)).collect()
            }
        }
    }

    /// The prefix of a document with these fields; `None` where it lacks one.
    pub(super) fn text(&self, metadata: &BTreeMap<String, String>) -> Option<String> {
        match self {
            Self::Score(ScoreText { field, least, good, bad }) => {
                let score: f64 = metadata.get(field)?.trim().parse().ok()?;
                Some(if score >= *least { good.clone() } else { bad.clone() })
            }
            Self::Text(text) => {
                let mut prefix = String::new();
                let mut pieces = text.split('{');
                prefix.push_str(pieces.next().unwrap_or_default());
                for piece in pieces {
                    let Some((field, rest)) = piece.split_once('}') else {
                        prefix.push('{');
                        prefix.push_str(piece);
                        continue;
                    };
                    prefix.push_str(metadata.get(field)?);
                    prefix.push_str(rest);
                }
                Some(prefix)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_put_in_and_scores_become_words() {
        let metadata: BTreeMap<String, String> =
            [("url", "kiln.org"), ("score", " 0.5")].map(|(k, v)| (k.into(), v.into())).into();
        let text = Prefix::Text("<{url}> {".into());
        assert_eq!(
            (text.fields(), text.text(&metadata)),
            (vec!["url"], Some("<kiln.org> {".into()))
        );
        assert_eq!(Prefix::Text("{title}".into()).text(&metadata), None);
        let score = |least| {
            let score =
                ScoreText { field: "score".into(), least, good: "+".into(), bad: "-".into() };
            Prefix::Score(score).text(&metadata)
        };
        assert_eq!((score(0.5), score(0.6)), (Some("+".into()), Some("-".into())));
    }
}
