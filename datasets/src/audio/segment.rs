//! Long recordings in pieces, cut where nobody speaks.
//!
//! A first pass measures the level of each 20 ms; 3 hours are half a million numbers. Levels above
//! one threshold open a region of speech, levels below a lower one for long enough close it
//! (hysteresis). The thresholds lie between the recording's own floor and its speech, so that
//! neither gain nor hum matters. A second pass, [`Spans`], hands out the sound.

use super::{AudioReader, Waveform};
use crate::{DataError, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Voice activity segmentation: how a recording is cut at silences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Segmentation {
    /// A pause so long ends a segment, s.
    pub min_silence: f64,
    /// Shorter bursts of sound are no speech, s.
    pub min_speech: f64,
    /// A longer segment is cut at its quietest moment, s.
    pub max_length: f64,
    /// Silence kept before and behind speech, s.
    pub padding: f64,
    /// What two segments share where speech had to be cut, s: a word at the border is whole in one
    /// of the two.
    pub overlap: f64,
    /// Where between the floor (0) and the level of speech (1) a segment opens; it closes at two
    /// thirds of that.
    pub threshold: f64,
}

impl Default for Segmentation {
    fn default() -> Self {
        Self {
            min_silence: 0.4,
            min_speech: 0.06,
            max_length: 20.0,
            padding: 0.15,
            overlap: 1.0,
            threshold: 0.35,
        }
    }
}

/// Segment of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Where it begins, s.
    pub start: f64,
    /// Where it ends, s.
    pub end: f64,
    /// How much of its begin is the end of the piece before, s; 0 behind a pause.
    pub overlap: f64,
}

/// Length of the frames that are measured, s.
const FRAME: f64 = 0.02;

/// Level below which nothing is heard, dB of full scale.
const SILENT: f32 = -65.0;

/// Recordings whose levels are closer together than this, dB, are all speech or all silence.
const FLAT: f32 = 6.0;

impl Segmentation {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the first value that cannot be.
    pub fn validate(&self) -> Result<()> {
        let lengths = [
            ("min_silence", self.min_silence, 0.0..=60.0),
            ("min_speech", self.min_speech, 0.0..=10.0),
            ("max_length", self.max_length, 0.5..=3600.0),
            ("padding", self.padding, 0.0..=10.0),
            ("overlap", self.overlap, 0.0..=self.max_length / 4.0),
            ("threshold", self.threshold, 0.05..=0.95),
        ];
        match lengths.iter().find(|(_, value, range)| !range.contains(value)) {
            None => Ok(()),
            Some((key, value, range)) => {
                let expected = format!("{} to {}", range.start(), range.end());
                Err(DataError::config(*key, value, expected))
            }
        }
    }

    /// The pieces of a recording, in order. Reads it once, chunk by chunk.
    ///
    /// # Errors
    /// When the configuration cannot be, or the recording cannot be read.
    pub fn segments(&self, reader: AudioReader) -> Result<Vec<Segment>> {
        self.validate()?;
        let mut levels = Levels::new(reader.rate());
        for chunk in reader {
            levels.push(&chunk?.samples);
        }
        let duration = levels.seconds();
        Ok(self.of_levels(&levels.decibels, duration))
    }

    /// The pieces of a recording whose frames have these levels, dB.
    fn of_levels(&self, levels: &[f32], duration: f64) -> Vec<Segment> {
        let mut sorted = levels.to_vec();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f64| {
            let place = (share * sorted.len() as f64) as usize;
            sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(SILENT)
        };
        let (floor, speech) = (at(0.1).max(SILENT), at(0.95));
        let regions = if speech <= SILENT {
            Vec::new()
        } else if speech - floor < FLAT {
            vec![(0, levels.len())]
        } else {
            let open = floor + (speech - floor) * self.threshold as f32;
            let close = floor + (speech - floor) * self.threshold as f32 * 2.0 / 3.0;
            self.regions(levels, open, close)
        };
        self.pieces(levels, &regions, duration)
    }

    /// Regions of speech, frames from..to.
    fn regions(&self, levels: &[f32], open: f32, close: f32) -> Vec<(usize, usize)> {
        let (pause, burst) = (frames(self.min_silence).max(1), frames(self.min_speech));
        let mut regions = Vec::new();
        let mut region: Option<(usize, usize)> = None;
        for (frame, level) in levels.iter().enumerate() {
            match &mut region {
                None if *level >= open => region = Some((frame, frame + 1)),
                Some((_, end)) if *level >= close => *end = frame + 1,
                Some((_, end)) if frame + 1 - *end >= pause => regions.extend(region.take()),
                _ => {}
            }
        }
        regions.extend(region);
        regions.retain(|(start, end)| end - start >= burst.max(1));
        regions
    }

