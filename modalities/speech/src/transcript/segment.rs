//! Subtitle segmentation of transcripts.

use super::timed::{Transcript, Word, join};
use kiln_nn::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of subtitle segments.
///
/// The defaults are those of broadcasters: two lines of 42 characters, 7 s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Segments {
    /// Characters, spaces included. A single longer word still makes a segment.
    pub max_characters: usize,
    /// Seconds from the first word's start to the last one's end.
    pub max_seconds: f64,
    /// A pause of this many seconds ends a segment.
    pub pause: f64,
}

impl Default for Segments {
    fn default() -> Self {
        Self { max_characters: 84, max_seconds: 7.0, pause: 1.0 }
    }
}

/// Some consecutive words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// When the first word starts, in s.
    pub start: f64,
    /// When the last word ends, in s.
    pub end: f64,
    /// The words with spaces between them.
    pub text: String,
    /// The words.
    pub words: Vec<Word>,
}

impl Segments {
    /// Checks the settings.
    ///
    /// # Errors
    /// When a limit is zero, negative or no number.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::positive("max_characters", self.max_characters)?;
        for (key, value) in [("max_seconds", self.max_seconds), ("pause", self.pause)] {
            if value.is_nan() || value <= 0.0 {
                return Err(ConfigError::new(key, value, "more than 0 s"));
            }
        }
        Ok(())
    }

    /// The transcript's words in segments: every word in one, in order.
    ///
    /// A segment that would become too long ends at the widest pause of its second half, so that
    /// words spoken together stay together.
    pub fn cut(&self, transcript: &Transcript) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut rest = transcript.words.as_slice();
        while !rest.is_empty() {
            let (segment, later) = rest.split_at(self.first(rest));
            segments.push(Segment {
                start: segment[0].start,
                end: segment[segment.len() - 1].end,
                text: join(segment),
                words: segment.to_vec(),
            });
            rest = later;
        }
        segments
    }

    /// How many of the words, at least one, make the first segment.
    fn first(&self, words: &[Word]) -> usize {
        let mut characters = 0;
        for (index, word) in words.iter().enumerate() {
            characters += word.text.chars().count() + usize::from(index > 0);
            let seconds = word.end - words[0].start;
            if index > 0 && (characters > self.max_characters || seconds > self.max_seconds) {
                return widest_pause(words, index);
            }
            let next = words.get(index + 1);
            if next.is_some_and(|next| next.start - word.end >= self.pause) {
                return index + 1;
            }
        }
        words.len()
    }
}

/// The break in the second half of the first `count` words with the widest pause before it; the
/// last of equals.
fn widest_pause(words: &[Word], count: usize) -> usize {
    let pause = |at: usize| words[at].start - words[at - 1].end;
    let first = count.div_ceil(2).max(1);
    (first..=count).max_by(|a, b| pause(*a).total_cmp(&pause(*b))).unwrap_or(count)
}

#[cfg(test)]
mod tests {
    use super::{super::timed::word, *};
    use proptest::prelude::*;

    fn texts(segments: &[Segment]) -> Vec<&str> {
        segments.iter().map(|segment| segment.text.as_str()).collect()
    }

    #[test]
    fn a_long_pause_ends_a_segment() {
        let words = vec![word("a", 0.0, 0.5), word("b", 0.75, 1.0), word("c", 2.0, 2.5)];
        let segments = Segments::default().cut(&Transcript { words, alternatives: vec![] });
        assert_eq!(texts(&segments), ["a b", "c"]);
        assert_eq!((segments[0].start, segments[0].end), (0.0, 1.0));
    }

    #[test]
    fn a_full_segment_ends_at_its_widest_pause() {
        let words = vec![
            word("aa", 0.0, 0.5),
            word("bb", 0.5, 1.0),
            word("cc", 1.25, 1.5),
            word("dd", 1.5, 2.0),
        ];
        let options = Segments { max_characters: 8, ..Segments::default() };
        let segments = options.cut(&Transcript { words, alternatives: vec![] });
        assert_eq!(texts(&segments), ["aa bb", "cc dd"]);
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_no_segment_too_long(
            lengths in prop::collection::vec((1usize..9, 0u8..40), 0..40),
        ) {
            let mut time = 0.0;
            let words: Vec<Word> = lengths.iter().map(|(length, gap)| {
                let start = time + f64::from(*gap) / 20.0;
                time = start + 0.5;
                word(&"x".repeat(*length), start, time)
            }).collect();
            let options = Segments { max_characters: 20, max_seconds: 5.0, pause: 1.5 };
            let segments = options.cut(&Transcript { words: words.clone(), alternatives: vec![] });
            for segment in &segments {
                prop_assert!(segment.text.len() <= 20 && segment.end - segment.start <= 5.0);
            }
            let again: Vec<Word> = segments.into_iter().flat_map(|s| s.words).collect();
            prop_assert_eq!(again, words);
        }
    }

    #[test]
    fn settings_are_checked() {
        let error = Segments { pause: 0.0, ..Segments::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "`pause` is 0; expected more than 0 s");
    }
}
