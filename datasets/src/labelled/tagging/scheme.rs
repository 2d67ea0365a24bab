//! Tags of chunks, and what they stand for: IOB1, BIO, BIOES.
//!
//! Ramshaw and Marcus 1995, <https://aclanthology.org/W95-0107>; Tjong Kim Sang and Veenstra 1999,
//! <https://aclanthology.org/E99-1023>.

use crate::labelled::example::Tagged;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Tagging scheme: how tags mark where chunks begin and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TagScheme {
    /// Whichever of them the tags are, told by all of them.
    #[default]
    Auto,
    /// Every chunk begins with `B-` and goes on with `I-`: IOB2.
    Bio,
    /// Chunks are `I-`; `B-` begins one only right after another of its type.
    Iob1,
    /// As BIO, with `E-` at a chunk's end and `S-` for one of a single token; BILOU's `L-` and
    /// `U-` mean the same.
    Bioes,
    /// Tags stand for themselves: parts of speech.
    Plain,
}

/// Entity: a chunk of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entity<'a> {
    /// Its type: `PER`.
    pub kind: &'a str,
    /// Its tokens.
    pub tokens: Range<usize>,
}

/// What a tag says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Outside,
    Begin(&'a str),
    Inside(&'a str),
    End(&'a str),
    Single(&'a str),
}

impl<'a> Part<'a> {
    /// `None` for tags of no scheme.
    pub(super) fn of(tag: &'a str) -> Option<Self> {
        if tag == "O" {
            return Some(Self::Outside);
        }
        match tag.split_once('-').filter(|(_, kind)| !kind.is_empty())? {
            ("B", kind) => Some(Self::Begin(kind)),
            ("I", kind) => Some(Self::Inside(kind)),
            ("E" | "L", kind) => Some(Self::End(kind)),
            ("S" | "U", kind) => Some(Self::Single(kind)),
            _ => None,
        }
    }

    fn kind(self) -> Option<&'a str> {
        match self {
            Self::Outside => None,
            Self::Begin(kind) | Self::Inside(kind) | Self::End(kind) | Self::Single(kind) => {
                Some(kind)
            }
        }
    }

    /// Whether a chunk goes on from `before` to here.
    fn continues(self, before: Self) -> bool {
        matches!(self, Self::Inside(_) | Self::End(_))
            && matches!(before, Self::Begin(_) | Self::Inside(_))
            && self.kind() == before.kind()
    }
}

/// The chunks of a sentence by the rules of `conlleval`, which hold for all schemes: a tag that
/// continues nothing begins a chunk, whatever its prefix. Tags of no scheme are outside.
pub fn entities<T: AsRef<str>>(tags: &[T]) -> Vec<Entity<'_>> {
    let mut entities: Vec<Entity<'_>> = Vec::new();
    let mut before = Part::Outside;
    for (place, tag) in tags.iter().enumerate() {
        let part = Part::of(tag.as_ref()).unwrap_or(Part::Outside);
        match (part.kind(), entities.last_mut()) {
            (Some(_), Some(last)) if part.continues(before) => last.tokens.end = place + 1,
            (Some(kind), _) => entities.push(Entity { kind, tokens: place..place + 1 }),
            (None, _) => {}
        }
        before = part;
    }
    entities
}

/// The same chunks in BIO; tags of no scheme, such as parts of speech, stay what they are.
pub fn to_bio<T: AsRef<str>>(tags: &[T]) -> Vec<String> {
    let mut bio = chunks_only(tags);
    for (bio, tag) in bio.iter_mut().zip(tags.iter().map(AsRef::as_ref)) {
        if Part::of(tag).is_none() {
            tag.clone_into(bio);
        }
    }
    bio
}

/// The same chunks in BIO, and nothing else.
pub(super) fn chunks_only<T: AsRef<str>>(tags: &[T]) -> Vec<String> {
    let mut bio = vec!["O".to_owned(); tags.len()];
    for entity in entities(tags) {
        let begin = entity.tokens.start;
        for (place, tag) in bio.iter_mut().enumerate().take(entity.tokens.end).skip(begin) {
            *tag = format!("{}-{}", if place == begin { 'B' } else { 'I' }, entity.kind);
        }
    }
    bio
}

/// What tags of a data set say of its scheme.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    /// Tags with a prefix.
    chunks: usize,
    /// `E-` and `S-` among them.
    ends: usize,
    /// `I-` that continue nothing: no BIO.
    not_bio: usize,
    /// `B-` where `I-` would do: no IOB1.
    not_iob1: usize,
    /// The first sentence with a tag of no scheme.
    pub(super) plain: Option<usize>,
}

impl Evidence {
    pub(super) fn add<T: AsRef<str>>(&mut self, sentence: usize, tags: &[T]) {
        let mut before = Part::Outside;
        for tag in tags {
            let Some(part) = Part::of(tag.as_ref()) else {
                self.plain.get_or_insert(sentence);
                continue;
            };
            self.chunks += usize::from(part != Part::Outside);
            match part {
                Part::Outside => {}
                Part::Begin(kind) => self.not_iob1 += usize::from(before.kind() != Some(kind)),
                Part::Inside(_) => self.not_bio += usize::from(!part.continues(before)),
                Part::End(_) | Part::Single(_) => self.ends += 1,
            }
            before = part;
        }
    }

