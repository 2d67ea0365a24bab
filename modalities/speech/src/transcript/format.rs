//! Transcripts as text, JSON, SubRip and WebVTT.

use super::{
    segment::{Segment, Segments},
    timed::{Alternative, Transcript, Word},
};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Characters in a line of a subtitle.
const LINE: usize = 42;

/// A file format for transcripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One segment a line.
    Text,
    /// Words with times and confidence, segments, and alternatives where there are some.
    Json,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles, <https://www.w3.org/TR/webvtt1/>.
    Vtt,
}

impl Format {
    /// The file name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Json => "json",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
        }
    }

    /// The transcript as a file's content.
    pub fn render(self, transcript: &Transcript, segments: &Segments) -> String {
        let cut = segments.cut(transcript);
        match self {
            Self::Text => plain_text(&cut),
            Self::Json => json(transcript, &cut),
            Self::Srt => srt(&cut),
            Self::Vtt => vtt(&cut),
        }
    }
}

/// One segment a line.
pub fn plain_text(segments: &[Segment]) -> String {
    segments.iter().map(|segment| one_line(&segment.text) + "\n").collect()
}

/// `{"text", "words": [{"text", "start", "end", "confidence"}], "segments": [{"start", "end",
/// "text"}], "alternatives": [{"text", "score"}]}`; times in s, rounded to 1 ms.
pub fn json(transcript: &Transcript, segments: &[Segment]) -> String {
    #[derive(Serialize)]
    struct File<'a> {
        text: String,
        words: Vec<Word>,
        segments: Vec<Lines<'a>>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        alternatives: &'a [Alternative],
    }
    #[derive(Serialize)]
    struct Lines<'a> {
        start: f64,
        end: f64,
        text: &'a str,
    }
    let round = |seconds: f64| milliseconds(seconds) as f64 / 1e3;
    let file = File {
        text: transcript.text(),
        words: transcript
            .words
            .iter()
            .map(|word| Word { start: round(word.start), end: round(word.end), ..word.clone() })
            .collect(),
        segments: segments
            .iter()
            .map(|s| Lines { start: round(s.start), end: round(s.end), text: &s.text })
            .collect(),
        alternatives: &transcript.alternatives,
    };
    // Strings and numbers only: serialising them cannot fail.
    serde_json::to_string_pretty(&file).map(|text| text + "\n").unwrap_or_default()
}

/// SubRip: numbered from 1, `00:00:01,500 --> 00:00:02,000`. The format has no escapes; an arrow
/// in the text is broken up so that it cannot be taken for a time line.
pub fn srt(segments: &[Segment]) -> String {
    let mut text = String::new();
    for (index, (segment, (start, end))) in segments.iter().zip(spans(segments)).enumerate() {
        let lines = wrap(&segment.text).replace("-->", "->");
        let (start, end) = (time(start, ','), time(end, ','));
        // Writing to a string cannot fail.
        let _ = write!(text, "{}\n{start} --> {end}\n{lines}\n\n", index + 1);
    }
    text
}

/// WebVTT: `00:00:01.500 --> 00:00:02.000`; `&`, `<` and `>` are escaped.
pub fn vtt(segments: &[Segment]) -> String {
    let mut text = String::from("WEBVTT\n\n");
    for (segment, (start, end)) in segments.iter().zip(spans(segments)) {
        let lines = wrap(&segment.text);
        let lines = lines.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let (start, end) = (time(start, '.'), time(end, '.'));
        let _ = write!(text, "{start} --> {end}\n{lines}\n\n");
    }
    text
}

/// Start and end in ms: a cue lasts at least 1 ms, and ends no later than the next starts.
fn spans(segments: &[Segment]) -> Vec<(u64, u64)> {
    let start = |segment: &Segment| milliseconds(segment.start);
    let next = segments.iter().skip(1).map(start).chain([u64::MAX]);
    let cue = |(segment, next): (&Segment, u64)| {
        let start = start(segment);
        (start, milliseconds(segment.end).min(next).max(start + 1))
    };
    segments.iter().zip(next).map(cue).collect()
}

/// Rounded to ms; what is negative or no number is 0.
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1e3).round() as u64
}

fn time(milliseconds: u64, point: char) -> String {
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}{point}{rest:03}", seconds % 60)
}

/// The text in lines of at most [`LINE`] characters, longer words alone in theirs; no empty line,
/// which would end a cue.
fn wrap(text: &str) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let characters = word.chars().count();
        if length > 0 {
            let fits = length + 1 + characters <= LINE;
            lines.push(if fits { ' ' } else { '\n' });
            length = if fits { length + 1 } else { 0 };
        }
        lines.push_str(word);
        length += characters;
    }
    lines
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{super::timed::word, *};

    fn transcript() -> Transcript {
        let words =
            vec![word("a<b", 0.9996, 1.5), word("-->", 1.5, 2.0), word("&c", 3725.5, 3726.0)];
        Transcript { words, alternatives: vec![] }
    }

    #[test]
    fn subrip() {
        assert_eq!(
            Format::Srt.render(&transcript(), &Segments::default()),
            "1\n00:00:01,000 --> 00:00:02,000\na<b ->\n\n2\n01:02:05,500 --> 01:02:06,000\n&c\n\n"
        );
    }

    #[test]
    fn web_vtt() {
        assert_eq!(
            Format::Vtt.render(&transcript(), &Segments::default()),
            "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\na&lt;b --&gt;\n\n\
             01:02:05.500 --> 01:02:06.000\n&amp;c\n\n"
        );
    }

    #[test]
    fn text_and_json() {
        let mut transcript = transcript();
        assert_eq!(Format::Text.render(&transcript, &Segments::default()), "a<b -->\n&c\n");
        transcript.alternatives.push(Alternative { text: "a".into(), score: -1.5 });
        let text = Format::Json.render(&transcript, &Segments::default());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["text"], "a<b --> &c");
        assert_eq!(value["words"][0]["start"], 1.0);
        assert_eq!(value["words"][0]["confidence"], 0.5);
        assert_eq!(value["segments"][1]["text"], "&c");
        assert_eq!(value["alternatives"][0]["score"], -1.5);
    }

    #[test]
    fn lines_are_wrapped() {
        let text = "one two three four five six seven eight nine ten eleven twelve";
        let lines = wrap(text);
        assert_eq!(lines.replace('\n', " "), text);
        assert!(lines.lines().count() == 2 && lines.lines().all(|line| line.len() <= LINE));
        assert_eq!(wrap(&"x".repeat(50)), "x".repeat(50));
    }

    #[test]
    fn a_cue_lasts_and_does_not_overlap_the_next() {
        let segment = |start, end| Segment { start, end, text: "x".into(), words: vec![] };
        let spans = spans(&[segment(1.0, 1.0), segment(2.0, 3.5), segment(3.0, f64::NAN)]);
        assert_eq!(spans, [(1000, 1001), (2000, 3000), (3000, 3001)]);
    }
}