    /// Regions with padding, those that are too long cut.
    fn pieces(&self, levels: &[f32], regions: &[(usize, usize)], duration: f64) -> Vec<Segment> {
        let longest = frames(self.max_length - self.overlap).max(2);
        let mut segments = Vec::new();
        for (place, (start, end)) in regions.iter().enumerate() {
            // Padding of neighbours meets in the middle of the pause.
            let before = place
                .checked_sub(1)
                .and_then(|p| regions.get(p))
                .map_or(0.0, |(_, e)| seconds(*e + start) / 2.0);
            let behind = regions.get(place + 1).map_or(duration, |(s, _)| seconds(end + s) / 2.0);
            let last = (seconds(*end) + self.padding).min(behind).min(duration);
            let mut segment = Segment {
                start: (seconds(*start) - self.padding).max(before).max(0.0),
                end: last,
                overlap: 0.0,
            };
            let mut from = *start;
            // Padding may make a segment longer than it should be; speech may not.
            while end - from > longest {
                let half = from + longest / 2;
                let window = levels.get(half..from + longest).unwrap_or_default();
                let quietest = window.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
                let cut = half + quietest.map_or(0, |(offset, _)| offset);
                let border = seconds(cut) + FRAME / 2.0;
                segment.end = border + self.overlap / 2.0;
                segments.push(segment);
                let start = border - self.overlap / 2.0;
                segment = Segment { start, end: last, overlap: self.overlap };
                from = cut;
            }
            segments.push(segment);
        }
        segments
    }
}

/// Levels of frames, in dB of full scale.
struct Levels {
    rate: u32,
    samples: u64,
    /// Samples of a frame.
    frame: usize,
    sum: f64,
    count: usize,
    decibels: Vec<f32>,
}

impl Levels {
    fn new(rate: u32) -> Self {
        let frame = (f64::from(rate) * FRAME).round() as usize;
        Self { rate, samples: 0, frame: frame.max(1), sum: 0.0, count: 0, decibels: Vec::new() }
    }

    fn push(&mut self, samples: &[f32]) {
        self.samples += samples.len() as u64;
        for sample in samples {
            self.sum += f64::from(*sample) * f64::from(*sample);
            self.count += 1;
            if self.count == self.frame {
                let power = std::mem::take(&mut self.sum) / self.frame as f64;
                self.decibels.push((10.0 * power.max(1e-12).log10()) as f32);
                self.count = 0;
            }
        }
    }

    fn seconds(&self) -> f64 {
        self.samples as f64 / f64::from(self.rate)
    }
}

/// The sound of segments that are in order, from one pass over the recording. Holds a segment and
/// a chunk at a time.
pub struct Spans {
    reader: AudioReader,
    segments: std::vec::IntoIter<Segment>,
    held: VecDeque<f32>,
    /// Where `held` begins, samples.
    begin: u64,
    /// Whether the reader has more.
    more: bool,
}

impl Spans {
    /// The sound of `segments`, sorted by their start, from a reader at the recording's begin.
    pub fn new(reader: AudioReader, segments: Vec<Segment>) -> Self {
        Self {
            reader: reader.in_chunks(1.0),
            segments: segments.into_iter(),
            held: VecDeque::new(),
            begin: 0,
            more: true,
        }
    }

    fn span(&mut self, segment: &Segment) -> Result<Waveform> {
        let rate = self.reader.rate();
        let place = |seconds: f64| (seconds * f64::from(rate)).round() as u64;
        let (start, end) = (place(segment.start), place(segment.end));
        loop {
            let outside = start.saturating_sub(self.begin).min(self.held.len() as u64);
            self.held.drain(..outside as usize);
            self.begin += outside;
            if self.begin + self.held.len() as u64 >= end || !self.more {
                break;
            }
            match self.reader.next() {
                Some(chunk) => self.held.extend(chunk?.samples),
                None => self.more = false,
            }
        }
        let count = end.saturating_sub(start.max(self.begin)) as usize;
        Ok(Waveform::new(self.held.iter().copied().take(count).collect(), rate))
    }
}

impl Iterator for Spans {
    type Item = Result<(Segment, Waveform)>;