    /// The scheme that fewest tags break: published files have a few that do. `None` where some
    /// tags are of chunks and others of no scheme.
    pub(super) fn scheme(&self) -> Option<TagScheme> {
        match (self.chunks, self.plain) {
            (0, Some(_)) => Some(TagScheme::Plain),
            (_, Some(_)) => None,
            (_, None) if self.ends > 0 => Some(TagScheme::Bioes),
            (_, None) if self.not_bio <= self.not_iob1 => Some(TagScheme::Bio),
            (_, None) => Some(TagScheme::Iob1),
        }
    }
}

impl TagScheme {
    /// The scheme that fewest tags of a data set break; `None` where some tags are of chunks and
    /// others of no scheme.
    pub fn recognise<'a, T: AsRef<str> + 'a>(
        sentences: impl IntoIterator<Item = &'a [T]>,
    ) -> Option<Self> {
        let mut evidence = Evidence::default();
        for (place, tags) in sentences.into_iter().enumerate() {
            evidence.add(place, tags);
        }
        evidence.scheme()
    }
}

impl Tagged {
    /// The chunks of the sentence; none where tags are plain.
    pub fn entities(&self) -> Vec<Entity<'_>> {
        entities(&self.tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunks(tags: &str) -> Vec<(String, usize, usize)> {
        let tags: Vec<&str> = tags.split(' ').collect();
        let chunk = |e: Entity<'_>| (e.kind.to_owned(), e.tokens.start, e.tokens.end);
        entities(&tags).into_iter().map(chunk).collect()
    }

    fn scheme(sentences: &[&str]) -> Option<TagScheme> {
        let tags: Vec<Vec<&str>> = sentences.iter().map(|tags| tags.split(' ').collect()).collect();
        TagScheme::recognise(tags.iter().map(Vec::as_slice))
    }

    #[test]
    fn the_same_chunks_in_all_schemes() {
        let expected =
            [("PER".to_owned(), 0, 2), ("PER".to_owned(), 2, 3), ("LOC".to_owned(), 4, 5)];
        for tags in [
            "B-PER I-PER B-PER O B-LOC",
            "I-PER I-PER B-PER O I-LOC",
            "B-PER E-PER S-PER O S-LOC",
            "B-PER L-PER U-PER O U-LOC",
        ] {
            assert_eq!(chunks(tags), expected, "{tags}");
            let tags: Vec<&str> = tags.split(' ').collect();
            assert_eq!(to_bio(&tags), ["B-PER", "I-PER", "B-PER", "O", "B-LOC"]);
            assert_eq!(to_bio(&["DET", "S-LOC", "O"]), ["DET", "B-LOC", "O"]);
        }
    }

    /// What seqeval 1.2.2's `get_entities` gives for tags that break the rules.
    #[test]
    fn invalid_sequences_as_seqeval() {
        assert_eq!(chunks("I-PER O I-LOC"), [("PER".into(), 0, 1), ("LOC".into(), 2, 3)]);
        assert_eq!(chunks("B-PER I-LOC I-LOC"), [("PER".into(), 0, 1), ("LOC".into(), 1, 3)]);
        assert_eq!(
            chunks("E-PER E-PER I-PER"),
            [("PER".into(), 0, 1), ("PER".into(), 1, 2), ("PER".into(), 2, 3)]
        );
        assert_eq!(chunks("S-PER I-PER"), [("PER".into(), 0, 1), ("PER".into(), 1, 2)]);
    }

    #[test]
    fn schemes_are_recognised() {
        assert_eq!(scheme(&["O B-X I-X", "B-Y B-Y O"]), Some(TagScheme::Bio));
        assert_eq!(scheme(&["O I-X B-X", "I-Y O O"]), Some(TagScheme::Iob1));
        assert_eq!(scheme(&["O B-X E-X", "S-Y O O"]), Some(TagScheme::Bioes));
        assert_eq!(scheme(&["DET NOUN", "VERB"]), Some(TagScheme::Plain));
        assert_eq!(scheme(&["O O"]), Some(TagScheme::Bio));
        assert_eq!(scheme(&["O I-X", "O B-X", "B-X"]), Some(TagScheme::Bio), "one tag breaks it");
        assert_eq!(scheme(&["O B-X", "NOUN O"]), None);
    }

    proptest! {
        #[test]
        fn conversion_keeps_chunks_and_is_stable(
            tags in prop::collection::vec("(O|[BIES]-[XY])", 0..12),
        ) {
            let bio = to_bio(&tags);
            prop_assert_eq!(entities(&bio), entities(&tags));
            prop_assert_eq!(to_bio(&bio), bio.clone());
            prop_assert_eq!(TagScheme::recognise([bio.as_slice()]), Some(TagScheme::Bio));
        }
    }
}
