//! Byte-pair merges as ids: what `tokenizers` makes of a word, without the texts of its tokens.
//!
//! The pair of neighbours that was learned first is merged, the leftmost of equals, until none is
//! left that was learned. A word is cut first between characters that no merge joins: where no learned
//! pair has a left token that ends with the one and a right token that begins with the other, no
//! token ever reaches over, and what is on one side changes nothing on the other. So the pieces of
//! the word, merged by themselves, are the word. Text in scripts without spaces comes in long words;
//! its pieces are a few characters long.

use super::error::{Result, encoding};
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use tokenizers::{Model as _, ModelWrapper};

/// Characters of a piece that are merged here, at most: `tokenizers` has a queue, whose time does
/// not grow by the square.
const LONGEST: usize = 96;

/// The rank of two tokens that are not merged.
const NO_RANK: u32 = u32::MAX;

/// The merges of a tokenizer.
#[derive(Debug)]
pub(super) struct Merges {
    /// The characters that are tokens.
    characters: FxHashMap<char, u32>,
    /// What stands for other characters; nothing if absent.
    unknown: Option<u32>,
    /// Whether it stands for several in a row.
    fuse: bool,
    /// How early two tokens are merged: a place in `made`.
    ranks: FxHashMap<(u32, u32), u32>,
    /// What becomes of them.
    made: Vec<u32>,
    /// Characters at the end and the beginning of two tokens that are merged.
    joined: FxHashSet<(char, char)>,
}

/// Tokens of a piece, each with the rank of it and the next one.
pub(super) type Parts = Vec<(u32, u32)>;

impl Merges {
    /// The merges of a model in a `tokenizer.json`; `None` for models that are something else, or
    /// look at more than characters and pairs.
    pub fn of(model: &Value) -> Option<Self> {
        let unset = |key: &str| match &model[key] {
            Value::Null | Value::Bool(false) => true,
            other => *other == "",
        };
        let others = [
            "dropout",
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "byte_fallback",
            "ignore_merges",
        ];
        if model["type"] != "BPE" || !others.into_iter().all(unset) {
            return None;
        }
        let mut vocabulary: FxHashMap<&str, u32> = FxHashMap::default();
        for (token, id) in model["vocab"].as_object()? {
            vocabulary.insert(token, u32::try_from(id.as_u64()?).ok()?);
        }
        // Tokens that share an id would be ambiguous.
        if vocabulary.values().collect::<FxHashSet<_>>().len() < vocabulary.len() {
            return None;
        }
        let unknown = match model["unk_token"].as_str() {
            Some(token) => Some(*vocabulary.get(token)?),
            None => None,
        };
        let single = vocabulary.iter().filter_map(|(token, id)| {
            let mut characters = token.chars();
            let first = characters.next()?;
            characters.next().is_none().then_some((first, *id))
        });
        let characters = single.collect();
        let (mut ranks, mut made, mut joined) =
            (FxHashMap::default(), Vec::new(), FxHashSet::default());
        for (pair, rank) in model["merges"].as_array()?.iter().zip(0..) {
            let [left, right] = [pair[0].as_str()?, pair[1].as_str()?];
            ranks.insert((*vocabulary.get(left)?, *vocabulary.get(right)?), rank);
            made.push(*vocabulary.get(&*format!("{left}{right}"))?);
            joined.insert((left.chars().next_back()?, right.chars().next()?));
        }
        let fuse = model["fuse_unk"] == true;
        Some(Self { characters, unknown, fuse, ranks, made, joined })
    }

    /// Appends the ids of a word, as `model` has them; `parts` is room to work in.
    ///
    /// # Errors
    /// When the model fails.
    pub fn append(
        &self,
        word: &str,
        model: &ModelWrapper,
        parts: &mut Parts,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        parts.clear();
        // Where the piece begins; the character before, if it is a token; whether it is unknown.
        let (mut begin, mut before, mut unknown) = (0, None, false);
        for (at, character) in word.char_indices() {
            let Some(id) = self.characters.get(&character) else {
                if !(unknown && self.fuse) {
                    parts.extend(self.unknown.map(|id| (id, NO_RANK)));
                }
                (before, unknown) = (None, true);
                continue;
            };
            if before.is_some_and(|before| !self.joined.contains(&(before, character))) {
                let piece = word.get(begin..at).unwrap_or_default();
                self.finish(piece, model, parts, ids)?;
                begin = at;
            }
            parts.push((*id, NO_RANK));
            (before, unknown) = (Some(character), false);
        }
        self.finish(word.get(begin..).unwrap_or_default(), model, parts, ids)
    }