    fn next(&mut self) -> Option<Self::Item> {
        let segment = self.segments.next()?;
        Some(self.span(&segment).map(|waveform| (segment, waveform)))
    }
}

fn frames(seconds: f64) -> usize {
    (seconds / FRAME).round().max(0.0) as usize
}

fn seconds(frames: usize) -> f64 {
    frames as f64 * FRAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tests::{noise, reader_of, sine};

    /// Tones with pauses between: (seconds, level) each, on a faint noise.
    fn recording(parts: &[(f64, f32)]) -> Waveform {
        let mut samples = Vec::new();
        for (seconds, level) in parts {
            samples.extend(sine(300.0, *level, 8000, (seconds * 8000.0) as usize).samples);
        }
        let hiss = noise(0.002, 8000, samples.len());
        samples.iter_mut().zip(hiss.samples).for_each(|(sample, hiss)| *sample += hiss);
        Waveform::new(samples, 8000)
    }

    #[test]
    fn made_gaps_are_found() {
        let wave = recording(&[
            (1.0, 0.0),
            (2.0, 0.3),
            (1.0, 0.0),
            (0.2, 0.3),
            (0.2, 0.0),
            (1.0, 0.2),
            (0.6, 0.0),
        ]);
        let segmentation = Segmentation::default();
        let segments = segmentation.segments(reader_of(&wave)).unwrap();
        assert_eq!(segments.len(), 2, "{segments:?}");
        let expected = [(0.85, 3.15), (3.85, 5.55)];
        for (segment, (start, end)) in segments.iter().zip(expected) {
            assert!((segment.start - start).abs() < 0.05, "{segment:?}");
            assert!((segment.end - end).abs() < 0.05, "{segment:?}");
            assert_eq!(segment.overlap, 0.0);
        }
        let spans: Vec<_> =
            Spans::new(reader_of(&wave), segments.clone()).map(|span| span.unwrap()).collect();
        for (segment, span) in spans {
            let from = (segment.start * 8000.0).round() as usize;
            let decoded = reader_of(&wave).rest().unwrap();
            assert_eq!(span.samples, decoded.samples[from..from + span.samples.len()]);
            assert!((span.seconds() - (segment.end - segment.start)).abs() < 1e-3);
        }
    }

    #[test]
    fn long_speech_is_cut_where_it_is_quiet_and_overlaps_there() {
        // A dip, too short for a pause, at 7 s.
        let wave = recording(&[(0.5, 0.0), (6.5, 0.3), (0.1, 0.02), (8.0, 0.3), (0.5, 0.0)]);
        let segmentation = Segmentation { max_length: 10.0, ..Segmentation::default() };
        let segments = segmentation.segments(reader_of(&wave)).unwrap();
        assert_eq!(segments.len(), 2, "{segments:?}");
        assert!((segments[0].end - 7.55).abs() < 0.1, "{segments:?}");
        assert!((segments[1].start - 6.55).abs() < 0.1 && segments[1].overlap == 1.0);
        let spans: Vec<_> = Spans::new(reader_of(&wave), segments).map(|s| s.unwrap().1).collect();
        let (first, second) = (&spans[0].samples, &spans[1].samples);
        assert_eq!(first[first.len() - 8000..], second[..8000], "the shared second");
        // And every piece is within its limit, however long the speech.
        let wave = recording(&[(0.5, 0.0), (47.0, 0.3), (6.0, 0.0)]);
        let segments = segmentation.segments(reader_of(&wave)).unwrap();
        assert!(segments.iter().all(|s| s.end - s.start < 10.4), "{segments:?}");
        assert!((segments.last().unwrap().end - 47.65).abs() < 0.05);
    }

    #[test]
    fn silence_and_tone_without_pause() {
        let segmentation = Segmentation::default();
        let silent = Waveform::new(vec![0.0; 16_000], 8000);
        assert_eq!(segmentation.segments(reader_of(&silent)).unwrap(), []);
        let tone = sine(300.0, 0.3, 8000, 16_000);
        let whole = Segment { start: 0.0, end: 2.0, overlap: 0.0 };
        assert_eq!(segmentation.segments(reader_of(&tone)).unwrap(), [whole]);
        let wrong = Segmentation { overlap: 9.0, ..segmentation };
        let text = wrong.segments(reader_of(&tone)).unwrap_err().to_string();
        assert_eq!(text, "`overlap` is 9, expected 0 to 5");
    }
}