    /// Merges the characters of a piece, appends their ids, and leaves nothing of them.
    fn finish(
        &self,
        piece: &str,
        model: &ModelWrapper,
        parts: &mut Parts,
        ids: &mut Vec<u32>,
    ) -> Result<()> {
        if parts.len() > LONGEST {
            let tokens = model.tokenize(piece).map_err(encoding)?;
            ids.extend(tokens.iter().map(|token| token.id));
            parts.clear();
            return Ok(());
        }
        if parts.len() > 1 {
            self.merge(parts);
        }
        ids.extend(parts.drain(..).map(|(id, _)| id));
        Ok(())
    }

    fn merge(&self, parts: &mut Parts) {
        for at in 0..parts.len() {
            self.rank(parts, at);
        }
        loop {
            let lowest = parts.iter().enumerate().min_by_key(|(_, (_, rank))| *rank);
            let Some((at, (_, rank))) = lowest else { return };
            let Some(made) = self.made.get(*rank as usize) else { return };
            if let Some(part) = parts.get_mut(at) {
                part.0 = *made;
            }
            parts.remove(at + 1);
            self.rank(parts, at);
            if at > 0 {
                self.rank(parts, at - 1);
            }
        }
    }

    /// Looks up how early a token is merged with the next one.
    fn rank(&self, parts: &mut Parts, at: usize) {
        let next = parts.get(at + 1).map(|(id, _)| *id);
        if let Some((id, rank)) = parts.get_mut(at) {
            let found = next.and_then(|next| self.ranks.get(&(*id, next)));
            *rank = found.copied().unwrap_or(NO_RANK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{Model, TokenizerSpec};
    use kiln_datasets::Document;
    use proptest::prelude::*;

    fn of(file: &str) -> Option<Merges> {
        let json: Value = serde_json::from_str(file).unwrap();
        Merges::of(&json)
    }

    #[test]
    fn merges_by_hand() {
        let json = r#"{
            "type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "?": 5, "bc": 6},
            "merges": [["b", "c"], ["a", "b"], ["ab", "c"]], "unk_token": "?", "fuse_unk": false
        }"#;
        let merges = of(json).unwrap();
        let model: ModelWrapper = serde_json::from_str(json).unwrap();
        let ids = |word: &str| {
            let mut ids = Vec::new();
            merges.append(word, &model, &mut Vec::new(), &mut ids).unwrap();
            ids
        };
        // `bc` was learned before `ab`; nothing joins `c` and what is behind it.
        assert_eq!(ids("abcab"), [0, 6, 3]);
        assert!(!merges.joined.contains(&('c', 'a')) && merges.joined.contains(&('b', 'c')));
        assert_eq!(ids("xxa"), [5, 5, 0]);
        assert_eq!((ids(""), ids("bca")), (vec![], vec![6, 0]));
        for (from, to) in [
            ("\"BPE\"", "\"WordLevel\""),
            ("\"fuse_unk\": false", "\"byte_fallback\": true"),
            ("\"unk_token\": \"?\"", "\"unk_token\": \"!\""),
            ("\"bc\": 6", "\"bc\": 4"),
            ("\"fuse_unk\": false", "\"dropout\": 0.1"),
        ] {
            assert!(of(&json.replace(from, to)).is_none(), "{to}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever was learned, words become what the model makes of them.
        #[test]
        fn a_word_is_what_the_model_makes_of_it(
            corpus in "[a-d]{30}[a-d今天气很好]{60,120}", words in prop::collection::vec(
                "[a-c]{0,200}|[a-e今天气很好们]{0,60}|(ab|abc|今天|天气){0,40}", 1..4),
            size in 20_usize..60, fuse in any::<bool>(), bytes in any::<bool>(),
        ) {
            let text = corpus.clone() + " " + &corpus;
            let document = Document { text, ..Document::default() };
            let model = if bytes {
                Model::ByteBpe { vocabulary: 259 + size }
            } else {
                Model::Bpe { vocabulary: size }
            };
            let trained = TokenizerSpec::new(model).train([Ok(document)], &mut |_| {}).unwrap();
            let mut json = serde_json::to_value(trained.inner().get_model()).unwrap();
            json["fuse_unk"] = fuse.into();
            let merges = Merges::of(&json).unwrap();
            let model: ModelWrapper = serde_json::from_value(json).unwrap();
            for word in words {
                let expected: Vec<u32> =
                    model.tokenize(&word).unwrap().iter().map(|token| token.id).collect();
                let mut ids = vec![7];
                merges.append(&word, &model, &mut Vec::new(), &mut ids).unwrap();
                prop_assert_eq!(&ids[1..], &expected, "{:?}", word);
            }
        }
    }
}
